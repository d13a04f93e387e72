import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import { KVM_TDX_INIT_VM, TDX_CMD_SIZE, TDX_INIT_VM_CPUID, TDX_INIT_VM_RESERVED } from './abi.js';
import { KVM_MAX_CPUID_ENTRIES } from './supported.js';
import type { Vm } from './vm.js';

/**
 * KVM_MEMORY_ENCRYPT_OP on a TD, as far as a TD must be initialised before it has vCPUs: KVM_TDX_INIT_VM against a TDX
 * module that lets nothing be configured. The module itself is not modelled yet.
 *
 * @returns 0; -EFAULT when a structure cannot be read; -EINVAL for another command, flags or reserved bytes that are not
 *   zero, a second call, or CPUID entries (each must be consumed, and this module has no configurable bit); -E2BIG for
 *   more than 256 entries
 */
export function initTd(vm: Vm, process: Process, argument: Address): number {
  const { memory } = process;
  const command = memory.readable(argument, TDX_CMD_SIZE);
  if (command < 0) return -ERRNO.EFAULT;
  const { view } = memory;
  if (view.getBigUint64(command + 16, true) !== 0n) return -ERRNO.EINVAL;
  if (view.getUint32(command, true) !== KVM_TDX_INIT_VM || view.getUint32(command + 4, true) !== 0)
    return -ERRNO.EINVAL;
  if (vm.tdInitialized) return -ERRNO.EINVAL;

  const parameters = memory.readable(view.getBigUint64(command + 8, true), TDX_INIT_VM_CPUID + 8);
  if (parameters < 0) return -ERRNO.EFAULT;
  const nent = view.getUint32(parameters + TDX_INIT_VM_CPUID, true);
  if (nent > KVM_MAX_CPUID_ENTRIES) return -ERRNO.E2BIG;
  const { offset, size } = TDX_INIT_VM_RESERVED;
  for (let at = offset; at < offset + size; at++) if (memory.bytes[parameters + at] !== 0) return -ERRNO.EINVAL;
  if (nent !== 0) return -ERRNO.EINVAL;
  vm.tdInitialized = true;
  return 0;
}
