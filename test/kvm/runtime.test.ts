import { describe, expect, test } from 'vitest';
import { featureNamed } from '../../src/cpuid/features.js';
import { type CpuidEntry2, KERNEL_LINES } from '../../src/index.js';
import { CpuidTable, putEntry } from '../../src/kvm/cpuid-table.js';
import {
  CR4_OSXSAVE,
  CR4_PKE,
  guestSupportedXcr0,
  guestSupportedXss,
  type RuntimeRules,
  type RuntimeState,
  stripPvUnhalt,
  updateRuntimeBits,
} from '../../src/kvm/runtime.js';
import { XsaveLayout } from '../../src/kvm/xsave.js';
import { entry, kvmOn } from '../support/vcpu-user.js';

function tableOf(entries: readonly CpuidEntry2[]): CpuidTable {
  const table = new CpuidTable();
  for (const [position, item] of entries.entries()) putEntry(table.words, position, item);
  table.count = entries.length;
  return table;
}

const module = kvmOn('sapphire-rapids', '7.3');
const caps = module.caps('DEFAULT');
const layout = new XsaveLayout(module.kernel.machine.cpus[0]!);
const RULES: RuntimeRules = {
  ...{ caps, layout, osxsaveFollowsCr4: true, ospkeFollowsCr4: true },
  ...{ mwaitFollowsMiscEnable: true, hltExitsDisabled: false },
};
const RESET: RuntimeState = { cr4: 0, xcr0: 1, xss: 0, apicEnabled: false, mwaitEnabled: false };
const mask = (name: string): number => featureNamed(name).mask;
const indexed = (fn: number, index: number, registers: Partial<CpuidEntry2>) =>
  entry(fn, { index, flags: 1, ...registers });

/** What is left of a table, entry by entry. */
function updated(entries: readonly CpuidEntry2[], state: Partial<RuntimeState>, rules: Partial<RuntimeRules> = {}) {
  const table = tableOf(entries);
  updateRuntimeBits(table, { ...RESET, ...state }, { ...RULES, ...rules });
  return table.entries();
}

describe('a bit that follows the state', () => {
  const rows: [
    name: string,
    fn: number,
    register: 'ecx' | 'edx',
    bit: string,
    on: Partial<RuntimeState>,
    rule: keyof RuntimeRules | null,
  ][] = [
    ['OSXSAVE and CR4', 1, 'ecx', 'OSXSAVE', { cr4: CR4_OSXSAVE }, 'osxsaveFollowsCr4'],
    ['MWAIT and IA32_MISC_ENABLE', 1, 'ecx', 'MWAIT', { mwaitEnabled: true }, 'mwaitFollowsMiscEnable'],
    ['APIC and IA32_APIC_BASE', 1, 'edx', 'APIC', { apicEnabled: true }, null],
    ['OSPKE and CR4', 7, 'ecx', 'OSPKE', { cr4: CR4_PKE }, 'ospkeFollowsCr4'],
  ];
  test.each(rows)('%s', (_, fn, register, bit, on, rule) => {
    const filled = [indexed(fn, 0, { eax: ~0 >>> 0, ebx: ~0 >>> 0, ecx: ~0 >>> 0, edx: ~0 >>> 0 })];
    const empty = [indexed(fn, 0, {})];
    const off = { cr4: ~(CR4_OSXSAVE | CR4_PKE) };
    expect(updated(empty, on)[0]![register] & mask(bit)).not.toBe(0);
    expect(updated(empty, off)[0]![register] & mask(bit)).toBe(0);
    expect(updated(filled, off)[0]![register] & mask(bit)).toBe(0);
    // Nothing else changes.
    expect(updated(empty, on)).toEqual([{ ...empty[0], [register]: mask(bit) }]);
    if (rule !== null) {
      const rest = { [rule]: false };
      expect(updated(empty, on, rest)).toEqual(empty);
      expect(updated(filled, off, rest)[0]![register] & mask(bit)).not.toBe(0);
    }
  });

  test('the numbers of the bits', () => {
    expect([CR4_OSXSAVE, CR4_PKE]).toEqual([1 << 18, 1 << 22]);
  });

  test('the first entry of leaf 1, and sub-leaf 0 of leaf 7', () => {
    const on = { cr4: CR4_OSXSAVE | CR4_PKE };
    const table = [indexed(1, 3, {}), entry(1), indexed(7, 1, {}), indexed(7, 0, {})];
    expect(updated(table, on)).toEqual([
      ...[{ ...table[0], ecx: mask('OSXSAVE') }, table[1], table[2]],
      { ...table[3], ecx: mask('OSPKE') },
    ]);
    expect(updated([], on)).toEqual([]);
  });

  test.each([0, 0xffff_ffff])('a table without such leaves stays as it is, filled with %s', (word) => {
    const table = [entry(2, { flags: word, eax: word, ebx: word, ecx: word, edx: word })];
    const everything = { cr4: CR4_OSXSAVE | CR4_PKE, apicEnabled: true, mwaitEnabled: true, xcr0: 7 };
    expect(updated(table, everything)).toEqual(table);
    expect(updated(table, {})).toEqual(table);
  });
});

describe('the sizes of the XSAVE area', () => {
  const XSAVES = mask('XSAVES');
  const XSAVEC = mask('XSAVEC');
  const AVX = 7;
  const PT = 1 << 8;
  const cells = (entries: readonly CpuidEntry2[]) => entries.map(({ ebx }) => ebx);

  test.each([0, XSAVES, XSAVEC, XSAVES | XSAVEC])('with instructions %s in sub-leaf 1', (eax) => {
    const table = [indexed(0xd, 0, { ebx: 9 }), indexed(0xd, 1, { eax, ebx: 9 })];
    expect(cells(updated(table, { xcr0: AVX }))).toEqual([
      layout.size(AVX, false),
      eax === 0 ? 9 : layout.size(AVX, true),
    ]);
    expect(layout.size(AVX, false)).toBe(832);
    expect(layout.size(AVX, true)).toBe(832);
  });

  test('sub-leaf 1 may come first', () => {
    expect(cells(updated([indexed(0xd, 1, { eax: XSAVEC })], { xcr0: AVX }))).toEqual([832]);
  });

  test('other instructions of sub-leaf 1 do not count', () => {
    const others = ~(XSAVES | XSAVEC) >>> 0;
    expect(cells(updated([indexed(0xd, 1, { eax: others, ebx: 9 })], { xcr0: AVX }))).toEqual([9]);
    expect(cells(updated([indexed(0xd, 2, { eax: XSAVES, ebx: 9 })], { xcr0: AVX }))).toEqual([9]);
  });

  test.each(KERNEL_LINES)('supervisor components, %s', (line) => {
    const own = kvmOn('sapphire-rapids', line).caps('DEFAULT');
    const table = [indexed(0xd, 0, {}), indexed(0xd, 1, { eax: XSAVES })];
    const counted = own.scope.parameters.compactedSizeCountsXss ? AVX | PT : AVX;
    const expected = [layout.size(AVX, false), layout.size(counted, true)];
    expect(cells(updated(table, { xcr0: AVX, xss: PT }, { caps: own }))).toEqual(expected);
    expect(layout.size(AVX | PT, true)).not.toBe(layout.size(AVX, true));
  });
});

describe('SGX', () => {
  const table = [
    indexed(0xd, 0, { eax: 0x1_0007 }),
    indexed(0x12, 0, { ecx: 0xff, edx: 0xff }),
    indexed(0x12, 1, { eax: 5, ebx: 6, ecx: 0x8000_0004, edx: 0xff }),
  ];
  test('Linux 6.1 cuts XFRM to the XCR0 of the guest, x87 and SSE always set', () => {
    const old = kvmOn('sapphire-rapids', '6.1').caps('DEFAULT');
    expect(updated(table, {}, { caps: old })[2]).toEqual({ ...table[2], ecx: 7, edx: 0 });
    expect(updated(table, {}, { caps: old })[1]).toEqual(table[1]);
    expect(updated(table.slice(2), {}, { caps: old })[0]).toEqual({ ...table[2], ecx: 3, edx: 0 });
    expect(updated(table.slice(0, 2), {}, { caps: old })[1]).toEqual(table[1]);
  });
  test('later kernels do not', () => expect(updated(table, {})[2]).toEqual(table[2]));
});

describe('what a guest may have of the XSAVE components', () => {
  const all = tableOf([indexed(0xd, 0, { eax: ~0 >>> 0 }), indexed(0xd, 1, { ecx: ~0 >>> 0 })]);
  const some = tableOf([indexed(0xd, 0, { eax: 5 }), indexed(0xd, 1, { ecx: 0x800, eax: 7 })]);
  const high = { ...caps, supportedXcr0: 0x8000_0003, supportedXss: 0x8000_0000 };
  const other = tableOf([entry(2, { flags: 0xffff_ffff, ebx: 0xffff_ffff })]);
  test('of XCR0', () => {
    expect(guestSupportedXcr0(all, caps)).toBe(caps.supportedXcr0);
    expect(guestSupportedXcr0(some, caps)).toBe(5);
    expect(guestSupportedXcr0(all, high)).toBe(0x8000_0003);
    expect(guestSupportedXcr0(other, caps)).toBe(0);
  });
  test('of IA32_XSS', () => {
    expect(guestSupportedXss(all, caps)).toBe(caps.supportedXss);
    expect(guestSupportedXss(some, { ...caps, supportedXss: 0x1800 })).toBe(0x800);
    expect(guestSupportedXss(all, high)).toBe(0x8000_0000);
    expect(guestSupportedXss(other, high)).toBe(0);
    expect(guestSupportedXss(tableOf([indexed(0xd, 1, { ecx: 0x8000_0001 })]), high)).toBe(0x8000_0000);
  });
});

test('PV_UNHALT is taken out of the leaf behind the signature, wherever that is', () => {
  const left = (base: number, fn: number) => {
    const table = tableOf([entry(fn, { flags: 0xff, eax: 0xffff_ffff })]);
    stripPvUnhalt(table, base);
    expect(table.entries()[0]!.flags).toBe(0xff);
    return table.entries()[0]!.eax;
  };
  expect(left(0x4000_0000, 0x4000_0001)).toBe(0xffff_ff7f);
  expect(left(0x4000_0100, 0x4000_0101)).toBe(0xffff_ff7f);
  expect(left(0x4000_0100, 0x4000_0001)).toBe(0xffff_ffff);
  expect(left(0x4000_0000, 2)).toBe(0xffff_ffff);
  // Without a signature there is no such leaf.
  expect(left(0, 0x4000_0001)).toBe(0xffff_ffff);
});
