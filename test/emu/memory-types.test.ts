import { expect, test } from 'vitest';
import { areMtrrTypes, isPat } from '../../src/emu/memory-types.js';

/** SDM volume 3, tables 12-10 and 12-11. */
const PAT = new Set([0, 1, 4, 5, 6, 7]);
const MTRR = new Set([0, 1, 4, 5, 6]);
const BYTES = [...Array(256).keys()];
/** UC, WB, UC, WT beside the byte that is looked at. */
const BESIDE = [0x0006_0400, 0x0600_0004, 0x0400_0600, 0x0006_0004];
const at = (byte: number, place: number): number =>
  (BESIDE[place]! & ~(0xff << (8 * place))) | (byte << (8 * place)) | 0;

test.each([0, 1, 2, 3])('types in byte %i', (place) => {
  const taken = (is: (word: number) => boolean) => new Set(BYTES.filter((byte) => is(at(byte, place))));
  expect(taken((word) => isPat(word, 0))).toEqual(PAT);
  expect(taken((word) => isPat(0, word))).toEqual(PAT);
  expect(taken(areMtrrTypes)).toEqual(MTRR);
});
