import { describe, expect, test } from 'vitest';
import { compileExpression } from '../../src/cpuid/expression.js';
import { FEATURES, featureNamed, linuxPlace } from '../../src/cpuid/features.js';
import { inRange, type KernelLine, onLine } from '../../src/cpuid/kernel-line.js';
import { bootKernel, type HostDescription, type HostInputs, KERNEL_LINES, withInputs } from '../../src/index.js';
import { isFlagName } from '../../src/linux/boot.js';
import {
  type BootStep,
  BUG_ROWS,
  DEPENDENCIES,
  EARLY_STEPS,
  LATE_STEPS,
  PROBE_STEPS,
  VENDOR_STEPS,
  XSTATE_ROWS,
} from '../../src/linux/boot-rows.js';
import { FACT_ROWS, type FactRow } from '../../src/linux/fact-rows.js';
import { PARAMETER_ROWS, parameterRows, parseParameter } from '../../src/linux/module-parameters.js';
import { HOST_DIALECT, hasFlag, isFact, signature, vendorString } from '../../src/linux/scope.js';
import { hostNamed } from '../support/platforms.js';

const INTEL = hostNamed('sapphire-rapids');
const AMD = hostNamed('genoa');
const PROGRAMS: readonly (readonly [name: string, rows: readonly BootStep[]])[] = [
  ['probe', PROBE_STEPS],
  ['early', EARLY_STEPS],
  ['vendor', VENDOR_STEPS],
  ['late', LATE_STEPS],
];

function boot(host: HostDescription, change: Partial<HostInputs> = {}) {
  const { state } = bootKernel(withInputs(host, change));
  return {
    state,
    has: (name: string) => hasFlag(state, name),
    flags: new Set(FEATURES.filter((feature) => hasFlag(state, feature.name)).map(({ name }) => name)),
  };
}

const minus = (left: Iterable<string>, right: ReadonlySet<string>): string[] =>
  [...left].filter((name) => !right.has(name)).sort();

/** The flags that a change of inputs takes away, and those that it adds. */
function effect(host: HostDescription, change: Partial<HostInputs>, kernel: KernelLine = '7.3') {
  const [before, after] = [boot(host, { kernel }), boot(host, { ...change, kernel })];
  return { gone: minus(before.flags, after.flags), added: minus(after.flags, before.flags) };
}

function defaultOn({ default: value }: FactRow, line: KernelLine): string | null {
  return typeof value === 'string' || value === null ? value : onLine(value, line);
}

describe('rows', () => {
  test.each(PROGRAMS)('%s: every row names flags that exist, exactly one way, and exists on some kernel', (_, rows) => {
    for (const row of rows) {
      if (row.flag !== undefined) expect(featureNamed(row.flag).name).toBe(row.flag);
      expect([row, (row.flag === undefined) !== (row.each === undefined)]).toEqual([row, true]);
      expect([row, KERNEL_LINES.some((line) => inRange(line, row.since, row.until))]).toEqual([row, true]);
    }
  });

  test('every condition compiles', () => {
    const texts = [...PROGRAMS.flatMap(([, rows]) => rows), ...BUG_ROWS].flatMap(({ when }) => when ?? []);
    for (const text of texts) expect(compileExpression(text, HOST_DIALECT).text).toBe(text);
  });

  test.each(KERNEL_LINES.flatMap((line) => [INTEL, AMD].map((host) => ({ line, name: host.name, host }))))(
    '$name, $line: every condition and default is a u32',
    ({ line, host }) => {
      const { state } = boot(host, { kernel: line });
      const numbers = [
        ...[...PROGRAMS.flatMap(([, rows]) => rows), ...BUG_ROWS].flatMap(({ when }) => when ?? []),
        ...FACT_ROWS.flatMap((row) => defaultOn(row, line) ?? []),
      ].map((text) => [text, compileExpression(text, HOST_DIALECT).number(state)] as const);
      expect(numbers.filter(([, value]) => !Number.isInteger(value) || value < 0 || value > 0xffff_ffff)).toEqual([]);
    },
  );

  test('facts have one name each, and a default on every kernel unless boot derives them', () => {
    const names = FACT_ROWS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.every(isFact)).toBe(true);
    for (const row of FACT_ROWS.filter((item) => item.default !== null)) {
      for (const line of KERNEL_LINES) expect([row.name, line, defaultOn(row, line)]).not.toContain(null);
    }
  });

  test('an expression may not use what does not exist', () => {
    const bad = ['nosuch', 'kernel(NOSUCH)', 'bug(NOSUCH)', 'nosuch(1)', 'leaf(x,0,"eax")', 'leaf(1,0,"rax")'];
    for (const text of bad) expect(() => compileExpression(text, HOST_DIALECT).number(boot(AMD).state)).toThrow();
  });
});

describe('dependencies', () => {
  /** Flags that boot sets when it finds another. */
  const DERIVED = [
    ['PKU', 'OSPKE'],
    ['XMM2', 'LFENCE_RDTSC'],
  ] as const;

  const closureOf = (name: string, line: KernelLine): Set<string> => {
    const reached = new Set([name]);
    for (const item of reached) {
      for (const row of DEPENDENCIES) {
        if (row.clearing === item && inRange(line, row.since)) for (const next of row.takes) reached.add(next);
      }
    }
    return reached;
  };

  test('they name flags, and no flag needs itself', () => {
    for (const { clearing, takes } of DEPENDENCIES) {
      for (const name of [clearing, ...takes]) expect(featureNamed(name).name).toBe(name);
      for (const name of takes) expect(closureOf(name, '7.3').has(clearing)).toBe(false);
    }
  });

  test('noxsave takes AVX, AVX-512, AMX and PKU along, through several steps', () => {
    const { gone } = effect(INTEL, { cmdline: 'noxsave' });
    const expected = [
      'XSAVE',
      'XSAVES',
      'AVX',
      'AVX2',
      'FMA',
      'AVX512F',
      'AVX512VL',
      'AVX512_FP16',
      'AVX512_BF16',
      'XFD',
    ];
    for (const name of [...expected, 'AMX_TILE', 'AMX_INT8', 'PKU', 'SHSTK']) expect(gone).toContain(name);
    for (const name of ['XMM', 'XMM4_2', 'AES', 'PCLMULQDQ']) expect(gone).not.toContain(name);
    expect(boot(INTEL, { cmdline: 'noxsave' }).state).toMatchObject({ xcr0: 0, xss: 0 });
  });

  test.each([
    ['noxsave', 'XSAVE'],
    ['noxsaves', 'XSAVES'],
    ['noxsaveopt', 'XSAVEOPT'],
    ['nopcid', 'PCID'],
    ['noinvpcid', 'INVPCID'],
    ['nofsgsbase', 'FSGSBASE'],
    ['clearcpuid=sse2', 'XMM2'],
    ['clearcpuid=fpu', 'FPU'],
    ['clearcpuid=avx512vl', 'AVX512VL'],
    ['clearcpuid=smap', 'SMAP'],
  ])('%s clears %s and exactly what depends on it', (cmdline, flag) => {
    for (const kernel of ['6.1', '7.3'] as const) {
      const before = boot(INTEL, { kernel }).flags;
      const dependents = closureOf(flag, kernel);
      for (const [from, derived] of DERIVED) if (dependents.has(from)) dependents.add(derived);
      const expected = [...dependents].filter((name) => before.has(name)).sort();
      expect(effect(INTEL, { cmdline }, kernel)).toEqual({ gone: expected, added: [] });
    }
  });

  test('a dependency counts from its kernel on', () => {
    expect(effect(INTEL, { cmdline: 'clearcpuid=amx_tile' }, '6.12').gone).not.toContain('AMX_INT8');
    expect(effect(INTEL, { cmdline: 'clearcpuid=amx_tile' }, '6.18').gone).toContain('AMX_INT8');
  });
});

describe('clearcpuid= and setcpuid=', () => {
  const number = (name: string) => `${featureNamed(name).word.id * 32 + featureNamed(name).bit}`;

  test.each([
    ['by name', 'clearcpuid=avx2', ['AVX2']],
    ['by number', `clearcpuid=${number('AVX2')}`, ['AVX2']],
    ['several', `clearcpuid=avx2,${number('ADX')} clearcpuid=bmi1`, ['ADX', 'AVX2', 'BMI1']],
    ['an unknown name does nothing', 'clearcpuid=nosuch,avx2', ['AVX2']],
    ['a number of no flag does nothing', 'clearcpuid=9999,999999999999', []],
    ['nothing', 'clearcpuid=', []],
    ['the kernel name is no name here', 'clearcpuid=XMM2,AVX2', []],
  ])('%s', (_, cmdline, gone) => {
    expect(effect(INTEL, { cmdline })).toEqual({ gone, added: [] });
  });

  test('a cleared XSAVE component leaves XCR0', () => {
    const xcr0 = (cmdline: string) => boot(INTEL, { cmdline }).state.xcr0;
    expect(xcr0('') & ~xcr0('clearcpuid=avx512f')).toBe(0xe0);
    expect(xcr0('') & ~xcr0('clearcpuid=amx_tile')).toBe(0x6_0000);
    expect(xcr0('') & ~xcr0(`clearcpuid=${number('XFD')}`)).toBe(0x6_0000);
    expect(xcr0('') & ~xcr0('nopku')).toBe(0x200);
  });

  test('setcpuid exists since 6.18, and wins over clearcpuid', () => {
    expect(boot(AMD, { kernel: '6.12', cmdline: 'setcpuid=ibt' }).has('IBT')).toBe(false);
    expect(boot(AMD, { kernel: '6.18', cmdline: 'setcpuid=ibt' }).has('IBT')).toBe(true);
    expect(boot(AMD, { kernel: '7.3', cmdline: `setcpuid=${number('IBT')}` }).has('IBT')).toBe(true);
    expect(boot(AMD, { kernel: '7.3', cmdline: 'clearcpuid=ibt setcpuid=ibt' }).has('IBT')).toBe(true);
  });

  test('set flags do not bring along what they need', () => {
    const { has } = boot(hostNamed('naples'), { cmdline: 'setcpuid=avx512f' });
    expect([has('AVX512F'), has('AVX512VL')]).toEqual([true, false]);
  });

  test.each([
    ['avx2', true],
    [number('AVX2'), true],
    ['AVX2', false],
    ['nosuch', false],
    ['9999', false],
    ['', false],
    ['-1', false],
  ])('isFlagName("%s") is %s', (text, known) => {
    expect(isFlagName(text)).toBe(known);
  });
});

describe('overrides', () => {
  test('flags set and cleared by hand come last', () => {
    const flags = { set: [featureNamed('IBT')], clear: [featureNamed('AVX2')] };
    const { has } = boot(AMD, { cmdline: 'setcpuid=avx2 clearcpuid=ibt', flags });
    expect([has('IBT'), has('AVX2')]).toEqual([true, false]);
  });

  test('facts that are given beat those that are derived', () => {
    expect(boot(INTEL).has('ERMS')).toBe(true);
    expect(boot(INTEL, { facts: new Map([['misc_enable_fast_string', 0]]) }).has('ERMS')).toBe(false);
    expect(boot(INTEL, { facts: new Map([['host_la57', 0]]) }).has('LA57')).toBe(false);
    expect(boot(INTEL, { cmdline: 'no5lvl' }).has('LA57')).toBe(false);
  });

  test('bugs that are given beat those that are derived', () => {
    const bugs = (given: Partial<HostInputs>) => boot(AMD, given).state.bugs;
    expect(bugs({}).has('SPEC_STORE_BYPASS')).toBe(true);
    expect(bugs({ bugs: new Map([['SPEC_STORE_BYPASS', false]]) }).has('SPEC_STORE_BYPASS')).toBe(false);
    expect(bugs({ bugs: new Map([['EIBRS_PBRSB', true]]) }).has('EIBRS_PBRSB')).toBe(true);
  });
});

describe('several CPUs', () => {
  const [rows] = INTEL.cpus;
  const without = (fn: number, register: 'ebx' | 'ecx', mask: number) =>
    rows!.map((row) =>
      row.function === fn && row.index === 0 ? { ...row, [register]: (row[register] & ~mask) >>> 0 } : row,
    );

  test('a flag stays only where every CPU has it', () => {
    const { mask } = featureNamed('AVX2');
    const mixed = { ...INTEL, cpus: [rows!, rows!, without(7, 'ebx', mask)] };
    expect(boot(INTEL).has('AVX2')).toBe(true);
    expect(boot(mixed).has('AVX2')).toBe(false);
    expect(boot({ ...mixed, cpus: mixed.cpus.toReversed() }).has('AVX2')).toBe(false);
  });
});

describe('XSAVE components', () => {
  test('each needs a flag that exists on every kernel that lists it', () => {
    for (const { bit, flag, since } of XSTATE_ROWS) {
      for (const line of KERNEL_LINES.filter((candidate) => inRange(candidate, since))) {
        const name = typeof flag === 'string' ? flag : onLine(flag, line);
        expect([bit, line, name !== null && linuxPlace(featureNamed(name), line) !== null]).toEqual([bit, line, true]);
      }
    }
  });
});

describe('identification', () => {
  test.each([
    [0x000806f8, { family: 6, model: 0x8f, stepping: 8 }],
    [0x00a10f11, { family: 0x19, model: 0x11, stepping: 1 }],
    [0x00000480, { family: 4, model: 8, stepping: 0 }],
    [0x00100f23, { family: 0x10, model: 2, stepping: 3 }],
    [0x00040f43, { family: 0xf, model: 0x44, stepping: 3 }],
    [0x00000f29, { family: 0xf, model: 2, stepping: 9 }],
    [0x00010543, { family: 5, model: 4, stepping: 3 }],
    [0xffffffff, { family: 0x10e, model: 0xff, stepping: 0xf }],
  ])('signature %i', (eax, expected) => {
    expect(signature(eax)).toEqual(expected);
  });

  test('the vendor string is EBX, EDX, ECX', () => {
    expect(vendorString(0x756e_6547, 0x6c65_746e, 0x4965_6e69)).toBe('GenuineIntel');
    expect(vendorString(0x6874_7541, 0x444d_4163, 0x6974_6e65)).toBe('AuthenticAMD');
  });
});

describe('module parameters', () => {
  test.each([
    ['Y', 1],
    ['N', 0],
    ['y', 1],
    ['on', 1],
    ['off', 0],
    ['true', 1],
    ['No', 0],
    ['0', 0],
    ['1', 1],
    ['0x10', 16],
    ['4294967295', 0xffff_ffff],
    ['', null],
    ['-1', null],
    ['(null)', null],
    ['1x', null],
    ['0x', null],
    ['Y ', null],
  ])('"%s" is %s', (text, value) => {
    expect(parseParameter(text)).toBe(value);
  });

  test('each is there from its kernel on, under one name', () => {
    const names = PARAMETER_ROWS.map(({ module, name }) => `${module}.${name}`);
    expect(new Set(names).size).toBe(names.length);
    expect([parameterRows('6.12').has('kvm_intel.tdx'), parameterRows('6.18').has('kvm_intel.tdx')]).toEqual([
      false,
      true,
    ]);
  });

  test('a kernel takes the given value, else the default, else 0 for what it does not have', () => {
    const kernel = bootKernel(withInputs(AMD, { parameters: new Map([['kvm_amd.npt', 0]]) }));
    expect(['kvm_amd.npt', 'kvm_amd.nested', 'kvm_amd.nosuch'].map((name) => kernel.parameter(name))).toEqual([
      0, 1, 0,
    ]);
  });
});
