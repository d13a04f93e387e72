import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MSR_ROWS } from '../../src/emu/msr-rows.js';
import {
  type ExitRow,
  FUTURE_MODULES,
  type FutureModule,
  kindAfter,
  TDX_MODULE_VERSIONS,
  type Td,
  type TdParams,
  type TdxModuleVersion,
  withNativeBits,
} from '../../src/tdx/module.js';
import { FLAG_NAMES } from '../../src/tdx/module-flags.js';
import { ACCESS_ROWS } from '../../src/tdx/rows/msr-rows.js';
import { runs } from '../support/runs.js';
import { acceptedParams, configOf, moduleOn, rowsOfHost, TDX_HOSTS, tdOf } from './module-support.js';

const HOST = 'emerald-rapids';

function td(
  wanted: Parameters<typeof configOf>[1] = {},
  params: Partial<TdParams> = {},
  version: TdxModuleVersion = '2.0.8',
): Td {
  const module = moduleOn(HOST, version);
  return tdOf(module, { ...params, cpuidConfig: configOf(module, wanted) });
}

function rowOf(guest: Td, state: string): ExitRow | undefined {
  return guest.exitRows().find((row) => row.state === state);
}

const WAITPKG = { '7.0': { ecx: 1 << 5 } };
const TSX = { '7.0': { ebx: 0x810 } };
const PERFMON = { attributes: 1n << 63n };

describe('what TD exit leaves', () => {
  type Case = readonly [what: string, guest: Td, state: string, expected: Partial<ExitRow> | undefined];
  const cases: readonly Case[] = [
    [
      'WAITPKG: the guest’s value',
      td(WAITPKG),
      'IA32_UMWAIT_CONTROL',
      { msr: 0xe1, entry: 'guest', kind: 'guest', initial: 0n },
    ],
    ['without it: nothing', td(), 'IA32_UMWAIT_CONTROL', undefined],
    ['TSX: 0', td(TSX), 'IA32_TSX_CTRL', { msr: 0x122, entry: 'guest', kind: 'init', value: 0n }],
    ['TSX not configured: the host’s', td(), 'IA32_TSX_CTRL', { entry: 'fixed', entryValue: 3n, kind: 'host' }],
    ['system call MSRs', td(), 'IA32_FMASK', { kind: 'init', value: 0x2_0200n, synthesized: 'host' }],
    ['KERNEL_GS_BASE', td(), 'IA32_KERNEL_GS_BASE', { kind: 'init', value: 0n }],
    ['XCR0', td({}, { xfam: 0xe7n }), 'XCR0', { msr: null, kind: 'init', value: 0xe7n, synthesized: 'init' }],
    ['IA32_XSS', td({}, { xfam: 0x1803n }), 'IA32_XSS', { kind: 'init', value: 0x1800n }],
    ['PKRU', td({}, { xfam: 0x203n }), 'PKRU', { kind: 'init', value: 0n }],
    ['IA32_XFD with AMX', td({}, { xfam: 0x6_0003n }), 'IA32_XFD', { kind: 'init', value: 0n }],
    ['IA32_XFD without', td(), 'IA32_XFD', undefined],
    ['DR7', td(), 'DR7', { kind: 'init', value: 0x400n }],
    ['IA32_SPEC_CTRL', td(), 'IA32_SPEC_CTRL', { kind: 'host' }],
    ['DOITM', td(), 'IA32_UARCH_MISC_CTL', { kind: 'init', value: 0n }],
    ['event selects, 1.5.01', td({}, PERFMON, '1.5.01'), 'IA32_PERFEVTSEL7', { kind: 'guest' }],
    ['event selects, 1.5.28', td({}, PERFMON, '1.5.28'), 'IA32_PERFEVTSEL7', { kind: 'init' }],
    ['event selects, 2.0.8', td({}, PERFMON), 'IA32_PERFEVTSEL0', { msr: 0x186, kind: 'init', value: 0n }],
    ['LBR depth', td({}, { xfam: 0x8003n }), 'IA32_LBR_DEPTH', { kind: 'guest', initial: 0x20n }],
    ['CR4', td(), 'CR4', { kind: 'vmcs', value: null }],
    ['FRED', td(), 'IA32_FRED_RSP0', { entry: 'untouched', kind: 'host' }],
  ];

  test.each(cases)('%s', (_, guest, state, expected) => {
    if (expected === undefined) expect(rowOf(guest, state)).toBeUndefined();
    else expect(rowOf(guest, state)).toMatchObject(expected);
  });

  test('IA32_DEBUGCTL is cleared but for three bits', () => {
    const { bits } = rowOf(td(), 'IA32_DEBUGCTL')!;
    expect(BigInt.asUintN(64, ~bits!)).toBe(0x5002n);
  });

  test('a pretended exit resets the extended state only, a failed entry nothing', () => {
    const rows = td(TSX, { xfam: 0x7n }).exitRows();
    const reset = rows.filter((row) => kindAfter(row, 'synthesized') === 'init').map(({ state }) => state);
    expect(reset).toEqual(['XCR0', 'IA32_XSS', 'XSAVE']);
    expect(rows.filter((row) => kindAfter(row, 'failed') !== 'host')).toEqual([]);
  });

  test('a module without TSX on the CPU leaves IA32_TSX_CTRL alone from 1.5.28 on', () => {
    const rows = rowsOfHost(HOST).map((row) =>
      row.function === 7 && row.index === 0 ? { ...row, ebx: (row.ebx & ~0x810) >>> 0 } : row,
    );
    const state = (version: TdxModuleVersion) => rowOf(tdOf(moduleOn(HOST, version, { rows })), 'IA32_TSX_CTRL');
    expect([state('1.5.01')?.kind, state('1.5.28'), state('2.0.8')]).toEqual(['host', undefined, undefined]);
  });

  test('a state appears once; MSRs have the index of the MSR table; only INIT rows have a value', () => {
    const indices = new Map(MSR_ROWS.map(({ name, index }) => [name, index]));
    const scene = fc
      .tuple(fc.constantFrom(...TDX_MODULE_VERSIONS), fc.constantFrom(...TDX_HOSTS))
      .chain(([version, host]) => {
        const module = moduleOn(host, version);
        return acceptedParams(module).map((params) => tdOf(module, params));
      });
    fc.assert(
      fc.property(scene, (guest) => {
        const rows = guest.exitRows();
        expect(new Set(rows.map(({ state }) => state)).size).toBe(rows.length);
        for (const { state, msr, kind, value, entry, entryValue } of rows) {
          if (indices.has(state)) expect([state, msr]).toEqual([state, indices.get(state)]);
          if (kind !== 'init') expect([state, value]).toEqual([state, null]);
          expect([state, entryValue !== null]).toEqual([state, entry === 'fixed']);
        }
      }),
      runs(60),
    );
  });

  test('every MSR that some TD may write natively has a row', () => {
    const module = moduleOn('granite-rapids', '2.0.8');
    const cpuidConfig = module.configurable.map(({ leaf, reported }) =>
      leaf === 1 ? { ...reported, eax: 0 } : reported,
    );
    const all = tdOf(module, { cpuidConfig, xfam: module.xfamFixed0, attributes: (1n << 63n) | (1n << 30n) });
    // Commands, read-only MSRs, what the interrupt controller virtualises, and other names for the same MSR.
    const stateless = /PRED_CMD|FLUSH_CMD|X2APIC|reserved|XAPIC_DISABLE|ARCH_CAPABILITIES|A_PMC|PERF_CAPABILITIES/;
    const rows = new Set(all.exitRows().map(({ msr }) => msr));
    const missing = MSR_ROWS.filter(({ index, alias, writable, rule }) => {
      const access = ACCESS_ROWS.find(([first, last]) => first <= index && index <= last);
      if (access === undefined || stateless.test(access[4]) || alias !== null) return false;
      return writable !== null && rule !== 'discard' && all.msrAccess(index, true) === 'native' && !rows.has(index);
    });
    expect(missing.map(({ name }) => name)).toEqual([]);
  });
});

describe('how a TD reaches MSRs', () => {
  type Case = readonly [what: string, guest: Td, msr: number, read: string, write: string];
  const cases: readonly Case[] = [
    ['IA32_UMWAIT_CONTROL with WAITPKG', td(WAITPKG), 0xe1, 'native', 'native'],
    ['without', td(), 0xe1, '#GP', '#GP'],
    ['IA32_TSX_CTRL with TSX', td(TSX), 0x122, 'native', 'native'],
    ['without', td(), 0x122, '#GP', '#GP'],
    ['the time-stamp counter', td(), 0x10, 'native', '#VE'],
    ['IA32_ARCH_CAPABILITIES', td(), 0x10a, 'module', 'native'],
    ['IA32_XSS', td(), 0xda0, 'native', 'module'],
    ['the TSC deadline, configured', td({ 1: { ecx: 1 << 24 } }), 0x6e0, '#VE', '#VE'],
    ['the TSC deadline, not configured', td(), 0x6e0, '#GP', '#GP'],
    ['a counter with PERFMON', td({}, PERFMON), 0xc1, 'native', 'native'],
    ['a counter without', td(), 0xc1, '#GP', '#GP'],
    ['IA32_PERF_CAPABILITIES with PERFMON', td({}, PERFMON), 0x345, 'module', 'native'],
    ['the same and PT', td({}, { ...PERFMON, xfam: 0x103n }), 0x345, 'native', 'native'],
    ['IA32_PL0_SSP with CET', td({}, { xfam: 0x1803n }), 0x6a4, 'native', 'native'],
    ['IA32_STAR', td(), 0xc0000081, 'native', 'native'],
    ['the C-state configuration', td(), 0xe2, '#VE', '#VE'],
    ['a FRED MSR', td(), 0x1cc, '#VE', '#VE'],
    ['an MSR that nobody has', td(), 0x1234_5678, '#VE', '#VE'],
  ];

  test.each(cases)('%s', (_, guest, msr, read, write) => {
    expect([guest.msrAccess(msr, false), guest.msrAccess(msr, true)]).toEqual([read, write]);
  });

  test('the table is sorted, without overlap, and names flags that there are', () => {
    for (const [at, [first, last]] of ACCESS_ROWS.entries()) {
      expect(last).toBeGreaterThanOrEqual(first);
      if (at > 0) expect(first).toBeGreaterThan(ACCESS_ROWS[at - 1]![1]);
    }
    const words = ACCESS_ROWS.flatMap(([, , read, write]) => [read, write]).flatMap((text) =>
      text.replace(/^ve-/, '').split(/[+/]/),
    );
    const known = new Set<string>([...FLAG_NAMES, 'native', 'module', 'gp', 've']);
    expect(words.filter((word) => !known.has(word))).toEqual([]);
  });
});

describe('modules that do not exist yet', () => {
  const named = (name: string): FutureModule => FUTURE_MODULES.find((item) => item.name === name)!;
  const on = (future: FutureModule) => moduleOn(HOST, future, { rows: withNativeBits(rowsOfHost(HOST), future) });
  const FRED = { '7.1': { eax: 0b11 << 17 } };
  const fredTd = (name: string) => {
    const module = on(named(name));
    return tdOf(module, { cpuidConfig: configOf(module, FRED) });
  };

  test('FRED is configurable, on a CPU that has it', () => {
    const module = on(named('fred-a'));
    const leaf = (at: typeof module) => at.configurable.find((row) => row.leaf === 7 && row.subleaf === 1)!;
    expect(module.name).toBe('fred-a');
    expect(leaf(module).reported.eax & (0b11 << 17)).toBe(0b11 << 17);
    expect(leaf(moduleOn(HOST, named('fred-a'))).reported.eax & (0b11 << 17)).toBe(0);
    expect(leaf(moduleOn(HOST, named('fred-a'))).allowed.eax & (0b11 << 17)).toBe(0b11 << 17);
  });

  test.each([
    ['fred-a', 'vmcs', 'init'],
    ['fred-b', 'vmcs', 'guest'],
    ['fred-c', 'guest', 'guest'],
  ])('%s', (name, inVmcs, others) => {
    const guest = fredTd(name);
    for (const state of ['IA32_FRED_CONFIG', 'IA32_FRED_STKLVLS', 'IA32_FRED_RSP3', 'IA32_FRED_SSP1'])
      expect(rowOf(guest, state)).toMatchObject({ entry: 'guest', kind: inVmcs, source: 'A', condition: 'FRED' });
    for (const state of ['IA32_FRED_RSP0', 'IA32_PL0_SSP'])
      expect(rowOf(guest, state)).toMatchObject({ entry: 'guest', kind: others, value: others === 'init' ? 0n : null });
    expect(guest.cr4Allowed >> 32n).toBe(1n);
    expect(guest.msrAccess(0x1cc, true)).toBe('native');
    expect(guest.msrAccess(0x6a4, true)).toBe('native');
  });

  test('a TD that does not ask for FRED is as any other', () => {
    const guest = tdOf(on(named('fred-c')));
    expect(guest.futureFeatures).toEqual([]);
    expect(rowOf(guest, 'IA32_FRED_RSP0')).toMatchObject({ entry: 'untouched', kind: 'host' });
    expect(guest.cr4Allowed >> 32n).toBe(0n);
    expect(guest.msrAccess(0x1cc, true)).toBe('#GP');
    expect(guest.exitRows()).toEqual(tdOf(moduleOn(HOST, '2.0.8')).exitRows());
  });

  test('a bit that nobody knows: one MSR keeps the guest’s value', () => {
    const module = on(named('unknown-bit'));
    const guest = tdOf(module, { cpuidConfig: configOf(module, { '7.1': { edx: 1 << 20 } }) });
    expect(rowOf(guest, 'MSR_UNKNOWN')).toMatchObject({ kind: 'guest', entry: 'guest', initial: 0n });
    expect(guest.cpuidValues.find((row) => row.leaf === 7 && row.subleaf === 1)!.edx).toBe(1 << 20);
    const today = moduleOn(HOST, '2.0.8');
    expect(today.createTd({ ...guest.params, cpuidConfig: guest.params.cpuidConfig })).toMatchObject({
      error: { rule: 'not-configurable' },
    });
  });

  test('anyone may declare one, in a leaf that no module has', () => {
    const own: FutureModule = {
      name: 'own',
      base: '1.5.01',
      features: [{ name: 'own', leaf: 0x22, subleaf: null, register: 'eax', bit: 3, states: [] }],
    };
    const module = on(own);
    const [last] = module.configurable.slice(-1);
    expect([module.name, module.version]).toEqual(['own', '1.5.01']);
    // Leaf 22H lies above this CPU's maximum: the bit can be asked for, but not had.
    expect([last!.leaf, last!.allowed.eax, last!.reported.eax]).toEqual([0x22, 8, 0]);
    expect(tdOf(module, { cpuidConfig: configOf(module, { 22: { eax: 8 } }) }).futureFeatures).toEqual([]);
  });

  test.each(FUTURE_MODULES.map((future) => [future.name, future] as const))('%s changes nothing else', (_, future) => {
    const [changed, base] = [on(future), moduleOn(HOST, future.base)];
    expect(changed.configurable.map(({ leaf, subleaf }) => [leaf, subleaf])).toEqual(
      base.configurable.map(({ leaf, subleaf }) => [leaf, subleaf]),
    );
    expect(tdOf(changed).cpuidValues).toEqual(tdOf(base).cpuidValues);
  });
});
