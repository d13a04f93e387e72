import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, type Register } from '../cpuid/entry.js';
import type { Feature } from '../cpuid/features.js';
import { isIndexed } from '../cpuid/indexed.js';
import type { LeafId } from '../tdx/module.js';

/** Tables for KVM_TDX_INIT_VM, made from others. */

/** One bit of a leaf. */
export interface LeafBit extends LeafId {
  readonly register: Register;
  readonly bit: number;
}

/** A table with a bit on top. An entry is added where there is none. */
export function withBit(base: readonly CpuidEntry2[], { leaf, subleaf, register, bit }: LeafBit): CpuidEntry2[] {
  const index = subleaf ?? 0;
  const entries = base.map((entry) => ({ ...entry }));
  let entry = entries.find((item) => item.function === leaf && item.index === index);
  if (!entry) {
    const flags = isIndexed(leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
    entry = { function: leaf, index, flags, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    entries.push(entry);
  }
  entry[register] = (entry[register] | (1 << bit)) >>> 0;
  return entries;
}

/** A table with features on top. */
export function withFeatures(base: readonly CpuidEntry2[], features: readonly Feature[]): readonly CpuidEntry2[] {
  return features.reduce<readonly CpuidEntry2[]>((entries, { word, bit }) => {
    if (word.kind === 'linux' || word.kind === 'pv') throw new Error('not a bit of hardware');
    return withBit(entries, { leaf: word.function, subleaf: word.index, register: word.register, bit });
  }, base);
}
