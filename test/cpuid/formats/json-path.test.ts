import { describe, expect, test } from 'vitest';
import { selectPath } from '../../../src/cpuid/formats/json-path.js';
import { formatError } from './support.js';

const DOCUMENT = {
  models: { 'Skylake-Server-v5': 1, 'Skylake-Server-v4': 2, EPYC: 3 },
  runs: { '11.1.3:qemu64': 4, '11': { x: 5 }, '7.2': { '7.2:host': 6 } },
  vcpus: [{ entries: [7] }, 8],
  nothing: null,
  empty: {},
};
const select = (path: string) => selectPath(DOCUMENT, path, 'd.json');

describe('selectPath', () => {
  test.each<[string, unknown]>([
    ['models.Skylake-Server-v5', 1],
    ['runs.11.1.3:qemu64', 4],
    ['runs.11.x', 5],
    ['runs.7.2.7.2:host', 6],
    ['vcpus.0.entries.0', 7],
    ['vcpus.1', 8],
    ['nothing', null],
    ['', DOCUMENT],
  ])('"%s"', (path, value) => {
    const selection = select(path);
    expect(selection.value).toBe(value);
    expect(selection.place.toString()).toBe(path === '' ? 'd.json' : `d.json#${path}`);
  });

  test('the longest key wins even where it leads nowhere', () => {
    const document = { a: { b: { c: 1 } }, 'a.b': {} };
    expect(formatError(() => selectPath(document, 'a.b.c', 'd.json')).where).toBe('d.json#a.b');
  });

  test.each([
    [
      'models.skylake-sever-v5',
      'd.json#models: no key "skylake-sever-v5"; expected one like "Skylake-Server-v5", "Skylake-Server-v4", "EPYC"',
    ],
    ['model', 'd.json: no key "model"; expected one like "models", "runs", "vcpus", "empty"'],
    ['runs.11.1.4:qemu64', 'd.json#runs.11: no key "1"; expected one like "x"'],
    ['vcpus.2', 'd.json#vcpus: no element "2"; expected a number below 2'],
    ['vcpus.length', 'd.json#vcpus: no element "length"; expected a number below 2'],
    ['vcpus.0x1', 'd.json#vcpus: no element "0x1"; expected a number below 2'],
    ['models.EPYC.entries', 'd.json#models.EPYC: no "entries" inside a number; expected no more steps'],
    ['nothing.more', 'd.json#nothing: no "more" inside a null; expected no more steps'],
    ['empty.x', 'd.json#empty: no key "x"; expected no more steps'],
    ['constructor', 'd.json: no key "constructor"; expected one like "runs", "nothing", "models", "vcpus"'],
    ['..', 'd.json: no key ""; expected one like "runs", "vcpus", "empty", "models"'],
  ])('"%s" leads nowhere, and the error says from where and what is near', (path, message) => {
    expect(formatError(() => select(path)).message).toBe(message);
  });

  test('a key that only reads like a prototype', () => {
    const document = JSON.parse('{"__proto__": {"toString": 1}}');
    expect(selectPath(document, '__proto__.toString', 'd.json').value).toBe(1);
    expect(formatError(() => selectPath({}, '__proto__', 'd.json')).where).toBe('d.json');
  });

  test('an enormous path', () => {
    expect(formatError(() => select('a.'.repeat(1_000_000))).where).toBe('d.json');
  });
});
