import { type CpuidEntry2, type Errno, type KvmModule, type ProcessOptions, VM_TYPES, Vmm } from '../../src/index.js';
import type { VmTypeName } from '../../src/kvm/abi.js';
import { CPUID2_HEADER_SIZE, ENTRY2_SIZE, KVM_GET_CPUID2 } from '../../src/kvm/abi.js';
import { errnoName } from '../../src/linux/errno.js';

/** Processes without and with permission to give XTILEDATA to guests. */
export const PERMISSIONS: readonly (readonly [name: string, options: ProcessOptions])[] = [
  ['no permission', { guestPermissions: [] }],
  ['amx', { guestPermissions: [18] }],
];

const SIZE = CPUID2_HEADER_SIZE + 256 * ENTRY2_SIZE;

/** One vCPU of a fresh VM of a type, paranoid where the kernel offers it, and the process that owns it. */
export class Guest {
  readonly vmm: Vmm;
  readonly vm: number;
  readonly vcpu: number;
  private readonly own: number;
  private count = 0;

  constructor(module: KvmModule, vmType: VmTypeName = 'default', options: ProcessOptions = {}, capacity = 256) {
    this.vmm = new Vmm(module, options, capacity + 8);
    this.vm = this.vmm.prepareVm(VM_TYPES[vmType]);
    this.vcpu = this.vmm.createVcpu(this.vm);
    this.own = this.vmm.process.memory.mmap(SIZE);
  }

  set(entries: readonly CpuidEntry2[]): Errno {
    const errno = this.vmm.setCpuid2(this.vcpu, entries);
    if (errno === 'OK') this.count = entries.length;
    return errno;
  }

  /** The table as it reads back. Linux 6.1 does not say how long it is; we do. */
  get(): readonly CpuidEntry2[] {
    return this.vmm.getCpuid2(this.vcpu).entries.slice(0, this.count);
  }

  /** What KVM_GET_CPUID2 writes over a buffer of A5h, byte by byte. */
  bytes(): Uint8Array {
    const { memory } = this.vmm.process;
    const at = this.own - memory.base;
    memory.bytes.fill(0xa5, at, at + SIZE);
    memory.view.setUint32(at, 256, true);
    const errno = errnoName(this.vmm.process.ioctl(this.vcpu, KVM_GET_CPUID2, this.own));
    if (errno !== 'OK') throw new Error(`KVM_GET_CPUID2 failed with ${errno}`);
    return memory.bytes.slice(at, at + SIZE);
  }
}

/** The verdict of KVM_SET_CPUID2 on a fresh vCPU. */
export function setOnce(
  module: KvmModule,
  vmType: VmTypeName,
  options: ProcessOptions,
  entries: readonly CpuidEntry2[],
): Errno {
  return new Guest(module, vmType, options, Math.max(256, entries.length)).set(entries);
}
