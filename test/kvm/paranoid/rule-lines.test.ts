import { describe, expect, test } from 'vitest';
import { ENTRY2_WORDS } from '../../../src/kvm/abi.js';
import {
  CHECK_FIELD,
  CHECK_FIXED,
  CHECK_FIXED_OR_ZERO,
  CHECK_VALUES,
  CHECK_WORDS,
  functionOf,
  hasSlot,
  SLOT_COUNT,
  slotOf,
} from '../../../src/kvm/paranoid/rule-arrays.js';
import { RuleLines } from '../../../src/kvm/paranoid/rule-lines.js';
import { firstRefused, firstRefusedAt, isSignatureForeign } from '../../../src/kvm/paranoid/verify.js';
import { random } from '../../support/random-tables.js';
import { randomRules, randomTable } from '../../support/screens.js';

describe('slots', () => {
  const rows: [fn: number, slot: number | null][] = [
    [0, 0],
    [0x3f, 63],
    [0x40, null],
    [0x100, null],
    [0x3fff_ffff, null],
    [0x4000_0000, 64],
    [0x4000_003f, 127],
    [0x4000_0040, null],
    [0x8000_0008, 136],
    [0x8000_0048, null],
    [0xc000_0000, 192],
    [0xc000_003f, 255],
    [0xffff_ffff, null],
  ];
  test.each(rows)('function %s has slot %s', (fn, slot) => {
    expect(hasSlot(fn)).toBe(slot !== null);
    if (slot === null) return;
    expect(slotOf(fn)).toBe(slot);
    expect(functionOf(slot)).toBe(fn);
  });
  test('a slot for each function', () => {
    const slots = [...Array(SLOT_COUNT).keys()];
    expect(slots.map((slot) => slotOf(functionOf(slot)))).toEqual(slots);
    expect(SLOT_COUNT).toBe(256);
  });
});

/** What an entry may hold, by the meaning of the arrays and with wide numbers. */
function refusesSlowly(rules: RuleLines, line: number, values: readonly number[]): boolean {
  for (const [register, value] of values.entries()) {
    if ((BigInt(value) & BigInt(rules.reject[line * 4 + register]! >>> 0)) !== 0n) return true;
  }
  for (let n = rules.checkStart[line]!; n < rules.checkStart[line + 1]!; n++) {
    const [kind, register, shift, mask, operand, length] = rules.checks.subarray(
      n * CHECK_WORDS,
      (n + 1) * CHECK_WORDS,
    );
    const value = values[register!]!;
    const part = Number((BigInt(value) & BigInt(mask! >>> 0)) >> BigInt(shift!));
    const wanted = operand! >>> 0;
    const list = [...rules.values.subarray(operand!, operand! + length!)].map((item) => item >>> 0);
    if (kind === CHECK_FIELD && part > wanted) return true;
    if (kind === CHECK_FIXED && value !== wanted) return true;
    if (kind === CHECK_FIXED_OR_ZERO && value !== wanted && value !== 0) return true;
    if (kind === CHECK_VALUES && !list.includes(part)) return true;
  }
  return false;
}

describe('rules of chance', () => {
  const below = random(5);
  const sets = Array.from({ length: 12 }, () => randomRules(below));

  test('are applied as they are meant', () => {
    for (const rules of sets) {
      const words = randomTable(rules, 150, below);
      for (let at = 0; at < words.length; at += ENTRY2_WORDS) {
        const [fn, index, flags, ...values] = words.subarray(at, at + 7);
        const line = rules.lineOf(fn!, index!, (flags! & 1) !== 0);
        const refused = refusesSlowly(rules, line, values);
        const what = [fn, index, flags, values];
        expect([what, rules.refuses(words, at)]).toEqual([what, refused]);
        const alone = values.map((value, n) => rules.allows(line, n, value));
        expect([what, alone.every(Boolean)]).toEqual([what, !refused]);
      }
    }
  });

  test('are the same behind postMessage()', () => {
    for (const rules of sets) {
      const copy = new RuleLines(structuredClone(rules.arrays));
      expect(copy.arrays).toEqual(rules.arrays);
      expect(copy.screen).toEqual(rules.screen);
      expect(rules.screen).toBe(rules.screen);
    }
  });

  test('find the first refused entry of a table that starts anywhere', () => {
    for (const rules of sets) {
      for (let turn = 0; turn < 40; turn++) {
        const count = below(9);
        const table = randomTable(rules, count, below);
        const start = below(20);
        const words = new Uint32Array(start + table.length + 10).fill(0xffff_ffff);
        words.set(table, start);
        let expected = -1;
        for (let n = count - 1; n >= 0; n--) {
          const foreign = table[n * 10]! - 0x4000_0000 < 2 && table[n * 10]! >= 0x4000_0000;
          if (rules.refuses(table, n * 10) && !(foreign && isSignatureForeign(table, 0, table.length))) expected = n;
        }
        expect(firstRefusedAt(rules, words, start, count)).toBe(expected);
        expect(firstRefused(rules, table, count)).toBe(expected);
      }
    }
  });
});

describe('the line of an entry', () => {
  const zeros = () => new Int32Array(SLOT_COUNT);
  const base = zeros().map((_, slot) => 10 + slot);
  const subleaves = zeros();
  subleaves[slotOf(7)] = 3;
  base[slotOf(7)] = 400;
  const rules = new RuleLines({
    ...{ base, subleaves, reject: zeros(), checkStart: zeros(), checks: zeros(), values: zeros(), unknownLine: 5 },
    ranges: Uint32Array.of(0x40, 0x50, 1, 0x60, 0x60, 2, 0x8000_0100, 0xbfff_ffff, 3),
  });
  const rows: [fn: number, index: number, significant: boolean, line: number][] = [
    [0, 0, false, 10],
    [0, 9, true, 10],
    [0xc000_0001, 0, false, 10 + 193],
    [7, 0, false, 400],
    [7, 2, false, 400],
    [7, 0, true, 401],
    [7, 1, true, 402],
    [7, 2, true, 403],
    [7, 3, true, 403],
    [7, 0xffff_ffff, true, 403],
    [7, -1, true, 403],
    [0x40, 0, true, 1],
    [0x50, 0, false, 1],
    [0x51, 0, false, 5],
    [0x5f, 0, false, 5],
    [0x60, 0, false, 2],
    [0x61, 0, false, 5],
    [0x8000_0100, 0, false, 3],
    [0x8000_0100 | 0, 0, false, 3],
    [0xbfff_ffff, 0, false, 3],
    [0xffff_ffff, 0, false, 5],
  ];
  test.each(rows)('of %s, %s, %s', (fn, index, significant, line) => {
    expect(rules.lineOf(fn, index, significant)).toBe(line);
  });
});
