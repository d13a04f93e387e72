import { describe, expect, test } from 'vitest';
import { Chance } from '../../src/scenarios/chance.js';

const MASK = 0xffff_ffffn;
const rotated = (value: bigint, by: bigint): bigint => ((value << by) | (value >> (32n - by))) & MASK;

/** xoshiro128** as its authors give it, on wide numbers. */
function* xoshiro(s: bigint[]): Generator<number> {
  for (;;) {
    yield Number((rotated((s[1]! * 5n) & MASK, 7n) * 9n) & MASK);
    const t = (s[1]! << 9n) & MASK;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = rotated(s[3]!, 11n);
  }
}

const started = (seed: number, number: number): Chance => {
  const chance = new Chance();
  chance.start(seed, number);
  return chance;
};

const words = (chance: Chance, count: number): number[] => Array.from({ length: count }, () => chance.word() >>> 0);

describe('chance', () => {
  test('is xoshiro128**', () => {
    for (let number = 0; number < 50; number++) {
      const chance = started(3, number * 1e9);
      const { a, b, c, d } = chance as unknown as Record<'a' | 'b' | 'c' | 'd', number>;
      const reference = xoshiro([a, b, c, d].map((word) => BigInt(word >>> 0)));
      expect(words(chance, 200)).toEqual(Array.from({ length: 200 }, () => reference.next().value));
    }
  });

  test('starts with the same words for the same seed and number, and with others for others', () => {
    expect(words(started(1, 2), 8)).toEqual(words(started(1, 2), 8));
    const firsts = [started(1, 2), started(1, 3), started(2, 2), started(1, 2 + 2 ** 32), started(1, 2 ** 40)];
    expect(new Set(firsts.map((chance) => words(chance, 4).join())).size).toBe(firsts.length);
  });

  test('the first words of neighbouring cases are spread over all values', () => {
    const buckets = new Uint32Array(64);
    for (let number = 0; number < 64_000; number++) buckets[started(0, number).below(64)]!++;
    // 1000 are expected in each; five standard deviations are 158.
    for (const count of buckets) expect(Math.abs(count - 1000)).toBeLessThan(158);
  });

  test('stays below the limit', () => {
    const chance = started(5, 0);
    for (const limit of [1, 2, 3, 62, 257, 65536]) {
      for (let n = 0; n < 1000; n++) {
        const value = chance.below(limit);
        expect(value >= 0 && value < limit && Number.isInteger(value)).toBe(true);
      }
    }
  });
});
