import { describe, expect, test } from 'vitest';
import {
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VM,
  KVM_GET_EMULATED_CPUID,
  KVM_GET_SUPPORTED_CPUID,
} from '../../src/kvm/abi.js';
import { KvmNotLoaded } from '../../src/kvm/load.js';
import { bootCapture } from '../support/capture-host.js';
import { type Capture, captureNames, loadCapture } from '../support/captures.js';
import { load, Userspace } from '../support/simulator.js';

/** What a capture's process was permitted, as `arch_prctl` told the recorder. */
function permissions(capture: Capture): number[] {
  const mask = BigInt(`0x${capture.host.arch_prctl.XCOMP_GUEST_PERM}`);
  return [...Array(32).keys()].filter((bit) => (mask >> BigInt(bit)) & 1n);
}

function open(name: string) {
  const capture = loadCapture(name);
  const kernel = bootCapture(capture);
  load(kernel);
  const user = new Userspace(kernel, { guestPermissions: permissions(capture) });
  return { capture, user, kvm: user.process.open('/dev/kvm') };
}

const loaded = captureNames.filter((name) => loadCapture(name).supported);
const refused = captureNames.filter((name) => !loadCapture(name).supported);

describe('recorded kernels', () => {
  test.each(loaded)('%s: KVM_GET_SUPPORTED_CPUID and KVM_GET_EMULATED_CPUID', (name) => {
    const { capture, user, kvm } = open(name);
    expect(user.get(kvm, KVM_GET_SUPPORTED_CPUID)).toEqual({ errno: 'OK', entries: capture.supported.entries });
    expect(user.get(kvm, KVM_GET_EMULATED_CPUID)).toEqual({ errno: 'OK', entries: capture.emulated.entries });
  });

  test.each(loaded)('%s: KVM_CHECK_EXTENSION on /dev/kvm and on a VM', (name) => {
    const { capture, user, kvm } = open(name);
    const vm = user.process.ioctl(kvm, KVM_CREATE_VM, 0);
    const answers = (fd: number) =>
      Object.fromEntries(
        Array.from(
          { length: 261 },
          (_, cap) => [String(cap), user.process.ioctl(fd, KVM_CHECK_EXTENSION, cap)] as const,
        ).filter(([, value]) => value !== 0),
      );
    expect(answers(kvm)).toEqual({ ...capture.caps.system, ...onlineCpus(capture.caps.system) });
    expect(answers(vm)).toEqual({ ...capture.caps.vm, ...onlineCpus(capture.caps.vm) });
  });

  test.each(refused)('%s: the module does not load, and there is no /dev/kvm', (name) => {
    const kernel = bootCapture(loadCapture(name));
    expect(() => load(kernel)).toThrow(KvmNotLoaded);
    expect(new Userspace(kernel).process.open('/dev/kvm')).toBe(-2);
  });
});

/** The recorder stored the CPUID of CPU 0 only: the number of CPUs of an SMP host is not in its rows. */
function onlineCpus(recorded: Record<string, number>): Record<string, number> {
  return recorded['9'] === undefined ? {} : { 9: 1 };
}
