import { bootKvm, type CpuidEntry2, type HostDescription, type KvmOptions, Vmm } from '../../src/index.js';
import { ENTRY2_WORDS } from '../../src/kvm/abi.js';
import { putEntry } from '../../src/kvm/cpuid-table.js';
import type { AllowedTable } from '../../src/kvm/paranoid/allowed-table.js';
import type { RuleLines } from '../../src/kvm/paranoid/rule-lines.js';
import { isForeignSignatureLeaf } from '../../src/kvm/paranoid/verify.js';
import { allHosts } from './hosts.js';

/** The allowed values of one overlay of one host, and a table that they allow. */
export interface Rules {
  readonly name: string;
  readonly allowed: AllowedTable;
  readonly reported: readonly CpuidEntry2[];
}

/** Of the one recording on which kvm-amd refuses to load, for want of NX. */
const WITHOUT_KVM = 'tcg-7.3.4-few-nonx';

/** The rules of every overlay that a host has. */
export function rulesOf(host: HostDescription, options: KvmOptions = {}): Rules[] {
  if (host.name === WITHOUT_KVM) return [];
  const module = bootKvm(host, { policy: 'paranoid', ...options });
  const { process } = new Vmm(module, { guestPermissions: [18] });
  return module.vendor.overlays.map((overlay) => ({
    name: `${host.name}, ${overlay}`,
    allowed: module.allowed(overlay, process),
    reported: [...module.supported(overlay, process), ...module.emulated(overlay).slice(1)],
  }));
}

/** The rules of all known hosts. */
export const allRules = (): Rules[] => allHosts().flatMap((host) => rulesOf(host));

/** Writes a table to words, from word `start` on. */
export function putTable(words: Uint32Array, start: number, entries: readonly CpuidEntry2[]): void {
  const place = words.subarray(start);
  for (const [position, entry] of entries.entries()) putEntry(place, position, entry);
}

export function wordsOf(entries: readonly CpuidEntry2[]): Uint32Array {
  const words = new Uint32Array(entries.length * ENTRY2_WORDS);
  putTable(words, 0, entries);
  return words;
}

/** What all kernels must find: the first refused entry, one exact look at every entry. */
export function firstRefusedSlowly(allowed: RuleLines, words: Uint32Array, count: number): number {
  for (let position = 0; position < count; position++) {
    const at = position * ENTRY2_WORDS;
    if (allowed.refuses(words, at) && !isForeignSignatureLeaf(words[at]!, words, count)) return position;
  }
  return -1;
}

/** Functions, sub-leaves, values that have their own rules or are next to one that has. */
const FUNCTIONS = [0, 1, 2, 4, 5, 6, 7, 0xa, 0xb, 0xd, 0x12, 0x14, 0x1d, 0x1e, 0x24, 0x25, 0x3f, 0x40, 0x3fff_ffff]
  .concat([0x4000_0000, 0x4000_0001, 0x4000_0002, 0x4000_00ff, 0x4000_0100, 0x4000_0101, 0x4fff_ffff, 0x5000_0000])
  .concat([0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0x8000_0007, 0x8000_0008, 0x8000_000a, 0x8000_001f, 0x8000_0021])
  .concat([0x8000_0040, 0x8fff_ffff, 0x9000_0000, 0xc000_0001, 0xc000_0040, 0xffff_ffff]);
const INDICES = [0, 1, 2, 3, 9, 18, 19, 62, 63, 64, 65, 127, 128, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
const VALUES = [
  0, 1, 2, 3, 0x2e, 0x30, 0x34, 0x39, 0x3000, 0x3034, 0x3900, 0x3934, 0x3430, 0xff, 0x8000_0000, 0xffff_ffff,
];

/** Changes a table of `count` entries in place, a few times; returns how many entries it has then. */
export function mutateWords(words: Uint32Array, count: number, below: (n: number) => number): number {
  let length = count;
  for (let changes = below(4); changes > 0; changes--) length = mutateOnce(words, length, below);
  return length;
}

function mutateOnce(words: Uint32Array, count: number, below: (n: number) => number): number {
  const at = below(count) * ENTRY2_WORDS;
  const register = at + 3 + below(4);
  switch (below(9)) {
    case 0:
    case 1:
    case 2:
      words[register]! ^= 1 << below(32);
      return count;
    case 3:
      words[register] = VALUES[below(VALUES.length)]!;
      return count;
    case 4:
      words[at + 2]! ^= 1 << below(2);
      return count;
    case 5:
      words[at + 1] = INDICES[below(INDICES.length)]!;
      return count;
    case 6:
      words[at] = FUNCTIONS[below(FUNCTIONS.length)]!;
      return count;
    case 7:
      words.copyWithin(at, (count - 1) * ENTRY2_WORDS, count * ENTRY2_WORDS);
      return count - 1;
    default:
      if (count === 256) return count;
      words.copyWithin(count * ENTRY2_WORDS, at, at + ENTRY2_WORDS);
      return count + 1;
  }
}
