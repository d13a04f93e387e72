import { architectureFieldAt, bitName } from '../cpuid/architecture.js';
import { type CpuidRow, hex8, REGISTERS, type Register, sdmName } from '../cpuid/entry.js';
import { isIndexed } from '../cpuid/indexed.js';

/** A register in which two CPUs differ; `null` where one of them has no such leaf. */
export interface Difference {
  readonly function: number;
  readonly index: number;
  readonly register: Register;
  readonly a: number | null;
  readonly b: number | null;
}

/** A line of a comparison: a bit or field, and who has what. */
export interface DifferenceLine {
  readonly place: string;
  readonly name: string;
  readonly a: string;
  readonly b: string;
}

const keyOf = (row: CpuidRow): string => `${row.function.toString(16).padStart(8, '0')}.${hex8(row.index)}`;

/** The registers in which two CPUs differ, in the order of the manual. An absent leaf is not a leaf of zeros. */
export function differences(a: readonly CpuidRow[], b: readonly CpuidRow[]): Difference[] {
  const left = new Map(a.map((row) => [keyOf(row), row]));
  const right = new Map(b.map((row) => [keyOf(row), row]));
  const keys = [...new Set([...left.keys(), ...right.keys()])].sort();
  return keys.flatMap((key) => {
    const [one, other] = [left.get(key), right.get(key)];
    const { function: fn, index } = (one ?? other)!;
    return REGISTERS.filter((register) => one?.[register] !== other?.[register]).map((register) => ({
      function: fn,
      index,
      register,
      a: one?.[register] ?? null,
      b: other?.[register] ?? null,
    }));
  });
}

/** The document of `diff --json`. */
export function differenceDocument(difference: Difference) {
  const { function: fn, index, register, a, b } = difference;
  const changed = a === null || b === null ? [] : bitsOf((a ^ b) >>> 0);
  return {
    function: fn.toString(16),
    index: index.toString(16),
    register,
    a: a === null ? null : hex8(a),
    b: b === null ? null : hex8(b),
    bits: changed.map((bit) => ({ bit, name: bitName(fn, index, register, bit), in: (a! >>> bit) & 1 ? 'a' : 'b' })),
  };
}

const bitsOf = (mask: number): number[] => [...Array(32).keys()].filter((bit) => (mask >>> bit) & 1);

/** A difference in words: single bits as yes and no, fields as numbers, absent leaves as such. */
export function differenceLines(difference: Difference): DifferenceLine[] {
  const { function: fn, index, register, a, b } = difference;
  const place = (high?: number, low?: number) => sdmName(fn, isIndexed(fn) ? index : null, register, high, low);
  if (a === null || b === null) {
    const text = (value: number | null) => (value === null ? 'absent' : hex8(value));
    return [{ place: place(), name: '', a: text(a), b: text(b) }];
  }
  const lines = new Map<string, DifferenceLine>();
  for (const bit of bitsOf((a ^ b) >>> 0)) {
    const field = architectureFieldAt(fn, index, register, bit);
    if (field && field.high > field.low) {
      const value = (word: number) => ((word >>> field.low) & (0xffff_ffff >>> (31 - field.high + field.low))) >>> 0;
      const line = {
        place: place(field.high, field.low),
        name: field.name,
        a: `0x${value(a).toString(16)}`,
        b: `0x${value(b).toString(16)}`,
      };
      lines.set(line.place, line);
    } else {
      const has = (word: number) => ((word >>> bit) & 1 ? 'yes' : 'no');
      lines.set(String(bit), {
        place: place(bit),
        name: bitName(fn, index, register, bit) ?? '-',
        a: has(a),
        b: has(b),
      });
    }
  }
  return [...lines.values()];
}
