import { describe, expect, test } from 'vitest';
import { type CpuidEntry2, hex8 } from '../../src/index.js';
import { CpuidTable, putEntry } from '../../src/kvm/cpuid-table.js';
import { guestCpuid } from '../../src/kvm/guest-cpuid.js';
import { entry } from '../support/vcpu-user.js';

const INTEL = { ebx: 0x756e6547, ecx: 0x6c65746e, edx: 0x49656e69 };
const AMD = { ebx: 0x68747541, ecx: 0x444d4163, edx: 0x69746e65 };

/** What CPUID gives a guest with these entries. */
function answer(entries: readonly CpuidEntry2[], fn: number, index = 0, hideTsx = false): string {
  const table = new CpuidTable();
  for (const [position, item] of entries.entries()) putEntry(table.words, position, item);
  table.count = entries.length;
  const out = new Uint32Array(4);
  guestCpuid(table, fn, index, hideTsx, out);
  return [...out].map((word) => word.toString(16)).join(' ');
}

const leaves = (vendor: object): readonly CpuidEntry2[] => [
  entry(0, { eax: 0xd, ...vendor }),
  entry(4, { flags: 1, index: 1, eax: 0x44 }),
  entry(0xb, { flags: 1, index: 0, ecx: 0x100, edx: 7 }),
  entry(0xb, { flags: 1, index: 1, ecx: 0x201, edx: 7 }),
  entry(0xd, { flags: 1, index: 0, eax: 0xd0 }),
  entry(0xd, { flags: 1, index: 1, eax: 0xd1 }),
  entry(0x4000_0000, { eax: 0x4000_0001 }),
  entry(0x8000_0000, { eax: 0x8000_0008 }),
  entry(0x8000_0001, { eax: 0x81 }),
];

describe('the guest executes CPUID', () => {
  const ZERO = '0 0 0 0';
  type Row = readonly [what: string, fn: number, index: number, intel: string, amd: string];
  const rows: readonly Row[] = [
    ['an entry', 0x8000_0001, 0, '81 0 0 0', '81 0 0 0'],
    ['an entry whose index does not matter', 0x8000_0001, 99, '81 0 0 0', '81 0 0 0'],
    ['a sub-leaf', 0xd, 1, 'd1 0 0 0', 'd1 0 0 0'],
    ['a hole', 2, 0, ZERO, ZERO],
    ['a missing sub-leaf', 4, 0, ZERO, ZERO],
    ['a level of topology that is not there', 0xb, 0x105, '0 0 5 7', '0 0 5 7'],
    ['above the basic maximum', 0xe, 0, 'd0 0 0 0', ZERO],
    ['above the basic maximum, at an index', 0xe, 1, 'd1 0 0 0', ZERO],
    ['above the basic maximum, at an index without an entry', 0xe, 9, ZERO, ZERO],
    ['a hole among the extended', 0x8000_0002, 0, ZERO, ZERO],
    ['above the extended maximum', 0x8000_0009, 1, 'd1 0 0 0', ZERO],
    ['a hypervisor leaf above its maximum', 0x4000_0002, 1, 'd1 0 0 0', ZERO],
    ['a hypervisor class that is not there', 0x4000_0100, 0, 'd0 0 0 0', ZERO],
    ['the highest hypervisor leaf', 0x4fff_ffff, 0, 'd0 0 0 0', ZERO],
    ['50000000 counts as basic', 0x5000_0000, 0, 'd0 0 0 0', ZERO],
    ['Centaur', 0xc000_0000, 0, 'd0 0 0 0', ZERO],
    ['the highest function', 0xffff_ffff, 0, 'd0 0 0 0', ZERO],
  ];

  test.each(rows)('%s', (_, fn, index, intel, amd) => {
    expect([answer(leaves(INTEL), fn, index), answer(leaves(AMD), fn, index)]).toEqual([intel, amd]);
  });

  test('without leaf 0 nothing is redirected', () => {
    expect(answer(leaves(INTEL).slice(1), 0xe)).toBe(ZERO);
    expect(answer([], 0)).toBe(ZERO);
  });

  test('a vendor that is neither counts as Intel', () => {
    expect(answer(leaves({ ebx: 0x41414141 }), 0xe)).toBe('d0 0 0 0');
  });

  test('a maximum of 0xb redirects to topology, whose rule then holds', () => {
    const [, ...rest] = leaves(INTEL);
    expect(answer([entry(0, { eax: 0xb, ...INTEL }), ...rest], 0x20, 5)).toBe('0 0 5 7');
  });

  test('IA32_TSX_CTRL hides HLE and RTM in 7.0 alone', () => {
    const table = [entry(7, { flags: 1, ebx: 0xffff_ffff }), entry(7, { flags: 1, index: 1, ebx: 0xffff_ffff })];
    const ebx = (index: number, hide: boolean) => answer(table, 7, index, hide).split(' ')[1];
    expect([ebx(0, false), ebx(0, true), ebx(1, true)]).toEqual(['ffffffff', hex8(~0x810), 'ffffffff']);
  });
});
