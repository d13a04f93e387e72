import { describe, expect, test } from 'vitest';
import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../src/cpuid/entry.js';
import { STOP } from '../../src/emu/core/status.js';
import { type Assembler, asm } from '../../src/emu/isa/asm.js';
import { msrNamed } from '../../src/emu/msr-rows.js';
import * as abi from '../../src/kvm/abi.js';
import { GUEST_RAM, GuestMemory } from '../../src/kvm/guest-memory.js';
import { GUEST_EXIT, GUEST_RIP, GuestRegisters } from '../../src/kvm/guest-run.js';
import type { KvmOptions } from '../../src/kvm/module.js';
import { Vcpu } from '../../src/kvm/vcpu.js';
import { Vm } from '../../src/kvm/vm.js';
import type { HostCpu } from '../../src/linux/host-cpu.js';
import type { HostInputs } from '../../src/linux/host-inputs.js';
import { diffHostState, hostState } from '../../src/linux/host-state.js';
import { SvmRunner } from '../../src/svm/runner.js';
import { kvmOn } from '../support/vcpu-user.js';

const SIZE = 0x1_0000;
const CODE = 0x1000;
const TABLES = 0xa000;
const NAMES = Object.fromEntries(Object.entries(GUEST_EXIT).map(([name, kind]) => [kind, name]));

const index = (name: string) => msrNamed(name).index;

interface Options {
  readonly host?: string;
  readonly kernel?: HostInputs['kernel'];
  readonly kvm?: KvmOptions;
  readonly inputs?: Partial<HostInputs>;
  readonly change?: (entries: { -readonly [K in keyof CpuidEntry2]: CpuidEntry2[K] }[]) => void;
}

/** A vCPU in 64-bit mode with everything that KVM supports, run by kvm-amd's runner alone: what KVM does, the test does. */
class Machine {
  readonly cpu: HostCpu;
  readonly vcpu: Vcpu;
  readonly runner: SvmRunner;
  readonly registers = new GuestRegisters();
  readonly memory: GuestMemory;
  private readonly guestBytes: Uint8Array;

  constructor({ host = 'genoa', kernel = '7.3', kvm = {}, inputs = {}, change }: Options = {}) {
    const module = kvmOn(host, kernel, kvm, inputs);
    const process = module.kernel.spawn();
    const vm = new Vm(module, process, 0, module.defaultOverlay);
    this.vcpu = new Vcpu(vm, process, 0);
    const entries = module.supported(module.defaultOverlay, process).map((entry) => ({ ...entry }));
    change?.(entries);
    const buffer = process.memory.mmap(0x10000);
    const words = new Uint32Array(process.memory.bytes.buffer, buffer - process.memory.base, 0x4000);
    words[0] = entries.length;
    entries.forEach(({ function: fn, index: at, flags, eax, ebx, ecx, edx }, n) => {
      words.set([fn, at, flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX, eax, ebx, ecx, edx, 0, 0, 0], 2 + n * 10);
    });
    expect(this.vcpu.ioctl(process, abi.KVM_SET_CPUID2, buffer)).toBe(0);

    const region = process.memory.mmap(SIZE);
    const { view } = process.memory;
    const at = buffer - process.memory.base;
    view.setUint32(at, 0, true);
    view.setUint32(at + 4, 0, true);
    view.setBigUint64(at + 8, 0n, true);
    view.setBigUint64(at + 16, BigInt(SIZE), true);
    view.setBigUint64(at + 24, BigInt(region), true);
    expect(vm.slots.set(process, buffer)).toBe(0);
    const offset = region - process.memory.base;
    this.guestBytes = process.memory.bytes.subarray(offset, offset + SIZE);
    const tables = new DataView(process.memory.bytes.buffer, offset + TABLES, 0x3000);
    tables.setBigUint64(0, BigInt(TABLES + 0x1007), true);
    tables.setBigUint64(0x1000, BigInt(TABLES + 0x2007), true);
    tables.setBigUint64(0x2000, 0x87n, true);

    this.cpu = module.kernel.hardware.cpus[0]!;
    this.memory = new GuestMemory('npt', this.cpu.memory, process.memory, vm.slots);
    this.longMode();
    const { vcpu, cpu, memory, registers } = this;
    this.runner = new SvmRunner({ vcpu, cpu, memory, registers });
    this.runner.loadState();
    registers.lo[GUEST_RIP] = CODE;
    registers.lo[4] = 0x8000;
  }

  private longMode(): void {
    const { sregs } = this.vcpu.state;
    sregs.setBigUint64(abi.SREGS_CR0, 0x8005_0033n, true);
    sregs.setBigUint64(abi.SREGS_CR3, BigInt(TABLES), true);
    sregs.setBigUint64(abi.SREGS_CR4, 0x4_06a0n, true);
    sregs.setBigUint64(abi.SREGS_EFER, 0xd01n, true);
    sregs.setUint8(abi.SREGS_SEGMENTS.cs + abi.SEGMENT.l, 1);
    sregs.setUint16(abi.SREGS_SEGMENTS.cs + abi.SEGMENT.selector, 8, true);
  }

  program(program: (a: Assembler) => void): this {
    this.guestBytes.set(asm(program), CODE);
    return this;
  }

  /** Runs to the next exit that is not about memory. @returns its name */
  enter(): string {
    this.memory.enter();
    this.runner.load();
    for (;;) {
      expect(this.runner.enter(this.cpu.core.clock.now[0]! + 1e6)).toBe(STOP.EXIT);
      const { exit } = this.runner;
      if (exit.kind === GUEST_EXIT.NESTED_FAULT && this.memory.fault(exit.gpa, exit.write) === GUEST_RAM) continue;
      return NAMES[exit.kind]!;
    }
  }

  skip(): void {
    this.registers.lo[GUEST_RIP]! += this.runner.exit.length;
  }

  leave(): void {
    this.runner.put();
    this.memory.leave();
    this.cpu.prepareUserMode();
  }
}

// biome-ignore format: one row per fact
const EXITS: readonly (readonly [kind: string, program: (a: Assembler) => void, expected: Record<string, number>])[] = [
  ['CPUID', (a) => a.cpuid(), { length: 2 }],
  ['HLT', (a) => a.hlt(), { length: 1 }],
  ['HYPERCALL', (a) => a.vmmcall(), { length: 3 }],
  ['MSR_READ', (a) => { a.mov('ecx', 0xc001_1029); a.rdmsr(); }, { number: 0xc001_1029, length: 2, register: -1 }],
  ['MSR_WRITE', (a) => { a.mov('ecx', 0x277); a.wrmsr(); }, { number: 0x277, length: 2 }],
  ['CR_READ', (a) => a.mov('rbx', 'cr4'), { number: 4, register: 3, length: 3 }],
  ['CR_WRITE', (a) => a.mov('cr4', 'r9'), { number: 4, register: 9, length: 4 }],
  ['CR_WRITE', (a) => { a.mov('rax', 'cr0'); a.xor('rax', 0x20); a.mov('cr0', 'rax'); }, { number: 0, register: 0, length: 3 }],
  ['XSETBV', (a) => { a.xor('ecx', 'ecx'); a.xsetbv(); }, { length: 3 }],
  ['EXCEPTION', (a) => a.ud2(), { number: 6, length: 0 }],
  ['UNDEFINED', (a) => a.vmload(), { length: 3 }],
  ['NOTHING', (a) => a.monitor(), { length: 3 }],
  ['SHUTDOWN', (a) => a.int3(), {}],
  ['NESTED_FAULT', (a) => a.mov('qword ptr [rip+0x20000]', 'rax'), { length: 0, gpa: CODE + 7 + 0x2_0000 }],
];

describe('exits, as common code knows them', () => {
  test.each(EXITS)('%s', (kind, program, expected) => {
    const machine = new Machine().program(program);
    machine.vcpu.state.sregs.setUint16(abi.SREGS_IDT + abi.DTABLE_LIMIT, 0, true);
    machine.runner.loadState();
    if (kind === 'UNDEFINED') machine.runner.hardware.write(index('IA32_EFER'), 0x1d01n);
    expect(machine.enter()).toBe(kind);
    expect(machine.runner.exit).toMatchObject(expected);
  });

  test('CPUID, with registers on both sides', () => {
    const machine = new Machine().program((a) => {
      a.mov('eax', 7);
      a.mov('ecx', 1);
      a.cpuid();
      a.add('rbx', 'rax');
      a.hlt();
    });
    machine.registers.lo[3] = 5;
    expect(machine.enter()).toBe('CPUID');
    const { registers } = machine;
    expect([registers.lo[0], registers.lo[1], registers.lo[3]]).toEqual([7, 1, 5]);
    registers.lo[0] = 100;
    machine.skip();
    expect(machine.enter()).toBe('HLT');
    expect(registers.lo[3]).toBe(105);
  });

  test('an exception that is given back reaches the guest', () => {
    const machine = new Machine().program((a) => a.ud2());
    expect(machine.enter()).toBe('EXCEPTION');
    machine.runner.inject(6, false, 0);
    // There is no IDT: a triple fault.
    machine.vcpu.state.sregs.setUint16(abi.SREGS_IDT + abi.DTABLE_LIMIT, 0, true);
    machine.runner.loadState();
    expect(machine.enter()).toBe('SHUTDOWN');
  });
});

describe('state', () => {
  test('of userspace comes back as it went, when the guest has done nothing to it', () => {
    const machine = new Machine().program((a) => a.hlt());
    const { sregs, sregsBytes } = machine.vcpu.state;
    sregs.setBigUint64(abi.SREGS_SEGMENTS.fs, 0x1234n, true);
    sregs.setBigUint64(abi.SREGS_CR8, 7n, true);
    machine.runner.loadState();
    const before = sregsBytes.slice();
    expect(machine.enter()).toBe('HLT');
    machine.runner.saveState();
    expect(sregsBytes).toEqual(before);
  });

  test('that the guest has changed shows', () => {
    const machine = new Machine().program((a) => {
      a.mov('rax', 'cr3');
      a.or('rax', 0x18);
      a.mov('cr3', 'rax');
      a.mov('eax', 9);
      a.wrfsbase('rax');
      a.hlt();
    });
    machine.vcpu.state.sregs.setBigUint64(abi.SREGS_CR4, 0x5_06a0n, true);
    machine.runner.loadState();
    expect(machine.enter()).toBe('HLT');
    machine.runner.saveState();
    const { sregs } = machine.vcpu.state;
    expect(sregs.getBigUint64(abi.SREGS_CR3, true)).toBe(BigInt(TABLES | 0x18));
    expect(sregs.getBigUint64(abi.SREGS_SEGMENTS.fs, true)).toBe(9n);
  });
});

describe('the host', () => {
  test.each(['naples', 'rome', 'milan', 'genoa', 'turin'])('of %s is as it was', (host) => {
    const machine = new Machine({ host }).program((a) => {
      for (const [name, value] of [
        ['IA32_STAR', 1],
        ['IA32_KERNEL_GS_BASE', 2],
        ['IA32_FMASK', 3],
      ] as const) {
        a.mov('ecx', index(name));
        a.mov('eax', value);
        a.xor('edx', 'edx');
        a.wrmsr();
      }
      a.cpuid();
      a.hlt();
    });
    machine.vcpu.state.xcr0 = 3;
    machine.runner.writeMsr(index('IA32_TSC_AUX'), 7, 0);
    const before = hostState(machine.cpu.core);
    expect(machine.enter()).toBe('CPUID');
    machine.skip();
    expect(machine.enter()).toBe('HLT');
    machine.leave();
    expect(diffHostState(before, hostState(machine.cpu.core))).toEqual([]);
  });

  test('traps its guests’ bus locks where DEBUGCTL is not switched', () => {
    const within = (defects: KvmOptions['defects'], kernel: HostInputs['kernel'] = '7.3') => {
      const machine = new Machine({ host: 'turin', kernel, kvm: defects ? { defects } : {} }).program((a) => a.hlt());
      const { core } = machine.cpu;
      let value = -1n;
      core.sink = {
        instruction: () => {
          value = core.msrs.get(index('IA32_DEBUGCTL'))!;
        },
      };
      expect(machine.enter()).toBe('HLT');
      return value;
    };
    expect(within([])).toBe(0n);
    expect(within(['svm-debugctl-not-switched'])).toBe(4n);
  });
});

describe('MSRs', () => {
  const out = new Int32Array(2);

  test('that the guest’s CPUID does not give fault', () => {
    const machine = new Machine({
      change: (entries) => {
        for (const entry of entries) {
          if (entry.function === 0x8000_0001) entry.edx &= ~(1 << 27);
          if (entry.function === 7 && entry.index === 0) entry.ecx &= ~(1 << 22);
        }
      },
    });
    expect(machine.runner.readMsr(index('IA32_TSC_AUX'), out)).toBe(false);
    expect(machine.runner.writeMsr(index('IA32_TSC_AUX'), 1, 0)).toBe(false);
  });

  test('that KVM keeps elsewhere are for common code', () => {
    const { runner } = new Machine();
    expect(runner.readMsr(0x1b, out)).toBeNull();
    expect(runner.writeMsr(0x1b, 0, 0)).toBeNull();
    expect(runner.readMsr(0x4000_0000, out)).toBeNull();
  });

  test.each([
    ['IA32_LSTAR', 0, 0x4000_0000, false],
    ['IA32_LSTAR', 0x1000, -1, true],
    ['IA32_PAT', 0x0007_0406, 0x0007_0406, true],
    ['IA32_PAT', 2, 0, false],
    ['IA32_EFER', 0x401, 0, false],
    ['IA32_EFER', 0xd01, 0, true],
    ['IA32_EFER', 0x901, 0, true],
    ['IA32_EFER', 0xd01, 1, false],
    ['IA32_EFER', 0xd03, 0, false],
    ['IA32_TSC_AUX', 5, 0, true],
    ['IA32_PRED_CMD', 1, 0, true],
    ['IA32_PRED_CMD', 2, 0, false],
    ['IA32_DEBUGCTL', 1, 0, true],
    ['IA32_DEBUGCTL', 4, 0, true],
    ['IA32_DEBUGCTL', 0x40, 0, false],
  ] as const)('%s takes %i, %i: %s', (name, lo, hi, taken) => {
    const machine = new Machine();
    const before = hostState(machine.cpu.core);
    expect(machine.runner.writeMsr(index(name), lo, hi)).toBe(taken);
    expect(diffHostState(before, hostState(machine.cpu.core))).toEqual([]);
  });

  test('DEBUGCTL drops what it does not virtualise; older kernels kept it', () => {
    for (const [kernel, kept] of [
      ['7.3', 1],
      ['6.12', 5],
    ] as const) {
      const { runner } = new Machine({ kernel });
      runner.writeMsr(index('IA32_DEBUGCTL'), 5, 0);
      runner.readMsr(index('IA32_DEBUGCTL'), out);
      expect(out[0]).toBe(kept);
    }
  });
});

describe('control registers', () => {
  test('CR4 takes what the guest’s CPUID gives', () => {
    const { runner, vcpu } = new Machine();
    expect(runner.writeCr(4, 0x4_06a0 | (1 << 13), 0)).toBe(false);
    expect(runner.writeCr(4, 0x4_0680, 0)).toBe(false);
    expect(runner.writeCr(4, 0x4_06a0 | (1 << 20), 0)).toBe(true);
    expect(runner.cr4).toBe(0x14_06a0);
    expect(vcpu.state.cr4).toBe(0x14_06a0);
  });

  test('CR0 and CR8 refuse what hardware would', () => {
    const { runner } = new Machine();
    const out = new Int32Array(2);
    expect(runner.writeCr(0, 0x2005_0033 | (1 << 31), 0)).toBe(false);
    expect(runner.writeCr(0, 0x0005_0033, 0)).toBe(false);
    expect(runner.writeCr(0, 0x8005_0013 | 0, 0)).toBe(true);
    expect(runner.writeCr(8, 16, 0)).toBe(false);
    expect(runner.writeCr(8, 9, 0)).toBe(true);
    runner.readCr(8, out);
    expect(out[0]).toBe(9);
  });
});
