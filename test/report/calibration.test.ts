import { describe, expect, test } from 'vitest';
import { calibrate } from '../../src/report/calibration.js';

describe('the cycle model', () => {
  const rows = calibrate();

  test.each(rows.map((row) => [`${row.kind}: ${row.what}`, row] as const))('%s', (_, { published, model, within }) => {
    expect(Math.abs(model / published - 1)).toBeLessThanOrEqual(within ?? Number.POSITIVE_INFINITY);
  });

  test('is the same from run to run', () => {
    expect(calibrate()).toEqual(rows);
  });

  test('has predictions, not inputs alone', () => {
    expect(rows.filter(({ kind }) => kind === 'prediction').length).toBeGreaterThanOrEqual(3);
  });
});
