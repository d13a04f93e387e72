import { QUICK_ACCESS, QUICK_HALF } from '../tlb.js';
import type { Core } from './core.js';
import { loadStack, storeStack } from './linear.js';
import { HIGH_HALVES } from './registers.js';
import { NEXT } from './status.js';

/** Where the interpreter's loop finds memory: addresses, and the pages of RAM that were used last (`Tlb.quick`). */

// V8 compiles the constants of a module into its code, but reads imported ones from memory: hence these copies.
const HIGH = HIGH_HALVES;
const QUICK = QUICK_HALF;
const QUICK_SHIFT = QUICK_ACCESS;

/** Where a page lies in the bytes of memory, if it is among the last ones of that half; a negative number if it is not. */
export function quickPlace(
  quick: Int32Array,
  lo: number,
  hi: number,
  access: number,
  half: number,
  space: number,
): number {
  const at = half + ((lo >>> 10) & 0xfc);
  return quick[at] === ((lo & ~0xfff) | (access << QUICK_SHIFT)) && quick[at + 1] === hi && quick[at + 2] === space
    ? quick[at + 3]! + (lo & 0xfff)
    : -1;
}

/** Stores 8 bytes on the stack. @returns NEXT or FAULT */
export function pushAt(core: Core, l: number, h: number, valueLo: number, valueHi: number): number {
  const { tlb } = core.mmu;
  const place = quickPlace(tlb.quick, l, h, core.writeAccess, QUICK, tlb.current);
  if (place < 0 || (l & 0xfff) > 0xff8 || (l & 3) !== 0 || core.watched)
    return storeStack(core, l, h, 8, valueLo, valueHi);
  const { words: w } = core.memory;
  w[place >> 2] = valueLo;
  w[(place >> 2) + 1] = valueHi;
  core.blocks.wrote(place);
  return NEXT;
}

/** Loads 8 bytes from the stack, into `core.v`. @returns NEXT or FAULT */
export function popAt(core: Core, l: number, h: number): number {
  const { tlb } = core.mmu;
  const place = quickPlace(tlb.quick, l, h, core.readAccess, 0, tlb.current);
  if (place < 0 || (l & 0xfff) > 0xff8 || (l & 3) !== 0) return loadStack(core, l, h, 8);
  const { words: w } = core.memory;
  core.v[0] = w[place >> 2]!;
  core.v[1] = w[(place >> 2) + 1]!;
  return NEXT;
}

/** Low half of a micro-operation's memory address; the high half goes to `core.addressHi`. */
export function address(core: Core, m: number): number {
  const { registers: r } = core;
  const x = core.blocks.micros;
  const base = x[(m + 2) | 0]!;
  const index = x[(m + 3) | 0]!;
  const displacement = x[(m + 4) | 0]!;
  const scale = x[(m + 7) | 0]!;
  const baseLo = r[base]!;
  const indexLo = r[index]!;
  const indexHi = r[(index + HIGH) | 0]!;
  const first = (baseLo + displacement) | 0;
  const low = (first + (indexLo << scale)) | 0;
  const carries = (first >>> 0 < baseLo >>> 0 ? 1 : 0) + (low >>> 0 < first >>> 0 ? 1 : 0);
  const scaledHi = scale === 0 ? indexHi : (indexHi << scale) | (indexLo >>> (32 - scale));
  core.addressHi = (r[(base + HIGH) | 0]! + (displacement >> 31) + scaledHi + carries) | 0;
  return low;
}
