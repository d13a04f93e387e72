import { describe, expect, test } from 'vitest';
import * as own from '../../src/cpuid/entry.js';

test('registers are in the order of the struct', () => {
  expect(own.REGISTERS).toEqual(['eax', 'ebx', 'ecx', 'edx']);
  expect(own.KVM_CPUID_FLAG_SIGNIFCANT_INDEX).toBe(1);
});

describe('hex8', () => {
  test.each([
    [0, '00000000'],
    [0x7f, '0000007f'],
    [0xdead_beef, 'deadbeef'],
    [-1, 'ffffffff'],
  ])('%s', (value, text) => expect(own.hex8(value)).toBe(text));
});

describe('an entry as a line', () => {
  const entry: own.CpuidEntry2 = {
    ...{ function: 0x8000_0001, index: 2, flags: 1 },
    ...{ eax: 0xffff_ffff, ebx: 0x10, ecx: 0, edx: 0xabc },
  };
  const line = '80000001 00000002 1 ffffffff 00000010 00000000 00000abc';
  const rows: [name: string, entry: own.CpuidEntry2, line: string][] = [
    ['without padding', entry, line],
    ['padding of zeros is left out', { ...entry, padding: [0, 0, 0] }, line],
    ['padding', { ...entry, padding: [0, 0xf, 0x8000_0000] }, `${line} 0,f,80000000`],
    [
      'the numbers may be signed',
      { ...entry, flags: -1, eax: -1, padding: [-1, 0, 0] },
      `${line.replace(' 1 ', ' ffffffff ')} ffffffff,0,0`,
    ],
  ];
  test.each(rows)('%s', (_, given, text) => expect(own.formatEntry(given)).toBe(text));
});

describe("the manual's notation", () => {
  const rows: [expected: string, ...place: Parameters<typeof own.sdmName>][] = [
    ['CPUID.(EAX=7,ECX=0):ECX', 7, 0, 'ecx'],
    ['CPUID.(EAX=9,ECX=1):EAX', 9, 1, 'eax'],
    ['CPUID.(EAX=AH,ECX=0):EDX[4]', 0xa, 0, 'edx', 4],
    ['CPUID.1:EDX[0]', 1, null, 'edx', 0],
    ['CPUID.80000008H:EAX[15:8]', 0x8000_0008, null, 'eax', 15, 8],
    ['CPUID.80000008H:EAX[15:0]', 0x8000_0008, null, 'eax', 15, 0],
    ['CPUID.80000008H:EBX[9]', 0x8000_0008, null, 'ebx', 9, 9],
  ];
  test.each(rows)('%s', (expected, ...place) => expect(own.sdmName(...place)).toBe(expected));
});
