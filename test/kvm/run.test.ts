import { describe, expect, test } from 'vitest';
import { KERNEL_LINES } from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import { entry, kvmOn, VcpuUser } from '../support/vcpu-user.js';

const HLT = 0xf4;
const CPUID = [0x0f, 0xa2];

function ready(code: readonly number[], options: ConstructorParameters<typeof VcpuUser>[1] = {}) {
  const user = new VcpuUser(kvmOn('sapphire-rapids'), options);
  user.setCpuid([entry(0, { eax: 1, ebx: 2, ecx: 3, edx: 4 })]);
  return { user, run: user.prepare(code) };
}

const exitReason = (run: DataView): number => run.getUint32(abi.RUN.exitReason, true);

describe('KVM_RUN', () => {
  test('CPUID is answered inside the kernel, HLT by userspace', () => {
    const { user, run } = ready([...CPUID, HLT]);
    user.setRegs({ [abi.RIP]: 0x1000n, [abi.RAX]: 0xffff_ffff_0000_0000n, [abi.RFLAGS]: 0x202n });
    expect([user.run(), exitReason(run)]).toEqual(['OK', abi.KVM_EXIT_HLT]);
    const regs = user.getRegs();
    expect([abi.RAX, abi.RBX, abi.RCX, abi.RDX, abi.RIP].map((register) => regs[register])).toEqual([
      1n,
      2n,
      3n,
      4n,
      0x1003n,
    ]);
    expect(run.getUint8(abi.RUN.ifFlag)).toBe(1);
    expect(run.getBigUint64(abi.RUN.apicBase, true)).toBe(0xfee0_0900n);
  });

  test('goes on behind the HLT', () => {
    const { user, run } = ready([HLT, 0x90, HLT]);
    expect([user.run(), user.run(), exitReason(run)]).toEqual(['OK', 'OK', abi.KVM_EXIT_HLT]);
    expect(user.getRegs()[abi.RIP]).toBe(0x1003n);
  });

  test.each(KERNEL_LINES)('%s: sees the bits that follow its state', (kernel) => {
    const user = new VcpuUser(kvmOn('sapphire-rapids', kernel));
    user.setCpuid([entry(1, { ecx: 1 << 26 })]);
    user.prepare([...CPUID, HLT]);
    expect(user.setCr4(1n << 18n)).toBe('OK');
    user.setRegs({ [abi.RIP]: 0x1000n, [abi.RAX]: 1n });
    user.run();
    expect(user.getRegs()[abi.RCX]).toBe(0x0c00_0000n);
  });

  test('an instruction that the emulator does not have ends it with an internal error', () => {
    const { user, run } = ready([0x0f, 0x0b]);
    expect([user.run(), exitReason(run)]).toEqual(['OK', abi.KVM_EXIT_INTERNAL_ERROR]);
    expect(run.getUint32(abi.RUN.internalSuberror, true)).toBe(abi.KVM_INTERNAL_ERROR_EMULATION);
    expect(user.getRegs()[abi.RIP]).toBe(0x1000n);
  });

  test('so do protected mode, memory that is not there and the end of the segment', () => {
    const outcomes = [
      (user: VcpuUser) => user.setSregs((sregs) => sregs.setBigUint64(abi.SREGS_CR0, 0x11n, true)),
      (user: VcpuUser) => user.setRegs({ [abi.RIP]: 0x3000n }),
      (user: VcpuUser) => user.setRegs({ [abi.RIP]: 0x1_0000n }),
    ].map((change) => {
      const { user, run } = ready([HLT]);
      expect(change(user)).toBe('OK');
      return [user.run(), exitReason(run)];
    });
    expect(outcomes).toEqual(Array(3).fill(['OK', abi.KVM_EXIT_INTERNAL_ERROR]));
  });

  test('EFAULT when the memory behind the guest is gone', () => {
    const { user } = ready([HLT]);
    expect(user.setRegion(1, 0, 0x8000n, 4096n, 0x7000_0000_0000n)).toBe('OK');
    user.setRegs({ [abi.RIP]: 0x8000n });
    expect(user.run()).toBe('EFAULT');
  });

  test('EINVAL for an argument, for unknown sync bits and for a CR8 that cannot be', () => {
    const { user, run } = ready([HLT]);
    expect(user.errno(user.vcpu, abi.KVM_RUN, 1)).toBe('EINVAL');
    run.setUint32(abi.RUN.validRegs, 8, true);
    expect(user.run()).toBe('EINVAL');
    run.setUint32(abi.RUN.validRegs, 7, true);
    run.setUint32(abi.RUN.cr8, 16, true);
    expect(user.run()).toBe('EINVAL');
    run.setUint32(abi.RUN.cr8, 15, true);
    expect(user.run()).toBe('OK');
  });

  test('a halted guest waits in the kernel when HLT does not exit, until a signal comes', () => {
    const { user, run } = ready([HLT], {
      beforeVcpu: (it) => expect(it.enableCap(it.vm, abi.KVM_CAP_X86_DISABLE_EXITS, 2n)).toBe('OK'),
    });
    expect([user.run(), exitReason(run)]).toEqual(['EINTR', abi.KVM_EXIT_INTR]);
  });

  test('works without a mapping, which nobody can look at then', () => {
    const user = new VcpuUser(kvmOn('genoa'));
    expect(user.run()).toBe('OK');
    const run = user.process.mmap(user.vcpu, abi.VCPU_MMAP_SIZE);
    const { view, base } = user.process.memory;
    expect(view.getUint32(run - base + abi.RUN.exitReason, true)).toBe(abi.KVM_EXIT_INTERNAL_ERROR);
  });
});

describe('mmap() of a descriptor', () => {
  test('a vCPU: the same address each time, and nothing behind its three pages', () => {
    const { process, vcpu } = new VcpuUser(kvmOn('genoa'));
    const run = process.mmap(vcpu, 5 * 4096);
    expect(process.mmap(vcpu, 4096)).toBe(run);
    expect([0, 2, 3, 4].map((page) => process.memory.readable(run + page * 4096, 1) >= 0)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  test('errors', () => {
    const user = new VcpuUser(kvmOn('genoa'));
    const results = [
      user.process.mmap(user.kvm, 4096),
      user.process.mmap(user.vm, 4096),
      user.process.mmap(user.vcpu, 0),
      user.process.mmap(99, 4096),
    ];
    expect(results).toEqual([-19, -19, -22, -9]);
  });
});
