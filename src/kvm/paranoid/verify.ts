import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../cpuid/entry.js';
import { EAX, EBX, ECX, EDX, ENTRY2_WORDS, FLAGS, FUNCTION, INDEX } from '../abi.js';
import { KVM_CPUID_SIGNATURE, KVM_SIGNATURE } from '../pv.js';
import { NO_SLOT } from './rule-arrays.js';
import type { RuleLines } from './rule-lines.js';
import {
  ROW,
  ROW_WORDS,
  SCREEN_SLOTLESS,
  SCREEN_WORDS,
  ScreenStore,
  SLOT_ROW,
  SLOT_SUBLEAVES,
  SLOT_SUBLEAVES_SHIFT,
} from './screen.js';

/**
 * Verifies entries against the allowed values, in place. Allocates nothing.
 *
 * @param words entries of 10 words each, from the first word on
 * @param count number of entries
 * @returns the position of the first entry with a bit or value that is not allowed, or -1
 */
export function firstRefused(rules: RuleLines, words: Uint32Array, count: number): number {
  return firstRefusedAt(rules, words, 0, count);
}

/** {@link firstRefused} for entries that start at word `start`. */
export function firstRefusedAt(rules: RuleLines, words: Uint32Array, start: number, count: number): number {
  const screen = store.locate(rules.screen);
  const end = start + count * ENTRY2_WORDS;
  let foreign: boolean | null = null;
  let at = nextSuspect(words, start, end, screen);
  while (at < end) {
    if (rules.refuses(words, at)) {
      if (!isSignatureLeaf(words[at]! | 0)) break;
      foreign ??= isSignatureForeign(words, start, end);
      if (!foreign) break;
    }
    at = nextSuspect(words, at + ENTRY2_WORDS, end, screen);
  }
  return at < end ? (at - start) / ENTRY2_WORDS : -1;
}

/** Whether the entry at word `at` breaks a rule, taken by itself. */
export function refusesEntry(rules: RuleLines, words: Uint32Array, at: number): boolean {
  return rules.refuses(words, at);
}

/** The screens of the portable kernel. The array is a constant of this module, which V8 compiles into the loop. */
const SCREENS = 8;
const STORE = new Int32Array(SCREENS * SCREEN_WORDS);
const store = new ScreenStore(STORE, 0, SCREENS);

const STORE_INDEX = SCREENS * SCREEN_WORDS - 1;

// The loop's own copies: V8 compiles constants of this module into the code, imported ones it would read from memory.
const ENTRY = ENTRY2_WORDS;
const INDEX_AT = INDEX;
const FLAGS_AT = FLAGS;
const SIGNIFICANT = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
const A = EAX;
const B = EBX;
const C = ECX;
const D = EDX;
const NONE = NO_SLOT;
const SLOTLESS = SCREEN_SLOTLESS;
const ROW_AT = SLOT_ROW;
const COUNT_SHIFT = SLOT_SUBLEAVES_SHIFT;
const COUNT = SLOT_SUBLEAVES;
const ROW_SIZE = ROW_WORDS;
const WANT = ROW.want;
const CHECK2 = ROW.secondCheck;
const WANT2 = ROW.secondWant;
const OTHER = ROW.otherWant;
const ADD = ROW.add;
const TOP = ROW.top;
/** Indices of words are at most this: V8 then knows that sums of them do not overflow. */
const WORD_INDEX = 0x3fff_ffff;

/**
 * The portable kernel: the first entry from word `from` on that does not pass the screen, or `end`. Two entries at a
 * time, because V8 checks types and interrupts once in every round of a loop.
 */
function nextSuspect(words: Uint32Array, from: number, end: number, screen: number): number {
  const first = screen & STORE_INDEX;
  const last = end & WORD_INDEX;
  let at = from & WORD_INDEX;
  for (; at < last - ENTRY; at += 2 * ENTRY) {
    const row = rowOf(words, at, first);
    const next = rowOf(words, at + ENTRY, first);
    if ((strays(words, at, row) | strays(words, at + ENTRY, next)) === 0) continue;
    if ((straysAgain(words, at, row) | straysAgain(words, at + ENTRY, next)) !== 0) break;
  }
  for (; at < last; at += ENTRY) if (straysAgain(words, at, rowOf(words, at, first)) !== 0) break;
  return at;
}

/** Where in the store the row of the entry at word `at` is. */
function rowOf(words: Uint32Array, at: number, screen: number): number {
  const fn = words[at]!;
  // The low six bits of the function move up to right below its two uppermost: that is its slot.
  const slot = STORE[screen + ((fn & NONE) === 0 ? ((fn << 24) + fn) >>> 24 : SLOTLESS + (fn >>> 28))]!;
  const row = screen + (slot & ROW_AT);
  if (slot >= 0 || (words[at + FLAGS_AT]! & SIGNIFICANT) === 0) return row;
  const count = (slot >>> COUNT_SHIFT) & COUNT;
  const index = words[at + INDEX_AT]!;
  return row + (index < count ? (index & COUNT) + 1 : count) * ROW_SIZE;
}

/** The first look at an entry: the bits in which its registers are not what the row wants; 0 when it passes. */
function strays(words: Uint32Array, at: number, row: number): number {
  return (
    ((words[at + A]! & STORE[row]!) ^ STORE[row + WANT]!) |
    ((words[at + B]! & STORE[row + 1]!) ^ STORE[row + WANT + 1]!) |
    ((words[at + C]! & STORE[row + 2]!) ^ STORE[row + WANT + 2]!) |
    ((words[at + D]! & STORE[row + 3]!) ^ STORE[row + WANT + 3]!)
  );
}

/** The second look. It passes whatever the first does. */
function straysAgain(words: Uint32Array, at: number, row: number): number {
  return (
    registerStrays(words, at + A, row) |
    registerStrays(words, at + B, row + 1) |
    registerStrays(words, at + C, row + 2) |
    registerStrays(words, at + D, row + 3)
  );
}

function registerStrays(words: Uint32Array, at: number, row: number): number {
  const value = words[at]!;
  const checked = value & STORE[row + CHECK2]!;
  const one = checked ^ STORE[row + WANT2]!;
  const other = checked ^ STORE[row + OTHER]!;
  const add = STORE[row + ADD]!;
  const carries = (value & add) | ((value | add) & ~(value + add));
  // Of a number that is not zero, or of its negative, the uppermost bit is set.
  return (((one | -one) & (other | -other)) >>> 31) | (carries & STORE[row + TOP]!);
}

/**
 * Whether the entry is 0x40000000 or 0x40000001 while KVM's signature is not at 0x40000000: these leaves then belong to
 * another interface (Hyper-V, Xen) and are not looked at (RFC patch 24). Asked only about entries that would be refused.
 */
export function isForeignSignatureLeaf(fn: number, words: Uint32Array, count: number): boolean {
  return isSignatureLeaf(fn) && isSignatureForeign(words, 0, count * ENTRY2_WORDS);
}

/** Whether a function is one of KVM's two, at the place where they are by default. */
export const isSignatureLeaf = (fn: number): boolean => fn === KVM_CPUID_SIGNATURE || fn === KVM_CPUID_SIGNATURE + 1;

/** Whether the first entry of leaf 0x40000000 is not KVM's, or is not there. */
export function isSignatureForeign(words: Uint32Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += ENTRY2_WORDS) {
    if (words[at + FUNCTION] !== KVM_CPUID_SIGNATURE) continue;
    return (
      words[at + EBX] !== KVM_SIGNATURE.ebx ||
      words[at + ECX] !== KVM_SIGNATURE.ecx ||
      words[at + EDX] !== KVM_SIGNATURE.edx
    );
  }
  return true;
}
