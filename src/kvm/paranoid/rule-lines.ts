import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../cpuid/entry.js';
import { EAX, EBX, ECX, EDX, FLAGS, FUNCTION, INDEX } from '../abi.js';
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

// V8 compiles the constants of a module into its code, but reads imported ones from memory: hence these copies.
const checkSize = CHECK_WORDS;
const {
  kind: kindAt,
  register: registerAt,
  shift: shiftAt,
  mask: maskAt,
  operand: operandAt,
  length: lengthAt,
} = CHECK;
const field = CHECK_FIELD;
const fixed = CHECK_FIXED;
const fixedOrZero = CHECK_FIXED_OR_ZERO;
const functionAt = FUNCTION;
const indexAt = INDEX;
const flagsAt = FLAGS;
const eaxAt = EAX;
const ebxAt = EBX;
const ecxAt = ECX;
const edxAt = EDX;
const significantIndex = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
const noSlot = NO_SLOT;

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
    if ((fn & noSlot) !== 0) return this.rangeLine(fn >>> 0);
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
    const significant = (words[at + flagsAt]! & significantIndex) !== 0;
    const line = this.lineOf(words[at + functionAt]! | 0, words[at + indexAt]! | 0, significant);
    const { reject, checks, checkStart } = this;
    const first = line * 4;
    const refused =
      (words[at + eaxAt]! & reject[first]!) |
      (words[at + ebxAt]! & reject[first + 1]!) |
      (words[at + ecxAt]! & reject[first + 2]!) |
      (words[at + edxAt]! & reject[first + 3]!);
    if (refused !== 0) return true;
    const end = checkStart[line + 1]! * checkSize;
    for (let check = checkStart[line]! * checkSize; check < end; check += checkSize) {
      if (!this.passes(check, words[at + eaxAt + checks[check + registerAt]!]! | 0)) return true;
    }
    return false;
  }

  /** Whether a line allows a value in one register. */
  allows(line: number, register: number, value: number): boolean {
    if ((value & this.reject[line * 4 + register]!) !== 0) return false;
    const end = this.checkStart[line + 1]! * checkSize;
    for (let check = this.checkStart[line]! * checkSize; check < end; check += checkSize) {
      if (this.checks[check + registerAt] === register && !this.passes(check, value | 0)) return false;
    }
    return true;
  }

  /** @param value signed */
  private passes(check: number, value: number): boolean {
    const { checks } = this;
    const operand = checks[check + operandAt]!;
    const part = (value & checks[check + maskAt]!) >>> checks[check + shiftAt]!;
    switch (checks[check + kindAt]) {
      case field:
        return part <= operand >>> 0;
      case fixed:
        return value === operand;
      case fixedOrZero:
        return value === 0 || value === operand;
      default:
        return this.lists(operand, checks[check + lengthAt]!, part);
    }
  }

  private lists(first: number, length: number, value: number): boolean {
    for (let i = first; i < first + length; i++) if (this.values[i] === value) return true;
    return false;
  }
}
