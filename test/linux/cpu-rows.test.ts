import { describe, expect, test } from 'vitest';
import { inRange } from '../../src/cpuid/kernel-line.js';
import { RFLAGS_ROWS } from '../../src/emu/control-rows.js';
import { executeCpuid } from '../../src/emu/core/cpuid-instruction.js';
import { msrNamed } from '../../src/emu/msr-rows.js';
import { bootKernel, KERNEL_LINES, type KernelLine, withInputs } from '../../src/index.js';
import { appliedRows } from '../../src/linux/cpu-bringup.js';
import { type CpuRow, FIRMWARE_ROWS, LINUX_ROWS } from '../../src/linux/cpu-rows.js';
import { executing, fredHost, withSilicon } from '../support/executing.js';
import { allHosts } from '../support/hosts.js';
import { hostNamed } from '../support/platforms.js';

const OTHERS = ['CR0', 'CR4', 'XCR0', 'PKRU', 'EFER'];

/** One register of CPU 0; an MSR by name. */
function register(machine: ReturnType<typeof executing>, name: string, cpu = 0): bigint | undefined {
  const { core } = machine.cpus[cpu]!;
  const { control, msrs } = core;
  const join = (lo: number, hi: number) => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
  if (name === 'CR0' || name === 'CR4') return join(control.lo[Number(name[2])]!, control.hi[Number(name[2])]!);
  if (name === 'XCR0') return join(control.xcr0[0]!, control.xcr0[1]!);
  if (name === 'PKRU') return join(control.pkru, 0);
  return msrs.get(msrNamed(name).index);
}

describe('rows', () => {
  test.each([...FIRMWARE_ROWS, ...LINUX_ROWS])('$register: $note', (row) => {
    if (!OTHERS.includes(row.register)) expect(msrNamed(row.register).name).toBe(row.register);
    expect([row.bits, row.place, row.value, row.also].filter((what) => what !== undefined)).toHaveLength(1);
    expect(KERNEL_LINES.some((line) => inRange(line, row.since, row.until))).toBe(true);
  });

  test('every row is written on some host', () => {
    const written = new Set<CpuRow>();
    const hosts = [...allHosts(), fredHost, withSilicon(fredHost, { set: ['LASS'] })];
    for (const host of hosts) {
      for (const kernel of ['6.1', '7.3'] as const) {
        const { state } = bootKernel(withInputs(host, { kernel, cmdline: 'fred=on' }));
        for (const row of appliedRows({ ...state, number: 0, node: 0 })) written.add(row);
      }
    }
    const never = LINUX_ROWS.filter((row) => !written.has(row)).map(({ register: name, note }) => `${name}: ${note}`);
    // No model and no recording has IA32_CORE_CAPABILITIES.
    expect(never.filter((row) => !row.startsWith('MSR_TEST_CTRL'))).toEqual([]);
  });

  test('SYSCALL clears every flag that there is, but for VM, VIF and VIP', () => {
    const rows = RFLAGS_ROWS.filter(({ name }) => !['VM', 'VIF', 'VIP'].includes(name));
    const mask = rows.reduce((bits, { bit }) => bits | (1n << BigInt(bit)), 0n);
    expect(register(executing('sapphire-rapids'), 'IA32_FMASK')).toBe(mask);
  });
});

describe('the silicon takes what Linux writes', () => {
  test.each(allHosts().map((host) => [host.name, host] as const))('%s', (_, host) => {
    const machine = executing(host);
    expect(machine.cpus[0]!.core.control.longMode).toBe(true);
    expect(machine.cpus[0]!.refused).toEqual([]);
  });

  test('a flag that was forced on leads to a write that faults; the kernel goes on', () => {
    const { refused, core } = executing('genoa', { cmdline: 'setcpuid=waitpkg' }).cpus[0]!;
    expect(refused.map(({ register: name }) => name)).toEqual(['IA32_UMWAIT_CONTROL']);
    expect(core.msrs.has(0xe1)).toBe(false);
  });

  test('but in CR4 the host does not boot', () => {
    expect(() => executing('naples', { cmdline: 'setcpuid=umip' })).toThrow('CR4 does not take what setup_umip()');
  });

  test('IA32_ARCH_CAPABILITIES may be given as a fact', () => {
    const host = withSilicon(hostNamed('skylake-sp'), { set: ['ARCH_CAPABILITIES'] });
    const machine = executing(host, { facts: new Map([['arch_capabilities', 0x80]]), cmdline: 'tsx=off' });
    expect(register(machine, 'IA32_TSX_CTRL')).toBe(3n);
  });
});

type Expected = Readonly<Record<string, bigint | undefined>>;

const LSTAR = 0xffff_ffff_8100_1000n;

/** What a host's registers hold, by host, kernel and command line. */
// biome-ignore format: one row per host
const HOSTS: readonly (readonly [host: string, kernel: KernelLine, cmdline: string, registers: Expected])[] = [
  ['sapphire-rapids', '7.3', '', { CR0: 0x8005_0033n, CR4: 0x00f7_1ef0n, XCR0: 0x602e7n, IA32_EFER: 0xd01n, IA32_XFD: 0x40000n, IA32_UMWAIT_CONTROL: 0x186a0n, IA32_TSX_CTRL: 0n, IA32_SPEC_CTRL: 0x401n, PKRU: 0x5555_5554n, IA32_TSC_AUX: 0n, IA32_STAR: 0x0023_0010_0000_0000n, IA32_CSTAR: 0n, IA32_PAT: 0x0407_0506_0007_0106n, IA32_S_CET: 4n, IA32_DEBUGCTL: 4n }],
  ['sapphire-rapids', '7.3', 'tsx=off', { IA32_TSX_CTRL: 3n }],
  ['sapphire-rapids', '7.3', 'tsx=on', { IA32_TSX_CTRL: 0n }],
  ['sapphire-rapids', '7.3', 'tsx=auto', { IA32_TSX_CTRL: 0n }],
  ['cascade-lake', '7.3', 'tsx=auto', { IA32_TSX_CTRL: 3n }],
  ['sapphire-rapids', '7.3', 'nopku', { CR4: 0x00b7_1ef0n, XCR0: 0x600e7n, PKRU: 0n }],
  ['sapphire-rapids', '7.3', 'no5lvl', { CR4: 0x00f7_0ef0n }],
  ['sapphire-rapids', '7.3', 'mitigations=off split_lock_detect=off', { IA32_SPEC_CTRL: 0n, IA32_DEBUGCTL: 0n }],
  ['sapphire-rapids', '6.1', '', { CR4: 0x00f7_1ef0n, IA32_XSS: 0x400n }],
  ['sapphire-rapids', '6.12', 'ibt=off nousershstk', { CR4: 0x0077_1ef0n, IA32_S_CET: 0n }],
  ['skylake-sp', '7.3', '', { CR4: 0x0077_06f0n, IA32_UMWAIT_CONTROL: undefined, IA32_TSX_CTRL: undefined, IA32_SPEC_CTRL: 0n, IA32_XFD: undefined }],
  ['genoa', '7.3', '', { CR4: 0x00f7_1ef0n, IA32_EFER: 0x20_8d01n, IA32_UMWAIT_CONTROL: undefined, IA32_TSX_CTRL: undefined, IA32_SPEC_CTRL: 0n, IA32_SYSENTER_CS: 0x10n }],
  ['genoa', '6.1', '', { IA32_EFER: 0xd01n }],
  ['naples', '7.3', '', { CR4: 0x0035_06f0n, XCR0: 7n }],
];

describe('registers', () => {
  test.each(HOSTS)('%s, %s, "%s"', (host, kernel, cmdline, expected) => {
    const machine = executing(host, { kernel, cmdline });
    const found = Object.fromEntries(Object.keys(expected).map((name) => [name, register(machine, name)]));
    expect(found).toEqual(expected);
  });

  test('LSTAR lies in the kernel’s text, GS points to the CPU’s own area', () => {
    const machine = executing('sapphire-rapids', {}, { cpus: 2 });
    expect(register(machine, 'IA32_LSTAR')).toBeGreaterThan(LSTAR);
    const areas = [0, 1].map((cpu) => register(machine, 'IA32_GS_BASE', cpu));
    expect(new Set(areas).size).toBe(2);
    expect(areas[0]! >> 40n).toBe(0xff1100n);
  });

  test('TSC_AUX has CPU and node; only CPU 0 is the one that boots', () => {
    const machine = executing('genoa', {}, { cpus: 4, nodeOf: (cpu) => cpu >> 1 });
    expect([0, 1, 2, 3].map((cpu) => register(machine, 'IA32_TSC_AUX', cpu))).toEqual([0n, 1n, 0x1002n, 0x1003n]);
    expect([0, 1].map((cpu) => register(machine, 'IA32_APIC_BASE', cpu)! & 0x100n)).toEqual([0x100n, 0n]);
  });
});

describe('FRED', () => {
  const FRED = {
    IA32_FRED_CONFIG: 0xffff_ffff_8100_2040n,
    IA32_FRED_STKLVLS: 0x20_0003_0024n,
    IA32_FRED_RSP0: 0n,
    IA32_LSTAR: 0n,
    IA32_FMASK: 0x2_0200n,
    IA32_STAR: 0x0023_0010_0000_0000n,
  };

  test('fred=on: entry page, stack levels, stacks of the CPU', () => {
    const machine = executing(fredHost, { cmdline: 'fred=on' });
    expect(Object.fromEntries(Object.keys(FRED).map((name) => [name, register(machine, name)]))).toEqual(FRED);
    expect(register(machine, 'CR4')! >> 32n).toBe(1n);
    const stacks = [1, 2, 3].map((level) => register(machine, `IA32_FRED_RSP${level}`)!);
    expect(stacks.every((stack) => stack >> 40n === 0xffff_fen && (stack & 0xfffn) === 0n)).toBe(true);
    expect(new Set(stacks).size).toBe(3);
    expect(machine.cpus[0]!.core.idtr).toEqual({ baseLo: 0, baseHi: 0, limit: 0 });
  });

  test('without it, or on 6.1, the IDT', () => {
    for (const inputs of [{}, { kernel: '6.1' as const, cmdline: 'fred=on' }]) {
      const machine = executing(fredHost, inputs);
      expect(register(machine, 'IA32_FRED_CONFIG')).toBe(0n);
      expect(register(machine, 'CR4')! >> 32n).toBe(0n);
      expect(machine.cpus[0]!.core.idtr.limit).toBe(0xfff);
    }
  });
});

describe('silicon behind a dump', () => {
  const cpuid = (machine: ReturnType<typeof executing>, fn: number) => {
    const out = new Uint32Array(4);
    executeCpuid(machine.cpus[0]!.core, fn, 0, out);
    return out;
  };
  const HLE_RTM = (1 << 4) | (1 << 11);

  test('TSX that was off by its MSR when the dump was taken is there, and hidden again', () => {
    const host = withSilicon(hostNamed('sapphire-rapids'), { clear: ['HLE', 'RTM'] });
    const machine = executing(host);
    expect(register(machine, 'IA32_TSX_CTRL')).toBe(3n);
    expect(cpuid(machine, 7)[1]! & HLE_RTM).toBe(0);
    machine.cpus[0]!.core.msrs.set(0x122, 0n);
    expect(cpuid(machine, 7)[1]! & HLE_RTM).toBe(HLE_RTM);
  });

  test('tsx=off hides it where the dump shows it', () => {
    const machine = executing('sapphire-rapids', { cmdline: 'tsx=off' });
    expect(cpuid(machine, 7)[1]! & HLE_RTM).toBe(0);
  });

  test('SYSCALL is there although a 32-bit tool did not see it', () => {
    const host = withSilicon(hostNamed('sapphire-rapids'), { clear: ['SYSCALL'] });
    expect(cpuid(executing(host), 0x8000_0001)[3]! & (1 << 11)).not.toBe(0);
  });

  test('the firmware locks VMX on, and the SEAM range is there where TDX is', () => {
    expect(register(executing('sapphire-rapids'), 'IA32_FEATURE_CONTROL')).toBe(0x6_0005n);
    expect(
      register(executing('sapphire-rapids', { facts: new Map([['feat_ctl_vmx', 0]]) }), 'IA32_FEATURE_CONTROL')! & 4n,
    ).toBe(0n);
    expect(register(executing('sapphire-rapids', { facts: new Map([['tdx_platform', 1]]) }), 'IA32_MTRRCAP')).toBe(
      0x8508n,
    );
    expect(register(executing('genoa', { facts: new Map([['svm_disabled_by_bios', 1]]) }), 'MSR_VM_CR')).toBe(0x18n);
  });
});
