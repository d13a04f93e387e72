import fc from 'fast-check';
import type { CpuidEntry2 } from '../cpuid/entry.js';
import { ShrinkingTables } from './arbitraries/shrink-table.js';
import { TableGenerator } from './generator.js';
import { type GuestCase, GuestGenerator, type GuestSetup, simplerGuests } from './guest-case.js';
import { type GuestJudge, type GuestLaw, isGuestLaw, type Judge, type Law, type TableLaw } from './law.js';
import type { Place } from './place.js';
import { brokenBy, holds } from './runner.js';

type Table = readonly CpuidEntry2[];

/** A case as it is shrunk and judged again. */
export interface Case {
  readonly entries: readonly CpuidEntry2[];
  /** For the choices of a law of tables. */
  readonly chance: number;
  /** For laws of guests. */
  readonly guest?: GuestSetup;
}

/** Judges single cases of a law at a place. */
export interface Bench {
  regenerate(seed: number, number: number): Case;
  /** What is wrong, in words; `null` when the law holds. @param aspect of a law of guests: what to look at */
  broken(tried: Case, aspect?: string): string | null;
  /** The smallest case found in which the same is wrong; the case itself if nothing is. */
  shrink(found: Case, aspect?: string): Case;
  close(): void;
}

export const benchOf = (place: Place, law: Law): Bench =>
  isGuestLaw(law) ? new GuestBench(place, law) : new TableBench(place, law);

class TableBench implements Bench {
  private readonly place: Place;
  private readonly law: TableLaw;
  private readonly judge: Judge;

  constructor(place: Place, law: TableLaw) {
    this.place = place;
    this.law = law;
    this.judge = law.judge(place);
  }

  regenerate(seed: number, number: number): Case {
    const generator = new TableGenerator(this.place);
    const at = generator.make(seed, number, this.law.tables === 'reported');
    return { entries: this.place.entries(at), chance: generator.chance };
  }

  /** An empty table breaks no law. */
  broken({ entries, chance }: Case): string | null {
    if (entries.length === 0) return null;
    const { place } = this;
    place.put(place.table, entries);
    return holds(this.judge, place.table, entries.length, chance) ? null : '';
  }

  shrink(found: Case): Case {
    const tables = new ShrinkingTables(fc.constant(found.entries));
    const law = fc.property(tables, (entries) => this.broken({ ...found, entries }) === null);
    const report = fc.check(law, { numRuns: 1, examples: [[found.entries]], endOnFailure: false, verbose: 0 });
    return { ...found, entries: report.counterexample?.[0] ?? found.entries };
  }

  close(): void {
    this.judge.close?.();
  }
}

class GuestBench implements Bench {
  private readonly generator: GuestGenerator;
  private readonly judge: GuestJudge;

  constructor(place: Place, law: GuestLaw) {
    this.generator = new GuestGenerator(place);
    this.judge = law.judgeGuests(place);
  }

  regenerate(seed: number, number: number): Case {
    return { ...this.generator.make(seed, number), chance: 0 };
  }

  broken(tried: Case, aspect?: string): string | null {
    const found = brokenBy(this.judge, tried as GuestCase);
    if (aspect === undefined) return found.size === 0 ? null : [...found.values()].join(', ');
    return found.get(aspect) ?? null;
  }

  shrink(found: Case, aspect?: string): Case {
    const guests = new Setups(found.guest!);
    const tables = new ShrinkingTables(fc.constant(found.entries));
    const law = fc.property(
      guests,
      tables,
      (guest, entries) => this.broken({ ...found, guest, entries }, aspect) === null,
    );
    const report = fc.check(law, {
      numRuns: 1,
      examples: [[found.guest!, found.entries]],
      endOnFailure: false,
      verbose: 0,
    });
    const [guest, entries] = (report.counterexample ?? [found.guest, found.entries]) as [GuestSetup, Table];
    return { ...found, guest, entries };
  }

  close(): void {
    this.judge.close?.();
  }
}

/** One guest, and what it shrinks to. */
class Setups extends fc.Arbitrary<GuestSetup> {
  private readonly first: GuestSetup;

  constructor(first: GuestSetup) {
    super();
    this.first = first;
  }

  generate(): fc.Value<GuestSetup> {
    return new fc.Value(this.first, undefined);
  }

  canShrinkWithoutContext(value: unknown): value is GuestSetup {
    return typeof value === 'object' && value !== null && 'instructions' in value;
  }

  shrink(guest: GuestSetup) {
    return fc.stream(
      (function* () {
        for (const simpler of simplerGuests(guest)) yield new fc.Value(simpler, undefined);
      })(),
    );
  }
}
