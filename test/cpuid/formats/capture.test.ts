import { describe, expect, test } from 'vitest';
import { formatEntry } from '../../../src/cpuid/entry.js';
import { isCapture } from '../../../src/cpuid/formats/capture.js';
import { readHost, readPayload, writeCpuidR } from '../../../src/cpuid/formats/index.js';
import { bytesOf, fixtureFiles, formatError } from './support.js';

const CAPTURE = {
  schema: 'kvm-cpuid-oracle/1',
  host: { release: '7.3.4' },
  raw: ['00000007 00000001 00000001 00000002 00000003 ffffffff'],
  supported: { errno: 'OK', nent: 1, entries: ['00000007 00000001 1 00000000 00000002 00000000 00000000'] },
};
const bytes = (changes: object) => bytesOf(JSON.stringify({ ...CAPTURE, ...changes }));

describe('captures', () => {
  test('the host is the raw section; the document comes along', () => {
    const dump = readHost(bytes({}), 'c.json');
    expect(dump).toEqual({
      format: 'capture',
      cpus: [{ label: 'CPU 0', rows: [{ function: 7, index: 1, eax: 1, ebx: 2, ecx: 3, edx: 0xffff_ffff }] }],
      document: CAPTURE,
      warnings: [],
    });
  });

  test('the payload is the supported set', () => {
    const payload = readPayload(bytes({}), 'c.json');
    expect(payload.format).toBe('capture');
    expect(payload.tables.map((table) => table.entries.map(formatEntry))).toEqual([CAPTURE.supported.entries]);
  });

  test('other tables of a capture are reached by a path', () => {
    const emulated = { errno: 'OK', nent: 0, entries: [] };
    expect(readPayload(bytes({ emulated }), 'c.json', 'emulated').tables[0]?.entries).toEqual([]);
  });

  test.each([
    ['no raw section', { raw: undefined }, 'c.json#raw: no list of rows; expected the raw CPUID of the host'],
    ['no rows', { raw: [] }, 'c.json#raw: no CPUID row; expected the raw CPUID of the host'],
    ['a broken row', { raw: [...CAPTURE.raw, '7 1'] }, 'c.json#raw.1: "7 1" is not a row'],
    ['another schema', { schema: 'kvm-cpuid-oracle/2' }, 'c.json#schema: the schema is "kvm-cpuid-oracle/2"'],
  ])('%s', (_, changes, message) => {
    expect(formatError(() => readHost(bytes(changes), 'c.json')).message).toContain(message);
  });

  test('KVM did not load', () => {
    const error = formatError(() => readPayload(bytes({ supported: undefined, kvm: 'ENOENT' }), 'c.json'));
    expect(error.message).toContain('the capture has no supported CPUID (opening /dev/kvm gave "ENOENT")');
  });

  test('another host collection has its raw rows in arrays', () => {
    const collection = { hosts: { a: { raw: [['7', '1', '1', '2', '3', 'ffffffff']] } } };
    const dump = readHost(bytesOf(JSON.stringify(collection)), 'h.json', 'hosts.a');
    expect(dump.cpus).toEqual(readHost(bytes({}), 'c.json').cpus);
    expect(isCapture(collection.hosts.a, 'h.json')).toBe(false);
  });

  test.each(fixtureFiles('captures', '.json.gz'))(
    '$name: the host, and the supported set back in its own words',
    (file) => {
      const dump = readHost(file.bytes, file.name);
      expect(dump.warnings).toEqual([]);
      const again = readHost(bytesOf(writeCpuidR(dump)), file.name);
      expect(again.cpus).toEqual(dump.cpus);
      const supported = dump.document?.supported as typeof CAPTURE.supported | undefined;
      if (supported === undefined) return;
      expect(readPayload(file.bytes, file.name).tables[0]?.entries.map(formatEntry)).toEqual(supported.entries);
    },
  );
});
