import { describe, expect, test } from 'vitest';
import { Coverage, type CoverageRow, coverageRows, isComplete, summarize } from '../../src/fuzz/coverage.js';
import { coveragePage } from '../../src/fuzz/page.js';
import type { CpuidEntry2 } from '../../src/index.js';
import { wordsOf } from '../support/rules.js';
import { placeOf, specOf } from './places.js';

const place = placeOf(specOf('sapphire-rapids'));

function rowsAfter(...entries: readonly CpuidEntry2[]): CoverageRow[] {
  const coverage = new Coverage(place.rules);
  const words = wordsOf(entries);
  for (const position of entries.keys()) coverage.note(words, position * 10);
  return coverageRows([[place.rules, coverage.arrays]]);
}

const entry = (fn: number, index: number, registers: Partial<CpuidEntry2>, flags = 1): CpuidEntry2 => ({
  ...{ function: fn, index, flags, eax: 0, ebx: 0, ecx: 0, edx: 0 },
  ...registers,
});

const rowOf = (rows: readonly CoverageRow[], fn: number, index: CoverageRow['index'], register: string) =>
  rows.find((row) => row.function === fn && row.index === index && row.register === register)!;

describe('coverage', () => {
  test('tells bits that are allowed from those that are not, in the row that decides', () => {
    const rows = rowsAfter(entry(7, 1, { ecx: 1 << 22 }), entry(7, 0, { ecx: 1 << 22 }), entry(7, 0, { ebx: 0x20 }, 0));
    expect(rowOf(rows, 7, 1, 'ecx')).toMatchObject({ accepted: 0, refused: 1 << 22 });
    expect(rowOf(rows, 7, 0, 'ecx')).toMatchObject({ accepted: 1 << 22, refused: 0 });
    expect(rowOf(rows, 7, 'any', 'ebx')).toMatchObject({ refused: 0x20, hit: { accept: false, refuse: true } });
    expect(summarize(rows)).toMatchObject({ acceptedBits: 1, refusedBits: 2 });
  });

  test('takes a field that is too large, and a value that is not the fixed one, as refused', () => {
    const rows = rowsAfter(entry(7, 0, { eax: 3 }), entry(0xd, 2, { eax: 1 }));
    expect(rowOf(rows, 7, 0, 'eax')).toMatchObject({ accepted: 0, refused: 3 });
    expect(rowOf(rows, 0xd, 2, 'eax').hit).toEqual({ accept: false, refuse: true });
  });

  test('a row is complete when it was hit with every verdict that its rule allows', () => {
    const rows = rowsAfter(entry(0, 0, { eax: 5 }, 0), entry(7, 1, { ecx: 1 << 22 }), entry(7, 1, {}));
    expect(isComplete(rowOf(rows, 0, null, 'eax'))).toBe(true);
    expect(isComplete(rowOf(rows, 7, 1, 'ecx'))).toBe(true);
    expect(isComplete(rowOf(rows, 7, 0, 'ecx'))).toBe(false);
    expect(rows.every(({ function: fn }, at) => at === 0 || rows[at - 1]!.function <= fn)).toBe(true);
  });

  test('is shown on a page that needs nothing else', () => {
    const page = coveragePage({ title: 'a <b> & c', rows: rowsAfter(entry(7, 1, { ecx: 1 << 22 })), findings: [] });
    expect(page).toContain('a &#60;b&#62; &#38; c');
    expect(page).toContain('CPUID.(EAX=7,ECX=1):ECX[22]: refused');
    expect(page).not.toMatch(/<(script|link|img)|https?:\/\/(?!www\.w3\.org)/);
    expect(page.match(/<rect/g)!.length).toBeGreaterThan(100);
  });
});
