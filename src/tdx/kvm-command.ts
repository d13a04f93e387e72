import { TDX_CMD, TDX_CMD_SIZE } from '../kvm/abi.js';
import { plus } from '../kvm/get-cpuid.js';
import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';

/** `struct kvm_tdx_cmd`, as far as a command looks at it. */
export interface TdxCommand {
  readonly id: number;
  readonly flags: number;
  /** An address, or for KVM_TDX_INIT_VCPU what RCX starts as. */
  readonly data: bigint;
}

/** `tdx_get_cmd()`. Returns the command; -EFAULT when it cannot be read, -EINVAL for hw_error on input. */
export function readCommand({ memory }: Process, argument: Address): TdxCommand | number {
  const at = memory.readable(argument, TDX_CMD_SIZE);
  if (at < 0) return -ERRNO.EFAULT;
  const { view } = memory;
  if (view.getBigUint64(at + TDX_CMD.hwError, true) !== 0n) return -ERRNO.EINVAL;
  return {
    id: view.getUint32(at + TDX_CMD.id, true),
    flags: view.getUint32(at + TDX_CMD.flags, true),
    data: view.getBigUint64(at + TDX_CMD.data, true),
  };
}

/** Writes the whole command back, with what the module said. Returns `result`, or -EFAULT when it cannot be written. */
export function writeHwError(
  { memory }: Process,
  argument: Address,
  { id, flags, data }: TdxCommand,
  hwError: bigint,
  result: number,
): number {
  const view = new DataView(new ArrayBuffer(TDX_CMD_SIZE));
  view.setUint32(TDX_CMD.id, id, true);
  view.setUint32(TDX_CMD.flags, flags, true);
  view.setBigUint64(TDX_CMD.data, data, true);
  view.setBigUint64(TDX_CMD.hwError, hwError, true);
  return memory.copyOut(plus(argument, 0), new Uint8Array(view.buffer)) ? result : -ERRNO.EFAULT;
}
