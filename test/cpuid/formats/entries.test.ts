import { describe, expect, test } from 'vitest';
import { formatEntry } from '../../../src/cpuid/entry.js';
import { parseEntry, payloadFromJson, writeEntries, writePayload } from '../../../src/cpuid/formats/entries.js';
import { Place } from '../../../src/cpuid/formats/json-path.js';
import { formatError } from './support.js';

const read = (value: unknown) => payloadFromJson({ value, place: new Place('t.json') });
const tables = (value: unknown) => read(value).tables;

const TEXT = '00000007 00000001 1 00000000 219c91a9 00400004 00000010';
const ENTRY = { function: 7, index: 1, flags: 1, eax: 0, ebx: 0x219c_91a9, ecx: 0x40_0004, edx: 0x10 };
const PADDED = { ...ENTRY, padding: [1, 0, 0xabc] as const };

describe('parseEntry', () => {
  test.each([
    [TEXT, ENTRY],
    [`${TEXT} 1,0,abc`, PADDED],
    [`  ${TEXT}  `, ENTRY],
    ['7 1 1 0 219C91A9 0x00400004 10', ENTRY],
    ['7 0 a 0 0 0 0', { function: 7, index: 0, flags: 10, eax: 0, ebx: 0, ecx: 0, edx: 0 }],
  ])('%s', (text, entry) => {
    expect(parseEntry(text, 'here')).toEqual(entry);
  });

  test('reads what formatEntry writes', () => {
    for (const entry of [ENTRY, PADDED]) expect(parseEntry(formatEntry(entry), 'here')).toEqual(entry);
  });

  test.each([
    '',
    '7 1 1 0 0 0',
    `${TEXT} 1,0`,
    `${TEXT} 1,0,0,0`,
    `${TEXT} 0,0,0 0`,
    '7 1 1 0 0 0 100000000',
    '7 1 1 0 0 0 x',
  ])('not an entry: %s', (text) => {
    const error = formatError(() => parseEntry(text, 'here'));
    expect(error.message).toMatch(/^here: ".*" is not an entry; expected "function index flags eax ebx ecx edx"/);
  });
});

describe('payloadFromJson', () => {
  test.each<[string, unknown]>([
    ['a string', TEXT],
    ['an array with hexadecimal strings and decimal flags', ['7', '00000001', 1, '0', '219c91a9', '400004', '10']],
    [
      'an object with hexadecimal strings',
      { function: '7', index: '1', flags: 1, eax: '0', ebx: '219c91a9', ecx: '0x400004', edx: '10' },
    ],
    ['an object with numbers', { function: 7, index: 1, flags: 1, eax: 0, ebx: 0x219c_91a9, ecx: 0x40_0004, edx: 16 }],
    [
      'a row as an object, with the flag of its function',
      { function: 7, index: 1, eax: 0, ebx: '219c91a9', ecx: '400004', edx: '10' },
    ],
  ])('an entry as %s', (_, entry) => {
    expect(tables([entry])).toEqual([{ label: '', entries: [ENTRY] }]);
  });

  test('padding of an object', () => {
    expect(tables([{ ...ENTRY, padding: [1, '0', 'abc'] }])[0]?.entries).toEqual([PADDED]);
  });

  test.each<[string, unknown]>([
    ['an array', [TEXT]],
    ['an object with entries', { errno: 'OK', nent: 1, entries: [TEXT] }],
    ['one vCPU', { vcpus: [{ entries: [TEXT] }] }],
  ])('one table: %s', (_, value) => {
    expect(tables(value)).toEqual([{ label: '', entries: [ENTRY] }]);
  });

  test('several vCPUs', () => {
    expect(tables({ vcpus: [{ entries: [TEXT] }, []] })).toEqual([
      { label: 'vcpu 0', entries: [ENTRY] },
      { label: 'vcpu 1', entries: [] },
    ]);
  });

  test('an empty table is a table', () => {
    expect(tables([])).toEqual([{ label: '', entries: [] }]);
  });

  test.each<[string, unknown, string]>([
    ['a number', [7], 't.json#0: "7" is not an entry'],
    ['an array too short', [['7', '0']], 't.json#0: an array of 2 is not an entry'],
    ['a broken string', { entries: [TEXT, 'x'] }, 't.json#entries.1: "x" is not an entry'],
    ['a negative number', { entries: [{ ...ENTRY, eax: -1 }] }, 't.json#entries.0.eax: "-1" is not a u32'],
    [
      'a fraction',
      { vcpus: [{ entries: [{ ...ENTRY, ecx: 0.5 }] }] },
      't.json#vcpus.0.entries.0.ecx: "0.5" is not a u32',
    ],
    ['a register missing', [{ function: 7, eax: 0, ebx: 0, ecx: 0 }], 't.json#0.edx: nothing is not a u32'],
    ['padding of two words', [{ ...ENTRY, padding: [1, 2] }], 't.json#0.padding: an array of 2 is not padding'],
    ['a string', 'hello', 't.json: "hello" holds no CPUID table'],
    ['null', null, 't.json: "null" holds no CPUID table'],
    ['no vCPUs', { vcpus: [] }, 't.json: an object with "vcpus" holds no CPUID table'],
    ['an empty object', {}, 't.json: an object with no keys holds no CPUID table'],
  ])('%s is an error with its place', (_, value, message) => {
    expect(formatError(() => read(value)).message.startsWith(`${message}; expected `)).toBe(true);
  });

  test('a collection is an error that names places to look', () => {
    const collection = {
      about: '…',
      models: { 'a-v1': { entries: [] }, 'b-v2': { vcpus: [] } },
      x: { y: { z: { entries: [] } } },
    };
    const error = formatError(() => read(collection));
    expect(error.expected).toContain('"t.json#models.a-v1", "t.json#models.b-v2", "t.json#x.y.z"');
  });
});

describe('writing', () => {
  const table = (label: string, ...entries: (typeof ENTRY | typeof PADDED)[]) => ({ label, entries });

  test('one entry a line', () => {
    expect(writeEntries([ENTRY, PADDED])).toBe(`{\n  "entries": [\n    "${TEXT}",\n    "${TEXT} 1,0,abc"\n  ]\n}\n`);
  });

  test.each([
    ['one table', [table('', ENTRY, PADDED)]],
    ['an empty table', [table('')]],
    ['several tables', [table('vcpu 0', ENTRY), table('vcpu 1', PADDED)]],
    ['padding of the head', [{ ...table('', ENTRY), headPadding: 0xdead_beef }]],
  ])('%s reads back', (_, written) => {
    const text = writePayload({ format: 'entries', tables: written, warnings: [] });
    expect(tables(JSON.parse(text))).toEqual(written);
  });
});
