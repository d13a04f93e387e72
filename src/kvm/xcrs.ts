import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import { hasFlag } from '../linux/scope.js';
import type { Address } from '../linux/user-memory.js';
import { KVM_MAX_XCRS, XCR_SIZE, XCR_VALUE, XCRS_FIRST, XCRS_SIZE } from './abi.js';
import type { VcpuCpuid } from './vcpu-cpuid.js';
import type { VcpuState } from './vcpu-state.js';

const FP = 1;
const SSE = 1 << 1;
const YMM = 1 << 2;
const BNDREGS = 1 << 3;
const BNDCSR = 1 << 4;
const AVX512 = (1 << 5) | (1 << 6) | (1 << 7);
const XTILE = (1 << 17) | (1 << 18);

/** KVM_GET_XCRS: XCR0, or nothing on a host without XSAVE. @returns 0 or -EFAULT */
export function getXcrs(state: VcpuState, cpuid: VcpuCpuid, process: Process, argument: Address): number {
  const xcrs = new DataView(new ArrayBuffer(XCRS_SIZE));
  if (hasFlag(cpuid.caps.scope, 'XSAVE')) {
    xcrs.setUint32(0, 1, true);
    xcrs.setUint32(XCRS_FIRST + XCR_VALUE, state.xcr0, true);
  }
  return process.memory.copyOut(argument, new Uint8Array(xcrs.buffer)) ? 0 : -ERRNO.EFAULT;
}

/**
 * KVM_SET_XCRS (`kvm_vcpu_ioctl_x86_set_xcrs()`). The first XCR0 in the list counts; other registers are passed over.
 *
 * @returns 0; -EFAULT when the structure cannot be read; -EINVAL on a host without XSAVE, for flags, for more than 16
 *   registers, and for a value that {@link isValidXcr0} refuses
 */
export function setXcrs(state: VcpuState, cpuid: VcpuCpuid, process: Process, argument: Address): number {
  const { memory } = process;
  const at = memory.readable(argument, XCRS_SIZE);
  if (at < 0) return -ERRNO.EFAULT;
  const { view } = memory;
  if (!hasFlag(cpuid.caps.scope, 'XSAVE')) return -ERRNO.EINVAL;
  const count = view.getUint32(at, true);
  if (count > KVM_MAX_XCRS || view.getUint32(at + 4, true) !== 0) return -ERRNO.EINVAL;
  for (let i = 0; i < count; i++) {
    const entry = at + XCRS_FIRST + i * XCR_SIZE;
    if (view.getUint32(entry, true) !== 0) continue;
    return setXcr0(state, cpuid, view.getBigUint64(entry + XCR_VALUE, true)) ? 0 : -ERRNO.EINVAL;
  }
  return 0;
}

/** `__kvm_set_xcr()`. @returns whether the value was taken */
export function setXcr0(state: VcpuState, cpuid: VcpuCpuid, value: bigint): boolean {
  // No component above 31 is supported by any modelled kernel.
  if (value >> 32n !== 0n) return false;
  const xcr0 = Number(value);
  if (!isValidXcr0(xcr0, cpuid.guestCaps.supportedXcr0)) return false;
  const changed = state.xcr0 ^ xcr0;
  state.xcr0 = xcr0;
  if ((changed & ~(FP | SSE)) !== 0) cpuid.stateChanged();
  return true;
}

/** x87 is always on, components that belong together come together, and the guest's table must offer them. */
function isValidXcr0(xcr0: number, supported: number): boolean {
  const all = (mask: number) => (xcr0 & mask) === mask;
  const none = (mask: number) => (xcr0 & mask) === 0;
  if (none(FP)) return false;
  if (all(YMM) && none(SSE)) return false;
  if ((xcr0 & ~(supported | FP)) !== 0) return false;
  if (none(BNDREGS) !== none(BNDCSR)) return false;
  if (!none(AVX512) && !(all(YMM) && all(AVX512))) return false;
  return none(XTILE) || all(XTILE);
}
