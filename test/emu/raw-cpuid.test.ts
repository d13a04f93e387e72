import { describe, expect, test } from 'vitest';
import type { CpuidRow } from '../../src/cpuid/entry.js';
import { type Cpu, Machine } from '../../src/emu/machine.js';
import { type OutOfRange, RawCpuid } from '../../src/emu/raw-cpuid.js';
import { machineOf } from '../../src/linux/host.js';

const row = (fn: number, index: number, eax: number, ...others: readonly number[]): CpuidRow => {
  const [ebx = 0, ecx = 0, edx = 0] = others;
  return { function: fn, index, eax, ebx, ecx, edx };
};

const GENUINE_INTEL = [0x756e_6547, 0x6c65_746e, 0x4965_6e69] as const;
const AUTHENTIC_AMD = [0x6874_7541, 0x444d_4163, 0x6974_6e65] as const;

/** A CPU with basic leaves to 0xD, extended ones to 0x80000008 and nothing else. */
const ROWS: readonly CpuidRow[] = [
  row(0x0, 0, 0xd, ...GENUINE_INTEL),
  row(0x1, 0, 0x806f8, 1, 2, 3),
  row(0x2, 3, 0x22),
  row(0x4, 0, 0x40),
  row(0x4, 1, 0x41),
  row(0x7, 0, 1, 0x70),
  row(0x7, 1, 0x71),
  row(0xd, 0, 0xd0, 1, 2, 3),
  row(0xd, 1, 0xd1, 4, 5, 6),
  row(0x20, 0, 0x2000),
  row(0x8000_0000, 0, 0x8000_0008),
  row(0x8000_0008, 0, 0x3039),
  row(0x8000_0009, 0, 0x9999),
];

function execute(cpuid: RawCpuid, fn: number, index: number): number[] {
  const out = new Uint32Array([9, 9, 9, 9]);
  cpuid.execute(fn, index, out);
  return [...out];
}

describe('execution', () => {
  type Case = readonly [what: string, fn: number, index: number, basic: readonly number[], zero?: readonly number[]];
  const NOTHING = [0, 0, 0, 0];
  const LAST = [0xd0, 1, 2, 3];
  const LAST_1 = [0xd1, 4, 5, 6];
  const cases: readonly Case[] = [
    ['a leaf', 0x1, 0, [0x806f8, 1, 2, 3]],
    ['ECX is ignored where there are no sub-leaves', 0x1, 77, [0x806f8, 1, 2, 3]],
    ['the only row of such a leaf, whatever its index', 0x2, 0, [0x22, 0, 0, 0]],
    ['a sub-leaf', 0x4, 1, [0x41, 0, 0, 0]],
    ['a sub-leaf that is missing', 0x4, 2, NOTHING],
    ['a leaf that is missing', 0x3, 0, NOTHING],
    ['above the basic maximum', 0xe, 0, LAST, NOTHING],
    ['above it, with the index of the last leaf', 0x11, 1, LAST_1, NOTHING],
    ['above it, with an index that the last leaf lacks', 0x11, 9, NOTHING, NOTHING],
    ['above it, although the dump has the row', 0x20, 0, LAST, NOTHING],
    ['a hypervisor leaf', 0x4000_0000, 0, LAST, NOTHING],
    ['0x7fffffff', 0x7fff_ffff, 0, LAST, NOTHING],
    ['an extended leaf', 0x8000_0008, 0, [0x3039, 0, 0, 0]],
    ['above the extended maximum, although the dump has the row', 0x8000_0009, 0, LAST, NOTHING],
    ['0x80860000', 0x8086_0000, 1, LAST_1, NOTHING],
    ['a range that the CPU lacks', 0xc000_0000, 0, LAST, NOTHING],
    ['0xffffffff', 0xffff_ffff, 0, LAST, NOTHING],
  ];

  test.each(cases.map(([what, ...rest]) => ({ what, rest })))('$what', ({ rest: [fn, index, basic, zero = basic] }) => {
    expect(execute(new RawCpuid(ROWS, 'basic'), fn, index)).toEqual(basic);
    expect(execute(new RawCpuid(ROWS, 'zero'), fn, index)).toEqual(zero);
  });

  test('of two rows for one leaf the first counts', () => {
    const cpuid = new RawCpuid([row(0, 0, 1), row(1, 0, 5), row(1, 0, 6)], 'zero');
    expect(execute(cpuid, 1, 0)[0]).toBe(5);
  });

  test('a CPU without any row answers zeros', () => {
    expect(execute(new RawCpuid([], 'basic'), 0, 0)).toEqual([0, 0, 0, 0]);
    expect(execute(new RawCpuid([], 'basic'), 5, 0)).toEqual([0, 0, 0, 0]);
  });
});

describe('the maximum of a range', () => {
  test.each([
    [0, 0xd],
    [0x20, 0xd],
    [0x4000_0000, 0xd],
    [0x8000_0000, 0x8000_0008],
    [0xbfff_ffff, 0x8000_0008],
    [0xc000_0000, 0],
    [0xffff_ffff, 0],
  ])('of function %i', (fn, maximum) => {
    expect(new RawCpuid(ROWS, 'basic').maximum(fn)).toBe(maximum);
  });

  test.each([
    [0x8000_0004, 0x8000_0004],
    [0x8000_ffff, 0x8000_ffff],
    [0x0000_000d, 0],
    [0x8001_0000, 0],
    [0xc000_0004, 0],
  ])('an EAX of %i in 0x80000000 makes it %i', (eax, maximum) => {
    expect(new RawCpuid([row(0, 0, 1), row(0x8000_0000, 0, eax)], 'zero').maximum(0x8000_0001)).toBe(maximum);
  });
});

describe('rows', () => {
  test('are what the dump has, beyond the maxima too', () => {
    const cpuid = new RawCpuid(ROWS, 'zero');
    expect(cpuid.row(0x20, 0)?.eax).toBe(0x2000);
    expect(cpuid.row(0x3, 0)).toBeUndefined();
    expect(cpuid.row(0x4, 5)).toBeUndefined();
    expect(cpuid.row(0x1, 5)?.eax).toBe(0x806f8);
  });
});

describe('a machine', () => {
  test('has a CPU at least', () => {
    expect(() => new Machine([])).toThrow('a machine needs at least one CPU');
  });

  test.each([
    ['GenuineIntel', GENUINE_INTEL, 'basic'],
    ['AuthenticAMD', AUTHENTIC_AMD, 'zero'],
    ['any other', [1, 2, 3], 'zero'],
  ] as const)('%s answers above its maxima: %s', (_, vendor, rule: OutOfRange | readonly number[]) => {
    const [ebx, ecx, edx] = vendor;
    const machine = machineOf([[row(0, 0, 1, ebx, ecx, edx)]]);
    expect(machine.bootCpu.cpuid.outOfRange).toBe(rule);
    expect(machineOf([[row(0, 0, 1, ebx, ecx, edx)]], { outOfRange: 'basic' }).bootCpu.cpuid.outOfRange).toBe('basic');
  });

  test('CPUs with the same rows share their silicon, and nothing else', () => {
    const machine = machineOf([ROWS, ROWS, [...ROWS]], { msrs: new Map([[0x10, 1n]]) });
    const [one, two, three] = machine.cpus as [Cpu, Cpu, Cpu];
    expect([one.id, two.id, three.id]).toEqual([0, 1, 2]);
    expect([one.cpuid === two.cpuid, one.cpuid === three.cpuid]).toEqual([true, false]);
    one.msrs.set(0x10, 2n);
    expect(two.msrs.get(0x10)).toBe(1n);
  });
});
