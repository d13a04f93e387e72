import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MsrMoves } from '../../src/emu/msr-moves.js';

const SLOTS = 12;
const PLACES = 20;
/** Uses after which moves are surely code of their own. */
const MANY = 100;

const words = (length: number) => fc.array(fc.integer(), { minLength: length, maxLength: length });
const halves = fc.record({
  lo: words(PLACES + 4),
  hi: words(PLACES + 4),
  slotsLo: words(SLOTS),
  slotsHi: words(SLOTS),
});
/** Each place and each slot once, as rows have them. */
const pairs = fc
  .tuple(
    fc.shuffledSubarray([...Array(PLACES / 2).keys()].map((place) => place * 2)),
    fc.shuffledSubarray([...Array(SLOTS).keys()]),
  )
  .map(([places, slots]) => places.slice(0, slots.length).flatMap((place, n) => [place, slots[n]!]));

type Arrays = readonly [Int32Array, Int32Array, Int32Array, Int32Array];

/** The law, by bigints: what has to be where after a move. */
function expected(layout: 'halves' | 'words', moves: readonly number[], at: number, loads: boolean, arrays: Arrays) {
  const [slotsLo, slotsHi, lo, hi] = arrays.map((array) => [...array]) as [number[], number[], number[], number[]];
  const upper = layout === 'words' ? lo : hi;
  for (let n = 0; n < moves.length; n += 2) {
    const place = at + moves[n]!;
    const slot = moves[n + 1]!;
    const second = layout === 'words' ? place + 1 : place;
    if (loads) [slotsLo[slot], slotsHi[slot]] = [lo[place]!, upper[second]!];
    else [lo[place], upper[second]] = [slotsLo[slot]!, slotsHi[slot]!];
  }
  return [slotsLo, slotsHi, lo, layout === 'words' ? lo : hi];
}

describe.each(['halves', 'words'] as const)('moves of %s', (layout) => {
  test.each(['load', 'store'] as const)('%s: in a loop and as code of their own', (way) => {
    fc.assert(
      fc.property(pairs, halves, fc.nat(3), (list, values, at) => {
        const moves = new MsrMoves(layout, list);
        const fresh = (): Arrays => {
          const lo = Int32Array.from(values.lo);
          const hi = layout === 'words' ? lo : Int32Array.from(values.hi);
          return [Int32Array.from(values.slotsLo), Int32Array.from(values.slotsHi), lo, hi];
        };
        const wanted = expected(layout, list, at, way === 'load', fresh());
        for (let use = 0; use < MANY; use++) {
          const arrays = fresh();
          moves[way](...arrays, at);
          if (use === 0 || use === MANY - 1) expect(arrays.map((array) => [...array])).toEqual(wanted);
        }
      }),
    );
  });
});
