import { isGuestLaw, type Law } from './law.js';
import { lawNamed } from './laws/index.js';
import type { PlaceSpec } from './place.js';

/** Cases that are done at one place under one law before the next comes. */
export const BLOCK = 1024;

/** What a campaign does. Can be sent to a worker. Which cases there are does not depend on who does them. */
export interface Plan {
  readonly seed: number;
  readonly places: readonly PlaceSpec[];
  /** Names of laws. */
  readonly laws: readonly string[];
  /** Cases by number, the last exclusive; `Infinity` for no end. */
  readonly first: number;
  readonly end: number;
  /** Of `count` campaigns that share the cases, this is number `index`, from 0 on. */
  readonly shard: { readonly index: number; readonly count: number };
}

/** Which law is judged at which place, block by block. */
export interface Assignment {
  readonly law: Law;
  readonly place: number;
}

/** A block of guests takes as long as hundreds of blocks of tables. */
const TABLES_FOR_GUESTS = 8;

/** How many blocks each law gets in a round. */
export function sharesOf(laws: readonly Law[]): number[] {
  if (laws.length === 1) return [1];
  const tables = laws.some(isGuestLaw) ? TABLES_FOR_GUESTS : 1;
  return laws.map((law) => Math.max(1, law.share) * (isGuestLaw(law) ? 1 : tables));
}

/** Deals blocks to laws by their shares, and goes round all places with each law. */
export class Dealer {
  /** A law, and the places where it says something, for each block of a round. */
  private readonly round: readonly { readonly law: Law; readonly places: readonly number[] }[];

  constructor({ laws, places }: Pick<Plan, 'laws' | 'places'>) {
    const chosen = laws.map((name) => lawNamed(name)!);
    const shares = sharesOf(chosen);
    const slots = chosen.flatMap((law, n) => {
      const here = places.flatMap((spec, at) => (law.where === undefined || law.where(spec) ? [at] : []));
      if (here.length === 0) return [];
      return Array.from({ length: shares[n]! }, (_, i) => ({ law, places: here, when: (i + 0.5) / shares[n]! }));
    });
    // Spread evenly: a law with many blocks does not take them one after another.
    this.round = slots.sort((a, b) => a.when - b.when);
  }

  /** No law says anything at any of the places. */
  get isEmpty(): boolean {
    return this.round.length === 0;
  }

  assignment(block: number): Assignment {
    const slot = block % this.round.length;
    const { law, places } = this.round[slot]!;
    return { law, place: places[(Math.floor(block / this.round.length) + slot) % places.length]! };
  }
}

/** The number of the n-th block of a plan's shard. */
export const nthBlock = ({ first, shard }: Plan, n: number): number => {
  const start = Math.floor(first / BLOCK);
  const offset = (((shard.index - start) % shard.count) + shard.count) % shard.count;
  return start + offset + n * shard.count;
};
