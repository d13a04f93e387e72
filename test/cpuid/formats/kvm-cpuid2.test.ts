import { describe, expect, test } from 'vitest';
import { readKvmCpuid2, writeKvmCpuid2 } from '../../../src/cpuid/formats/kvm-cpuid2.js';
import { fixtureFile, formatError } from './support.js';

const ENTRY = { function: 0x8000_001d, index: 3, flags: 1, eax: 0x163, ebx: 0xffff_ffff, ecx: 5, edx: 6 };

describe('readKvmCpuid2', () => {
  test('a recorded table, and back to the same bytes', () => {
    const { name, bytes } = fixtureFile('formats/kvm_cpuid2-Skylake-Server-v5.bin');
    const payload = readKvmCpuid2(bytes, name);
    expect(payload).toMatchObject({ format: 'kvm_cpuid2', warnings: [] });
    const [table] = payload.tables;
    expect(table).toMatchObject({ label: '', headPadding: 0 });
    expect(table?.entries).toHaveLength(38);
    expect(Buffer.from(writeKvmCpuid2(table?.entries ?? []))).toEqual(Buffer.from(bytes));
  });

  test('every word is where the struct has it, padding too', () => {
    const padded = { ...ENTRY, padding: [7, 0, 9] as const };
    const bytes = writeKvmCpuid2([ENTRY, padded], 0xdead_beef);
    expect(bytes).toHaveLength(88);
    expect(readKvmCpuid2(bytes, 'table').tables).toEqual([
      { label: '', entries: [ENTRY, padded], headPadding: 0xdead_beef },
    ]);
    expect([...bytes.slice(48, 56)]).toEqual([0x1d, 0, 0, 0x80, 3, 0, 0, 0]);
  });

  test('a view into a larger buffer', () => {
    const bytes = writeKvmCpuid2([ENTRY]);
    const larger = new Uint8Array(100);
    larger.set(bytes, 13);
    expect(readKvmCpuid2(larger.subarray(13, 13 + bytes.length), 'table').tables[0]?.entries).toEqual([ENTRY]);
  });

  test('no entries', () => {
    expect(readKvmCpuid2(new Uint8Array(8), 'table').tables[0]?.entries).toEqual([]);
  });

  test('bytes behind the last entry are remarked', () => {
    const payload = readKvmCpuid2(new Uint8Array([...writeKvmCpuid2([ENTRY]), 0, 0]), 'table');
    expect(payload.warnings).toEqual(['table@0x30: 2 bytes behind the last entry are ignored']);
  });

  test.each([
    ['no room for the head', 7, 'table@0x0: only 7 bytes; expected the 8-byte head of kvm_cpuid2'],
    ['no room for the entries', 47, 'table@0x0: nent is 1 in a file of 47 bytes; expected 48 bytes for it'],
  ])('%s', (_, length, message) => {
    const bytes = writeKvmCpuid2([ENTRY]).slice(0, length);
    expect(formatError(() => readKvmCpuid2(bytes, 'table')).message).toBe(message);
  });
});
