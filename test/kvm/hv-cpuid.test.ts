import { describe, expect, test } from 'vitest';
import { bootKvm, builtInHost, type CpuidEntry2, describeBuiltIn, hex8, type KernelLine } from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import { entryAt } from '../../src/kvm/cpuid-table.js';
import { kvmOn, VcpuUser } from '../support/vcpu-user.js';

/** KVM_GET_SUPPORTED_HV_CPUID by function. */
function leaves(user: VcpuUser, fd: number): Map<string, CpuidEntry2> {
  const view = user.clear();
  view.setUint32(0, 256, true);
  expect(user.errno(fd, abi.KVM_GET_SUPPORTED_HV_CPUID)).toBe('OK');
  expect(view.getUint32(0, true)).toBe(10);
  const words = new Uint32Array(view.buffer, view.byteOffset + abi.CPUID2_HEADER_SIZE, 10 * abi.ENTRY2_WORDS);
  return new Map(Array.from({ length: 10 }, (_, n) => entryAt(words, n)).map((item) => [hex8(item.function), item]));
}

const onSystem = (user: VcpuUser) => leaves(user, user.kvm);
const NO_CORESHARING = 1 << 18;
const CLUSTER_IPI = 1 << 10;
const DIRECT_TIMERS = 1 << 19;

describe('KVM_GET_SUPPORTED_HV_CPUID', () => {
  test('nent: too few is E2BIG and nothing is written, more than needed is cut', () => {
    const user = new VcpuUser(kvmOn('genoa'));
    const ask = (nent: number) => {
      const view = user.clear();
      view.setUint32(0, nent, true);
      return [user.errno(user.kvm, abi.KVM_GET_SUPPORTED_HV_CPUID), view.getUint32(0, true), view.getUint32(8, true)];
    };
    expect([0, 9].map(ask)).toEqual([0, 9].map((nent) => ['E2BIG', nent, 0]));
    expect([10, 11, 0xffff_ffff].map(ask)).toEqual(Array(3).fill(['OK', 10, 0x4000_0000]));
  });

  test('enlightened VMCS comes with nested VMX', () => {
    const version = (host: string, nested: number) => {
      const parameters = new Map([['kvm_intel.nested', nested]]);
      return onSystem(new VcpuUser(kvmOn(host, '7.3', {}, { parameters }))).get('4000000a')!.eax & 0xffff;
    };
    expect([version('sapphire-rapids', 1), version('sapphire-rapids', 0), version('genoa', 1)]).toEqual([0x101, 0, 0]);
  });

  test('a vCPU has to enable it, and gets direct timers and cluster IPIs only with an APIC in the kernel', () => {
    const seen = [false, true].map((irqchip) => {
      const user = new VcpuUser(kvmOn('sapphire-rapids'), {
        beforeVcpu: (it) => irqchip && expect(it.errno(it.vm, abi.KVM_CREATE_IRQCHIP)).toBe('OK'),
      });
      const own = leaves(user, user.vcpu);
      return [
        own.get('4000000a')!.eax & 0xffff,
        own.get('40000003')!.edx & DIRECT_TIMERS,
        own.get('40000004')!.eax & CLUSTER_IPI,
      ];
    });
    expect(seen).toEqual([
      [0, 0, 0],
      [0, DIRECT_TIMERS, CLUSTER_IPI],
    ]);
  });

  test('what Linux 6.1 did not have yet', () => {
    const of = (line: KernelLine) => onSystem(new VcpuUser(kvmOn('genoa', line)));
    const [old, now] = [of('6.1'), of('6.12')];
    expect([old.get('40000003')!.eax, now.get('40000003')!.eax]).toEqual([0x2aff, 0xaaff]);
    expect([old.get('40000005')!.eax, now.get('40000005')!.eax]).toEqual([1024, 4096]);
  });

  test('core sharing is ruled out where no core has two threads', () => {
    const sharing = (kernel: KernelLine, cpus: number, cmdline = '') => {
      const host = describeBuiltIn(builtInHost('sapphire-rapids')!);
      const many = { ...host, cpus: Array(cpus).fill(host.cpus[0]), inputs: { ...host.inputs, kernel, cmdline } };
      return (onSystem(new VcpuUser(bootKvm(many))).get('40000004')!.eax & NO_CORESHARING) === 0;
    };
    // Since 6.9 the kernel counts the CPUs that are there; before, CPUID alone decided.
    expect([sharing('7.3', 2), sharing('7.3', 1), sharing('6.1', 1)]).toEqual([true, false, true]);
    expect(sharing('7.3', 2, 'nosmt=force')).toBe(false);
  });
});
