import { describe, expect, test } from 'vitest';
import { featureNamed } from '../../../src/cpuid/features.js';
import { Place, type PlaceSpec } from '../../../src/fuzz/place.js';
import { type CpuidEntry2, withInputs } from '../../../src/index.js';
import type { Resolved } from '../../../src/kvm/paranoid/allowed-table.js';
import {
  describeRule,
  Explainer,
  type Finding,
  offendingBits,
  type Reason,
} from '../../../src/kvm/paranoid/findings.js';
import { specOf } from '../../fuzz/places.js';
import { entry } from '../../support/vcpu-user.js';

const mask = (...names: string[]): number => names.reduce((all, name) => all | featureNamed(name).mask, 0) >>> 0;
const at = (fn: number, index: number, registers: Partial<CpuidEntry2>) => entry(fn, { flags: 1, index, ...registers });

function explainerOf(spec: PlaceSpec): Explainer {
  const place = new Place(spec);
  return new Explainer(place.rules, place.module.allowedOptions(place.overlay, place.vmm.process));
}

const SPR = specOf('sapphire-rapids');
/** A host whose kernel does not use a feature that its CPU has. */
const without = (spec: PlaceSpec, name: string): PlaceSpec => ({
  ...spec,
  host: withInputs(spec.host, { flags: { set: [], clear: [featureNamed(name)] } }),
});
const set = (spec: PlaceSpec, parameter: string, value: number): PlaceSpec => ({
  ...spec,
  host: withInputs(spec.host, { parameters: new Map([[parameter, value]]) }),
});

const explainers = {
  spr: explainerOf(specOf('sapphire-rapids')),
  amx: explainerOf(specOf('sapphire-rapids', 'default', {}, true)),
  tdx: explainerOf(specOf('granite-rapids', 'tdx')),
  genoa: explainerOf(specOf('genoa')),
};

/** `entry register offending allowed rule: bit name reason …`, clobbered state and reason in brackets. */
function brief({ entry: position, register, offending, allowed, rule, bits }: Finding): string {
  const each = bits.map(({ bit, name, reason, clobbers, because }) =>
    [bit, name ?? '-', reason, ...clobbers.map((state) => `(${state})`), ...(because ? [`[${because}]`] : [])].join(
      ' ',
    ),
  );
  return `${position} ${register} ${offending.toString(16)} ${allowed} ${rule}: ${each.join(', ')}`;
}

const KVM = { ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d };
const HYPERV = { ebx: 0x7263_694d, ecx: 0x666f_736f, edx: 0x7648_2074 };

type Host = keyof typeof explainers;
type Row = readonly [
  name: string,
  host: keyof typeof explainers,
  entries: readonly CpuidEntry2[],
  ...expected: string[],
];
// biome-ignore format: one case per row
const ROWS: Row[] = [
  ['a leaf that nobody knows', 'spr', [entry(0x28, { eax: 1 })],
    '0 eax 1 0 zero: 0 - unknown'],
  ['what is allowed', 'spr', [entry(1, { ecx: mask('XSAVE') }), entry(2, { eax: 9 })]],
  ['features that the CPU lacks', 'spr', [entry(0x8000_0001, { ecx: mask('SVM', 'FMA4', 'TOPOEXT') })],
    '0 ecx 410004 123 mask: 2 SVM unsupported-by-host, 16 FMA4 unsupported-by-host, 22 TOPOEXT unsupported-by-host'],
  ['a limit and a list', 'spr', [entry(0x8000_0008, { eax: 0x3135 })],
    '0 eax 3135 [7:0]<=52 [15:8] in {0,48,57} [23:16]<=52 field: 0 phys_addr_bits field-too-large, 2 phys_addr_bits field-too-large, 4 phys_addr_bits field-too-large, 5 phys_addr_bits field-too-large, 8 virt_addr_bits address-width, 12 virt_addr_bits address-width, 13 virt_addr_bits address-width'],
  ['a limit', 'spr', [at(7, 0, { eax: 3 })],
    '0 eax 3 [31:0]<=2 field: 0 leaf7_n_subleaves field-too-large, 1 leaf7_n_subleaves field-too-large'],
  ['a size that is hardware', 'spr', [at(0xd, 2, { eax: 0x101 })],
    '0 eax 1 100 or 0 fixed: 0 xsave_sz value-mismatch'],
  ["KVM's own leaf", 'spr', [entry(0x4000_0000, KVM), entry(0x4000_0001, { eax: 0x8000_0000, ebx: 1 })],
    '1 eax 80000000 103fefb mask: 31 - unknown', '1 ebx 1 0 zero: 0 - unknown'],
  ["somebody else's leaf", 'spr', [entry(0x4000_0000, HYPERV), entry(0x4000_0001, { eax: 0x8000_0000, ebx: 1 })]],
  ['XCR0 without permission', 'spr', [at(0xd, 0, { eax: 0x7_2d0f, edx: 3 })],
    '0 eax 72d08 2e7 mask: 3 xcr0_mpx_bndregs unsupported-by-host, 8 - unsupported-by-kvm, 10 - unsupported-by-kvm, 11 xcr0_cet_u reserved, 13 - unsupported-by-host, 16 - unsupported-by-host, 17 xcr0_tileconfig no-permission, 18 xcr0_tiledata no-permission',
    '0 edx 3 0 mask: 0 - unknown, 1 - unknown'],
  ['XCR0 with permission', 'amx', [at(0xd, 0, { eax: 0xf_0007 })],
    '0 eax 90000 602e7 mask: 16 - unsupported-by-host, 19 - unsupported-by-host'],
  ['IA32_XSS', 'spr', [at(0xd, 1, { eax: 0xff, ecx: 0xe10f, edx: 1 })],
    '0 eax e0 1f mask: 5 - unknown, 6 - unknown, 7 - unknown',
    '0 ecx e10f 1800 mask: 0 - reserved, 1 - reserved, 2 - reserved, 3 - unsupported-by-host, 8 xss_pt unsupported-by-kvm, 13 xss_hdc unsupported-by-host, 14 xss_uintr unsupported-by-kvm, 15 xss_lbr unsupported-by-kvm',
    '0 edx 1 0 mask: 0 - unknown'],
  ['components', 'spr', [at(0xd, 18, { eax: 1 }), at(0xd, 40, { ebx: 1 }), at(0xd, 9, { ecx: 8, edx: 1 }), at(0xd, 14, { eax: 1 }), at(0xd, 3, { eax: 1 }), at(0xd, 40, { ecx: 8 })],
    '0 eax 1 0 zero: 0 xsave_sz no-permission', '1 ebx 1 0 zero: 0 xsave_offset unsupported-by-kvm',
    '2 ecx 8 0 mask: 3 - reserved', '2 edx 1 0 zero: 0 - reserved',
    '3 eax 1 0 zero: 0 xsave_sz unsupported-by-kvm', '4 eax 1 0 zero: 0 xsave_sz unsupported-by-host', '5 ecx 8 0 zero: 3 - unknown'],
  ['an entry that answers all sub-leaves', 'spr', [entry(7, { ebx: mask('AVX2') })],
    '0 ebx 20 0 zero: 5 - reserved'],
  ['reserved', 'spr', [at(7, 2, { eax: 1 }), entry(9, { eax: 1 }), entry(6, { eax: 2 })],
    '0 eax 1 0 zero: 0 - reserved', '1 eax 1 0 zero: 0 dca_enabled_in_bios unsupported-by-kvm', '2 eax 2 4 mask: 1 turbo_boost unsupported-by-kvm'],
  ['a PMU that is too large', 'spr', [entry(0xa, { eax: 0x0830_0903, edx: 0x4 })],
    '0 eax 903 [7:0]<=2 [15:8]<=8 [23:16]<=48 [31:24]<=8 field: 0 pmu_version field-too-large, 1 pmu_version field-too-large, 8 num_counters_gp field-too-large, 11 num_counters_gp field-too-large',
    '0 edx 4 [4:0]<=3 [12:5]<=48 [15:15]<=1 field: 2 num_counters_fixed field-too-large'],
  ['what a TD must not have', 'tdx', [at(7, 0, { ebx: mask('HLE', 'RTM'), ecx: mask('WAITPKG') })],
    '0 ebx 810 f1bf27ef mask: 4 HLE not-in-overlay (IA32_TSX_CTRL), 11 RTM not-in-overlay (IA32_TSX_CTRL)',
    '0 ecx 20 5b415fde mask: 5 WAITPKG not-in-overlay (IA32_UMWAIT_CONTROL)'],
  ['what SVM does not have', 'genoa', [at(7, 0, { ebx: mask('HLE'), edx: mask('IBT') }), at(7, 1, { ecx: 1 << 22 })],
    '0 ebx 10 f1bf27eb mask: 4 HLE unsupported-by-host (IA32_TSX_CTRL)',
    '0 edx 100000 bc000010 mask: 20 IBT unsupported-by-host (IA32_U_CET)', '1 ecx 400000 0 mask: 22 - unknown'],
  ['AMX instructions that only the sub-leaf has', 'spr', [at(0xd, 1, { eax: 1 << 4 })]],
  ['a component of each kind that nobody has', 'genoa', [at(0xd, 0, { eax: 1 << 31 }), at(0xd, 32, { eax: 1 }), at(0xd, 1, { eax: 1 << 4, ecx: 1 << 31 })],
    '0 eax 80000000 2e7 mask: 31 - unsupported-by-host', '1 eax 1 0 zero: 0 xsave_sz unsupported-by-kvm',
    '2 eax 10 f mask: 4 XFD unsupported-by-host', '2 ecx 80000000 1800 mask: 31 - unsupported-by-host'],
  ['a palette of another shape', 'amx', [at(0x1d, 1, { eax: 5 })],
    '0 eax 4002005 4002000 or 0 fixed: 0 amx_palette_size value-mismatch, 2 amx_palette_size value-mismatch, 13 amx_palette_size value-mismatch, 26 amx_tile_size value-mismatch'],
];

describe('what is refused, and why', () => {
  const rows = ROWS.map(([name, host, entries, ...expected]) => [name, host, entries, expected] as const);
  test.each(rows)('%s', (_, host, entries, expected) => {
    expect(explainers[host].findings(entries).map(brief)).toEqual(expected);
  });

  test('in full', () => {
    expect(explainers.spr.findings([entry(0, {}), entry(7, { ebx: mask('AVX2') })])).toEqual([
      {
        ...{
          entry: 1,
          function: 7,
          index: 0,
          register: 'ebx',
          value: 0x20,
          allowed: '0',
          offending: 0x20,
          rule: 'zero',
        },
        bits: [{ bit: 5, name: null, reason: 'reserved', clobbers: [] }],
        source: 'P',
        why: 'PPIN etc. not virtualized; without a significant index the entry answers sub-leaf 1 too',
      },
    ]);
  });

  // Which of its several reasons a feature gets.
  const reasons: [feature: string, spec: PlaceSpec, reason: Reason, because?: string][] = [
    ['LASS', SPR, 'unsupported-by-kvm'],
    ['INTEL_PT', SPR, 'unsupported-by-kvm'],
    ['DSCPL', SPR, 'unsupported-by-kvm'],
    ['MMXEXT', SPR, 'unsupported-by-host'],
    ['VERW_CLEAR', SPR, 'unsupported-by-host'],
    ['TSA_SQ_NO', SPR, 'unsupported-by-kvm'],
    ['AVX10', SPR, 'unsupported-by-host'],
    ['LASS', specOf('granite-rapids', 'tdx'), 'unsupported-by-kvm'],
    ['SGX1', specOf('granite-rapids', 'tdx'), 'not-in-overlay'],
    ['CLOCKSOURCE', specOf('granite-rapids', 'tdx'), 'not-in-overlay'],
    ['STEAL_TIME', specOf('granite-rapids', 'tdx'), 'not-in-overlay'],
    ['MIGRATION_CONTROL', specOf('granite-rapids', 'tdx'), 'not-in-overlay'],
    ['SVM', specOf('granite-rapids', 'tdx'), 'unsupported-by-host'],
    ['VMX', specOf('genoa'), 'unsupported-by-host'],
    ['APERFMPERF', specOf('genoa'), 'unsupported-by-kvm'],
    ['AVX2', without(SPR, 'AVX2'), 'unsupported-by-host'],
    ['PKU', set(SPR, 'kvm_intel.ept', 0), 'unsupported-by-kvm', '!tdp_enabled || !kernel(OSPKE)'],
    ['PDCM', set(SPR, 'kvm.enable_pmu', 0), 'unsupported-by-kvm', '!enable_pmu'],
    ['SHSTK', set(SPR, 'kvm_intel.ept', 0), 'unsupported-by-kvm', '!tdp_enabled'],
  ];
  test.each(reasons)('%s, case %#', (name, spec, reason, because) => {
    const { word, bit, mask: wanted } = featureNamed(name);
    const given = at(word.function, word.index, { [word.register]: wanted });
    const [finding] = explainerOf(spec).findings([entry(0x4000_0000, KVM), given]);
    expect(finding?.bits.map((one) => [one.bit, one.reason, one.because])).toEqual([[bit, reason, because]]);
  });
});

const rule = (change: Partial<Resolved>): Resolved => ({
  ...{ kind: 'mask', mask: 0, fields: [], value: 0, orZero: false, row: null, index: 0 },
  ...change,
});
const LIMIT = { high: 7, low: 4, mask: 0xf0, limit: 5, values: null };
const LIST = { high: 31, low: 28, mask: 0xf000_0000, limit: 0, values: [0, 9] };

describe('a rule', () => {
  const rows: [described: string, rule: Resolved, value: number, offending: number][] = [
    ['0', rule({ kind: 'ignored' }), 0xffff_ffff, 0],
    ['0', rule({ kind: 'zero' }), 0x8000_0001, 0x8000_0001],
    ['f0000000', rule({ mask: 0xf000_0000 }), 0xf000_0000, 0],
    ['f0000000', rule({ mask: 0xf000_0000 }), 0x8800_0000, 0x0800_0000],
    ['7', rule({ kind: 'fixed', value: 7 }), 7, 0],
    ['7', rule({ kind: 'fixed', value: 7 }), 0, 7],
    ['7 or 0', rule({ kind: 'fixed', value: 7, orZero: true }), 0, 0],
    ['7 or 0', rule({ kind: 'fixed', value: 7, orZero: true }), 0x8000_0003, 0x8000_0004],
    ['[7:4]<=5', rule({ kind: 'field', fields: [LIMIT] }), 0x50, 0],
    ['[7:4]<=5', rule({ kind: 'field', fields: [LIMIT] }), 0x161, 0x161],
    ['3 [7:4]<=5', rule({ kind: 'field', mask: 3, fields: [LIMIT] }), 0x53, 0],
    ['3 [7:4]<=5', rule({ kind: 'field', mask: 3, fields: [LIMIT] }), 0x67, 0x64],
    ['[7:4]<=5 [31:28] in {0,9}', rule({ kind: 'field', fields: [LIMIT, LIST] }), 0x9000_0020, 0],
    ['[7:4]<=5 [31:28] in {0,9}', rule({ kind: 'field', fields: [LIMIT, LIST] }), 0x8000_0020, 0x8000_0000],
  ];
  test.each(rows)('%s', (described, given, value, offending) => {
    expect(describeRule(given)).toBe(described);
    expect(offendingBits(given, value)).toBe(offending);
  });
});

describe('the nearest table', () => {
  const rows: [name: string, host: Host, given: CpuidEntry2, nearest: Partial<CpuidEntry2>][] = [
    ['limits, and the nearest of a list', 'spr', entry(0x8000_0008, { eax: 0x3435 }), { eax: 0x3034 }],
    ['the nearest of a list above', 'spr', entry(0x8000_0008, { eax: 0x3934_3530 }), { eax: 0x0034_3930 }],
    ['a size that is hardware', 'spr', at(0xd, 2, { eax: 0x101, ebx: 3 }), { eax: 0x100, ebx: 576 }],
    ['an entry that answers all sub-leaves', 'spr', entry(7, { eax: 3, ebx: mask('AVX2') }), { eax: 0, ebx: 0 }],
    ['each field by itself', 'spr', entry(0xa, { eax: 0xffff_ffff }), { eax: 0x0830_0802 }],
    ['what is allowed stays', 'spr', entry(2, { eax: 0xffff_ffff }), {}],
    ['other bits go', 'spr', entry(0x28, { eax: 5, edx: 7 }), { eax: 0, edx: 0 }],
  ];
  test.each(rows)('%s', (_, host, given, nearest) => {
    const before = entry(0x15, { eax: 3 });
    expect(explainers[host].nearest([before, given])).toEqual([before, { ...given, ...nearest }]);
  });
});
