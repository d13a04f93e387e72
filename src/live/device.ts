import type { CpuidEntry2 } from '../cpuid/entry.js';
import { KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_GET_CPUID2, KVM_SET_CPUID2 } from '../kvm/abi.js';
import { AREA_CAPACITY, CpuidArea, type Mapping, withMapping } from './buffers.js';
import { type Address, errnoOf, type Libc, LiveUnavailable, O_CLOEXEC, O_RDWR } from './ffi.js';

const DEVICE = '/dev/kvm';

/** What open() most often fails with, in words. */
const OPEN_HINTS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such device: no KVM in this kernel, or its module is not loaded',
  ENODEV: 'KVM is not ready: the CPU or the firmware does not allow virtualization',
  EACCES: 'no permission: join the group of the device (often kvm) or run as root',
  EPERM: 'no permission: this process is confined',
};

/** KVM_CREATE_VM is interrupted by signals that come in between; VMMs just ask again. */
const CREATE_VM_ATTEMPTS = 10;

/** The descriptors of a VM; -1 where creating failed. */
export interface LiveVm {
  readonly vm: number;
  readonly vcpu: number;
  /** Of what was created last. */
  readonly errno: string;
}

/** An open `/dev/kvm` and memory to speak to it; {@link withKvm} makes one. */
export class KvmDevice {
  readonly libc: Libc;
  /** The system descriptor. */
  readonly fd: number;
  /** What is handed in. */
  readonly input: CpuidArea;
  /** What is read back. */
  readonly output: CpuidArea;
  /** Pages for small structures. */
  readonly scratch: Mapping;

  constructor(libc: Libc, fd: number, input: CpuidArea, output: CpuidArea, scratch: Mapping) {
    this.libc = libc;
    this.fd = fd;
    this.input = input;
    this.output = output;
    this.scratch = scratch;
  }

  /** The result: zero or above, or a negative errno. */
  ioctl(fd: number, request: number, argument: Address = 0): number {
    return this.libc.ioctl(fd, request, argument);
  }

  /** The errno's name, or `OK`. */
  ask(fd: number, request: number, argument: Address = 0): string {
    return errnoOf(this.libc.ioctl(fd, request, argument));
  }

  /** An ioctl on the scratch memory, which is zeroed and filled first. */
  askWith(fd: number, request: number, size: number, fill: (view: DataView) => void): string {
    this.scratch.bytes.fill(0, 0, size);
    fill(this.scratch.view);
    return this.ask(fd, request, this.scratch.address);
  }

  /** Runs with a VM and its vCPU 0, and closes both whatever happens. `prepare` sees the VM before it has the vCPU. */
  withVm<T>(body: (vm: LiveVm) => T, prepare?: (vm: number) => void): T {
    const vm = this.createVm();
    let vcpu = -1;
    try {
      if (vm < 0) return body({ vm: -1, vcpu: -1, errno: errnoOf(vm) });
      prepare?.(vm);
      vcpu = this.ioctl(vm, KVM_CREATE_VCPU, 0);
      return body({ vm, vcpu: Math.max(vcpu, -1), errno: errnoOf(vcpu) });
    } finally {
      if (vcpu >= 0) this.libc.close(vcpu);
      if (vm >= 0) this.libc.close(vm);
    }
  }

  /**
   * {@link withVm} for experiments, which need the vCPU.
   *
   * @throws LiveUnavailable when it cannot be created
   */
  withVcpu<T>(body: (vm: LiveVm) => T, prepare?: (vm: number) => void): T {
    return this.withVm((vm) => {
      if (vm.errno === 'OK') return body(vm);
      throw new LiveUnavailable(`KVM_CREATE_${vm.vm < 0 ? 'VM' : 'VCPU'} fails with ${vm.errno}`);
    }, prepare);
  }

  private createVm(): number {
    for (let attempt = 1; ; attempt++) {
      const vm = this.ioctl(this.fd, KVM_CREATE_VM, 0);
      if (errnoOf(vm) !== 'EINTR' || attempt === CREATE_VM_ATTEMPTS) return vm;
    }
  }

  /** KVM_SET_CPUID2 of a table. */
  set(vcpu: number, entries: readonly CpuidEntry2[], headPadding = 0): string {
    this.input.put(entries, headPadding);
    return this.ask(vcpu, KVM_SET_CPUID2, this.input.address);
  }

  /**
   * KVM_GET_CPUID2 into {@link output}. Kernels up to 6.1 leave nent as the caller set it: the entries written are
   * counted then.
   */
  readBack(vcpu: number): string {
    const { output } = this;
    output.markUntouched();
    output.header.set([AREA_CAPACITY, 0]);
    const errno = this.ask(vcpu, KVM_GET_CPUID2, output.address);
    if (errno === 'OK' && output.nent === AREA_CAPACITY) output.header[0] = output.countTouched();
    return errno;
  }
}

const SCRATCH_SIZE = 1 << 14;

/**
 * Runs with the machine's `/dev/kvm`; its descriptor and all memory are given back whatever happens.
 *
 * @throws LiveUnavailable when the device does not open
 */
export function withKvm<T>(libc: Libc, body: (kvm: KvmDevice) => T): T {
  const fd = libc.open(DEVICE, O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    const hint = OPEN_HINTS[errnoOf(fd)];
    throw new LiveUnavailable(`${DEVICE} does not open: ${errnoOf(fd)}${hint ? ` (${hint})` : ''}`);
  }
  try {
    return CpuidArea.with(libc, (input) =>
      CpuidArea.with(libc, (output) =>
        withMapping(libc, SCRATCH_SIZE, (scratch) => body(new KvmDevice(libc, fd, input, output, scratch))),
      ),
    );
  } finally {
    libc.close(fd);
  }
}
