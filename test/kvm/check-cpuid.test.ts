import { describe, expect, test } from 'vitest';
import type { CpuidEntry2 } from '../../src/index.js';
import { checkCpuid, dynamicXfeatures, LINEAR_ADDRESS_WIDTHS } from '../../src/kvm/check-cpuid.js';
import { CpuidTable, putEntry } from '../../src/kvm/cpuid-table.js';
import { entry } from '../support/vcpu-user.js';

function tableOf(entries: readonly CpuidEntry2[]): CpuidTable {
  const table = new CpuidTable();
  for (const [position, item] of entries.entries()) putEntry(table.words, position, item);
  table.count = entries.length;
  return table;
}

const TILE = 1 << 18;
const sizes = (eax: number) => entry(0x8000_0008, { eax });
const xsave = (eax: number, index = 0) => entry(0xd, { index, eax, flags: 1 });

describe('kvm_check_cpuid()', () => {
  const rows: [name: string, entries: CpuidEntry2[], permissions: number, errno: number][] = [
    ['no entries', [], 0, 0],
    ['a width of 0', [sizes(0x30)], 0, 0],
    ['a width of 48', [sizes(0x3030)], 0, 0],
    ['a width of 57', [sizes(0x3934)], 0, 0],
    ['a width of 47', [sizes(0x2f30)], 0, -22],
    ['a width of 49, whatever stands around it', [sizes(0xffff_31ff)], 0, -22],
    ['what stands around the width', [sizes(0xffff_30ff)], 0, 0],
    ['the first entry counts', [sizes(0x3030), sizes(0x3130)], 0, 0],
    ['whatever its index', [{ ...sizes(0x3130), index: 5, flags: 1 }], 0, -22],
    ['XTILEDATA without permission', [xsave(TILE | 3)], 3, -1],
    ['XTILEDATA with permission', [xsave(TILE | 3)], TILE, 0],
    ['XTILECFG needs none', [xsave(1 << 17)], 0, 0],
    ['nor do other components', [xsave(0xfffb_ffff)], 0, 0],
    ['sub-leaf 1 is not looked at', [xsave(TILE, 1)], 0, 0],
    ['flags that look like a width', [entry(1, { flags: 0x3100 })], 0, 0],
    ['flags that look like XTILEDATA', [entry(1, { flags: TILE })], 0, 0],
    ['the width is checked first', [xsave(TILE), sizes(0x3130)], 0, -22],
  ];
  test.each(rows)('%s', (_, entries, permissions, errno) => {
    expect(checkCpuid(tableOf(entries), permissions)).toBe(errno);
  });
});

test('only XTILEDATA needs a larger buffer', () => {
  expect(dynamicXfeatures(tableOf([xsave(0xffff_ffff)]))).toBe(TILE);
  expect(dynamicXfeatures(tableOf([xsave(0xfffb_ffff)]))).toBe(0);
  expect(dynamicXfeatures(tableOf([]))).toBe(0);
  expect(LINEAR_ADDRESS_WIDTHS).toEqual([0, 48, 57]);
});
