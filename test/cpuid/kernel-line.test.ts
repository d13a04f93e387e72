import { describe, expect, test } from 'vitest';
import {
  inRange,
  KERNEL_LINES,
  type KernelLine,
  kernelIndex,
  lineOfRelease,
  NEWEST_KERNEL,
  onLine,
} from '../../src/cpuid/kernel-line.js';

test('lines are in order of time, the newest last', () => {
  expect(KERNEL_LINES.map(kernelIndex)).toEqual([0, 1, 2, 3, 4]);
  expect(KERNEL_LINES.at(-1)).toBe(NEWEST_KERNEL);
});

describe('a value that changes over time', () => {
  test.each([
    [{ '6.1': 'a' }, ['a', 'a', 'a', 'a', 'a']],
    [{ '6.12': 'a' }, [null, 'a', 'a', 'a', 'a']],
    [{ '6.1': 'a', '7.1': 'b' }, ['a', 'a', 'a', 'b', 'b']],
    [{ '7.3': 'a' }, [null, null, null, null, 'a']],
    [{ '6.1': 'a', '6.18': null, '7.3': 'b' }, ['a', 'a', null, null, 'b']],
    [{ '6.1': 0, '6.12': 1 }, [0, 1, 1, 1, 1]],
    [{}, [null, null, null, null, null]],
  ])('%j', (by, values) => {
    expect(KERNEL_LINES.map((line) => onLine<unknown>(by, line))).toEqual(values);
  });
});

describe('a row that exists for a while', () => {
  type Row = readonly [since: KernelLine | undefined, until: KernelLine | undefined, exists: readonly boolean[]];
  const rows: readonly Row[] = [
    [undefined, undefined, [true, true, true, true, true]],
    ['6.12', undefined, [false, true, true, true, true]],
    [undefined, '6.12', [true, true, false, false, false]],
    ['6.12', '7.1', [false, true, true, true, false]],
    ['6.18', '6.18', [false, false, true, false, false]],
    ['7.3', '6.1', [false, false, false, false, false]],
  ];

  test.each(rows)('since %s until %s', (since, until, exists) => {
    expect(KERNEL_LINES.map((line) => inRange(line, since, until))).toEqual(exists);
  });
});

describe('the line of a release', () => {
  test.each([
    ['6.1.176', '6.1'],
    ['6.1', '6.1'],
    ['6.12.107+deb13-cloud-amd64', '6.12'],
    ['6.2.0', '6.1'],
    ['6.9.12', '6.1'],
    ['6.11.11', '6.1'],
    ['6.13-rc1', '6.12'],
    ['6.17.9', '6.12'],
    ['6.18.15', '6.18'],
    ['6.100.0', '6.18'],
    ['7.0.1', '6.18'],
    ['7.1.8', '7.1'],
    ['7.2', '7.1'],
    ['7.3.4', '7.3'],
    ['7.10.0', '7.3'],
    ['10.0', '7.3'],
    ['6.0.19', null],
    ['5.15.0-generic', null],
    ['4.19', null],
    ['6', null],
    ['', null],
    ['v6.12', null],
    ['Linux 6.12', null],
  ])('%s: %s', (release, line) => {
    expect(lineOfRelease(release)).toBe(line);
  });
});
