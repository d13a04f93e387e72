import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { fillRfcReview, initVmTable, overlayTable, reservedTable, strictnessTable } from '../../src/report/rfc-doc.js';

const page = readFileSync(new URL('../../docs/rfc-review.md', import.meta.url), 'utf8');

/** The cells of a table's rows, without its head. */
const rowsOf = (table: string): string[][] =>
  table
    .split('\n')
    .slice(2)
    .map((line) => line.slice(2, -2).split(' | '));

test('docs/rfc-review.md shows the tables as they are (npm run docs writes them)', () => {
  expect(fillRfcReview(page)).toBe(page);
});

test('every command on the page has printed something, or writes a file', () => {
  for (const [, body] of page.matchAll(/```console\n([\s\S]*?)```/g)) {
    for (const part of body!.split(/^(?=\$ )/m)) {
      const lines = part.trimEnd().split('\n');
      const commandLines = 1 + lines.filter((line) => line.endsWith('\\')).length;
      expect(lines.length > commandLines || / > \/tmp\//.test(part), part).toBe(true);
    }
  }
});

describe('what the tables show', () => {
  test('the deny list and the SVM code agree with the overlays on what KVM lists', () => {
    for (const [bit, , listed, , svm, tdx, denied, cleared] of rowsOf(overlayTable())) {
      if (listed === 'not listed') continue;
      expect([bit, denied]).toEqual([bit, tdx === 'yes' ? '-' : 'yes']);
      expect([bit, cleared]).toEqual([bit, svm === 'yes' ? '-' : 'yes']);
    }
  });

  test('the deny list lets pass what nobody knew when it was written; lists of what is allowed do not', () => {
    const future = rowsOf(initVmTable()).filter(([, module]) => module !== '2.0.8');
    expect(future).toHaveLength(2);
    for (const [, , off, denylist, ...lists] of future) {
      expect([off, denylist, ...lists]).toEqual(['OK', 'OK', 'EINVAL', 'EINVAL']);
    }
  });

  test("an older kernel refuses no fewer of the newest one's bits", () => {
    for (const [host, ...cells] of rowsOf(strictnessTable())) {
      const counts = cells.map((cell) => Number.parseInt(cell, 10));
      expect([host, counts.toSorted((a, b) => b - a)]).toEqual([host, counts]);
    }
  });

  test('reserved registers are in use on some silicon', () => {
    expect(rowsOf(reservedTable()).some(([, , used]) => used !== 'none')).toBe(true);
  });
});
