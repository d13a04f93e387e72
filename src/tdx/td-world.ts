import type { Core } from '../emu/core/core.js';
import { type Exit, type GuestWorld, INTERCEPT } from '../emu/core/guest-world.js';
import type { NestedPaging } from '../emu/paging-nested.js';
import type { Td } from './module.js';

/**
 * A TD's world: the VMCS that the module has set up for it. What the guest does leaves it for the module, which plays the
 * processor (CPUID, most MSRs), raises #VE, or hands over to KVM. MSRs that the module passes through reach hardware.
 */

/** What always leaves. RDTSC, RDPID, SWAPGS and the like never do. */
const LEAVING = [
  INTERCEPT.CPUID,
  INTERCEPT.HLT,
  INTERCEPT.XSETBV,
  INTERCEPT.HYPERCALL,
  INTERCEPT.EXTERNAL_INTERRUPT,
  INTERCEPT.NMI,
  INTERCEPT.TRIPLE_FAULT,
  INTERCEPT.VIRTUALIZATION,
  INTERCEPT.SEAMCALL,
  INTERCEPT.TDCALL,
];

export class TdWorld implements GuestWorld {
  readonly name = 'vmx';
  readonly intercepts = new Uint8Array(INTERCEPT.COUNT);
  readonly exceptionBitmap = 0;
  readonly offsetsTsc = true;
  readonly masksInterruptsByHost = false;
  readonly nested: NestedPaging;
  /** The last exit. Only TD exits go to the host: all others the module deals with, and the guest goes on. */
  last: Exit | null = null;
  private readonly td: Td;

  constructor(td: Td, nested: NestedPaging) {
    this.td = td;
    this.nested = nested;
    for (const place of LEAVING) this.intercepts[place] = 1;
    if (td.flags.monitor) {
      this.intercepts[INTERCEPT.MONITOR] = 0;
      this.intercepts[INTERCEPT.MWAIT] = 0;
    } else {
      this.intercepts[INTERCEPT.MONITOR] = 1;
      this.intercepts[INTERCEPT.MWAIT] = 1;
    }
  }

  interceptsPageFault(): boolean {
    return false;
  }

  /** The MSR bitmap: an access that the module does not let through as it is. */
  interceptsMsr(index: number, write: boolean): boolean {
    return this.td.msrAccess(index, write) !== 'native';
  }

  interceptsCrRead(): boolean {
    return false;
  }

  /** CR4 bits that the module does not let the guest have; CR0 and CR3 are the guest's. */
  interceptsCrWrite(number: number, lo: number, hi: number): boolean {
    if (number !== 4) return false;
    const value = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    return (value & ~this.td.cr4Allowed) !== 0n;
  }

  /** VMXE is the module's. The guest sees it set, as every TD does. */
  readCr(): void {}

  writtenCr(number: number, lo: number, hi: number, out: Int32Array): void {
    out[0] = number === 4 ? lo | CR4_VMXE : lo;
    out[1] = hi;
  }

  /** Controls that the module sets by what the TD was configured with. */
  gate(name: string): boolean {
    return name !== 'VMX.ENABLE_USER_WAIT_PAUSE' || this.td.flags.waitpkg;
  }

  exit(_core: Core, exit: Exit): void {
    this.last = exit;
  }
}

const CR4_VMXE = 1 << 13;
