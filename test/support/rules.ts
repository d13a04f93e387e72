import { bootKvm, type CpuidEntry2, type HostDescription, type KvmOptions, Vmm } from '../../src/index.js';
import { ENTRY2_WORDS } from '../../src/kvm/abi.js';
import { putEntry } from '../../src/kvm/cpuid-table.js';
import type { AllowedTable } from '../../src/kvm/paranoid/allowed-table.js';
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
export function firstRefusedSlowly(allowed: AllowedTable, words: Uint32Array, count: number): number {
  for (let position = 0; position < count; position++) {
    const at = position * ENTRY2_WORDS;
    if (allowed.refuses(words, at) && !isForeignSignatureLeaf(words[at]!, words, count)) return position;
  }
  return -1;
}
