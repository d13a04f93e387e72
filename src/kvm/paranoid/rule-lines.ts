import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../cpuid/entry.js';
import { EAX, EBX, ECX, EDX, FLAGS, FUNCTION, INDEX } from '../abi.js';
import {
  CHECK,
  CHECK_FIELD,
  CHECK_FIXED,
  CHECK_FIXED_OR_ZERO,
  CHECK_WORDS,
  hasSlot,
  type RuleArrays,
  slotOf,
} from './rule-arrays.js';
import { buildScreen, type Screen } from './screen.js';

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

  /** The line that decides about an entry. */
  lineOf(fn: number, index: number, significant: boolean): number {
    if (!hasSlot(fn)) return this.rangeLine(fn);
    const slot = slotOf(fn);
    const base = this.base[slot]!;
    const count = this.subleaves[slot]!;
    if (count === 0 || !significant) return base;
    return base + 1 + (index < count ? index : count - 1);
  }

  /** The line of a function without a slot. */
  rangeLine(fn: number): number {
    const { ranges } = this;
    for (let i = 0; i < ranges.length; i += 3) if (ranges[i]! <= fn && fn <= ranges[i + 1]!) return ranges[i + 2]!;
    return this.unknownLine;
  }

  /** Whether the entry at word `at` breaks a rule, taken by itself. Exact; allocates nothing. */
  refuses(words: Uint32Array, at: number): boolean {
    const significant = (words[at + FLAGS]! & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0;
    const line = this.lineOf(words[at + FUNCTION]!, words[at + INDEX]!, significant);
    const { reject, checks, checkStart } = this;
    const first = line * 4;
    const refused =
      (words[at + EAX]! & reject[first]!) |
      (words[at + EBX]! & reject[first + 1]!) |
      (words[at + ECX]! & reject[first + 2]!) |
      (words[at + EDX]! & reject[first + 3]!);
    if (refused !== 0) return true;
    const end = checkStart[line + 1]! * CHECK_WORDS;
    for (let check = checkStart[line]! * CHECK_WORDS; check < end; check += CHECK_WORDS) {
      if (!this.passes(check, words[at + EAX + checks[check + CHECK.register]!]!)) return true;
    }
    return false;
  }

  /** Whether a line allows a value in one register. */
  allows(line: number, register: number, value: number): boolean {
    if ((value & this.reject[line * 4 + register]!) !== 0) return false;
    const end = this.checkStart[line + 1]! * CHECK_WORDS;
    for (let check = this.checkStart[line]! * CHECK_WORDS; check < end; check += CHECK_WORDS) {
      if (this.checks[check + CHECK.register] === register && !this.passes(check, value)) return false;
    }
    return true;
  }

  private passes(check: number, value: number): boolean {
    const { checks } = this;
    const operand = checks[check + CHECK.operand]!;
    switch (checks[check + CHECK.kind]) {
      case CHECK_FIELD:
        return (value & checks[check + CHECK.mask]!) >>> checks[check + CHECK.shift]! <= operand >>> 0;
      case CHECK_FIXED:
        return (value | 0) === operand;
      case CHECK_FIXED_OR_ZERO:
        return value === 0 || (value | 0) === operand;
      default:
        return this.lists(check, (value & checks[check + CHECK.mask]!) >>> checks[check + CHECK.shift]!);
    }
  }

  private lists(check: number, value: number): boolean {
    const first = this.checks[check + CHECK.operand]!;
    const end = first + this.checks[check + CHECK.length]!;
    for (let i = first; i < end; i++) if (this.values[i] === value) return true;
    return false;
  }
}
