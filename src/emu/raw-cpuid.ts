import type { CpuidRow } from '../cpuid/entry.js';
import { isIndexed } from '../cpuid/indexed.js';

/** What CPUID answers above its maxima: the highest basic leaf (Intel's rule) or zeros (AMD's). */
export type OutOfRange = 'basic' | 'zero';

const BASIC = 0;
const EXTENDED = 0x8000_0000;
const CENTAUR = 0xc000_0000;

/** The CPUID instruction of one logical CPU, in silicon: a table of rows and the rule beyond its maxima. */
export class RawCpuid {
  readonly outOfRange: OutOfRange;
  private readonly leaves = new Map<number, Map<number, CpuidRow>>();

  constructor(rows: Iterable<CpuidRow>, outOfRange: OutOfRange) {
    this.outOfRange = outOfRange;
    for (const row of rows) {
      let leaf = this.leaves.get(row.function);
      if (!leaf) {
        leaf = new Map();
        this.leaves.set(row.function, leaf);
      }
      if (!leaf.has(row.index)) leaf.set(row.index, row);
    }
  }

  /** The row of (function, index) as the dump has it; for functions that ignore ECX the first row. */
  row(fn: number, index: number): CpuidRow | undefined {
    const leaf = this.leaves.get(fn);
    if (!leaf) return undefined;
    return isIndexed(fn) ? leaf.get(index) : (leaf.get(0) ?? leaf.values().next().value);
  }

  /** All rows. */
  rows(): readonly CpuidRow[] {
    return [...this.leaves.values()].flatMap((leaf) => [...leaf.values()]);
  }

  /** The highest function of the range that `fn` lies in; 0 when the CPU has no such range. */
  maximum(fn: number): number {
    const base = fn >= CENTAUR ? CENTAUR : fn >= EXTENDED ? EXTENDED : BASIC;
    const maximum = this.row(base, 0)?.eax ?? 0;
    // "Extended CPUID is there" is how Linux reads it: the upper half must name the range.
    return base === BASIC || maximum >>> 16 === base >>> 16 ? maximum : 0;
  }

  /** Executes CPUID with EAX = `fn`, ECX = `index`; writes EAX…EDX to `out[0…3]`. A missing sub-leaf answers zero. */
  execute(fn: number, index: number, out: Uint32Array): void {
    let row: CpuidRow | undefined;
    if (fn <= this.maximum(fn)) row = this.row(fn, index);
    else if (this.outOfRange === 'basic') row = this.row(this.maximum(BASIC), index);
    out[0] = row?.eax ?? 0;
    out[1] = row?.ebx ?? 0;
    out[2] = row?.ecx ?? 0;
    out[3] = row?.edx ?? 0;
  }
}
