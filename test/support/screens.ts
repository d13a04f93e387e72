import { ENTRY2_WORDS } from '../../src/kvm/abi.js';
import { hasSlot, slotOf } from '../../src/kvm/paranoid/rule-arrays.js';
import { RuleLines } from '../../src/kvm/paranoid/rule-lines.js';
import {
  ROW,
  ROW_WORDS,
  SCREEN_SLOTLESS,
  type Screen,
  SLOT_ROW,
  SLOT_SUBLEAVES,
  SLOT_SUBLEAVES_SHIFT,
} from '../../src/kvm/paranoid/screen.js';

/** Where the row of an entry is: what the layout says, written down once more. */
export function rowAt(screen: Screen, fn: number, index: number, significant: boolean): number {
  const slot = screen[hasSlot(fn) ? slotOf(fn) : SCREEN_SLOTLESS + (fn >>> 28)]!;
  const row = slot & SLOT_ROW;
  if (slot >= 0 || !significant) return row;
  const count = (slot >>> SLOT_SUBLEAVES_SHIFT) & SLOT_SUBLEAVES;
  return row + Math.min(index + 1, count) * ROW_WORDS;
}

export const passesFirst = (screen: Screen, row: number, register: number, value: number): boolean =>
  (value & screen[row + ROW.check + register]!) === screen[row + ROW.want + register]!;

/** The second look, with two values to choose from, and limits by arithmetic on wide numbers. */
export function passesSecond(screen: Screen, row: number, register: number, value: number): boolean {
  const word = (field: number) => screen[row + field + register]!;
  const checked = value & word(ROW.secondCheck);
  if (checked !== word(ROW.secondWant) && checked !== word(ROW.otherWant)) return false;
  const sum = BigInt(value) + BigInt(word(ROW.add) >>> 0);
  const carries = (BigInt(value) ^ BigInt(word(ROW.add) >>> 0) ^ sum) >> 1n;
  return (carries & BigInt(word(ROW.top) >>> 0)) === 0n;
}

/** The word of the first entry that does not pass, or `count * 10`: the kernels' work, done slowly. */
export function nextSuspectSlowly(screen: Screen, words: Uint32Array, start: number, count: number): number {
  const end = start + count * ENTRY2_WORDS;
  for (let at = start; at < end; at += ENTRY2_WORDS) {
    const row = rowAt(screen, words[at]!, words[at + 1]!, (words[at + 2]! & 1) !== 0);
    for (let register = 0; register < 4; register++) {
      if (!passesSecond(screen, row, register, words[at + 3 + register]!)) return at;
    }
  }
  return end;
}

/** Rules of chance, of every kind, with limits and values of every size. */
export function randomRules(below: (n: number) => number): RuleLines {
  const word = () => below(2 ** 32);
  const reject: number[] = [];
  const checkStart = [0];
  const checks: number[] = [];
  const values: number[] = [];
  const addField = (register: number): void => {
    const low = below(32);
    const width = 1 + below(32 - low);
    const all = width === 32 ? 0xffff_ffff : 2 ** width - 1;
    if (below(4) > 0) {
      const limit = [0, 1, all - 1, all >>> 1, below(all + 1)][below(5)]!;
      checks.push(0, register, low, all << low, limit, 0, below(all + 1));
      return;
    }
    const list = Array.from({ length: 1 + below(3) }, () => below(all + 1));
    checks.push(3, register, low, all << low, values.length, list.length, list[below(list.length)]!);
    values.push(...list);
  };
  const addLine = (): void => {
    for (let register = 0; register < 4; register++) {
      reject.push([0, 0, -1, word(), word() & word()][below(5)]!);
      for (let n = [0, 0, 0, 1, 2][below(5)]!; n > 0; n--) addField(register);
      if (below(12) === 0) checks.push(1 + below(2), register, 0, -1, word(), 0, 0);
    }
    checkStart.push(checks.length / 7);
  };
  const base = new Int32Array(256);
  const subleaves = new Int32Array(256);
  addLine();
  for (let slot = 0; slot < 256; slot++) {
    if (below(4) > 0) continue;
    base[slot] = checkStart.length - 1;
    addLine();
    if (below(2) === 0) continue;
    subleaves[slot] = 1 + below(5);
    for (let n = subleaves[slot]!; n > 0; n--) addLine();
  }
  const ranges = [0x0000_0040, 0x2fff_ffff, 0x4000_0100, 0x4000_0fff, 0x8000_0100, 0xbfff_ffff];
  return new RuleLines({
    ...{ base, subleaves, unknownLine: 0, reject: Int32Array.from(reject), checkStart: Int32Array.from(checkStart) },
    ...{ checks: Int32Array.from(checks), values: Int32Array.from(values) },
    ranges: Uint32Array.of(...ranges.slice(0, 2), 1, ...ranges.slice(2, 4), 2, ...ranges.slice(4), 3),
  });
}

/** A table of chance of which much is allowed: values of limits, of lists, and parts of them. */
export function randomTable(rules: RuleLines, count: number, below: (n: number) => number): Uint32Array {
  const words = new Uint32Array(count * ENTRY2_WORDS);
  for (let at = 0; at < words.length; at += ENTRY2_WORDS) {
    const high = below(4) << 30;
    const fn = below(8) === 0 ? (high | below(0x2000)) >>> 0 : (high | below(64)) >>> 0;
    const index = below(8) === 0 ? below(2 ** 32) : below(7);
    const flags = below(4);
    const line = rules.lineOf(fn, index, (flags & 1) !== 0);
    words.set([fn, index, flags], at);
    for (let register = 0; register < 4; register++) {
      words[at + 3 + register] = likelyAllowed(rules, line, register, below);
    }
  }
  return words;
}

function likelyAllowed(rules: RuleLines, line: number, register: number, below: (n: number) => number): number {
  let value = 0;
  for (let attempt = 0; attempt < 6; attempt++) {
    value = below(3) === 0 ? 0 : below(2 ** 32) & ~rules.reject[line * 4 + register]!;
    for (let i = rules.checkStart[line]!; i < rules.checkStart[line + 1]!; i++) {
      const [kind, where, shift, mask, operand, length] = rules.checks.subarray(i * 7, i * 7 + 7);
      if (where !== register) continue;
      const limit = operand! >>> 0;
      if (kind === 0)
        value = (value & ~mask!) | ([limit, limit + 1, below(limit + 1), limit & -2][below(4)]! << shift!);
      else if (kind === 3) value = (value & ~mask!) | (rules.values[operand! + below(length!)]! << shift!);
      else value = below(2) === 0 ? operand! : 0;
    }
    if (rules.allows(line, register, value >>> 0)) break;
  }
  return value >>> 0;
}
