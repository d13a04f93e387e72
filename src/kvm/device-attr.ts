import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import { DEVICE_ATTR_SIZE, KVM_X86_XCOMP_GUEST_SUPP } from './abi.js';
import type { KvmModule } from './module.js';

/**
 * KVM_GET_DEVICE_ATTR and KVM_HAS_DEVICE_ATTR on /dev/kvm (`kvm_x86_dev_get_attr()`): the one attribute of group 0 is
 * KVM_X86_XCOMP_GUEST_SUPP, the XSAVE components that KVM supports, permitted to the process or not.
 *
 * @returns 0; -EFAULT when the structure cannot be read or the value not be written; -ENXIO for another attribute
 */
export function deviceAttr(module: KvmModule, process: Process, argument: Address, get: boolean): number {
  const at = process.memory.readable(argument, DEVICE_ATTR_SIZE);
  if (at < 0) return -ERRNO.EFAULT;
  const { view } = process.memory;
  const group = view.getUint32(at + 4, true);
  if (group !== 0 || view.getBigUint64(at + 8, true) !== BigInt(KVM_X86_XCOMP_GUEST_SUPP)) return -ERRNO.ENXIO;
  if (!get) return 0;
  const value = new BigUint64Array([BigInt(module.caps(module.defaultOverlay).supportedXcr0)]);
  const arrived = process.memory.copyOut(view.getBigUint64(at + 16, true), new Uint8Array(value.buffer));
  return arrived ? 0 : -ERRNO.EFAULT;
}
