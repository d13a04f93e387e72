import { CPUID2_HEADER_SIZE, ENTRY2_WORDS, KVM_GET_CPUID2, KVM_RUN, KVM_SET_CPUID2 } from '../kvm/abi.js';
import type { Vcpu } from '../kvm/vcpu.js';
import type { Place } from './place.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

/** What a law does to a vCPU, all of it through ioctls on tables that lie in the place's memory. */
export class VcpuUser {
  private readonly place: Place;
  private vm = -1;
  private fd = -1;

  constructor(place: Place) {
    this.place = place;
    this.renew();
  }

  /** Takes a new vCPU of a new VM; the old ones are closed. */
  renew(): void {
    const { place } = this;
    if (this.fd >= 0) {
      place.process.close(this.fd);
      place.process.close(this.vm);
    }
    this.vm = place.newVm();
    this.fd = place.vmm.createVcpu(this.vm);
  }

  /** KVM_SET_CPUID2 of the table at word `at`: 0 or a negative errno. */
  set(at: number): number {
    return this.place.process.ioctl(this.fd, KVM_SET_CPUID2, this.place.address(at));
  }

  /** KVM_SET_CPUID2 at any address. */
  setAt(address: number): number {
    return this.place.process.ioctl(this.fd, KVM_SET_CPUID2, address);
  }

  /** KVM_GET_CPUID2 to word `at`, where there must be room for `count` entries, the number of those that were set. */
  get(at: number, count: number): number {
    const { words, process } = this.place;
    words[at] = count;
    words[at + 1] = 0;
    return process.ioctl(this.fd, KVM_GET_CPUID2, this.place.address(at));
  }

  /** KVM_RUN: afterwards the vCPU counts as having run, whatever came of it. */
  run(): number {
    return this.place.process.ioctl(this.fd, KVM_RUN, 0);
  }

  /** Components that the vCPU's FPU buffer has grown for. No ioctl shows them on the kernels that are modelled. */
  get fpuXfeatures(): number {
    return (this.place.process.file(this.fd) as Vcpu).cpuid.fpuXfeatures;
  }
}

/** Whether two tables in memory are equal, headers and all. */
export function sameTable(words: Uint32Array, left: number, right: number): boolean {
  const length = HEADER_WORDS + words[left]! * ENTRY2_WORDS;
  for (let n = 0; n < length; n++) if (words[left + n] !== words[right + n]) return false;
  return true;
}
