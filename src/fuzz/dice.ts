import type { Chance } from '../scenarios/chance.js';

/** Where choices come from: fast-check's `Random`, or the campaign's own generator. */
export interface Dice {
  /** A whole number from `min` to `max`, both inclusive; at most 2^16 of them. */
  nextInt(min: number, max: number): number;
}

/** A campaign's dice. */
export const diceOf = (chance: Chance): Dice => ({ nextInt: (min, max) => min + chance.below(max - min + 1) });

export const oneOf = <T>(dice: Dice, items: readonly T[]): T => items[dice.nextInt(0, items.length - 1)]!;

/** Once in so many times. */
export const seldom = (dice: Dice, times: number): boolean => dice.nextInt(1, times) === 1;

/** Some of the bits of a mask: one, a quarter, half, or all of them. */
export function someBits(dice: Dice, mask: bigint): bigint {
  const bits = bitsOf(mask);
  if (bits.length === 0) return 0n;
  const share = oneOf(dice, [0, 1, 2, 4]);
  if (share === 0) return 1n << BigInt(oneOf(dice, bits));
  return maskOf(bits.filter(() => dice.nextInt(1, 4) <= share));
}

/** The numbers of the bits that are set. */
export function bitsOf(mask: bigint): number[] {
  const bits: number[] = [];
  const halves = [Number(mask & 0xffff_ffffn), Number((mask >> 32n) & 0xffff_ffffn)];
  halves.forEach((half, at) => {
    for (let bit = 0; bit < 32; bit++) if ((half >>> bit) & 1) bits.push(at * 32 + bit);
  });
  return bits;
}

export function maskOf(bits: readonly number[]): bigint {
  let low = 0;
  let high = 0;
  for (const bit of bits) {
    if (bit < 32) low |= 1 << bit;
    else high |= 1 << (bit - 32);
  }
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** 64 bits: edges, few bits, addresses, or anything. */
export function wideWord(dice: Dice): bigint {
  const bit = (): bigint => 1n << BigInt(dice.nextInt(0, 63));
  switch (dice.nextInt(0, 5)) {
    case 0:
      return oneOf(dice, EDGES);
    case 1:
      return bit();
    case 2:
      return bit() | bit() | bit();
    case 3:
      return BigInt(dice.nextInt(0, 0xff));
    case 4:
      // A page in either half of the address space.
      return BigInt(dice.nextInt(1, 0xffff)) * 0x1000n + (seldom(dice, 2) ? 0xffff_8000_0000_0000n : 0n);
    default:
      return [0, 1, 2, 3].reduce((value) => (value << 16n) | BigInt(dice.nextInt(0, 0xffff)), 0n);
  }
}

const EDGES = [0n, 1n, 4n, 5n, 0x400n, 0xffff_ffffn, 0x7fff_ffff_f000n, 0xffff_ffff_ffff_ffffn];

/** Fewer bits: none, one half or the other, all but one. */
export function* fewerWideBits(value: bigint): Generator<bigint> {
  if (value === 0n) return;
  yield 0n;
  const bits = bitsOf(value);
  if (bits.length === 1) return;
  const middle = bits.length >>> 1;
  if (bits.length > 2) {
    yield maskOf(bits.slice(0, middle));
    yield maskOf(bits.slice(middle));
  }
  for (const bit of bits) yield value & ~(1n << BigInt(bit));
}
