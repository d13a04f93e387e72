import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CpuidEntry2 } from '../../src/index.js';
import { EBX, ECX, EDX } from '../../src/kvm/abi.js';
import { ANY_INDEX, CpuidTable, entryAt, findEntry, putEntry } from '../../src/kvm/cpuid-table.js';
import { hasSlot } from '../../src/kvm/paranoid/rule-arrays.js';
import { KVM_SIGNATURE, kvmSignatureBase } from '../../src/kvm/pv.js';
import { runs } from '../support/runs.js';

const SIGNATURE = KVM_SIGNATURE;
const functions = fc.constantFrom(0, 1, 4, 7, 0xd, 0x3f, 0x40, 0x4000_0000, 0x4000_0100, 0x8000_0008, 0xc000_0001);
const entries = fc.array(
  fc.record({
    function: functions,
    index: fc.integer({ min: 0, max: 3 }),
    flags: fc.integer({ min: 0, max: 1 }),
    ...{ eax: fc.nat(), ebx: fc.nat(), ecx: fc.nat(), edx: fc.nat() },
  }),
  { maxLength: 40 },
);

function tableOf(list: readonly CpuidEntry2[], table = new CpuidTable()): CpuidTable {
  for (const [position, entry] of list.entries()) putEntry(table.words, position, entry);
  table.count = list.length;
  return table;
}

describe('a table', () => {
  test('finds by its index what a search finds, in one table after the other', () => {
    const wanted = fc.integer({ min: -1, max: 4 });
    const law = fc.property(entries, entries, functions, wanted, (first, second, fn, index) => {
      const table = new CpuidTable();
      for (const list of [first, second]) {
        tableOf(list, table);
        const found = findEntry(table.words, list.length, fn, index);
        expect(table.find(fn, index)).toBe(found);
        if (index !== ANY_INDEX && hasSlot(fn)) expect(table.findSigned(fn | 0, index)).toBe(found);
      }
    });
    fc.assert(law, runs(2000));
  });

  test('finds what was copied in from memory', () => {
    const law = fc.property(entries, (list) => {
      const source = tableOf(list);
      const bytes = new Uint8Array(8 + source.bytes.length);
      bytes.set(source.bytes, 8);
      const table = tableOf([]);
      expect(table.find(1, ANY_INDEX)).toBe(-1);
      table.copyIn(bytes, 8, list.length);
      expect(table.find(1, ANY_INDEX)).toBe(findEntry(source.words, list.length, 1, ANY_INDEX));
    });
    fc.assert(law, runs(300));
  });
});

/** The `n`-th number of a table whose words are all different. */
const number = (n: number): number => (0x8000_0000 + 0x0101 * n) >>> 0;

const filled = (fn: number, index: number, flags: number, first: number): CpuidEntry2 => ({
  ...{ function: fn, index, flags, eax: number(first), ebx: number(first + 1), ecx: number(first + 2) },
  ...{ edx: number(first + 3), padding: [number(first + 4), number(first + 5), number(first + 6)] },
});

describe('entries', () => {
  const list = [filled(1, 2, 0, 0), filled(0x8000_0001, 0, 1, 10)];

  test('are read as they were written, padding and all', () => {
    const table = tableOf(list);
    expect(table.entries()).toEqual(list);
    expect(entryAt(table.words, 1)).toEqual(list[1]);
  });

  test.each([
    [[0, 0, 0], false],
    [[1, 0, 0], true],
    [[0, 0, 1], true],
  ] as const)('padding %s is shown: %s', (padding, shown) => {
    const [entry] = tableOf([{ ...list[0]!, padding }]).entries();
    expect(entry).toHaveProperty('function', 1);
    expect('padding' in entry!).toBe(shown);
  });

  test('left out, padding is written as zeros', () => {
    const { padding: _, ...bare } = list[0]!;
    const table = tableOf(list);
    putEntry(table.words, 0, bare);
    expect([...table.words.subarray(7, 11)]).toEqual([0, 0, 0, list[1]!.function]);
  });

  test('of the legacy struct take 24 bytes, and have neither index nor flags nor padding', () => {
    const source = new DataView(new ArrayBuffer(100));
    for (let word = 0; word < 25; word++) source.setUint32(word * 4, number(word), true);
    const table = tableOf([...list, ...list]);
    table.copyInLegacy(source, 8, 2);
    const legacy = (first: number): CpuidEntry2 => ({
      ...{ function: number(first), index: 0, flags: 0, eax: number(first + 1), ebx: number(first + 2) },
      ...{ ecx: number(first + 3), edx: number(first + 4) },
    });
    expect(table.entries()).toEqual([legacy(2), legacy(8)]);
    expect(entryAt(table.words, 2)).toEqual(list[0]);
  });
});

describe('two tables are equal', () => {
  const list = [filled(1, 2, 0, 0), filled(7, 0, 1, 10)];
  const other = (change: (entry: { -readonly [K in keyof CpuidEntry2]: CpuidEntry2[K] }) => void, position = 1) => {
    const copy = list.map((entry) => ({ ...entry }));
    change(copy[position]!);
    return tableOf(copy);
  };
  const rows: [name: string, table: CpuidTable, equal: boolean][] = [
    ['when they are', tableOf(list), true],
    ['not with an entry less', tableOf(list.slice(0, 1)), false],
    ['not with an entry more', tableOf([...list, list[0]!]), false],
    ['not with another order', tableOf(list.toReversed()), false],
    ['not with another function', other((entry) => entry.function++, 0), false],
    ['not with another index', other((entry) => entry.index++), false],
    ['not with other flags', other((entry) => entry.flags++), false],
    ['not with another EAX', other((entry) => entry.eax++), false],
    ['not with another EDX', other((entry) => entry.edx++), false],
    ['whatever their padding', other((entry) => (entry.padding = [0, 0, 0])), true],
    ['whatever lies behind the last entry', tableOf(list, tableOf([...list, ...list])), true],
  ];
  test.each(rows)('%s', (_, table, equal) => {
    expect(tableOf(list).equals(table)).toBe(equal);
    expect(table.equals(tableOf(list))).toBe(equal);
  });
});

describe('a lookup', () => {
  const table = tableOf([
    ...[filled(0x40, 0, 0, 0), filled(7, 1, 1, 10), filled(7, 0, 1, 20), filled(0x40, 1, 1, 30)],
    ...[filled(1, 5, 0, 40), filled(4, 0, 1, 50)],
  ]);
  const rows: [fn: number, index: number, position: number | null][] = [
    [7, 0, 2],
    [7, 1, 1],
    [7, 2, null],
    [7, ANY_INDEX, 1],
    [1, 0, 4],
    [1, 5, 4],
    [4, 0, 5],
    [4, 1, null],
    [5, 0, null],
    [0x40, 1, 0],
    [0x40, ANY_INDEX, 0],
    [0x41, 0, null],
    // The same slots, were there any.
    [0x4000_0007, 0, null],
    [0x107, 0, null],
  ];
  test.each(rows)('of %s, %s', (fn, index, position) => {
    const word = position === null ? -1 : position * 10;
    expect(table.find(fn, index)).toBe(word);
    expect(findEntry(table.words, table.count, fn, index)).toBe(word);
    if (hasSlot(fn) && index !== ANY_INDEX) {
      expect(table.findSigned(fn, index)).toBe(word);
      // Whichever is asked first makes the index.
      const fresh = tableOf(table.entries());
      expect(fresh.findSigned(fn, index)).toBe(word);
    }
  });

  test('starts where it is told to', () => {
    expect(findEntry(table.words, table.count, 7, ANY_INDEX, 20)).toBe(20);
    expect(findEntry(table.words, table.count, 7, ANY_INDEX, 30)).toBe(-1);
  });
});

/** As the kernel searches: base by base. */
function signatureBaseSlowly(words: Uint32Array, count: number): number {
  for (let base = 0x4000_0000; base < 0x4001_0000; base += 0x100) {
    const at = findEntry(words, count, base, ANY_INDEX);
    if (at < 0) continue;
    if (words[at + EBX] === SIGNATURE.ebx && words[at + ECX] === SIGNATURE.ecx && words[at + EDX] === SIGNATURE.edx)
      return base;
  }
  return 0;
}

describe("KVM's signature", () => {
  const bases = [0x3fff_ff00, 0x4000_0000, 0x4000_0001, 0x4000_0100, 0x4000_0200, 0x4000_ff00, 0x4001_0000];
  const candidate = fc.record({ base: fc.constantFrom(...bases), edx: fc.constantFrom(SIGNATURE.edx, 0) });
  test('is found at the lowest base', () => {
    const law = fc.property(fc.array(candidate, { maxLength: 6 }), (list) => {
      const table = tableOf(
        list.map(({ base, edx }) => ({ function: base, index: 0, flags: 0, eax: 0, ...SIGNATURE, edx })),
      );
      expect(kvmSignatureBase(table.words, table.count)).toBe(signatureBaseSlowly(table.words, table.count));
    });
    fc.assert(law, runs(1000));
  });
});
