import { describe, expect, test } from 'vitest';
import type { HostDump } from '../../../src/cpuid/dump.js';
import { cpuDifferences, pickCpu } from '../../../src/cpuid/formats/cpus.js';
import { readHost } from '../../../src/cpuid/formats/index.js';
import { rowFromWords } from '../../../src/cpuid/formats/rows.js';
import { bytesOf, formatError, ONE_CPU, TWO_CPUS } from './support.js';

/** A host whose CPUs have these rows, six words each. */
function host(...cpus: number[][][]): HostDump {
  return {
    format: 'cpuid-r',
    cpus: cpus.map((rows, n) => ({ label: `CPU ${n}`, rows: rows.map(rowFromWords) })),
    warnings: [],
  };
}

describe('pickCpu', () => {
  const two = readHost(bytesOf(TWO_CPUS), 'host.txt');

  test('the first unless told otherwise', () => {
    expect(pickCpu(two)).toBe(two.cpus[0]);
    expect(pickCpu(two, 1)).toBe(two.cpus[1]);
  });

  test.each([2, -1, 0.5, Number.NaN])('there is no CPU %s', (n) => {
    expect(formatError(() => pickCpu(two, n)).message).toBe(`cpu: no CPU ${n}: the dump has 2; expected 0 to 1`);
  });

  test('the only one', () => {
    const one = readHost(bytesOf(ONE_CPU), 'host.txt');
    expect(formatError(() => pickCpu(one, 1)).message).toBe('cpu: no CPU 1: the dump has 1; expected 0');
  });
});

describe('cpuDifferences', () => {
  test.each<[string, HostDump]>([
    ['one CPU', host([[1, 0, 1, 2, 3, 4]])],
    ['the initial APIC id', host([[1, 0, 1, 0x0100_0800, 3, 4]], [[1, 0, 1, 0xff00_0800, 3, 4]])],
    ['the row of the hardware feedback table', host([[6, 0, 7, 2, 9, 3]], [[6, 0, 7, 2, 9, 0x1_0003]])],
    ['x2APIC ids', host([[0xb, 1, 1, 2, 3, 0]], [[0xb, 1, 1, 2, 3, 8]])],
    ['x2APIC ids of 1F', host([[0x1f, 0, 1, 2, 3, 0]], [[0x1f, 0, 1, 2, 3, 8]])],
    ['x2APIC ids of 80000026', host([[0x8000_0026, 0, 1, 2, 3, 0]], [[0x8000_0026, 0, 1, 2, 3, 8]])],
    ['ids of 8000001E', host([[0x8000_001e, 0, 1, 2, 3, 0]], [[0x8000_001e, 0, 9, 8, 7, 0]])],
    ["a Zhaoxin's temperature", host([[0xc000_0004, 0, 1, 2, 3, 0]], [[0xc000_0004, 0, 2, 3, 4, 0]])],
    [
      'what lies beyond the maximum leaf',
      host(
        [
          [0, 0, 0xb, 0, 0, 0],
          [0x14, 0, 1, 2, 3, 0],
        ],
        [
          [0, 0, 0xb, 0, 0, 0],
          [0x14, 0, 1, 2, 3, 8],
        ],
      ),
    ],
  ])('alike but for %s', (_, dump) => {
    expect(cpuDifferences(dump)).toBeUndefined();
  });

  test('names the leaves that differ, and who has them', () => {
    const dump = host(
      [
        [1, 0, 1, 0, 3, 4],
        [4, 0, 1, 2, 3, 4],
      ],
      [
        [1, 0, 1, 0x0100_0000, 3, 4],
        [4, 0, 1, 2, 3, 4],
      ],
      [
        [1, 0, 1, 0x0200_0000, 3, 5],
        [4, 0, 0, 2, 3, 4],
        [0x1c, 0, 1, 2, 3, 4],
      ],
    );
    expect(cpuDifferences(dump)).toBe(
      '1 of 3 CPUs (first CPU 2) differ from CPU 0 in more than their own ids: CPUID 1, 4, 1CH',
    );
  });

  test('a row that only some have is a difference: absent is not zero', () => {
    expect(cpuDifferences(host([[7, 0, 0, 0, 0, 0]], [[6, 0, 0, 0, 0, 0]]))).toContain('CPUID 6, 7');
  });

  test('an EDX of leaf 1 that is not an id', () => {
    expect(cpuDifferences(host([[1, 0, 1, 2, 3, 4]], [[1, 0, 1, 2, 3, 5]]))).toContain('CPUID 1');
  });

  test('says that the host is hybrid', () => {
    const core = [
      [0x1a, 0, 0x4000_0001, 0, 0, 0],
      [4, 0, 1, 2, 3, 4],
    ];
    const atom = [
      [0x1a, 0, 0x2000_0001, 0, 0, 0],
      [4, 0, 9, 2, 3, 4],
    ];
    expect(cpuDifferences(host(core, core, atom, atom))).toBe(
      '2 of 4 CPUs (first CPU 2) differ from CPU 0 in more than their own ids: CPUID 4; ' +
        'a hybrid host, CPUID 1AH has the core kinds 40 Core (first CPU 0) and 20 Atom (first CPU 2)',
    );
  });

  test('readHost passes the warning on', () => {
    const hybrid = TWO_CPUS.replace(/edx=0x2c100800\n$/, 'edx=0x2c100000\n');
    expect(readHost(bytesOf(hybrid), 'host.txt').warnings).toEqual([
      'host.txt: 1 of 2 CPUs (first CPU 1) differ from CPU 0 in more than their own ids: CPUID 80000001H',
    ]);
    expect(readHost(bytesOf(TWO_CPUS), 'host.txt').warnings).toEqual([]);
  });
});
