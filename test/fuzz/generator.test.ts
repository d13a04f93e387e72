import { describe, expect, test } from 'vitest';
import { TableGenerator } from '../../src/fuzz/generator.js';
import { formatEntry } from '../../src/index.js';
import { runs } from '../support/runs.js';
import { NAMED, placeOf } from './places.js';

const CASES = runs(2000).numRuns!;

describe.each(NAMED)('tables at %s', (_, spec) => {
  const place = placeOf(spec);
  const reported = new Set(place.reported.map(formatEntry));
  const tableOf = (generator: TableGenerator, number: number, reportedOnly = false): string[] =>
    place.entries(generator.make(1, number, reportedOnly)).map(formatEntry);

  test('follow from seed and number, whatever was made before', () => {
    const generator = new TableGenerator(place);
    const tables = Array.from({ length: CASES }, (_, number) => tableOf(generator, number));
    for (let number = CASES - 1; number >= 0; number -= 7) expect(tableOf(generator, number)).toEqual(tables[number]);
    expect(tableOf(new TableGenerator(place), 5)).toEqual(tables[5]);
    expect(new Set(tables.map((table) => table.join())).size).toBeGreaterThan(CASES * 0.9);
  });

  test('have between 1 and all entries, of which all that differ are listed', () => {
    const generator = new TableGenerator(place);
    for (let number = 0; number < CASES; number++) {
      const at = generator.make(2, number, false);
      expect(generator.count).toBeGreaterThan(0);
      expect(generator.count).toBeLessThanOrEqual(place.reported.length);
      expect(place.words[at]).toBe(generator.count);
      const dirty = new Set(generator.dirty.subarray(0, generator.dirtyCount));
      for (const [position, entry] of place.entries(at).entries()) {
        if (!dirty.has(at + 2 + position * 10)) expect(reported).toContain(formatEntry(entry));
      }
    }
  });

  test('hold nothing but what KVM reports, if that is asked for', () => {
    const generator = new TableGenerator(place);
    for (let number = 0; number < CASES; number++) {
      for (const entry of tableOf(generator, number, true)) expect(reported).toContain(entry);
    }
  });
});
