import fc from 'fast-check';
import type { CpuidEntry2 } from '../cpuid/entry.js';
import { ShrinkingTables } from './arbitraries/shrink-table.js';
import { TableGenerator } from './generator.js';
import type { Judge, Law } from './law.js';
import type { Place } from './place.js';
import { holds } from './runner.js';

/** Judges single tables at a place. */
export class Bench {
  private readonly place: Place;
  private readonly law: Law;
  private readonly judge: Judge;

  constructor(place: Place, law: Law) {
    this.place = place;
    this.law = law;
    this.judge = law.judge(place);
  }

  /** The table of a case, and the number for the law's own choices. */
  regenerate(seed: number, number: number): { readonly entries: readonly CpuidEntry2[]; readonly chance: number } {
    const generator = new TableGenerator(this.place);
    const at = generator.make(seed, number, this.law.tables === 'reported');
    return { entries: this.place.entries(at), chance: generator.chance };
  }

  /** Whether the law holds for a table. An empty one breaks no law. */
  holds(entries: readonly CpuidEntry2[], chance: number): boolean {
    if (entries.length === 0) return true;
    const { place } = this;
    place.put(place.table, entries);
    return holds(this.judge, place.table, entries.length, chance);
  }

  close(): void {
    this.judge.close?.();
  }

  /** The smallest table found for which the law does not hold; the table itself if it does hold. */
  shrink(entries: readonly CpuidEntry2[], chance: number): readonly CpuidEntry2[] {
    const tables = new ShrinkingTables(fc.constant(entries));
    const law = fc.property(tables, (table) => this.holds(table, chance));
    const report = fc.check(law, { numRuns: 1, examples: [[entries]], endOnFailure: false, verbose: 0 });
    return report.counterexample?.[0] ?? entries;
  }
}
