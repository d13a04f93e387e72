import fc, { type Arbitrary } from 'fast-check';
import type { CpuidEntry2, Register } from '../../cpuid/entry.js';
import { entry, flags, index, register } from './entry.js';
import { word } from './word.js';

/** One change to a table. Positions count modulo its length, so that every mutation fits every table. */
export type Mutation =
  | { readonly op: 'flip'; readonly at: number; readonly register: Register; readonly bit: number }
  | { readonly op: 'write'; readonly at: number; readonly register: Register; readonly value: number }
  | { readonly op: 'nudge'; readonly at: number; readonly register: Register; readonly by: number }
  | { readonly op: 'flags'; readonly at: number; readonly flags: number }
  | { readonly op: 'index'; readonly at: number; readonly index: number }
  | { readonly op: 'duplicate'; readonly at: number; readonly to: number; readonly bit: number }
  | { readonly op: 'remove'; readonly at: number }
  | { readonly op: 'move'; readonly at: number; readonly to: number }
  | { readonly op: 'relocate'; readonly steps: number; readonly register: Register; readonly value: number }
  | { readonly op: 'address-width'; readonly at: number; readonly bits: number }
  | { readonly op: 'tile-data'; readonly at: number }
  | { readonly op: 'insert'; readonly to: number; readonly entry: CpuidEntry2 };

const position = fc.nat(299);
const bit = fc.nat(31);

/** One up or down in the first, second, third or fourth byte: the edges of fields. */
const step = fc.constantFrom(1, 1 << 8, 1 << 16, 1 << 24, -1, -(1 << 8), -(1 << 16), -(1 << 24));

const op = <const T extends Mutation['op']>(name: T) => fc.constant(name);

const flip = fc.record({ op: op('flip'), at: position, register, bit });
const write = fc.record({ op: op('write'), at: position, register, value: word() });
const nudge = fc.record({ op: op('nudge'), at: position, register, by: step });
const reflag = fc.record({ op: op('flags'), at: position, flags });
const reindex = fc.record({ op: op('index'), at: position, index });
const duplicate = fc.record({ op: op('duplicate'), at: position, to: position, bit });
const remove = fc.record({ op: op('remove'), at: position });
const move = fc.record({ op: op('move'), at: position, to: position });
const relocated = fc.record({ op: op('relocate'), steps: fc.nat(0x100), register, value: word() });
const addressWidth = fc.record({ op: op('address-width'), at: position, bits: fc.nat(0xff) });
const tileData = fc.record({ op: op('tile-data'), at: position });
const insert = fc.record({ op: op('insert'), to: position, entry: entry() });

/** Any change. */
export const mutation: Arbitrary<Mutation> = fc.oneof(
  { weight: 6, arbitrary: flip },
  { weight: 2, arbitrary: write },
  { weight: 2, arbitrary: nudge },
  { weight: 2, arbitrary: reflag },
  { weight: 2, arbitrary: reindex },
  { weight: 2, arbitrary: duplicate },
  { weight: 1, arbitrary: remove },
  { weight: 1, arbitrary: addressWidth },
  { weight: 1, arbitrary: tileData },
  { weight: 1, arbitrary: move },
  { weight: 1, arbitrary: relocated },
  { weight: 3, arbitrary: insert },
);

/**
 * Changes that have deceived verifiers: entries without a flag, duplicates, moved KVM leaves, sub-leaves far away, fields
 * one beyond their limit.
 */
export const adversarial: Arbitrary<Mutation> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ op: op('flags'), at: position, flags: fc.constantFrom(0, 0, 2) }) },
  { weight: 2, arbitrary: duplicate },
  { weight: 2, arbitrary: relocated },
  { weight: 2, arbitrary: reindex },
  { weight: 2, arbitrary: nudge },
  { weight: 1, arbitrary: addressWidth },
  { weight: 1, arbitrary: tileData },
);

const KVM_SIGNATURE_LEAF = 0x4000_0000;
/** "Microsoft Hv", as QEMU with Hyper-V enlightenments puts it. */
const HYPER_V = { index: 0, flags: 0, eax: 0x4000_0005, ebx: 0x7263_694d, ecx: 0x666f_736f, edx: 0x7648_2074 };

/** The table after one change. */
export function mutate(entries: readonly CpuidEntry2[], change: Mutation): CpuidEntry2[] {
  if (change.op === 'insert') return entries.toSpliced(change.to % (entries.length + 1), 0, change.entry);
  if (entries.length === 0) return [];
  if (change.op === 'address-width') {
    return changeOne(entries, 0x8000_0008, change.at, (eax) => (eax & ~0xff00) | (change.bits << 8));
  }
  if (change.op === 'tile-data') return changeOne(entries, 0xd, change.at, (eax) => eax | (1 << 18));
  if (change.op === 'relocate') return relocate(entries, change.steps, change.register, change.value);
  const at = change.at % entries.length;
  const entry = entries[at]!;
  switch (change.op) {
    case 'flip':
      return entries.with(at, { ...entry, [change.register]: (entry[change.register] ^ (1 << change.bit)) >>> 0 });
    case 'write':
      return entries.with(at, { ...entry, [change.register]: change.value });
    case 'nudge':
      return entries.with(at, { ...entry, [change.register]: (entry[change.register] + change.by) >>> 0 });
    case 'flags':
      return entries.with(at, { ...entry, flags: change.flags });
    case 'index':
      return entries.with(at, { ...entry, index: change.index });
    case 'duplicate':
      return entries.toSpliced(change.to % (entries.length + 1), 0, {
        ...entry,
        ecx: (entry.ecx ^ (1 << change.bit)) >>> 0,
      });
    case 'remove':
      return entries.toSpliced(at, 1);
    case 'move':
      return entries.toSpliced(at, 1).toSpliced(change.to % entries.length, 0, entry);
  }
}

/** Changes EAX of one of the entries of a function, if there are any. */
function changeOne(
  entries: readonly CpuidEntry2[],
  fn: number,
  nth: number,
  change: (eax: number) => number,
): CpuidEntry2[] {
  const places = entries.flatMap((entry, at) => (entry.function === fn ? [at] : []));
  if (places.length === 0) return [...entries];
  const at = places[nth % places.length]!;
  return entries.with(at, { ...entries[at]!, eax: change(entries[at]!.eax) >>> 0 });
}

/** KVM's leaves move up, and Hyper-V's take their place: one of its registers holds what it likes. */
function relocate(entries: readonly CpuidEntry2[], steps: number, register: Register, value: number): CpuidEntry2[] {
  const moved = entries.map((entry) =>
    entry.function >>> 8 === KVM_SIGNATURE_LEAF >>> 8 ? { ...entry, function: entry.function + steps * 0x100 } : entry,
  );
  return [
    { ...HYPER_V, function: KVM_SIGNATURE_LEAF },
    { ...HYPER_V, function: KVM_SIGNATURE_LEAF + 1, [register]: value },
    ...moved,
  ];
}
