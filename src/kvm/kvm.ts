import { ERRNO } from '../linux/errno.js';
import type { OpenFile, Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import {
  KVM_API_VERSION,
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VM,
  KVM_GET_API_VERSION,
  KVM_GET_DEVICE_ATTR,
  KVM_GET_EMULATED_CPUID,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_SUPPORTED_HV_CPUID,
  KVM_GET_VCPU_MMAP_SIZE,
  KVM_HAS_DEVICE_ATTR,
  VCPU_MMAP_SIZE,
} from './abi.js';
import { checkExtension } from './capabilities.js';
import { deviceAttr } from './device-attr.js';
import { getEmulatedCpuid, getSupportedCpuid } from './get-cpuid.js';
import { getSupportedHvCpuid } from './hv-cpuid.js';
import type { KvmModule } from './module.js';
import { Vm } from './vm.js';

/** An open /dev/kvm: the system ioctls (`kvm_dev_ioctl()`). */
export class Kvm implements OpenFile {
  readonly module: KvmModule;

  constructor(module: KvmModule) {
    this.module = module;
  }

  ioctl(process: Process, request: number, argument: Address): number {
    switch (request) {
      case KVM_GET_API_VERSION:
        return isZero(argument) ? KVM_API_VERSION : -ERRNO.EINVAL;
      case KVM_CREATE_VM:
        return this.createVm(process, argument);
      case KVM_CHECK_EXTENSION:
        return checkExtension(this.module, null, process, Number(argument));
      case KVM_GET_VCPU_MMAP_SIZE:
        return isZero(argument) ? VCPU_MMAP_SIZE : -ERRNO.EINVAL;
      case KVM_GET_SUPPORTED_CPUID:
        return getSupportedCpuid(this.module, this.module.defaultOverlay, process, argument);
      case KVM_GET_EMULATED_CPUID:
        return getEmulatedCpuid(this.module, this.module.defaultOverlay, process, argument);
      case KVM_GET_SUPPORTED_HV_CPUID:
        return getSupportedHvCpuid(this.module, null, process, argument);
      case KVM_GET_DEVICE_ATTR:
        return deviceAttr(this.module, process, argument, true);
      case KVM_HAS_DEVICE_ATTR:
        return deviceAttr(this.module, process, argument, false);
      default:
        return -ERRNO.EINVAL;
    }
  }

  /** KVM_CREATE_VM. Returns the VM's descriptor, or -EINVAL for a VM type that is not offered. */
  private createVm(process: Process, type: Address): number {
    const overlay = Number(type) < 32 ? this.module.overlayOfVmType(Number(type)) : null;
    return overlay === null ? -ERRNO.EINVAL : process.install(new Vm(this.module, process, Number(type), overlay));
  }
}

const isZero = (argument: Address): boolean => argument === 0 || argument === 0n;
