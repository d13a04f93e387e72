import {
  CPUID2_HEADER_SIZE,
  ENTRY2_SIZE,
  ENTRY2_WORDS,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_GET_CPUID2,
  KVM_SET_CPUID2,
} from '../kvm/abi.js';
import { Mapping } from '../live/buffers.js';
import { errnoOf, type Libc, LiveUnavailable, loadLibc, O_CLOEXEC, O_RDWR } from '../live/ffi.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;
const CAPACITY = 256;

/** KVM_CREATE_VM is interrupted by signals that come in between; VMMs just ask again. */
const ATTEMPTS = 10;

/** A vCPU of this machine's real KVM that is given tables and never runs. Nothing else is asked of the machine. */
export class LiveVcpu {
  /** A `struct kvm_cpuid2` in words: what is set, and after {@link get} what was read. */
  readonly words: Uint32Array;
  private readonly libc: Libc;
  private readonly mapping: Mapping;
  private readonly fds: number[] = [];

  /** @throws LiveUnavailable when there is no KVM that can be asked */
  constructor() {
    this.libc = loadLibc();
    this.mapping = new Mapping(this.libc, CPUID2_HEADER_SIZE + CAPACITY * ENTRY2_SIZE);
    this.words = this.mapping.words(0, HEADER_WORDS + CAPACITY * ENTRY2_WORDS);
    const kvm = this.opened('/dev/kvm', this.libc.open('/dev/kvm', O_RDWR | O_CLOEXEC));
    const vm = this.opened('KVM_CREATE_VM', this.createVm(kvm));
    this.opened('KVM_CREATE_VCPU', this.libc.ioctl(vm, KVM_CREATE_VCPU, 0));
  }

  private createVm(kvm: number): number {
    for (let attempt = 1; ; attempt++) {
      const vm = this.libc.ioctl(kvm, KVM_CREATE_VM, 0);
      if (errnoOf(vm) !== 'EINTR' || attempt === ATTEMPTS) return vm;
    }
  }

  private opened(what: string, result: number): number {
    if (result < 0) {
      this.close();
      throw new LiveUnavailable(`${what} fails with ${errnoOf(result)}`);
    }
    this.fds.push(result);
    return result;
  }

  /** KVM_SET_CPUID2 of {@link words}: 0 or a negative errno. */
  set(): number {
    return this.libc.ioctl(this.fds.at(-1)!, KVM_SET_CPUID2, this.mapping.address);
  }

  /** KVM_GET_CPUID2 into {@link words}. */
  get(count: number): number {
    this.words[0] = count;
    return this.libc.ioctl(this.fds.at(-1)!, KVM_GET_CPUID2, this.mapping.address);
  }

  /** Gives everything back. */
  close(): void {
    for (const fd of this.fds.splice(0).reverse()) this.libc.close(fd);
    this.mapping.close();
  }
}
