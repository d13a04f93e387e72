import { expect, test } from 'vitest';
import { compareRows, parseDump, stale, unexplained } from './compare.js';

const ours = parseDump(`CPU 0:
   0x00000000 0x00: eax=0x00000007 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
   0x00000007 0x00: eax=0x00000000 ebx=0x00000804 ecx=0x00000000 edx=0x00000000
`);
const theirs = parseDump(`CPU 0:
   0x00000000 0x00: eax=0x00000007 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
   0x00000007 0x00: eax=0x00000000 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
   0x00000010 0x00: eax=0x00000001 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
`);
const differences = compareRows(ours, theirs);

test('registers within range are compared, a missing row counts as zero', () => {
  expect(differences).toEqual([{ at: '7.0 ebx', ours: 0x804, theirs: 0 }]);
});

test('every differing bit needs an explanation', () => {
  expect(unexplained(differences, [{ bits: ['SGX'], why: '' }])).toEqual([
    '7.0 ebx: ours 804, dump 0, unexplained 800',
  ]);
  expect(unexplained(differences, [{ bits: ['SGX'], places: ['7.0 ebx[11]'], why: '' }])).toEqual([]);
  expect(unexplained(differences, [{ places: ['7.0'], why: '' }])).toEqual([]);
});

test('an explanation of something that does not differ is stale', () => {
  const explanation = { bits: ['SGX', 'AVX2'], places: ['7.0 ecx', '7.0 ebx[11]', '4.3'], why: '' };
  expect(stale(differences, [explanation])).toEqual(['AVX2', '7.0 ecx', '4.3']);
});
