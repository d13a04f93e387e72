import fc, { type Arbitrary, type Random, type Value } from 'fast-check';
import { type CpuidEntry2, REGISTERS } from '../../cpuid/entry.js';
import { fewerBits } from './word.js';

type Table = readonly CpuidEntry2[];

/** Fewer entries: ever smaller pieces are left out. */
function* fewerEntries(table: Table): Generator<Table> {
  if (table.length > 0) yield [];
  for (let size = table.length >>> 1; size > 0; size >>>= 1) {
    for (let at = 0; at < table.length; at += size) yield table.toSpliced(at, size);
  }
}

/** Simpler entries: without padding, with fewer bits, as sub-leaf 0, with plain flags. */
function* simplerEntry(entry: CpuidEntry2): Generator<CpuidEntry2> {
  const { padding, ...plain } = entry;
  if (padding) yield plain;
  for (const register of REGISTERS) {
    if (entry[register] !== 0) yield { ...entry, [register]: 0 };
  }
  for (const flags of [0, entry.flags & 1]) if (flags !== entry.flags) yield { ...entry, flags };
  for (const index of [0, 1]) if (index < entry.index) yield { ...entry, index };
  for (const register of REGISTERS) {
    for (const value of fewerBits(entry[register])) if (value !== 0) yield { ...entry, [register]: value };
  }
}

/** What a table shrinks to, the smallest first. Functions are kept: another leaf would be another bug. */
export function* simplerTables(table: Table): Generator<Table> {
  yield* fewerEntries(table);
  for (const [at, entry] of table.entries()) {
    for (const simpler of simplerEntry(entry)) yield table.with(at, simpler);
  }
}

const isEntry = (value: unknown): value is CpuidEntry2 => typeof value === 'object' && value !== null && 'eax' in value;

/** Makes tables as another arbitrary does, and shrinks them to the entries and bits that matter. */
export class ShrinkingTables extends fc.Arbitrary<Table> {
  private readonly source: Arbitrary<Table>;

  constructor(source: Arbitrary<Table>) {
    super();
    this.source = source;
  }

  generate(random: Random, bias: number | undefined): Value<Table> {
    return new fc.Value(this.source.generate(random, bias).value, undefined);
  }

  canShrinkWithoutContext(value: unknown): value is Table {
    return Array.isArray(value) && value.every(isEntry);
  }

  shrink(table: Table) {
    return fc.stream(
      (function* () {
        for (const simpler of simplerTables(table)) yield new fc.Value(simpler, undefined);
      })(),
    );
  }
}
