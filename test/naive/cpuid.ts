// The raw CPUID table of a host and the three ways in which the reference files read it.
import { profiles, type Registers } from './reference.js';

export type Row = [fn: number, index: number, eax: number, ebx: number, ecx: number, edx: number];

export interface RawCpuid {
  /** Zeros above the maximum of the function's class. */
  inRange(fn: number, index: number): Registers;
  /** What the instruction answers, also above the maxima. */
  executed(fn: number, index: number): Registers;
  /** The indices of a function that the table has a row for. */
  indices(fn: number): number[];
}

const ZEROS: Registers = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

// A dump lists a sub-leaf only where the architecture has one, so a missing one reads zero; elsewhere the index is
// ignored by the instruction and every index reads as row 0. The newest line knows every indexed function.
const INDEXED = new Set((profiles.parameters['7.3']?.indexed_functions ?? []).map(Number));

export function rawCpuid(rows: readonly (readonly number[])[], outOfRange: 'basic' | 'zero'): RawCpuid {
  const table = new Map<string, Registers>();
  for (const [fn = 0, index = 0, eax = 0, ebx = 0, ecx = 0, edx = 0] of rows) {
    const key = `${fn >>> 0}.${index >>> 0}`;
    // The first of two equal rows wins, as in every table search of KVM.
    if (!table.has(key)) table.set(key, { eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 });
  }

  function listed(fn: number, index: number): Registers {
    return table.get(`${fn}.${index}`) ?? (INDEXED.has(fn) ? undefined : table.get(`${fn}.0`)) ?? ZEROS;
  }

  function reached(fn: number): boolean {
    const base = fn >= 0xc0000000 ? 0xc0000000 : fn >= 0x80000000 ? 0x80000000 : 0;
    return fn <= listed(base, 0).eax;
  }

  return {
    inRange: (fn, index) => (reached(fn) ? listed(fn, index) : ZEROS),
    executed(fn, index) {
      if (reached(fn)) return listed(fn, index);
      return outOfRange === 'basic' ? listed(listed(0, 0).eax, index) : ZEROS;
    },
    indices: (fn) => rows.filter((row) => row[0] === fn).map((row) => row[1] ?? 0),
  };
}
