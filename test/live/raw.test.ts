import { describe, expect, test } from 'vitest';
import type { CpuidRow } from '../../src/cpuid/entry.js';
import { RawCpuid } from '../../src/emu/raw-cpuid.js';
import { builtInHosts } from '../../src/index.js';
import { type Cpuid, outOfRangeRows, type Registers, rawRows } from '../../src/live/raw.js';

const ZERO: Registers = [0, 0, 0, 0];

/** A CPU with these leaves; `index` null: the same for every sub-leaf. */
function cpu(rows: readonly (readonly [fn: number, index: number | null, registers: Registers])[]): Cpuid {
  return (fn, index) => rows.find((row) => row[0] === fn && (row[1] === null || row[1] === index))?.[2] ?? ZERO;
}

/** `function.index` of each row, hexadecimal. */
const keys = (rows: readonly string[]): string[] =>
  rows.map((row) =>
    row
      .split(' ', 2)
      .map((word) => Number.parseInt(word, 16).toString(16))
      .join('.'),
  );

const BASIC = [0, null, [1, 0, 0, 0]] as const;

describe('rawRows', () => {
  const cases: readonly (readonly [what: string, cpuid: Cpuid, expected: string[]])[] = [
    ['a leaf without sub-leaves has one row', cpu([BASIC, [1, null, [9, 9, 9, 9]]]), ['0.0', '1.0']],
    [
      'sub-leaves up to the last that differs, and one of the tail',
      cpu([
        [0, null, [4, 0, 0, 0]],
        [4, 0, [1, 1, 1, 1]],
        [4, 2, [3, 3, 3, 3]],
      ]),
      ['0.0', '1.0', '2.0', '3.0', '4.0', '4.1', '4.2', '4.3'],
    ],
    ['a tail that is not zero', cpu([BASIC, [1, 0, [1, 0, 0, 0]], [1, null, [2, 0, 0, 0]]]), ['0.0', '1.0', '1.1']],
    [
      'levels end at the first of type 0',
      (fn, index) =>
        fn === 0 ? [0xb, 0, 0, 0] : fn === 0xb ? [0, 0, ((index < 2 ? index + 1 : 0) << 8) | index, 9] : ZERO,
      [...Array.from({ length: 11 }, (_, fn) => `${fn.toString(16)}.0`), 'b.0', 'b.1', 'b.2'],
    ],
    [
      "a hypervisor's leaves, where bit 31 says that there is one",
      cpu([BASIC, [1, null, [0, 0, 0x8000_0000, 0]], [0x4000_0000, null, [0x4000_0001, 1, 2, 3]]]),
      ['0.0', '1.0', '40000000.0', '40000001.0'],
    ],
    [
      'the second base too',
      cpu([
        BASIC,
        [1, null, [0, 0, 0x8000_0000, 0]],
        [0x4000_0000, null, [0x4000_0000, 0, 0, 0]],
        [0x4000_0100, null, [0x4000_0101, 0, 0, 0]],
      ]),
      ['0.0', '1.0', '40000000.0', '40000100.0', '40000101.0'],
    ],
    [
      'no hypervisor: its range is not asked',
      cpu([BASIC, [0x4000_0000, null, [0x4000_0001, 1, 2, 3]]]),
      ['0.0', '1.0'],
    ],
    [
      'other ranges by their own maximum',
      cpu([BASIC, [0x8000_0000, null, [0x8000_0001, 0, 0, 0]], [0xc000_0000, null, [0xc000_0000, 0, 0, 0]]]),
      ['0.0', '1.0', '80000000.0', '80000001.0', 'c0000000.0'],
    ],
    ['what is no maximum is no range', cpu([BASIC, [0x8000_0000, null, [7, 7, 7, 7]]]), ['0.0', '1.0']],
  ];

  test.each(cases)('%s', (_, cpuid, expected) => {
    expect(keys(rawRows(cpuid))).toEqual(expected);
  });

  test('a range has an end whatever the CPU says', () => {
    expect(rawRows(cpu([[0, null, [0xffff_ffff, 0, 0, 0]]]))).toHaveLength(0x81);
  });

  test.each(builtInHosts().map((host) => [host.name, host] as const))('loses nothing of %s', (_, host) => {
    const silicon = new RawCpuid(host.rows, 'zero');
    const again = new RawCpuid(rawRows(execute(silicon)).map(parseRow), 'zero');
    for (const { function: fn, index } of host.rows) {
      if (fn <= silicon.maximum(fn))
        expect([fn, index, ...execute(again)(fn, index)]).toEqual([fn, index, ...execute(silicon)(fn, index)]);
    }
  });
});

function execute(silicon: RawCpuid): Cpuid {
  const out = new Uint32Array(4);
  return (fn, index) => {
    silicon.execute(fn, index, out);
    return [out[0]!, out[1]!, out[2]!, out[3]!];
  };
}

function parseRow(row: string): CpuidRow {
  const [fn, index, eax, ebx, ecx, edx] = row.split(' ').map((word) => Number.parseInt(word, 16));
  return { function: fn!, index: index!, eax: eax!, ebx: ebx!, ecx: ecx!, edx: edx! };
}

test('outOfRangeRows asks right behind both maxima', () => {
  const rows = outOfRangeRows(cpu([BASIC, [0x8000_0000, null, [0x8000_0008, 0, 0, 0]]]));
  expect(rows).toHaveLength(18);
  expect(keys(rows).slice(0, 2)).toEqual(['2.0', '2.1']);
  expect(keys(rows)).toContain('80000009.0');
});
