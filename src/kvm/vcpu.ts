import { inRange } from '../cpuid/kernel-line.js';
import { ERRNO } from '../linux/errno.js';
import type { OpenFile, Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import {
  CPUID2_HEADER_SIZE,
  KVM_CAP_ENFORCE_PV_FEATURE_CPUID,
  KVM_CAP_HYPERV_ENFORCE_CPUID,
  KVM_ENABLE_CAP,
  KVM_GET_CPUID2,
  KVM_GET_MSRS,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_GET_SUPPORTED_HV_CPUID,
  KVM_GET_XCRS,
  KVM_MEMORY_ENCRYPT_OP,
  KVM_RUN,
  KVM_SET_CPUID,
  KVM_SET_CPUID2,
  KVM_SET_MSRS,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_XCRS,
  REGS_SIZE,
  SREGS_SIZE,
} from './abi.js';
import { chargeSetCpuid, chargeXstateSizes, coreOf } from './charges.js';
import { readEnableCap } from './enable-cap.js';
import type { GuestCaps } from './guest-caps.js';
import { GuestLoop } from './guest-loop.js';
import type { GuestRunner } from './guest-run.js';
import { getSupportedHvCpuid } from './hv-cpuid.js';
import { getMsrs, PLATFORM_INFO_CPUID_FAULT, setMsrs } from './msrs.js';
import { getRegs, setRegs } from './regs.js';
import { run } from './run.js';
import { RunPage } from './run-page.js';
import { getSregs, setSregs } from './sregs.js';
import { KVM_MAX_CPUID_ENTRIES } from './supported.js';
import type { TdVcpu } from './td.js';
import { VcpuCpuid } from './vcpu-cpuid.js';
import { VcpuState } from './vcpu-state.js';
import type { Vm } from './vm.js';
import { getXcrs, setXcrs } from './xcrs.js';

/** KVM_X86_QUIRK_STUFF_FEATURE_MSRS */
const QUIRK_STUFF_FEATURE_MSRS = 1 << 8;

/** A vCPU's descriptor: the vCPU ioctls (`kvm_vcpu_ioctl()`, `kvm_arch_vcpu_ioctl()`). */
export class Vcpu implements OpenFile {
  readonly vm: Vm;
  readonly id: number;
  /** Its registers. */
  readonly state: VcpuState;
  /** Its CPUID table. */
  readonly cpuid: VcpuCpuid;
  /** KVM_CAP_ENFORCE_PV_FEATURE_CPUID: the guest may use only the paravirtual features that its table has. */
  enforcesPvFeatures = false;
  /** KVM_CAP_HYPERV_ENFORCE_CPUID: the same for Hyper-V's. */
  enforcesHyperv = false;
  /** `struct kvm_run`, shared with the process that maps the descriptor. */
  readonly page = new RunPage();
  /** What makes it a TD's vCPU; `null` for every other. */
  td: TdVcpu | null = null;
  private readonly owner: Process;
  private loop: GuestLoop | null = null;

  constructor(vm: Vm, owner: Process, id: number) {
    this.vm = vm;
    this.id = id;
    this.owner = owner;
    const platformInfo = (vm.disabledQuirks & QUIRK_STUFF_FEATURE_MSRS) === 0 ? PLATFORM_INFO_CPUID_FAULT : 0n;
    this.state = new VcpuState(id, vm.module.vendor, platformInfo);
    this.cpuid = new VcpuCpuid(vm, owner, this.state);
  }

  /** The vendor module's part of KVM_CREATE_VCPU. Returns 0, or the negative errno with which a TD refuses it. */
  initialize(): number {
    const td = this.vm.td?.createVcpu(this) ?? null;
    if (typeof td === 'number') return td;
    this.td = td;
    return 0;
  }

  /** What runs its machine code, once it is needed; `null` where the vendor module has none. */
  guestLoop(): GuestLoop | null {
    const { vm, owner } = this;
    if (this.loop !== null || !vm.module.vendor.createRunner) return this.loop;
    const cpu = owner.kernel.hardware.cpus[owner.cpu]!;
    this.loop = new GuestLoop(this, cpu, vm.memoryOn(cpu));
    return this.loop;
  }

  /** What the vendor module keeps of MSRs: only on a host that executes. */
  get vendorMsrs(): GuestRunner | null {
    return this.owner.kernel.executing === null || this.td ? null : (this.guestLoop()?.runner ?? null);
  }

  /** What the guest may use, by its CPUID table. */
  get guestCaps(): GuestCaps {
    return this.cpuid.guestCaps;
  }

  /** -EIO for another process than the one that created the VM; -EINVAL for an ioctl that vCPUs do not have. */
  ioctl(process: Process, request: number, argument: Address): number {
    if (process !== this.owner) return -ERRNO.EIO;
    const { state, cpuid } = this;
    const hidden = this.td ? this.refuseState(process, request, argument) : 0;
    if (hidden !== 0) return hidden;
    switch (request) {
      case KVM_SET_CPUID2:
        this.chargeSetCpuid(process, argument);
        return cpuid.setCpuid2(process, argument);
      case KVM_SET_CPUID:
        this.chargeSetCpuid(process, argument);
        return cpuid.setCpuid(process, argument);
      case KVM_GET_CPUID2:
        return cpuid.getCpuid2(process, argument);
      case KVM_GET_REGS:
        return getRegs(state, process, argument);
      case KVM_SET_REGS:
        return setRegs(state, process, argument);
      case KVM_GET_SREGS:
        return getSregs(state, process, argument);
      case KVM_SET_SREGS:
        return setSregs(state, cpuid, process, argument);
      case KVM_GET_XCRS:
        return getXcrs(state, cpuid, process, argument);
      case KVM_SET_XCRS:
        return setXcrs(state, cpuid, process, argument);
      case KVM_GET_MSRS:
        return getMsrs(this, process, argument);
      case KVM_SET_MSRS:
        return setMsrs(this, process, argument);
      case KVM_RUN:
        return argument === 0 || argument === 0n ? run(this, process) : -ERRNO.EINVAL;
      case KVM_ENABLE_CAP:
        return this.enableCap(process, argument);
      case KVM_MEMORY_ENCRYPT_OP:
        return this.td ? this.td.ioctl(process, argument) : this.refuseEncryptOp();
      case KVM_GET_SUPPORTED_HV_CPUID:
        return getSupportedHvCpuid(this.vm.module, this, process, argument);
      default:
        return -ERRNO.EINVAL;
    }
  }

  /**
   * Registers of a TD are no business of userspace's (`guest_state_protected`): -EINVAL, or -EFAULT where the kernel copies
   * the structure first; 0 for other ioctls.
   */
  private refuseState({ memory }: Process, request: number, argument: Address): number {
    switch (request) {
      case KVM_SET_REGS:
        return memory.readable(argument, REGS_SIZE) < 0 ? -ERRNO.EFAULT : -ERRNO.EINVAL;
      case KVM_SET_SREGS:
        return memory.readable(argument, SREGS_SIZE) < 0 ? -ERRNO.EFAULT : -ERRNO.EINVAL;
      case KVM_GET_REGS:
      case KVM_GET_SREGS:
      case KVM_GET_XCRS:
      case KVM_SET_XCRS:
        return -ERRNO.EINVAL;
      default:
        return 0;
    }
  }

  /** What a table costs that userspace hands in, where there is a clock. */
  private chargeSetCpuid(process: Process, argument: Address): void {
    const core = coreOf(process);
    if (core === null) return;
    const { memory } = process;
    const at = memory.readable(argument, CPUID2_HEADER_SIZE);
    const entries = at < 0 ? 0 : memory.view.getUint32(at, true);
    chargeSetCpuid(
      core,
      entries > KVM_MAX_CPUID_ENTRIES ? 0 : entries,
      this.vm.paranoid ? this.vm.module.placement : null,
    );
    if (!inRange(this.cpuid.caps.scope.line, '6.18')) chargeXstateSizes(core, this.state.xcr0);
  }

  /** KVM_MEMORY_ENCRYPT_OP where it means nothing: since TDX came, kvm-amd says -ENOTTY, for want of a handler. */
  private refuseEncryptOp(): number {
    const { vendor } = this.vm.module;
    const known = inRange(this.cpuid.caps.scope.line, '6.18');
    return known && !vendor.bringUpTdx ? -ERRNO.ENOTTY : -ERRNO.EINVAL;
  }

  /** Maps `struct kvm_run`. -EIO for another process than the one that created the VM (the simulator's own answer). */
  mmap(process: Process, length: number): number {
    return process === this.owner ? this.page.mmap(process, length) : -ERRNO.EIO;
  }

  /** KVM_ENABLE_CAP. -EFAULT when the structure cannot be read, -EINVAL for flags or a capability not known. */
  private enableCap(process: Process, argument: Address): number {
    const request = readEnableCap(process, argument);
    if (typeof request === 'number') return request;
    switch (request.cap) {
      case KVM_CAP_ENFORCE_PV_FEATURE_CPUID:
        this.enforcesPvFeatures = request.value !== 0n;
        return 0;
      case KVM_CAP_HYPERV_ENFORCE_CPUID:
        this.enforcesHyperv = request.value !== 0n;
        return 0;
      default:
        return -ERRNO.EINVAL;
    }
  }
}
