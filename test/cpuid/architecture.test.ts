import { describe, expect, test } from 'vitest';
import { architectureFieldAt, architectureFields, bitName } from '../../src/cpuid/architecture.js';
import { REGISTERS } from '../../src/cpuid/entry.js';
import { FEATURES } from '../../src/cpuid/features.js';

const FUNCTIONS = [0, 0x4000_0000, 0x8000_0000, 0x8086_0000, 0xc000_0000].flatMap((base) =>
  Array.from({ length: 0x40 }, (_, offset) => (base + offset) >>> 0),
);
const fields = FUNCTIONS.flatMap((fn) => architectureFields(fn));

describe('the table', () => {
  test('is large, and every field lies in one register', () => {
    expect(fields.length).toBeGreaterThan(700);
    for (const field of fields) {
      expect(REGISTERS).toContain(field.register);
      expect([field, 0 <= field.low && field.low <= field.high && field.high < 32]).toEqual([field, true]);
      expect([field, 0 <= field.firstIndex && field.firstIndex <= field.lastIndex]).toEqual([field, true]);
      expect(field.name).toMatch(/^[a-z0-9_]+$/i);
      expect(field.description).not.toBe('');
    }
  });

  test('no two fields claim one bit', () => {
    const clashes = FUNCTIONS.flatMap((fn) => {
      const list = architectureFields(fn);
      return list.flatMap((one, at) =>
        list
          .slice(at + 1)
          .filter((two) => one.register === two.register && overlap(one, two) && indicesOverlap(one, two))
          .map((two) => `${fn.toString(16)} ${one.register} ${one.name} ${two.name}`),
      );
    });
    expect(clashes).toEqual([]);
  });
});

interface Span {
  readonly high: number;
  readonly low: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
}
const overlap = (one: Span, two: Span): boolean => one.low <= two.high && two.low <= one.high;
const indicesOverlap = (one: Span, two: Span): boolean =>
  one.firstIndex <= two.lastIndex && two.firstIndex <= one.lastIndex;

describe('names of bits', () => {
  test("the kernel's come first", () => {
    for (const { name, word, bit } of FEATURES.filter((item) => item.word.kind !== 'linux')) {
      expect(bitName(word.function, word.index, word.register, bit)).toBe(name);
    }
  });

  test.each([
    [0x1, 0, 'ecx', 5, 'VMX'],
    [0x1, 0, 'eax', 5, 'base_model'],
    [0x2, 0, 'eax', 3, 'iteration_count'],
    [0x7, 0, 'ecx', 5, 'WAITPKG'],
    [0x7, 1, 'eax', 17, 'FRED'],
    [0x8000_0008, 0, 'eax', 9, 'virt_addr_bits'],
    [0x7, 0, 'eax', 0, 'leaf7_n_subleaves'],
    [0x3fff_ffff, 0, 'eax', 0, null],
    [0x7, 9, 'eax', 0, null],
    [0x7fff_ffff, 0, 'edx', 31, null],
  ] as const)('%i.%i %s[%i]: %s', (fn, index, register, bit, name) => {
    expect(bitName(fn, index, register, bit)).toBe(name);
  });

  test('a field is found by each of its bits, in each of its sub-leaves, and by no other', () => {
    for (const field of fields) {
      for (const bit of [field.low, field.high]) {
        for (const index of [field.firstIndex, field.lastIndex]) {
          expect(architectureFieldAt(field.function, index, field.register, bit)).toBe(field);
        }
      }
      expect(architectureFieldAt(field.function, field.firstIndex, field.register, field.high + 1)).not.toBe(field);
      expect(architectureFieldAt(field.function, field.lastIndex + 1, field.register, field.low)).not.toBe(field);
    }
  });
});
