import type { Overlay } from '../cpuid/features.js';
import { ERRNO } from '../linux/errno.js';
import type { HostCpu } from '../linux/host-cpu.js';
import type { OpenFile, Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import {
  KVM_CAP_DISABLE_QUIRKS,
  KVM_CAP_DISABLE_QUIRKS2,
  KVM_CAP_MAX_VCPU_ID,
  KVM_CAP_MAX_VCPUS,
  KVM_CAP_PMU_CAPABILITY,
  KVM_CAP_SPLIT_IRQCHIP,
  KVM_CAP_X86_DISABLE_EXITS,
  KVM_CHECK_EXTENSION,
  KVM_CREATE_IRQCHIP,
  KVM_CREATE_VCPU,
  KVM_ENABLE_CAP,
  KVM_GET_EMULATED_CPUID,
  KVM_GET_SUPPORTED_CPUID,
  KVM_MEMORY_ENCRYPT_OP,
  KVM_SET_USER_MEMORY_REGION,
  VM_TYPES,
} from './abi.js';
import { checkExtension } from './capabilities.js';
import { readEnableCap } from './enable-cap.js';
import { getEmulatedCpuid, getSupportedCpuid } from './get-cpuid.js';
import type { GuestCaps } from './guest-caps.js';
import { GuestMemory } from './guest-memory.js';
import { MemorySlots } from './memory-slots.js';
import type { KvmModule } from './module.js';
import type { TdVm } from './td.js';
import { Vcpu } from './vcpu.js';

/** HLT of KVM_CAP_X86_DISABLE_EXITS. */
const DISABLE_EXITS_HLT = 2;

/** A VM's descriptor: the VM ioctls (`kvm_vm_ioctl()`, `kvm_arch_vm_ioctl()`). */
export class Vm implements OpenFile {
  readonly module: KvmModule;
  readonly type: number;
  readonly overlay: Overlay;
  /** Quirks that userspace disabled (KVM_CAP_DISABLE_QUIRKS2). */
  disabledQuirks = 0;
  /** Exits that are disabled (KVM_CAP_X86_DISABLE_EXITS). */
  disabledExits = 0;
  /** Whether tables are verified. Always for TDs of a paranoid kernel, else after KVM_CAP_X86_CPUID_PARANOID. */
  paranoid: boolean;
  pmuDisabled = false;
  splitIrqchip = false;
  /** What makes it a TD; `null` for every other VM. */
  readonly td: TdVm | null;
  /** The guest's memory. */
  readonly slots: MemorySlots;
  /** What was last computed for one of the vCPUs: often the same holds for the next table. */
  latestGuestCaps: GuestCaps | null = null;
  private readonly vcpus = new Map<number, Vcpu>();
  private irqchip = false;
  private guestMemory: GuestMemory | null = null;
  /** The process that created it; no other may use it. */
  readonly owner: Process;

  constructor(module: KvmModule, owner: Process, type: number, overlay: Overlay) {
    this.module = module;
    this.type = type;
    this.overlay = overlay;
    this.owner = owner;
    this.slots = new MemorySlots(owner.memory);
    this.td = type === VM_TYPES.tdx ? module.tdx!.createVm(this) : null;
    this.paranoid = module.policy === 'paranoid' && this.isTd;
  }

  /** The guest's memory as the host's CPUs see it. */
  memoryOn(cpu: HostCpu): GuestMemory {
    this.guestMemory ??= new GuestMemory(this.module.vendor.nestedFormat, cpu.memory, this.owner.memory, this.slots);
    return this.guestMemory;
  }

  get isTd(): boolean {
    return this.type === VM_TYPES.tdx;
  }

  /** KVM_CREATE_VCPU has succeeded (`created_vcpus`). */
  get hasVcpus(): boolean {
    return this.vcpus.size > 0;
  }

  /** The local APIC is emulated in the kernel, wholly or with the split irqchip. */
  get irqchipInKernel(): boolean {
    return this.irqchip || this.splitIrqchip;
  }

  get hltExitsDisabled(): boolean {
    return (this.disabledExits & DISABLE_EXITS_HLT) !== 0;
  }

  /** -EIO for another process than the one that created the VM; -ENOTTY for an ioctl that VMs do not have. */
  ioctl(process: Process, request: number, argument: Address): number {
    if (process !== this.owner) return -ERRNO.EIO;
    switch (request) {
      case KVM_CREATE_VCPU:
        return this.createVcpu(process, argument);
      case KVM_CHECK_EXTENSION:
        return checkExtension(this.module, this, process, Number(argument));
      case KVM_ENABLE_CAP:
        return this.enableCap(process, argument);
      case KVM_CREATE_IRQCHIP:
        return this.createIrqchip();
      case KVM_SET_USER_MEMORY_REGION:
        return this.slots.set(process, argument);
      case KVM_MEMORY_ENCRYPT_OP:
        return this.td ? this.td.ioctl(process, argument) : -ERRNO.ENOTTY;
      case KVM_GET_SUPPORTED_CPUID:
        return this.hasCpuidIoctls ? getSupportedCpuid(this.module, this.overlay, process, argument) : -ERRNO.ENOTTY;
      case KVM_GET_EMULATED_CPUID:
        return this.hasCpuidIoctls ? getEmulatedCpuid(this.module, this.overlay, process, argument) : -ERRNO.ENOTTY;
      default:
        return -ERRNO.ENOTTY;
    }
  }

  /** The RFC makes the two GET ioctls VM ioctls too (patch 7); mainline answers ENOTTY. */
  private get hasCpuidIoctls(): boolean {
    return this.module.policy === 'paranoid';
  }

  /**
   * KVM_CREATE_VCPU. Returns the vCPU's descriptor; -EINVAL for an id beyond the limit and for one vCPU too many; of a TD
   * -EIO before KVM_TDX_INIT_VM and -EINVAL without a split irqchip; -EEXIST for an id in use, which is looked at last.
   */
  private createVcpu(process: Process, argument: Address): number {
    const id = Number(argument);
    if (!(id >= 0 && id < checkExtension(this.module, this, process, KVM_CAP_MAX_VCPU_ID))) return -ERRNO.EINVAL;
    if (this.vcpus.size >= checkExtension(this.module, this, process, KVM_CAP_MAX_VCPUS)) return -ERRNO.EINVAL;
    const vcpu = new Vcpu(this, process, id);
    const refused = vcpu.initialize();
    if (refused !== 0) return refused;
    if (this.vcpus.has(id)) return -ERRNO.EEXIST;
    const fd = process.install(vcpu);
    if (fd >= 0) this.vcpus.set(id, vcpu);
    return fd;
  }

  /**
   * KVM_CREATE_IRQCHIP. Returns 0; -EEXIST when there is one, -EINVAL after the first vCPU; -ENOTTY for a TD, whose EOIs
   * KVM does not see.
   */
  private createIrqchip(): number {
    if (this.irqchip || this.splitIrqchip) return -ERRNO.EEXIST;
    if (this.td) return -ERRNO.ENOTTY;
    if (this.vcpus.size > 0) return -ERRNO.EINVAL;
    this.irqchip = true;
    return 0;
  }

  /** KVM_ENABLE_CAP. -EFAULT when the structure cannot be read, -EINVAL for flags or a capability not known. */
  private enableCap(process: Process, argument: Address): number {
    const request = readEnableCap(process, argument);
    if (typeof request === 'number') return request;
    const { cap, value } = request;
    if (cap === this.module.paranoidCapability) return this.enableParanoid(value);
    // These capabilities answer KVM_CHECK_EXTENSION with the mask of what they take.
    const known = BigInt(checkExtension(this.module, this, process, cap));
    switch (cap) {
      case KVM_CAP_DISABLE_QUIRKS:
        this.disabledQuirks |= Number(
          value & BigInt(checkExtension(this.module, this, process, KVM_CAP_DISABLE_QUIRKS2)),
        );
        return 0;
      case KVM_CAP_DISABLE_QUIRKS2:
        return this.disableQuirks(value, known);
      case KVM_CAP_X86_DISABLE_EXITS:
        return this.disableExits(value, known);
      case KVM_CAP_PMU_CAPABILITY:
        return this.disablePmu(value, known);
      case KVM_CAP_SPLIT_IRQCHIP:
        return this.enableSplitIrqchip(value);
      default:
        return -ERRNO.EINVAL;
    }
  }

  /**
   * KVM_CAP_X86_CPUID_PARANOID with args[0] = 1. Not known outside a paranoid kernel; refused after the first vCPU, and
   * not to be turned off again (our proposal). For a TD it is on already and succeeds.
   */
  private enableParanoid(value: bigint): number {
    if (this.module.policy !== 'paranoid' || value !== 1n) return -ERRNO.EINVAL;
    if (this.vcpus.size > 0 && !this.paranoid) return -ERRNO.EINVAL;
    this.paranoid = true;
    return 0;
  }

  private disableQuirks(value: bigint, known: bigint): number {
    if ((value & ~known) !== 0n) return -ERRNO.EINVAL;
    this.disabledQuirks |= Number(value);
    return 0;
  }

  private disableExits(value: bigint, known: bigint): number {
    if ((value & ~known) !== 0n || this.vcpus.size > 0) return -ERRNO.EINVAL;
    this.disabledExits |= Number(value);
    return 0;
  }

  private disablePmu(value: bigint, known: bigint): number {
    if (known === 0n || (value & ~known) !== 0n || this.vcpus.size > 0) return -ERRNO.EINVAL;
    this.pmuDisabled = (value & 1n) !== 0n;
    return 0;
  }

  /** args[0]: how many routes userspace reserves, at most `MAX_NR_RESERVED_IOAPIC_PINS`. */
  private enableSplitIrqchip(routes: bigint): number {
    if (routes > 1024n) return -ERRNO.EINVAL;
    if (this.irqchip || this.splitIrqchip || this.vcpus.size > 0) return -ERRNO.EEXIST;
    this.splitIrqchip = true;
    return 0;
  }
}
