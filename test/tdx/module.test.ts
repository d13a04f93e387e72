import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CpuidRow, REGISTERS } from '../../src/cpuid/entry.js';
import {
  leafRaw,
  TDX_MODULE_VERSIONS,
  type TdParams,
  type TdxError,
  type TdxModuleVersion,
} from '../../src/tdx/module.js';
import { runs } from '../support/runs.js';
import {
  acceptedParams,
  configOf,
  GUEST,
  guestState,
  initOn,
  moduleOn,
  nameOf,
  PLAIN,
  rowsOfHost,
  TDX_HOSTS,
  tdOf,
} from './module-support.js';

const HOST = 'emerald-rapids';
const HLE = 1 << 4;
const RTM = 1 << 11;
const WAITPKG = 1 << 5;
const LA57 = 1 << 16;
const ARCH_CAPABILITIES = 0x10a;

/** The host's rows with one register changed. */
function withRegister(
  rows: readonly CpuidRow[],
  fn: number,
  register: (typeof REGISTERS)[number],
  change: (value: number) => number,
): readonly CpuidRow[] {
  return rows.map((row) =>
    row.function === fn && row.index === 0 ? { ...row, [register]: change(row[register]) >>> 0 } : row,
  );
}

function errorOf(params: Partial<TdParams>, version: TdxModuleVersion = '1.5.28', host: string = HOST): TdxError {
  const result = moduleOn(host, version).createTd({ ...PLAIN, ...params });
  if (result.ok) throw new Error('the module accepts it');
  return result.error;
}

describe('TDH.SYS.INIT', () => {
  test.each(TDX_HOSTS.flatMap((host) => TDX_MODULE_VERSIONS.map((version) => [host, version] as const)))(
    'accepts %s with module %s',
    (host, version) => {
      expect(moduleOn(host, version)).toMatchObject({ name: version, version, attributesFixed1: 0n, xfamFixed1: 3n });
    },
  );

  test('refuses a CPU whose leaves end too early, and says which leaf is missing', () => {
    expect(initOn('ice-lake-sp', '2.0.8')).toMatchObject({
      ok: false,
      error: { name: 'TDX_CPUID_LEAF_NOT_SUPPORTED', rule: 'leaf-maximum', status: 0xc000_0908_0000_001fn },
    });
    const rows = withRegister(rowsOfHost(HOST), 0x8000_0000, 'eax', () => 0x8000_0007);
    expect(initOn(HOST, '2.0.8', { rows })).toMatchObject({ error: { status: 0xc000_0908_8000_0008n } });
  });

  test('refuses a CPU with a bit otherwise than the table asks, and says which', () => {
    const rows = withRegister(rowsOfHost(HOST), 1, 'ecx', (ecx) => ecx & ~((1 << 25) | (1 << 30)));
    expect(initOn(HOST, '1.5.01', { rows })).toMatchObject({
      ok: false,
      error: {
        name: 'TDX_INCORRECT_CPUID_VALUE',
        rule: 'verify-mask',
        status: 0xc000_0900_0000_0000n,
        rcx: 0xffff_ffff_0000_0001n,
        leaf: { leaf: 1, subleaf: null },
        bits: [{ register: 'ecx', mask: 0x4200_0000 }],
      },
    });
  });

  test('1.5.01 insists on 52 physical address bits, later ones do not', () => {
    const rows = withRegister(rowsOfHost(HOST), 0x8000_0008, 'eax', (eax) => (eax & ~0xff) | 46);
    expect(initOn(HOST, '1.5.01', { rows })).toMatchObject({ error: { leaf: { leaf: 0x8000_0008 } } });
    expect(initOn(HOST, '1.5.28', { rows }).ok).toBe(true);
  });

  test('a random change of native CPUID is refused only where the table says so', () => {
    const places = rowsOfHost(HOST).flatMap((_, at) => REGISTERS.map((register) => [at, register] as const));
    const change = fc.tuple(fc.constantFrom(...places), fc.integer({ min: 0, max: 31 }));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 6 }), fc.constantFrom(...TDX_MODULE_VERSIONS), (changes, version) => {
        const rows = rowsOfHost(HOST).map((row) => ({ ...row }));
        for (const [[at, register], bit] of changes) rows[at]![register] = (rows[at]![register] ^ (1 << bit)) >>> 0;
        const result = initOn(HOST, version, { rows });
        if (result.ok || result.error.rule === 'leaf-maximum') return;
        const { leaf, bits } = result.error;
        const row = rows.find((item) => item.function === leaf!.leaf && item.index === (leaf!.subleaf ?? 0));
        const old = rowsOfHost(HOST).find((item) => item.function === row!.function && item.index === row!.index);
        for (const { register, mask } of bits) expect((row![register] ^ old![register]) & mask).toBe(mask | 0);
      }),
      runs(200),
    );
  });

  test.each(TDX_MODULE_VERSIONS)('%s lets WAITPKG, HLE and RTM be configured, but not FRED', (version) => {
    const { configurable } = moduleOn(HOST, version);
    const leaf = (name: string) => configurable.find((row) => nameOf(row) === name)!;
    expect(leaf('7.0').reported.ebx & (HLE | RTM)).toBe(HLE | RTM);
    expect(leaf('7.0').reported.ecx & WAITPKG).toBe(WAITPKG);
    expect(leaf('7.1').allowed.eax & (0b11 << 17)).toBe(0);
  });

  test('a newer module lets more be configured', () => {
    const allowed = (version: TdxModuleVersion) =>
      moduleOn(HOST, version).configurable.find((row) => nameOf(row) === '7.1')!.allowed;
    expect([allowed('1.5.01').eax, allowed('1.5.28').eax, allowed('2.0.8').eax]).toEqual([
      0x1d30, 0x488_1db0, 0x4a8_1dbf,
    ]);
  });
});

describe('TDH.MNG.INIT: what it refuses', () => {
  const module = moduleOn(HOST, '1.5.28');
  const bit = (number: number) => 1n << BigInt(number);
  type Case = readonly [what: string, params: Partial<TdParams>, rule: string, status: bigint];
  const config = (wanted: Parameters<typeof configOf>[1]) => ({ cpuidConfig: configOf(module, wanted) });
  const OPERAND = 0xc000_0100_0000_0000n;
  const cases: readonly Case[] = [
    ['an unknown attribute', { attributes: bit(1) }, 'attributes-fixed', OPERAND | 64n],
    ['KL', { attributes: bit(31) }, 'attributes-fixed', OPERAND | 64n],
    ['LASS, which the CPU lacks', { attributes: bit(27) }, 'attributes-fixed', OPERAND | 64n],
    ['a migratable debug TD', { attributes: bit(29) | bit(0) }, 'attributes-combination', OPERAND | 64n],
    ['a migratable TD with PERFMON', { attributes: bit(29) | bit(63) }, 'attributes-combination', OPERAND | 64n],
    ['PERFMON with ICSSD', { attributes: bit(63) | bit(16) }, 'attributes-combination', OPERAND | 64n],
    ['XFAM without SSE', { xfam: 1n }, 'xfam-fixed', OPERAND | 65n],
    ['MPX', { xfam: 3n | bit(3) }, 'xfam-fixed', OPERAND | 65n],
    ['PASID', { xfam: 3n | bit(10) }, 'xfam-fixed', OPERAND | 65n],
    ['AVX-512 without AVX', { xfam: 0xe3n }, 'xfam-combination', OPERAND | 65n],
    ['a part of AVX-512', { xfam: 0x67n }, 'xfam-combination', OPERAND | 65n],
    ['half of CET', { xfam: 3n | bit(11) }, 'xfam-combination', OPERAND | 65n],
    ['half of AMX', { xfam: 3n | bit(18) }, 'xfam-combination', OPERAND | 65n],
    ['no vCPU', { maxVcpus: 0 }, 'max-vcpus', OPERAND | 68n],
    ['52-bit addresses without the fifth level', { gpaw52: true }, 'gpaw', OPERAND | 67n],
    ['a slow TSC', { tscFrequency: 3 }, 'tsc-frequency', OPERAND | 70n],
    ['a fast TSC', { tscFrequency: 401 }, 'tsc-frequency', OPERAND | 70n],
    ['a fixed bit', config({ '7.0': { ebx: 1 } }), 'not-configurable', OPERAND | 69n],
    ['a model that is not the CPU’s', config({ 1: { eax: 0x806f8 } }), 'model', OPERAND | 69n],
    ['HLE without RTM', config({ '7.0': { ebx: HLE } }), 'hle-rtm', OPERAND | 69n],
    ['RTM without HLE', config({ '7.0': { ebx: RTM } }), 'hle-rtm', OPERAND | 69n],
  ];

  test.each(cases)('%s', (_, params, rule, status) => {
    expect(errorOf(params)).toMatchObject({ name: 'TDX_OPERAND_INVALID', rule, status });
  });

  test('five levels of EPT on a CPU with few address bits', () => {
    const rows = withRegister(rowsOfHost(HOST), 0x8000_0008, 'eax', (eax) => (eax & ~0xff) | 46);
    expect(moduleOn(HOST, '2.0.8', { rows }).createTd({ ...PLAIN, eptLevels: 5 })).toMatchObject({
      error: { rule: 'ept-levels', operand: 'EPTP_CONTROLS' },
    });
  });

  test('TSX on a CPU without IA32_TSX_CTRL', () => {
    const without = moduleOn(HOST, '1.5.28', { msrs: new Map() });
    const params = { ...PLAIN, ...config({ '7.0': { ebx: HLE | RTM } }) };
    expect(without.createTd(params)).toMatchObject({
      error: {
        name: 'TDX_INCORRECT_MSR_VALUE',
        rule: 'tsx-ctrl',
        status: 0xc000_0921_0000_010an,
        msr: ARCH_CAPABILITIES,
      },
    });
    expect(without.createTd(PLAIN).ok).toBe(true);
    expect(module.createTd(params).ok).toBe(true);
  });

  test('ATTRIBUTES come before XFAM, XFAM before CPUID', () => {
    const params = { attributes: bit(1), xfam: 0n, ...config({ '7.0': { ebx: HLE } }) };
    expect(errorOf(params).operand).toBe('ATTRIBUTES');
    expect(errorOf({ ...params, attributes: 0n }).operand).toBe('XFAM');
    expect(errorOf({ ...params, attributes: 0n, xfam: 3n }).operand).toBe('CPUID_CONFIG');
  });
});

describe('TDH.MNG.INIT: what it makes of a configuration', () => {
  const module = moduleOn(HOST, '1.5.28');
  const tdWith = (wanted: Parameters<typeof configOf>[1], params: Partial<TdParams> = {}) =>
    tdOf(module, { ...params, cpuidConfig: configOf(module, wanted) });

  test('the native model: given, or as 0', () => {
    const native = rowsOfHost(HOST).find((row) => row.function === 1)!.eax;
    expect(tdWith({}).stored(1, null)!.eax).toBe(native);
    expect(tdWith({ 1: { eax: native } }).stored(1, null)!.eax).toBe(native);
    expect(tdWith({ 1: { eax: 0x806f8 } }, { attributes: 1n << 29n }).stored(1, null)!.eax).toBe(0x806f8);
  });

  test('an allowed bit that the CPU lacks silently becomes 0', () => {
    const lam = 1 << 26;
    const td = tdWith({ '7.1': { eax: lam } });
    expect(td.stored(7, 1)!.eax & lam).toBe(0);
  });

  test('the linear address width follows LA57', () => {
    const width = (wanted: Parameters<typeof configOf>[1]) =>
      (tdWith(wanted).stored(0x8000_0008, null)!.eax >>> 8) & 0xff;
    expect([width({}), width({ '7.0': { ecx: LA57 } })]).toEqual([48, 57]);
  });

  test('flags are latched from the final values', () => {
    const td = tdWith({ '7.0': { ebx: HLE | RTM, ecx: WAITPKG | LA57 }, 1: { ecx: 8 } });
    expect(td.flags).toMatchObject({ tsx: true, waitpkg: true, la57: true, monitor: true, tme: false, perfmon: false });
    expect(tdWith({}).flags).toMatchObject({ tsx: false, waitpkg: false, la57: false, monitor: false });
  });

  test('CR4 bits follow XFAM and ATTRIBUTES', () => {
    const bits = (mask: bigint) => Array.from({ length: 33 }, (_, at) => at).filter((at) => (mask >> BigInt(at)) & 1n);
    const without = tdOf(module).cr4Allowed;
    const all = tdOf(module, { xfam: 3n | (1n << 9n) | 0x1800n | (1n << 14n), attributes: 1n << 30n }).cr4Allowed;
    expect(bits(all & ~without)).toEqual([22, 23, 24, 25]);
    expect(bits(all)).not.toContain(13);
    expect(bits(all)).not.toContain(32);
  });
});

describe('CPUID in a TD', () => {
  const td = tdOf(moduleOn(HOST, '1.5.28'));

  test('above a maximum it is the highest basic leaf', () => {
    const highest = td.cpuid(0x23, 0, GUEST);
    for (const leaf of [0x24, 0x3fff_ffff, 0x5000_0000, 0x7fff_ffff, 0x8000_0009, 0xffff_ffff])
      expect([leaf, td.cpuid(leaf, 0, GUEST)]).toEqual([leaf, highest]);
    expect(td.cpuid(0x24, 9, GUEST)).toBe('#VE');
  });

  test('hypervisor leaves are KVM’s', () => {
    expect(td.cpuid(0x4000_0000, 0, GUEST)).toBe('#VE');
    expect(td.cpuid(0x4fff_ffff, 0, GUEST)).toBe('#VE');
  });

  test('a guest may ask for #VE on every leaf', () => {
    expect(td.cpuid(1, 0, { ...GUEST, alwaysVe: true })).toBe('#VE');
  });

  test('what KVM reads is what the guest sees, but for what is computed on the spot', () => {
    const seen = td.cpuid(1, 0, { ...GUEST, vcpuIndex: 5, cr4: { osxsave: true, pke: false } });
    const stored = td.stored(1, null)!;
    expect(seen).toEqual({
      eax: stored.eax,
      ebx: stored.ebx | (5 << 24),
      ecx: (stored.ecx | (1 << 27)) >>> 0,
      edx: stored.edx,
    });
  });

  test('leaves that raise #VE are not among the values that KVM reads', () => {
    const leaves = (version: TdxModuleVersion) => tdOf(moduleOn(HOST, version)).cpuidValues.map(({ leaf }) => leaf);
    expect(leaves('1.5.01')).not.toContain(6);
    expect(leaves('1.5.28')).toContain(6);
  });
});

describe('laws', () => {
  const cases = TDX_MODULE_VERSIONS.flatMap((version) => TDX_HOSTS.map((host) => [version, host] as const));

  test.each(cases)('%s on %s: a bit outside the allowed ones is refused, and named', (version, host) => {
    const module = moduleOn(host, version);
    const outside = module.configurable.flatMap((row, index) =>
      REGISTERS.flatMap((register) => {
        const free = ~(row.direct[register] | row.allowed[register]);
        return Array.from({ length: 32 }, (_, bit) => bit)
          .filter((bit) => (free >>> bit) & 1)
          .map((bit) => ({ index, register, bit }));
      }),
    );
    fc.assert(
      fc.property(acceptedParams(module), fc.constantFrom(...outside), (params, { index, register, bit }) => {
        const cpuidConfig = params.cpuidConfig.map((values, at) =>
          at === index ? { ...values, [register]: (values[register] | (1 << bit)) >>> 0 } : values,
        );
        const result = module.createTd({ ...params, cpuidConfig });
        if (result.ok) throw new Error('accepted');
        const { leaf, subleaf } = module.configurable[index]!;
        expect(result.error).toMatchObject({
          name: 'TDX_OPERAND_INVALID',
          operand: 'CPUID_CONFIG',
          rule: 'not-configurable',
          leaf: { leaf, subleaf },
          rcx: leafRaw({ leaf, subleaf }),
          bits: [{ register, mask: (1 << bit) >>> 0 }],
        });
      }),
      runs(60),
    );
  });

  test.each(cases)('%s on %s: what it accepts once it accepts again, with the same result', (version, host) => {
    const module = moduleOn(host, version);
    fc.assert(
      fc.property(acceptedParams(module), (params) => {
        const [one, other] = [tdOf(module, params), tdOf(moduleOn(host, version), params)];
        expect(one.cpuidValues).toEqual(other.cpuidValues);
        expect(one.flags).toEqual(other.flags);
        expect(one.exitRows()).toEqual(other.exitRows());
      }),
      runs(20),
    );
  });

  test.each(cases)('%s on %s: a feature that the CPU lacks is never seen', (version, host) => {
    const module = moduleOn(host, version);
    const rows = rowsOfHost(host);
    const scene = acceptedParams(module).chain((params) => guestState(params.xfam).map((guest) => ({ params, guest })));
    fc.assert(
      fc.property(scene, ({ params, guest }) => {
        const td = tdOf(module, params);
        for (const [index, register] of [
          [0, 'ebx'],
          [0, 'ecx'],
          [0, 'edx'],
          [1, 'eax'],
          [1, 'edx'],
          [2, 'edx'],
        ] as const) {
          const seen = td.cpuid(7, index, { ...guest, cr4: { osxsave: false, pke: false } });
          const native = rows.find((row) => row.function === 7 && row.index === index)![register];
          expect(seen !== '#VE' && (seen[register] & ~native) >>> 0).toBe(0);
        }
      }),
      runs(40),
    );
  });

  test.each(cases)('%s on %s: HLE and RTM come together or are refused', (version, host) => {
    const module = moduleOn(host, version);
    const at = module.configurable.findIndex((row) => nameOf(row) === '7.0');
    fc.assert(
      fc.property(acceptedParams(module), fc.constantFrom(HLE, RTM), (params, one) => {
        const cpuidConfig = params.cpuidConfig.map((values, index) =>
          index === at ? { ...values, ebx: ((values.ebx & ~(HLE | RTM)) | one) >>> 0 } : values,
        );
        expect(module.createTd({ ...params, cpuidConfig })).toMatchObject({ error: { rule: 'hle-rtm' } });
      }),
      runs(20),
    );
  });

  test.each(cases)('%s on %s: what it reports, it accepts and gives', (version, host) => {
    const module = moduleOn(host, version);
    const cpuidConfig = module.configurable.map(({ leaf, reported }) =>
      leaf === 1 ? { ...reported, eax: 0 } : reported,
    );
    const td = tdOf(module, { cpuidConfig, xfam: module.xfamFixed0, attributes: 1n << 63n });
    for (const [index, { leaf, subleaf }] of module.configurable.entries()) {
      const stored = td.stored(leaf, subleaf)!;
      for (const register of REGISTERS) {
        const wanted = cpuidConfig[index]![register];
        expect([nameOf({ leaf, subleaf }), register, stored[register] & wanted]).toEqual([
          nameOf({ leaf, subleaf }),
          register,
          wanted | 0,
        ]);
      }
    }
  });
});
