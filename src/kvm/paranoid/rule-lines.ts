import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../cpuid/entry.js';
import { EAX, EBX, ECX, EDX, FLAGS, INDEX } from '../abi.js';
import {
  CHECK,
  CHECK_FIELD,
  CHECK_FIXED,
  CHECK_FIXED_OR_ZERO,
  CHECK_WORDS,
  NO_SLOT,
  type RuleArrays,
  slotOf,
} from './rule-arrays.js';
import { buildScreen, type Screen } from './screen.js';

// Copies of constants for the code that runs in hot loops: V8 compiles those of this module into it, imported ones it
// would read from memory.
const CHECK_SIZE = CHECK_WORDS;
const KIND = CHECK.kind;
const REGISTER = CHECK.register;
const SHIFT = CHECK.shift;
const MASK = CHECK.mask;
const OPERAND = CHECK.operand;
const LENGTH = CHECK.length;
const FIELD = CHECK_FIELD;
const FIXED = CHECK_FIXED;
const FIXED_OR_ZERO = CHECK_FIXED_OR_ZERO;
const A = EAX;
const B = EBX;
const C = ECX;
const D = EDX;
const INDEX_AT = INDEX;
const FLAGS_AT = FLAGS;
const SIGNIFICANT = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
const SLOTLESS = NO_SLOT;

/** The rules of one overlay, ready to be applied to entries in the words that userspace wrote. */
export class RuleLines implements RuleArrays {
  readonly base: Int32Array;
  readonly subleaves: Int32Array;
  readonly reject: Int32Array;
  readonly checkStart: Int32Array;
  readonly checks: Int32Array;
  readonly values: Int32Array;
  readonly ranges: Uint32Array;
  readonly unknownLine: number;
  private builtScreen: Screen | null = null;

  constructor(arrays: RuleArrays) {
    this.base = arrays.base;
    this.subleaves = arrays.subleaves;
    this.reject = arrays.reject;
    this.checkStart = arrays.checkStart;
    this.checks = arrays.checks;
    this.values = arrays.values;
    this.ranges = arrays.ranges;
    this.unknownLine = arrays.unknownLine;
  }

  /** The arrays alone, as `postMessage()` takes them. */
  get arrays(): RuleArrays {
    const { base, subleaves, reject, checkStart, checks, values, ranges, unknownLine } = this;
    return { base, subleaves, reject, checkStart, checks, values, ranges, unknownLine };
  }

  /** What the hot loops go by. Built when the first table is verified. */
  get screen(): Screen {
    this.builtScreen ??= buildScreen(this);
    return this.builtScreen;
  }

  /** The line that decides about an entry. The numbers may be signed. */
  lineOf(fn: number, index: number, significant: boolean): number {
    if ((fn & SLOTLESS) !== 0) return this.rangeLine(fn >>> 0);
    const slot = slotOf(fn);
    const base = this.base[slot]!;
    const count = this.subleaves[slot]!;
    if (count === 0 || !significant) return base;
    return base + 1 + (index >>> 0 < count ? index : count - 1);
  }

  /** The line of a function without a slot. */
  rangeLine(fn: number): number {
    const { ranges } = this;
    for (let i = 0; i < ranges.length; i += 3) if (ranges[i]! <= fn && fn <= ranges[i + 1]!) return ranges[i + 2]!;
    return this.unknownLine;
  }

  /** Whether the entry at word `at` breaks a rule, taken by itself. Exact; allocates nothing. */
  refuses(words: Uint32Array, at: number): boolean {
    // Signed: V8 would put large unsigned numbers on the heap to pass them on.
    const significant = (words[at + FLAGS_AT]! & SIGNIFICANT) !== 0;
    const line = this.lineOf(words[at]! | 0, words[at + INDEX_AT]! | 0, significant);
    const { reject, checks, checkStart } = this;
    const first = line * 4;
    const refused =
      (words[at + A]! & reject[first]!) |
      (words[at + B]! & reject[first + 1]!) |
      (words[at + C]! & reject[first + 2]!) |
      (words[at + D]! & reject[first + 3]!);
    if (refused !== 0) return true;
    const end = checkStart[line + 1]! * CHECK_SIZE;
    for (let check = checkStart[line]! * CHECK_SIZE; check < end; check += CHECK_SIZE) {
      if (!this.passes(check, words[at + A + checks[check + REGISTER]!]! | 0)) return true;
    }
    return false;
  }

  /** Whether a line allows a value in one register. */
  allows(line: number, register: number, value: number): boolean {
    if ((value & this.reject[line * 4 + register]!) !== 0) return false;
    const end = this.checkStart[line + 1]! * CHECK_SIZE;
    for (let check = this.checkStart[line]! * CHECK_SIZE; check < end; check += CHECK_SIZE) {
      if (this.checks[check + REGISTER] === register && !this.passes(check, value | 0)) return false;
    }
    return true;
  }

  /** @param value signed */
  private passes(check: number, value: number): boolean {
    const { checks } = this;
    const operand = checks[check + OPERAND]!;
    const field = (value & checks[check + MASK]!) >>> checks[check + SHIFT]!;
    switch (checks[check + KIND]) {
      case FIELD:
        return field <= operand >>> 0;
      case FIXED:
        return value === operand;
      case FIXED_OR_ZERO:
        return value === 0 || value === operand;
      default:
        return this.lists(operand, checks[check + LENGTH]!, field);
    }
  }

  private lists(first: number, length: number, value: number): boolean {
    for (let i = first; i < first + length; i++) if (this.values[i] === value) return true;
    return false;
  }
}
