import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import { REGS_SIZE, RFLAGS } from './abi.js';
import { type VcpuState, X86_EFLAGS_FIXED } from './vcpu-state.js';

/** KVM_GET_REGS. @returns 0 or -EFAULT */
export function getRegs(state: VcpuState, process: Process, argument: Address): number {
  return process.memory.copyOut(argument, state.regsBytes) ? 0 : -ERRNO.EFAULT;
}

/** KVM_SET_REGS (`__set_regs()`). Any value is taken; bit 1 of RFLAGS is always one. @returns 0 or -EFAULT */
export function setRegs(state: VcpuState, process: Process, argument: Address): number {
  const { memory } = process;
  const at = memory.readable(argument, REGS_SIZE);
  if (at < 0) return -ERRNO.EFAULT;
  state.regsBytes.set(memory.bytes.subarray(at, at + REGS_SIZE));
  state.regs[RFLAGS]! |= X86_EFLAGS_FIXED;
  return 0;
}
