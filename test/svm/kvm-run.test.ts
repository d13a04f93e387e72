import { describe, expect, test } from 'vitest';
import { type Assembler, asm } from '../../src/emu/isa/asm.js';
import { msrNamed } from '../../src/emu/msr-rows.js';
import * as abi from '../../src/kvm/abi.js';
import type { KvmModule, KvmOptions } from '../../src/kvm/module.js';
import type { HostInputs } from '../../src/linux/host-inputs.js';
import { diffHostState, hostState } from '../../src/linux/host-state.js';
import { kvmOn, VcpuUser } from '../support/vcpu-user.js';

const SIZE = 0x1_0000;
const CODE = 0x1000;
const TABLES = 0xa000;
const REGISTER = { rax: 0, rbx: 1, rcx: 2, rdx: 3, rsp: 6 } as const;
const RIP = 16;
const index = (name: string) => msrNamed(name).index;

/** A guest in 64-bit mode that userspace has made with ioctls, on an AMD host that executes. */
class Guest {
  readonly module: KvmModule;
  readonly user: VcpuUser;
  private readonly region: number;
  private readonly page: number;

  constructor(
    program: (a: Assembler) => void,
    host = 'genoa',
    options: KvmOptions = {},
    inputs: Partial<HostInputs> = {},
  ) {
    this.module = kvmOn(host, inputs.kernel ?? '7.3', options, inputs);
    this.user = new VcpuUser(this.module);
    const { process, vm, vcpu } = this.user;
    expect(this.user.setCpuid(this.module.supported(this.module.defaultOverlay, process))).toBe('OK');
    this.region = process.memory.mmap(SIZE);
    const view = this.user.clear();
    view.setBigUint64(16, BigInt(SIZE), true);
    view.setBigUint64(24, BigInt(this.region), true);
    expect(this.user.errno(vm, abi.KVM_SET_USER_MEMORY_REGION)).toBe('OK');
    const { bytes, base } = process.memory;
    const offset = this.region - base;
    bytes.set(asm(program), offset + CODE);
    const tables = new DataView(bytes.buffer, offset + TABLES, 0x3000);
    tables.setBigUint64(0, BigInt(TABLES + 0x1007), true);
    tables.setBigUint64(0x1000, BigInt(TABLES + 0x2007), true);
    tables.setBigUint64(0x2000, 0x87n, true);
    expect(
      this.user.setSregs((sregs) => {
        sregs.setBigUint64(abi.SREGS_CR0, 0x8005_0033n, true);
        sregs.setBigUint64(abi.SREGS_CR3, BigInt(TABLES), true);
        sregs.setBigUint64(abi.SREGS_CR4, 0x6a0n, true);
        sregs.setBigUint64(abi.SREGS_EFER, 0xd01n, true);
        sregs.setUint8(abi.SREGS_SEGMENTS.cs + abi.SEGMENT.l, 1);
        sregs.setUint8(abi.SREGS_SEGMENTS.cs + 17, 0);
      }),
    ).toBe('OK');
    expect(this.user.setRegs({ [RIP]: BigInt(CODE), [REGISTER.rsp]: 0x8000n, [abi.RFLAGS]: 2n })).toBe('OK');
    this.page = process.mmap(vcpu, abi.VCPU_MMAP_SIZE);
  }

  get core() {
    return this.module.kernel.hardware.cpus[0]!.core;
  }

  /** KVM_RUN. @returns the exit reason */
  run(): number {
    expect(this.user.errno(this.user.vcpu, abi.KVM_RUN, 0)).toBe('OK');
    const { memory } = this.user.process;
    return memory.view.getUint32(this.page - memory.base + abi.RUN.exitReason, true);
  }

  register(name: keyof typeof REGISTER): bigint {
    return this.user.getRegs()[REGISTER[name]]!;
  }
}

describe('KVM_RUN on an AMD host that executes', () => {
  test('CPUID answers from the guest’s table, HLT comes to userspace', () => {
    const guest = new Guest((a) => {
      a.mov('eax', 0x8000_000a);
      a.xor('ecx', 'ecx');
      a.cpuid();
      a.mov('eax', 0);
      a.cpuid();
      a.hlt();
    });
    expect(guest.run()).toBe(abi.KVM_EXIT_HLT);
    expect(guest.register('rbx')).toBe(0x6874_7541n);
  });

  test.each(['naples', 'rome', 'milan', 'genoa', 'turin'])('leaves the host of %s as it was', (host) => {
    const guest = new Guest((a) => {
      for (const [name, value] of [
        ['IA32_STAR', 1],
        ['IA32_LSTAR', 2],
        ['IA32_KERNEL_GS_BASE', 3],
        ['IA32_TSC_AUX', 4],
        ['IA32_SPEC_CTRL', 1],
      ] as const) {
        if (host === 'naples' && name === 'IA32_SPEC_CTRL') continue;
        a.mov('ecx', index(name));
        a.mov('eax', value);
        a.xor('edx', 'edx');
        a.wrmsr();
      }
      a.rdtscp();
      a.mov('rbx', 'rcx');
      a.hlt();
    }, host);
    guest.user.errno(guest.user.vcpu, abi.KVM_GET_REGS);
    const before = hostState(guest.core);
    expect(guest.run()).toBe(abi.KVM_EXIT_HLT);
    expect(guest.register('rbx')).toBe(4n);
    // Virtualization is turned on when it is first needed, and stays on.
    const changed = diffHostState(before, hostState(guest.core)).map(({ name }) => name);
    expect(changed.filter((name) => name !== 'IA32_EFER' && name !== 'MSR_VM_HSAVE_PA')).toEqual([]);
  });

  test('VMLOAD, which hardware would let it have, is #UD for a guest: without an IDT that is the end', () => {
    const guest = new Guest((a) => {
      a.vmload();
      a.hlt();
    });
    guest.user.setSregs((sregs) => sregs.setUint16(abi.SREGS_IDT + abi.DTABLE_LIMIT, 0, true));
    expect(guest.run()).toBe(abi.KVM_EXIT_SHUTDOWN);
  });

  test('an MSR that nobody has is #GP, which without an IDT is the end', () => {
    const guest = new Guest((a) => {
      a.mov('ecx', 0x1234);
      a.rdmsr();
    });
    guest.user.setSregs((sregs) => sregs.setUint16(abi.SREGS_IDT + abi.DTABLE_LIMIT, 0, true));
    expect(guest.run()).toBe(abi.KVM_EXIT_SHUTDOWN);
  });

  test('bus locks of the host’s making reach the guest only where DEBUGCTL is not switched', () => {
    const within = (options: KvmOptions) => {
      const guest = new Guest((a) => a.hlt(), 'turin', options);
      const { core } = guest;
      let value = -1n;
      core.sink = {
        instruction: () => {
          value = core.msrs.get(index('IA32_DEBUGCTL'))!;
        },
      };
      expect(guest.run()).toBe(abi.KVM_EXIT_HLT);
      return value;
    };
    expect(within({})).toBe(0n);
    expect(within({ defects: ['svm-debugctl-not-switched'] })).toBe(4n);
  });
});

describe('cycles', () => {
  test('the round trip of VMRUN is the published 1344 to 1376, an input', () => {
    const guest = new Guest((a) => a.hlt(), 'rome');
    const { costs } = guest.core;
    expect(costs.of('vmrun') + costs.of('vmexit')).toBeGreaterThanOrEqual(1344);
    expect(costs.of('vmrun') + costs.of('vmexit')).toBeLessThanOrEqual(1376);
  });

  test('a whole KVM_RUN is within 15 % of the published 2528, a prediction', () => {
    const guest = new Guest((a) => {
      a.label('again');
      a.hlt();
      a.jmp('again');
    }, 'rome');
    guest.run();
    const began = guest.core.clock.now[0]!;
    guest.run();
    const cycles = guest.core.clock.now[0]! - began;
    expect(Math.abs(cycles / 2528 - 1)).toBeLessThan(0.15);
  });
});
