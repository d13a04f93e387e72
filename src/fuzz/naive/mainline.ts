// What every kernel refuses, whatever its policy, written down a second time.

export type BaseErrno = 'OK' | 'E2BIG' | 'EINVAL' | 'EPERM';

/** What KVM_SET_CPUID2 answers on a vCPU that never ran, with paranoid mode off. Ten words an entry. */
export function mainlineErrno(words: Uint32Array, start: number, count: number, guestPermAmx: boolean): BaseErrno {
  if (count > 256) return 'E2BIG';
  const sizes = find(words, start, count, 0x80000008, true);
  if (sizes >= 0 && ![0, 48, 57].includes((words[sizes + 3]! >>> 8) & 0xff)) return 'EINVAL';
  const xsave = find(words, start, count, 0xd, false);
  return xsave >= 0 && ((words[xsave + 3]! >>> 18) & 1) === 1 && !guestPermAmx ? 'EPERM' : 'OK';
}

/** The first entry of a function, for sub-leaf 0 or for any. */
function find(words: Uint32Array, start: number, count: number, fn: number, anyIndex: boolean): number {
  for (let at = start; at < start + count * 10; at += 10) {
    if (words[at] === fn && (anyIndex || (words[at + 2]! & 1) === 0 || words[at + 1] === 0)) return at;
  }
  return -1;
}
