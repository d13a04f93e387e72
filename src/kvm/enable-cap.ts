import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import { ENABLE_CAP_ARGS, ENABLE_CAP_SIZE } from './abi.js';

/** The part of `struct kvm_enable_cap` that matters. */
export interface EnableCap {
  readonly cap: number;
  /** args[0] */
  readonly value: bigint;
}

/**
 * Reads the argument of KVM_ENABLE_CAP, on a VM or a vCPU.
 *
 * @returns the capability, or -EFAULT when the structure cannot be read, -EINVAL for flags
 */
export function readEnableCap(process: Process, argument: Address): EnableCap | number {
  const at = process.memory.readable(argument, ENABLE_CAP_SIZE);
  if (at < 0) return -ERRNO.EFAULT;
  const { view } = process.memory;
  if (view.getUint32(at + 4, true) !== 0) return -ERRNO.EINVAL;
  return { cap: view.getUint32(at, true), value: view.getBigUint64(at + ENABLE_CAP_ARGS, true) };
}
