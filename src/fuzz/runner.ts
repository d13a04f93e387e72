import { Coverage, type CoverageArrays } from './coverage.js';
import { TableGenerator } from './generator.js';
import { type GuestCase, GuestGenerator } from './guest-case.js';
import { type GuestJudge, type GuestLaw, isGuestLaw, type Judge, type TableLaw } from './law.js';
import { Place } from './place.js';
import { BLOCK, Dealer, nthBlock, type Plan } from './plan.js';

/** A case in which a law does not hold, as the fast generator found it. The table follows from place, seed and number. */
export interface Hit {
  readonly law: string;
  /** Number of the place in the plan. */
  readonly place: number;
  readonly number: number;
  /** What the entries look like that were changed: hits with the same key are most likely the same bug. */
  readonly key: string;
  /** Which of the things is broken that a law of guests looks at. */
  readonly aspect?: string;
}

/** Hits of one block that are kept: the first of each key. */
const MOST_HITS = 32;

/** Every so many cases coverage takes note of what was changed: of all it would take as long as the fastest law. */
const COVERAGE_STRIDE = 4;

interface Bench {
  readonly place: Place;
  readonly generator: TableGenerator;
  readonly coverage: Coverage;
  readonly judges: Map<TableLaw, Judge>;
  readonly guests: GuestGenerator;
  readonly guestJudges: Map<GuestLaw, GuestJudge>;
}

/** Does the cases of a plan, block by block, in this thread. Places are booted when they are first needed. */
export class Runner {
  private readonly plan: Plan;
  private readonly dealer: Dealer;
  private readonly benches = new Map<number, Bench>();

  constructor(plan: Plan) {
    this.plan = plan;
    this.dealer = new Dealer(plan);
  }

  /** Does the n-th block of the plan's shard. Returns how many cases that were, and what was found; `null` at the end. */
  run(n: number): { readonly cases: number; readonly hits: readonly Hit[] } | null {
    const { plan } = this;
    const block = nthBlock(plan, n);
    const from = Math.max(plan.first, block * BLOCK);
    const end = Math.min(plan.end, (block + 1) * BLOCK);
    if (from >= end) return null;
    const { law, place } = this.dealer.assignment(block);
    const bench = this.bench(place);
    const hits = isGuestLaw(law)
      ? this.judgeGuests(bench, law, place, from, end)
      : this.judge(bench, law, place, from, end);
    return { cases: end - from, hits };
  }

  /** What was covered at each place that was visited. */
  get coverage(): ReadonlyMap<number, CoverageArrays> {
    return new Map([...this.benches].map(([place, { coverage }]) => [place, coverage.arrays]));
  }

  /** Closes what the laws have opened. */
  close(): void {
    for (const { judges, guestJudges } of this.benches.values())
      for (const judge of [...judges.values(), ...guestJudges.values()]) judge.close?.();
  }

  private bench(number: number): Bench {
    let bench = this.benches.get(number);
    if (!bench) {
      const place = new Place(this.plan.places[number]!);
      const coverage = new Coverage(place.rules);
      bench = {
        place,
        generator: new TableGenerator(place),
        coverage,
        judges: new Map(),
        guests: new GuestGenerator(place),
        guestJudges: new Map(),
      };
      this.benches.set(number, bench);
    }
    return bench;
  }

  private judge(bench: Bench, law: TableLaw, placeNumber: number, from: number, end: number): Hit[] {
    const { generator, coverage, judges } = bench;
    const { words } = bench.place;
    const { seed } = this.plan;
    const judge = judges.get(law) ?? law.judge(bench.place);
    judges.set(law, judge);
    const reportedOnly = law.tables === 'reported';
    const hits = new Map<string, Hit>();
    for (let number = from; number < end; number++) {
      const at = generator.make(seed, number, reportedOnly);
      if (!holds(judge, at, generator.count, generator.chance)) this.hit(hits, bench, law, placeNumber, number);
      if (number % COVERAGE_STRIDE !== 0) continue;
      for (let n = 0; n < generator.dirtyCount; n++) coverage.note(words, generator.dirty[n]!);
    }
    return [...hits.values()];
  }

  private judgeGuests(bench: Bench, law: GuestLaw, place: number, from: number, end: number): Hit[] {
    const { guests, guestJudges } = bench;
    const judge = guestJudges.get(law) ?? law.judgeGuests(bench.place);
    guestJudges.set(law, judge);
    const hits = new Map<string, Hit>();
    for (let number = from; number < end; number++) {
      for (const aspect of brokenBy(judge, guests.make(this.plan.seed, number)).keys()) {
        const key = `${law.name} ${aspect}`;
        if (hits.size < MOST_HITS && !hits.has(key)) hits.set(key, { law: law.name, place, number, key, aspect });
      }
    }
    return [...hits.values()];
  }

  private hit(hits: Map<string, Hit>, { place, generator }: Bench, law: TableLaw, at: number, number: number): void {
    const key = [law.name, ...generator.describeDirty(place.words)].join(' ');
    if (hits.size < MOST_HITS && !hits.has(key)) hits.set(key, { law: law.name, place: at, number, key });
  }
}

/** Whether a law holds for a table. An exception on the way means that it does not. */
export function holds(judge: Judge, at: number, count: number, chance: number): boolean {
  try {
    return judge(at, count, chance);
  } catch {
    return false;
  }
}

/** What is broken by a guest. An exception on the way is. */
export function brokenBy(judge: GuestJudge, guest: GuestCase): ReadonlyMap<string, string> {
  try {
    return judge(guest);
  } catch (error) {
    return new Map([['an exception', String(error)]]);
  }
}
