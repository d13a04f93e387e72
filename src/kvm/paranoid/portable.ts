import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../cpuid/entry.js';
import { EAX, EBX, ECX, EDX, ENTRY2_WORDS, FLAGS, FUNCTION, INDEX } from '../abi.js';
import { NO_SLOT } from './rule-arrays.js';
import {
  ROW,
  ROW_WORDS,
  SCREEN_SLOTLESS,
  SCREEN_WORDS,
  type Screen,
  ScreenStore,
  SLOT_OPEN,
  SLOT_PLAIN,
  SLOT_ROW,
  SLOT_SUBLEAVES,
  SLOT_SUBLEAVES_SHIFT,
} from './screen.js';

// V8 compiles the constants of a module into its code, but reads imported ones from memory: hence these copies.
const entrySize = ENTRY2_WORDS;
const functionAt = FUNCTION;
const indexAt = INDEX;
const flagsAt = FLAGS;
const eaxAt = EAX;
const ebxAt = EBX;
const ecxAt = ECX;
const edxAt = EDX;
const significantIndex = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
const noSlot = NO_SLOT;
const slotless = SCREEN_SLOTLESS;
const slotRow = SLOT_ROW;
const slotOpen = SLOT_OPEN;
const slotPlain = SLOT_PLAIN;
const subleaves = SLOT_SUBLEAVES;
const subleavesShift = SLOT_SUBLEAVES_SHIFT;
const rowSize = ROW_WORDS;
const wantAt = ROW.want;
const secondCheckAt = ROW.secondCheck;
const secondWantAt = ROW.secondWant;
const otherWantAt = ROW.otherWant;
const addAt = ROW.add;
const topAt = ROW.top;

/** Where the kernel finds its screens: a constant array too, whatever rules it is called with. */
const SCREENS = 16;
const STORE = new Int32Array(SCREENS * SCREEN_WORDS);
const store = new ScreenStore(STORE, 0, SCREENS);

// With what is known to be so small, V8 need not watch sums for overflow.
const STORE_INDEX = SCREENS * SCREEN_WORDS - 1;
const WORD_INDEX = 0x3fff_ffff;

/** Where the kernel has the screen; {@link nextSuspect} takes it from there. */
export function place(screen: Screen): number {
  return store.locate(screen);
}

/**
 * The portable kernel: the first entry from word `from` on that does not pass the screen, or `end`. All in one function,
 * so that its speed does not depend on what V8 decides to inline. It leaves out what a function does not need: by table
 * order processors foresee these branches, and every word that is not read saves its bounds check too.
 *
 * @param screen where {@link place} has put it
 */
export function nextSuspect(words: Uint32Array, from: number, end: number, screen: number): number {
  const first = screen & STORE_INDEX;
  const last = end & WORD_INDEX;
  let at = from & WORD_INDEX;
  for (; at < last; at += entrySize) {
    const fn = words[at + functionAt]!;
    // The low six bits of the function move up to right below its two uppermost: that is its slot.
    const slot = STORE[first + ((fn & noSlot) === 0 ? ((fn << 24) + fn) >>> 24 : slotless + (fn >>> 28))]!;
    if ((slot & slotOpen) !== 0) continue;
    let row = first + (slot & slotRow);
    if ((slot & slotPlain) !== 0) {
      const strays =
        (words[at + eaxAt]! & STORE[row]!) |
        (words[at + ebxAt]! & STORE[row + 1]!) |
        (words[at + ecxAt]! & STORE[row + 2]!) |
        (words[at + edxAt]! & STORE[row + 3]!);
      if (strays === 0) continue;
    } else {
      if (slot < 0 && (words[at + flagsAt]! & significantIndex) !== 0) {
        const count = (slot >>> subleavesShift) & subleaves;
        const index = words[at + indexAt]!;
        row += (index < count ? (index & subleaves) + 1 : count) * rowSize;
      }
      const strays =
        ((words[at + eaxAt]! & STORE[row]!) ^ STORE[row + wantAt]!) |
        ((words[at + ebxAt]! & STORE[row + 1]!) ^ STORE[row + wantAt + 1]!) |
        ((words[at + ecxAt]! & STORE[row + 2]!) ^ STORE[row + wantAt + 2]!) |
        ((words[at + edxAt]! & STORE[row + 3]!) ^ STORE[row + wantAt + 3]!);
      if (strays === 0) continue;
    }
    if (isSuspect(words, at, row)) break;
  }
  return at;
}

/** Whether any register fails the second look. */
function isSuspect(words: Uint32Array, at: number, row: number): boolean {
  for (let register = 0; register < 4; register++) {
    if (registerStrays(words, at + eaxAt + register, (row + register) & STORE_INDEX)) return true;
  }
  return false;
}

/** The second look at a register, if it fails the first: what passes the first passes the second. */
function registerStrays(words: Uint32Array, at: number, row: number): boolean {
  const value = words[at]!;
  if ((value & STORE[row]!) === STORE[row + wantAt]!) return false;
  const checked = value & STORE[row + secondCheckAt]!;
  if (checked !== STORE[row + secondWantAt]! && checked !== STORE[row + otherWantAt]!) return true;
  const add = STORE[row + addAt]!;
  const carries = (value & add) | ((value | add) & ~(value + add));
  return (carries & STORE[row + topAt]!) !== 0;
}
