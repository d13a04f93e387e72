import { describe, expect, test } from 'vitest';
import { parseEntry } from '../../src/cpuid/formats/index.js';
import { randomCases } from '../../src/live/random-cases.js';
import { filled, leaf, setCases, withRuntimeBits, withSizeByte } from '../../src/live/set-cases.js';
import { sweepRow } from '../../src/live/set-sections.js';
import { loadCapture } from '../support/captures.js';

const supported = loadCapture('tcg-7.3.4-EPYC-Genoa').supported.entries.map((text: string) =>
  parseEntry(text, 'entry'),
);

describe('setCases', () => {
  const cases = setCases(supported);
  const entriesOf = (id: string) => cases.find((item) => item.id === id)?.entries;

  test('each has its own name', () => {
    expect(new Set(cases.map(({ id }) => id)).size).toBe(cases.length);
    expect(cases.length).toBeGreaterThan(120);
  });

  test('all entries are u32', () => {
    const words = cases.flatMap(({ entries }) =>
      entries.flatMap(({ padding = [], ...entry }) => [...Object.values(entry), ...padding]),
    );
    expect(words.filter((word) => word !== word >>> 0)).toEqual([]);
  });

  test.each([
    ['nent 0', 0],
    ['nent 1', 1],
    ['nent 256 (filled with unknown leaves)', 256],
    ['nent 257 (filled with unknown leaves)', 257],
    ['whole set twice (cut at 256)', Math.min(2 * supported.length, 256)],
    ['without 7.0', supported.length - 1],
    ['duplicate 7.0 same', supported.length + 1],
    ['80000008: bad only entry', 1],
  ])('%s has %i entries', (id, count) => {
    expect(entriesOf(id)).toHaveLength(count);
  });

  test('a supported set without the leaves in question only has fewer of them', () => {
    const few = setCases([leaf(0, { eax: 1 }), leaf(1)]).map(({ id }) => id);
    expect(few).toContain('supported');
    expect(few.filter((id) => /vaddr|MAXPHYADDR|80000008:|Xen/.test(id))).toEqual([]);
  });
});

test('filled numbers its leaves by position', () => {
  expect(filled([leaf(0)], 3).map(({ function: fn, edx }) => [fn, edx])).toEqual([
    [0, 0],
    [0x5000_0001, 1],
    [0x5000_0002, 2],
  ]);
});

test('withSizeByte changes one byte of 80000008 EAX', () => {
  const table = [leaf(0), leaf(0x8000_0008, { eax: 0x3030_3030 })];
  expect(withSizeByte(table, 1, 52)[1]!.eax).toBe(0x3030_3430);
  expect(withSizeByte(table, 3, 0xff)[1]!.eax).toBe(0xff30_3030);
  expect(withSizeByte([leaf(0)], 1, 52)).toEqual([leaf(0)]);
});

test('withRuntimeBits sets and clears the bits that follow the state of a vCPU', () => {
  const table = [leaf(1), leaf(7, { flags: 1 }), leaf(0xd, { flags: 1, ebx: 5 })];
  const on = withRuntimeBits(table, true, 0xffff);
  expect(on.map(({ ebx, ecx, edx }) => [ebx, ecx, edx])).toEqual([
    [0, 0x0800_0008, 0x200],
    [0, 0x10, 0],
    [0xffff, 0, 0],
  ]);
  expect(withRuntimeBits(on, false, 5)).toEqual(table);
});

describe('randomCases', () => {
  test('the seed decides', () => {
    expect(randomCases(supported, 50, 7)).toEqual(randomCases(supported, 50, 7));
    expect(randomCases(supported, 50, 7)).not.toEqual(randomCases(supported, 50, 8));
    expect(randomCases(supported, 3, 7).map(({ id }) => id)).toEqual(['random 7:0', 'random 7:1', 'random 7:2']);
  });

  test('a longer campaign begins as the shorter one', () => {
    expect(randomCases(supported, 60, 1).slice(0, 20)).toEqual(randomCases(supported, 20, 1));
  });

  test('tables stay within what KVM takes, and do vary', () => {
    const cases = randomCases(supported, 300, 1);
    expect(Math.max(...cases.map(({ entries }) => entries.length))).toBeLessThanOrEqual(256);
    expect(new Set(cases.map(({ entries }) => JSON.stringify(entries))).size).toBeGreaterThan(250);
  });
});

test.each([
  ['all accepted', ['OK', 'OK'], { ok: [0, 1], rest: 'none' }],
  ['some refused', ['EINVAL', 'OK', 'EINVAL'], { ok: [1], rest: 'EINVAL' }],
  ['for several reasons', ['EINVAL', 'EPERM'], { ok: [], rest: 'mixed' }],
])('sweepRow: %s', (_, errnos, row) => {
  expect(sweepRow(errnos)).toEqual(row);
});
