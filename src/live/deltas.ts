/** How recordings write down tables: as edits of the supported set, and readbacks as differences from the input. */
import { type CpuidEntry2, formatEntry } from '../cpuid/entry.js';
import { ENTRY2_WORDS } from '../kvm/abi.js';
import { putEntry } from '../kvm/cpuid-table.js';

/** The words of `struct kvm_cpuid_entry2`, by name. */
export const FIELDS = ['function', 'index', 'flags', 'eax', 'ebx', 'ecx', 'edx', 'pad0', 'pad1', 'pad2'] as const;

/** `[position, entry]` */
export type Edit = readonly [position: number, entry: string];

/** `[position, field, differing bits]`; `[-1, "nent", nent]` for another length. Values are hexadecimal. */
export type Delta = readonly [position: number, field: string, value: string];

/** The entries that differ from those at the same positions of `base`, or lie behind its end. */
export function editsOf(base: readonly CpuidEntry2[], entries: readonly CpuidEntry2[]): Edit[] {
  return entries.flatMap((entry, position): Edit[] => {
    const text = formatEntry(entry);
    const original = base[position];
    return original && formatEntry(original) === text ? [] : [[position, text]];
  });
}

/** Entries in the kernel's layout. */
export function wordsOf(entries: readonly CpuidEntry2[]): Uint32Array {
  const words = new Uint32Array(entries.length * ENTRY2_WORDS);
  for (const [position, entry] of entries.entries()) putEntry(words, position, entry);
  return words;
}

/** What a readback has changed: word by word as far as both tables reach. */
export function deltasOf(input: Uint32Array, inputNent: number, output: Uint32Array, outputNent: number): Delta[] {
  const deltas: Delta[] = inputNent === outputNent ? [] : [[-1, 'nent', outputNent.toString(16)]];
  const end = Math.min(inputNent, outputNent) * ENTRY2_WORDS;
  for (let at = 0; at < end; at++) {
    const difference = (input[at]! ^ output[at]!) >>> 0;
    if (difference === 0) continue;
    deltas.push([Math.floor(at / ENTRY2_WORDS), FIELDS[at % ENTRY2_WORDS]!, difference.toString(16)]);
  }
  return deltas;
}

/** Whether two lists of differences are the same. */
export function sameDeltas(a: readonly Delta[], b: readonly Delta[]): boolean {
  return a.length === b.length && a.every((delta, at) => delta.every((part, which) => part === b[at]![which]));
}
