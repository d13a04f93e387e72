import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CpuidEntry2 } from '../../src/index.js';
import { EBX, ECX, EDX } from '../../src/kvm/abi.js';
import { ANY_INDEX, CpuidTable, findEntry, putEntry } from '../../src/kvm/cpuid-table.js';
import { hasSlot } from '../../src/kvm/paranoid/rule-arrays.js';
import { KVM_SIGNATURE, kvmSignatureBase } from '../../src/kvm/pv.js';
import { runs } from '../support/runs.js';

const SIGNATURE = KVM_SIGNATURE;
const functions = fc.constantFrom(0, 1, 4, 7, 0xd, 0x3f, 0x40, 0x4000_0000, 0x4000_0100, 0x8000_0008, 0xc000_0001);
const entries = fc.array(
  fc.record({
    function: functions,
    index: fc.integer({ min: 0, max: 3 }),
    flags: fc.integer({ min: 0, max: 1 }),
    ...{ eax: fc.nat(), ebx: fc.nat(), ecx: fc.nat(), edx: fc.nat() },
  }),
  { maxLength: 40 },
);

function tableOf(list: readonly CpuidEntry2[], table = new CpuidTable()): CpuidTable {
  for (const [position, entry] of list.entries()) putEntry(table.words, position, entry);
  table.count = list.length;
  return table;
}

describe('a table', () => {
  test('finds by its index what a search finds, in one table after the other', () => {
    const wanted = fc.integer({ min: -1, max: 4 });
    const law = fc.property(entries, entries, functions, wanted, (first, second, fn, index) => {
      const table = new CpuidTable();
      for (const list of [first, second]) {
        tableOf(list, table);
        const found = findEntry(table.words, list.length, fn, index);
        expect(table.find(fn, index)).toBe(found);
        if (index !== ANY_INDEX && hasSlot(fn)) expect(table.findSigned(fn | 0, index)).toBe(found);
      }
    });
    fc.assert(law, runs(2000));
  });

  test('finds what was copied in from memory', () => {
    const law = fc.property(entries, (list) => {
      const source = tableOf(list);
      const bytes = new Uint8Array(8 + source.bytes.length);
      bytes.set(source.bytes, 8);
      const table = tableOf([]);
      expect(table.find(1, ANY_INDEX)).toBe(-1);
      table.copyIn(bytes, 8, list.length);
      expect(table.find(1, ANY_INDEX)).toBe(findEntry(source.words, list.length, 1, ANY_INDEX));
    });
    fc.assert(law, runs(300));
  });
});

/** As the kernel searches: base by base. */
function signatureBaseSlowly(words: Uint32Array, count: number): number {
  for (let base = 0x4000_0000; base < 0x4001_0000; base += 0x100) {
    const at = findEntry(words, count, base, ANY_INDEX);
    if (at < 0) continue;
    if (words[at + EBX] === SIGNATURE.ebx && words[at + ECX] === SIGNATURE.ecx && words[at + EDX] === SIGNATURE.edx)
      return base;
  }
  return 0;
}

describe("KVM's signature", () => {
  const bases = [0x3fff_ff00, 0x4000_0000, 0x4000_0001, 0x4000_0100, 0x4000_0200, 0x4000_ff00, 0x4001_0000];
  const candidate = fc.record({ base: fc.constantFrom(...bases), edx: fc.constantFrom(SIGNATURE.edx, 0) });
  test('is found at the lowest base', () => {
    const law = fc.property(fc.array(candidate, { maxLength: 6 }), (list) => {
      const table = tableOf(
        list.map(({ base, edx }) => ({ function: base, index: 0, flags: 0, eax: 0, ...SIGNATURE, edx })),
      );
      expect(kvmSignatureBase(table.words, table.count)).toBe(signatureBaseSlowly(table.words, table.count));
    });
    fc.assert(law, runs(1000));
  });
});
