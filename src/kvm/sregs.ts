import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import {
  SEGMENT,
  SREGS_APIC_BASE,
  SREGS_CR0,
  SREGS_CR3,
  SREGS_CR4,
  SREGS_CR8,
  SREGS_EFER,
  SREGS_INTERRUPT_BITMAP,
  SREGS_SEGMENTS,
  SREGS_SIZE,
} from './abi.js';
import { setApicBase } from './apic-base.js';
import { CR4_OSXSAVE, CR4_PKE } from './runtime.js';
import type { VcpuCpuid } from './vcpu-cpuid.js';
import type { VcpuState } from './vcpu-state.js';

const CR0_PE = 1n << 0n;
const CR0_NW = 1n << 29n;
const CR0_CD = 1n << 30n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const CR4_LAM_SUP = 1n << 28n;
const CR3_LAM = 0b11n << 61n;
const CR8_RESERVED = ~0xfn;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;

/** KVM_GET_SREGS. @returns 0 or -EFAULT */
export function getSregs(state: VcpuState, process: Process, argument: Address): number {
  return process.memory.copyOut(argument, state.sregsBytes) ? 0 : -ERRNO.EFAULT;
}

/**
 * KVM_SET_SREGS (`__set_sregs_common()`). EFER is taken as it is, beyond what belongs together with CR0 and CR4.
 *
 * @returns 0; -EFAULT when the structure cannot be read; -EINVAL when {@link isValid} or {@link setApicBase} says no,
 *   and then nothing has changed
 */
export function setSregs(state: VcpuState, cpuid: VcpuCpuid, process: Process, argument: Address): number {
  const { memory } = process;
  const at = memory.readable(argument, SREGS_SIZE);
  if (at < 0) return -ERRNO.EFAULT;
  const { view } = memory;
  if (!isValid(view, at, cpuid)) return -ERRNO.EINVAL;
  const apicBase = view.getBigUint64(at + SREGS_APIC_BASE, true);
  if (!setApicBase(state, cpuid, apicBase)) return -ERRNO.EINVAL;

  const oldCr4 = state.cr4;
  const oldCr8 = state.sregs.getBigUint64(SREGS_CR8, true);
  state.sregsBytes.set(memory.bytes.subarray(at, at + SREGS_SIZE));
  state.sregsBytes.fill(0, SREGS_INTERRUPT_BITMAP); // no interrupts are modelled
  // kvm_set_cr8() leaves CR8 alone when it is asked for more than it holds, and nobody looks at its result.
  if ((state.sregs.getBigUint64(SREGS_CR8, true) & CR8_RESERVED) !== 0n)
    state.sregs.setBigUint64(SREGS_CR8, oldCr8, true);
  if (((oldCr4 ^ state.cr4) & (CR4_OSXSAVE | CR4_PKE)) !== 0) cpuid.stateChanged();
  return 0;
}

/** `kvm_is_valid_sregs()`: paging mode, code segment, CR4 and CR0 must fit together and to the guest. */
function isValid(view: DataView, at: number, cpuid: VcpuCpuid): boolean {
  const cr0 = view.getBigUint64(at + SREGS_CR0, true);
  const cr4 = view.getBigUint64(at + SREGS_CR4, true);
  const efer = view.getBigUint64(at + SREGS_EFER, true);
  const { guestCaps } = cpuid;
  if ((efer & EFER_LME) !== 0n && (cr0 & CR0_PG) !== 0n) {
    if ((cr4 & CR4_PAE) === 0n || (efer & EFER_LMA) === 0n) return false;
    // A guest with LAM has two mode bits in CR3.
    const reserved = guestCaps.reservedGpaBits & ((guestCaps.cr4ReservedBits & CR4_LAM_SUP) === 0n ? ~CR3_LAM : ~0n);
    if ((view.getBigUint64(at + SREGS_CR3, true) & reserved) !== 0n) return false;
  } else if ((efer & EFER_LMA) !== 0n || view.getUint8(at + SREGS_SEGMENTS.cs + SEGMENT.l) !== 0) {
    return false;
  }
  return (cr4 & guestCaps.cr4ReservedBits) === 0n && isValidCr0(cr0);
}

/** `kvm_is_valid_cr0()` */
function isValidCr0(cr0: bigint): boolean {
  if (cr0 >> 32n !== 0n) return false;
  if ((cr0 & CR0_NW) !== 0n && (cr0 & CR0_CD) === 0n) return false;
  return (cr0 & CR0_PG) === 0n || (cr0 & CR0_PE) !== 0n;
}
