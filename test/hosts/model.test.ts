import { expect, test } from 'vitest';
import { rome } from '../../src/hosts/amd/rome.js';
import { buildRows } from '../../src/hosts/build.js';
import { extend } from '../../src/hosts/model.js';

test('a generation replaces sections and merges fields', () => {
  const next = extend(rome, {
    name: 'next',
    add: ['PKU'],
    remove: ['ibs'],
    fields: { '8000000a.0': { svm_nasid: 16 } },
  });
  expect(next.caches).toBe(rome.caches);
  expect(next.features).toContain('PKU');
  expect(next.features).not.toContain('ibs');
  expect(next.fields['8000000a.0']).toEqual({ svm_version: 1, svm_nasid: 16 });
  expect(next.fields['5.0']).toBe(rome.fields['5.0']);
});

test('a change that changes nothing is a mistake', () => {
  expect(() => extend(rome, { add: ['AVX2'] })).toThrow('rome has AVX2 already');
  expect(() => extend(rome, { remove: ['AVX512F'] })).toThrow('rome has no AVX512F to remove');
});

test('a row beyond the maxima is a mistake', () => {
  expect(() => buildRows(extend(rome, { add: ['PERFMON_V2'] }))).toThrow('rome has no function 0x80000022');
});
