import fc, { type Arbitrary } from 'fast-check';
import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, REGISTERS, type Register } from '../../src/cpuid/entry.js';
import { kvmIndexedFunctions } from '../../src/cpuid/indexed.js';

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

const u32 = fc.nat(0xffff_ffff);
const word = fc.oneof(fc.constantFrom(0, 1, 0xffff_ffff, 0x8000_0000), fc.nat(31).map(powerOfTwo), u32);
const register = fc.constantFrom(...REGISTERS);
const position = fc.nat(299);
const bit = fc.nat(31);
const index = fc.oneof(fc.nat(3), fc.nat(70), fc.constantFrom(0x7fff_ffff, 0x8000_0000, 0xffff_ffff), u32);
const flags = fc.oneof(fc.constantFrom(0, 1, 2, 4, 7), u32);

/** One up or down in the first, second, third or fourth byte: the edges of fields. */
const nudge = fc.constantFrom(1, 1 << 8, 1 << 16, 1 << 24, -1, -(1 << 8), -(1 << 16), -(1 << 24));

function powerOfTwo(exponent: number): number {
  return (1 << exponent) >>> 0;
}

/** Functions near the edges of ranges and of KVM's knowledge, and any other. */
const fn: Arbitrary<number> = fc.oneof(
  fc.nat(0x40),
  fc.nat(0x40).map((low) => (0x8000_0000 + low) >>> 0),
  fc.nat(0x13).map((low) => 0x4000_0000 + low),
  fc.nat(0xff).map((steps) => 0x4000_0000 + steps * 0x100),
  fc.nat(6).map((low) => 0xc000_0000 + low),
  fc.constantFrom(...kvmIndexedFunctions('7.3')),
  fc.constantFrom(0x3fff_ffff, 0x5000_0000, 0x7fff_ffff, 0x8086_0000, 0x8fff_ffff, 0x9000_0000, 0xffff_ffff),
  u32,
);

/** An entry of which nothing is right but by chance. */
export const wildEntry: Arbitrary<CpuidEntry2> = fc
  .tuple(fn, index, flags, fc.tuple(word, word, word, word), fc.option(fc.tuple(u32, u32, u32), { freq: 9 }))
  .map(([fn, index, flags, [eax, ebx, ecx, edx], padding]) => ({
    ...{ function: fn, index, flags, eax, ebx, ecx, edx },
    ...(padding?.some((value) => value !== 0) && { padding }),
  }));

/** A sub-leaf that is far beyond all that exist, or an indexed function whose index does not count. */
const oddSubleaf: Arbitrary<CpuidEntry2> = fc
  .tuple(fc.constantFrom(...kvmIndexedFunctions('7.3')), index, fc.constantFrom(0, 1), word, register)
  .map(([fn, index, flags, value, register]) => ({
    ...{ function: fn, index, flags, eax: 0, ebx: 0, ecx: 0, edx: 0 },
    [register]: value,
  }));

export const mutation: Arbitrary<Mutation> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant('flip' as const), at: position, register, bit }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('write' as const), at: position, register, value: word }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('nudge' as const), at: position, register, by: nudge }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('flags' as const), at: position, flags }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('index' as const), at: position, index }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('duplicate' as const), at: position, to: position, bit }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('remove' as const), at: position }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('address-width' as const), at: position, bits: fc.nat(0xff) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('tile-data' as const), at: position }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('move' as const), at: position, to: position }) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant('relocate' as const), steps: fc.nat(0x100), register, value: word }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('insert' as const),
      to: position,
      entry: fc.oneof(wildEntry, oddSubleaf),
    }),
  },
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

/** How a table comes about: from what KVM reports, or from nothing, by a number of changes. */
export interface Recipe {
  readonly base: 'supported' | 'emulated' | 'empty' | 'wild';
  readonly wild: readonly CpuidEntry2[];
  readonly mutations: readonly Mutation[];
}

const wildTable = fc.oneof(
  { weight: 9, arbitrary: fc.array(wildEntry, { maxLength: 12 }) },
  {
    weight: 1,
    arbitrary: fc.tuple(wildEntry, fc.integer({ min: 250, max: 260 })).map(([entry, n]) => Array(n).fill(entry)),
  },
);

export const recipe: Arbitrary<Recipe> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      base: fc.constant('supported' as const),
      wild: fc.constant([]),
      mutations: fc.array(mutation, { maxLength: 6 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      base: fc.constantFrom('emulated' as const, 'empty' as const),
      wild: fc.constant([]),
      mutations: fc.array(mutation, { maxLength: 6 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ base: fc.constant('wild' as const), wild: wildTable, mutations: fc.constant([]) }),
  },
);

/** The table that a recipe gives. */
export function cook(
  { base, wild, mutations }: Recipe,
  reported: { readonly supported: readonly CpuidEntry2[]; readonly emulated: readonly CpuidEntry2[] },
): readonly CpuidEntry2[] {
  const start = base === 'supported' || base === 'emulated' ? reported[base] : base === 'wild' ? wild : [];
  return mutations.reduce<readonly CpuidEntry2[]>(mutate, start);
}

/** Whether the entry answers for one sub-leaf only. */
export const isSignificant = (entry: CpuidEntry2): boolean => (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0;
