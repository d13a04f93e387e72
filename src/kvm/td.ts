import type { Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import type { RunPage } from './run-page.js';
import type { Vcpu } from './vcpu.js';
import type { Vm } from './vm.js';

/**
 * Which TDX module a host has: a name that the vendor module's TDX half knows, or a description with a name of its own.
 * Common code does not look into it.
 */
export type TdxModel = string | { readonly name: string };

/** KVM's TDX half on a host whose TDX module has initialised. Common code knows it only through this and what it makes. */
export interface TdxSupport {
  /** The TDX module's version or name. */
  readonly moduleName: string;
  /** KVM_CREATE_VM for a TD (`tdx_vm_init()`). */
  createVm(vm: Vm): TdVm;
}

/** What a TD has beyond an ordinary VM. */
export interface TdVm {
  /** How many vCPUs the TD may have. */
  readonly maxVcpus: number;
  /** KVM_MEMORY_ENCRYPT_OP on the VM (`tdx_vm_ioctl()`). */
  ioctl(process: Process, argument: Address): number;
  /** KVM_CREATE_VCPU (`tdx_vcpu_create()`): what the vCPU has beyond an ordinary one, or a negative errno. */
  createVcpu(vcpu: Vcpu): TdVcpu | number;
}

/** What a TD's vCPU has beyond an ordinary one. */
export interface TdVcpu {
  /** KVM_MEMORY_ENCRYPT_OP on the vCPU (`tdx_vcpu_ioctl()`). */
  ioctl(process: Process, argument: Address): number;
  /** Whether KVM_RUN may enter the TD: 0 or a negative errno (`tdx_vcpu_pre_run()`). */
  preRun(): number;
  /** Whether KVM emulates an access to the MSR, for userspace or for a guest that asks for it. */
  emulatesMsr(index: number, write: boolean): boolean;
  /**
   * KVM_RUN on a CPU that executes (`tdx_vcpu_run()`); `null` where the host does not.
   *
   * @returns 0 with an exit reason in `struct kvm_run`, or -EINTR
   */
  run(process: Process, page: RunPage): number | null;
}
