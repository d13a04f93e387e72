import { describe, expect, test } from 'vitest';
import { ERRNO } from '../../src/linux/errno.js';
import { withKvm } from '../../src/live/device.js';
import { errnoOf, type Libc, LiveUnavailable } from '../../src/live/ffi.js';
import { withGuest } from '../../src/live/guest.js';
import { bootCapture } from '../support/capture-host.js';
import { loadCapture } from '../support/captures.js';
import { load } from '../support/simulator.js';
import { simulatedLibc } from './simulated-libc.js';

/** A simulated machine, with some of its system calls replaced. */
function machine(change: (libc: Libc) => Partial<Libc> = () => ({})): Libc {
  const kernel = bootCapture(loadCapture('tcg-7.3.4-EPYC'));
  load(kernel);
  const libc = simulatedLibc(kernel.spawn({ arena: 1 << 22 }), kernel.machine.cpus[0]!.cpuid);
  return { ...libc, ...change(libc) };
}

const failing = (message: string) => (): never => {
  throw new Error(message);
};
const createOn = (libc: Libc): string => withKvm(libc, (kvm) => kvm.withVm(({ errno }) => errno));

describe('errnoOf', () => {
  test.each([
    [0, 'OK'],
    [12, 'OK'],
    [-ERRNO.EINVAL, 'EINVAL'],
    [-11, 'EAGAIN'],
    [-95, 'EOPNOTSUPP'],
    [-12345, 'E#12345'],
  ])('%i is %s', (result, name) => {
    expect(errnoOf(result)).toBe(name);
  });
});

describe('a device that does not open', () => {
  test.each([
    [
      -2,
      '/dev/kvm does not open: ENOENT (there is no such device: no KVM in this kernel, or its module is not loaded)',
    ],
    [-13, '/dev/kvm does not open: EACCES (no permission: join the group of the device (often kvm) or run as root)'],
    [-24, '/dev/kvm does not open: EMFILE'],
  ])('%i: one line', (result, message) => {
    expect(() =>
      withKvm(
        machine(() => ({ open: () => result })),
        () => {},
      ),
    ).toThrow(new LiveUnavailable(message));
  });
});

describe('descriptors', () => {
  test('all are closed, also when something is thrown', () => {
    const open = new Set<number>();
    const libc = machine((real) => ({
      close: (fd) => {
        open.delete(fd);
        return real.close(fd);
      },
      ioctl: (fd, request, argument) => {
        const result = real.ioctl(fd, request, argument);
        if (request === 0xae01 || request === 0xae41) open.add(result);
        return result;
      },
    }));
    withKvm(libc, (kvm) => {
      expect(kvm.withVcpu(({ vm, vcpu }) => [vm, vcpu].every((fd) => open.has(fd)))).toBe(true);
      expect(() => kvm.withVcpu(failing('experiment'))).toThrow('experiment');
      expect(() => kvm.withVcpu(() => {}, failing('preparation'))).toThrow('preparation');
      expect([...open]).toEqual([]);
    });
  });

  test('memory and /dev/kvm itself go too', () => {
    const mapped = new Set<number>();
    const closed: number[] = [];
    const libc = machine((real) => ({
      mmap: (length, protection, flags, fd) => {
        const address = real.mmap(length, protection, flags, fd);
        mapped.add(address);
        return address;
      },
      munmap: (address, length) => {
        mapped.delete(address);
        return real.munmap(address, length);
      },
      close: (fd) => {
        closed.push(fd);
        return real.close(fd);
      },
    }));
    let system = -1;
    expect(() =>
      withKvm(libc, (kvm) => {
        system = kvm.fd;
        expect(mapped.size).toBe(3);
        kvm.withVcpu((vm) => withGuest(kvm, vm, failing('run')));
      }),
    ).toThrow('run');
    expect([...mapped]).toEqual([]);
    expect(closed.at(-1)).toBe(system);
  });

  test.each([
    ['KVM_CREATE_VM', 0xae01, 'KVM_CREATE_VM fails with ENOMEM'],
    ['KVM_CREATE_VCPU', 0xae41, 'KVM_CREATE_VCPU fails with ENOMEM'],
  ])('%s that fails ends the experiments in one line', (_, failing, message) => {
    const libc = machine((real) => ({
      ioctl: (fd, request, argument) => (request === failing ? -ERRNO.ENOMEM : real.ioctl(fd, request, argument)),
    }));
    withKvm(libc, (kvm) => {
      expect(() => kvm.withVcpu(() => {})).toThrow(new LiveUnavailable(message));
      expect(kvm.withVm(({ errno }) => errno)).toBe('ENOMEM');
    });
  });

  test('an interrupted KVM_CREATE_VM is repeated, not for ever', () => {
    let attempts = 0;
    const interrupted = (times: number) =>
      machine((real) => ({
        ioctl: (fd, request, argument) =>
          request === 0xae01 && attempts++ < times ? -ERRNO.EINTR : real.ioctl(fd, request, argument),
      }));
    expect(createOn(interrupted(3))).toBe('OK');
    attempts = 0;
    expect(createOn(interrupted(1000))).toBe('EINTR');
    expect(attempts).toBe(10);
  });
});
