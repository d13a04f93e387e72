/** Tables made at random from a seed: the same seed makes the same tables of the same supported set. */
import type { CpuidEntry2 } from '../cpuid/entry.js';
import { REGISTERS } from '../cpuid/entry.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';
import { leaf, type SetCase, withSizeByte } from './set-cases.js';

type Entries = readonly CpuidEntry2[];

/** mulberry32: small, and good enough to pick experiments. */
class Chance {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** A whole number from 0 to `limit - 1`. */
  below(limit: number): number {
    this.state = (this.state + 0x6d2b_79f5) >>> 0;
    let word = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return Math.floor((((word ^ (word >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  word(): number {
    return this.below(2 ** 32);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }
}

type Mutation = (entries: Entries, chance: Chance) => Entries;

/** Changes one entry of a table that has any. */
const onOne =
  (change: (entry: CpuidEntry2, chance: Chance) => Partial<CpuidEntry2>): Mutation =>
  (entries, chance) => {
    if (entries.length === 0) return entries;
    const position = chance.below(entries.length);
    const entry = entries[position]!;
    return entries.with(position, { ...entry, ...change(entry, chance) });
  };

const FLAGS: readonly number[] = [0, 1, 2, 3, 4, 7, 0x8000_0000];
const FUNCTIONS: readonly number[] = [0, 1, 7, 0xd, 0x12, 0x19, 0x4000_0000, 0x4000_0001, 0x8000_0001, 0x8000_0008];
const WIDTHS: readonly number[] = [0, 32, 47, 48, 49, 52, 57, 64, 255];

const MUTATIONS: readonly Mutation[] = [
  onOne((entry, chance) => {
    const register = chance.pick(REGISTERS);
    return { [register]: (entry[register] ^ (1 << chance.below(32))) >>> 0 };
  }),
  onOne((_, chance) => ({ [chance.pick(REGISTERS)]: chance.word() })),
  onOne((_, chance) => ({ index: chance.pick([0, 1, 2, 0xffff_ffff]) })),
  onOne((_, chance) => ({ flags: chance.pick(FLAGS) })),
  onOne((_, chance) => ({ function: chance.pick(FUNCTIONS) })),
  onOne((_, chance) => ({ padding: [chance.word(), 0, chance.word()] })),
  (entries, chance) => entries.toSpliced(chance.below(entries.length + 1), 1),
  (entries, chance) => {
    const copy = entries[chance.below(entries.length)];
    return copy ? entries.toSpliced(chance.below(entries.length + 1), 0, copy) : entries;
  },
  (entries, chance) => [...entries, leaf(chance.word(), { eax: chance.word(), edx: chance.word() })],
  (entries, chance) => withSizeByte(entries, 1, chance.pick(WIDTHS)),
];

const MOST_MUTATIONS = 6;

/** `runs` variations of the supported set, each by a few mutations; the id names the seed. */
export function randomCases(supported: Entries, runs: number, seed: number): SetCase[] {
  const chance = new Chance(seed);
  return Array.from({ length: runs }, (_, run) => {
    let entries = chance.below(8) === 0 ? [] : supported;
    for (let left = 1 + chance.below(MOST_MUTATIONS); left > 0; left--)
      entries = chance.pick(MUTATIONS)(entries, chance);
    return { id: `random ${seed}:${run}`, entries: entries.slice(0, KVM_MAX_CPUID_ENTRIES) };
  });
}
