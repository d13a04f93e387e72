import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { REGISTERS } from '../../src/cpuid/entry.js';
import { simplerTables } from '../../src/fuzz/arbitraries/shrink-table.js';
import { fewerBits, word } from '../../src/fuzz/arbitraries/word.js';
import { entry, table } from '../../src/fuzz/index.js';
import type { CpuidEntry2 } from '../../src/index.js';
import { runs } from '../support/runs.js';

const bitsIn = (value: number): number => value.toString(2).replaceAll('0', '').length;

/** How much there is in a table: what shrinking must reduce. */
const weight = (entries: readonly CpuidEntry2[]): number =>
  entries.reduce(
    (sum, item) =>
      sum +
      1000 +
      REGISTERS.reduce((bits, register) => bits + bitsIn(item[register]), 0) +
      Math.min(item.index, 3) +
      bitsIn(item.flags) +
      (item.padding ? 1 : 0),
    0,
  );

describe('words', () => {
  test('shrink to some of their bits', () => {
    fc.assert(
      fc.property(word(), (value) => {
        const fewer = [...fewerBits(value)];
        expect(fewer.length > 0).toBe(value !== 0);
        for (const other of fewer) {
          expect(other & ~value).toBe(0);
          expect(bitsIn(other)).toBeLessThan(bitsIn(value));
        }
      }),
      runs(300),
    );
  });

  test('shrink to the one bit that matters', () => {
    const { counterexample } = fc.check(
      fc.property(word(), (value) => (value & 0x0002_0000) === 0),
      { seed: 1 },
    );
    expect(counterexample).toEqual([0x0002_0000]);
  });
});

describe('tables', () => {
  test('shrink to smaller ones, of the same functions', () => {
    fc.assert(
      fc.property(fc.array(entry(), { maxLength: 5 }), (entries) => {
        for (const simpler of simplerTables(entries)) {
          expect(weight(simpler)).toBeLessThan(weight(entries));
          const functions = entries.map((item) => item.function);
          expect(functions).toEqual(expect.arrayContaining(simpler.map((item) => item.function)));
        }
      }),
      runs(100),
    );
  });

  test('shrink to two entries where two matter', () => {
    const breaks = (entries: readonly CpuidEntry2[]) =>
      entries.some((item) => item.function === 0xd && (item.eax & 4) !== 0) &&
      entries.some((item) => item.function === 1 && (item.ecx & 0x1000_0000) !== 0);
    const { counterexample } = fc.check(
      fc.property(table({ kinds: ['mutated', 'vmm', 'adversarial'] }), (entries) => !breaks(entries)),
      { seed: 1 },
    );
    const none = { index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    const [smallest] = counterexample!;
    expect([...smallest].sort((a, b) => a.function - b.function)).toEqual([
      { ...none, function: 1, ecx: 0x1000_0000 },
      { ...none, function: 0xd, eax: 4 },
    ]);
  });
});
