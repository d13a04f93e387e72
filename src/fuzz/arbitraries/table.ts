import fc, { type Arbitrary } from 'fast-check';
import { type CpuidEntry2, REGISTERS } from '../../cpuid/entry.js';
import { bootKvm, builtInHost, describeBuiltIn, Vmm } from '../../index.js';
import { entry } from './entry.js';
import { adversarial, type Mutation, mutate, mutation } from './mutation.js';
import { ShrinkingTables } from './shrink-table.js';
import { word } from './word.js';

type Table = readonly CpuidEntry2[];

/**
 * How a table comes about:
 *
 * - `mutated`: what KVM reports, with a few changes of any kind;
 * - `vmm`: what KVM reports as a VMM passes it on: KVM's leaves first, some features taken away, topology filled in;
 * - `wild`: entries of which nothing is right but by chance, sometimes more of them than KVM takes;
 * - `adversarial`: what KVM reports, with changes that have deceived verifiers.
 */
export const TABLE_KINDS = ['mutated', 'vmm', 'wild', 'adversarial'] as const;
export type TableKind = (typeof TABLE_KINDS)[number];

export interface TableOptions {
  /** What the tables are made from. Default: what KVM reports on the built-in host sapphire-rapids. */
  readonly reported?: Table;
  /** Default: all kinds, `mutated` most of the time. */
  readonly kinds?: readonly TableKind[];
  /** The most changes to one table. Default: 6. */
  readonly mutations?: number;
}

const WEIGHTS: Readonly<Record<TableKind, number>> = { mutated: 6, vmm: 2, wild: 2, adversarial: 3 };

/**
 * A table for KVM_SET_CPUID2. What breaks a property shrinks to the entries and bits that matter; functions stay as they
 * are.
 */
export function table(options: TableOptions = {}): Arbitrary<Table> {
  const { reported = reportedByDefault(), kinds = TABLE_KINDS, mutations = 6 } = options;
  const changed = (changes: Arbitrary<Mutation>) =>
    fc.array(changes, { maxLength: mutations }).map((list) => list.reduce<Table>(mutate, reported));
  const made: Readonly<Record<TableKind, () => Arbitrary<Table>>> = {
    mutated: () => changed(mutation),
    vmm: () => vmmTable(reported),
    wild: () => wildTable,
    adversarial: () => changed(adversarial),
  };
  return new ShrinkingTables(fc.oneof(...kinds.map((kind) => ({ weight: WEIGHTS[kind], arbitrary: made[kind]() }))));
}

const wildTable: Arbitrary<Table> = fc.oneof(
  { weight: 9, arbitrary: fc.array(entry(), { maxLength: 12 }) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(entry(), fc.integer({ min: 250, max: 260 }))
      .map(([item, count]) => Array<CpuidEntry2>(count).fill(item)),
  },
);

/** Leaves whose registers are features, of which a VMM takes some away; KVM's own among them. */
const FEATURE_LEAVES = [0x1, 0x7, 0x4000_0001, 0x8000_0001, 0x8000_0008, 0x8000_0021];

/** As QEMU orders them: KVM's leaves, basic ones, extended ones. */
const rank = (fn: number): number => (fn >>> 28 === 4 ? 0 : fn < 0x4000_0000 ? 1 : 2);

function vmmTable(reported: Table): Arbitrary<Table> {
  const ordered = reported.toSorted((a, b) => rank(a.function) - rank(b.function));
  const taken = fc.array(fc.tuple(fc.nat(ordered.length * 4), word()), { maxLength: 8 });
  return fc.tuple(taken, fc.integer({ min: 1, max: 0x20 }), fc.nat(0xff)).map(([changes, maximum, apicId]) => {
    const rows = ordered.filter(({ function: fn }) => fn <= maximum || fn >= 0x4000_0000).map((item) => ({ ...item }));
    for (const [place, kept] of changes) {
      const row = rows[(place >>> 2) % Math.max(1, rows.length)];
      if (row && FEATURE_LEAVES.includes(row.function)) mask(row, place & 3, kept);
    }
    for (const row of rows) {
      if (row.function === 0) row.eax = Math.min(row.eax, maximum);
      if (row.function === 1) row.ebx = ((row.ebx & 0xff_ffff) | (apicId << 24)) >>> 0;
    }
    return rows;
  });
}

function mask(row: { -readonly [K in keyof CpuidEntry2]: CpuidEntry2[K] }, register: number, kept: number): void {
  const name = REGISTERS[register]!;
  // The address sizes are no features.
  if (row.function !== 0x8000_0008 || name === 'ebx') row[name] = (row[name] & kept) >>> 0;
}

let known: Table | null = null;

function reportedByDefault(): Table {
  known ??= new Vmm(bootKvm(describeBuiltIn(builtInHost('sapphire-rapids')!))).supported().entries;
  return known;
}
