import type { Place, PlaceSpec } from './place.js';

/**
 * Judges tables, one with each call, in place.
 *
 * @param at word number of the table's header in the place's memory; the table must be as it was afterwards
 * @param count its entries
 * @param chance 32 bits for whatever the law has to choose
 * @returns whether the law holds
 */
export interface Judge {
  (at: number, count: number, chance: number): boolean;
  /** Gives back what the judge holds, such as a device. */
  close?(): void;
}

/** Something that must hold for every table. One file each, in `laws/`. */
export interface Law {
  readonly name: string;
  /** What must hold, in a sentence. */
  readonly says: string;
  /** How many blocks it gets in each round of a campaign that names no law; 0: only when it is named. */
  readonly share: number;
  /** `reported`: only entries as KVM reports them, in any order and number. Default: whatever the generator makes. */
  readonly tables?: 'reported';
  /** Where the law says something at all. Default: everywhere. */
  readonly where?: (spec: PlaceSpec) => boolean;
  judge(place: Place): Judge;
}
