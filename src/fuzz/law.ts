import type { GuestCase } from './guest-case.js';
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

/**
 * Judges guests, one with each call.
 *
 * @returns what is not as the law says: each a finding of its own, by a name that stays the same while the guest shrinks,
 *   with what is wrong in words. Empty: the law holds
 */
export interface GuestJudge {
  (guest: GuestCase): ReadonlyMap<string, string>;
  /** Gives back what the judge holds, such as a device. */
  close?(): void;
}

interface AnyLaw {
  readonly name: string;
  /** What must hold, in a sentence. */
  readonly says: string;
  /** How many blocks it gets in each round of a campaign that names no law; 0: only when it is named. */
  readonly share: number;
  /** Where the law says something at all. Default: everywhere. */
  readonly where?: (spec: PlaceSpec) => boolean;
}

/** Something that must hold for every table. */
export interface TableLaw extends AnyLaw {
  /** `reported`: only entries as KVM reports them, in any order and number. Default: whatever the generator makes. */
  readonly tables?: 'reported';
  judge(place: Place): Judge;
}

/** Something that must hold for every guest: its table, and the code that it runs. */
export interface GuestLaw extends AnyLaw {
  judgeGuests(place: Place): GuestJudge;
}

/** One file each, in `laws/`. */
export type Law = TableLaw | GuestLaw;

export const isGuestLaw = (law: Law): law is GuestLaw => 'judgeGuests' in law;
