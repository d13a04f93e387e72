import { CR4_OSXSAVE, CR4_PKE } from '../emu/control.js';
import type { Core } from '../emu/core/core.js';
import { OP } from '../emu/isa/forms.js';
import { slotNamed } from '../emu/msrs.js';

const XSS_SLOT = slotNamed('IA32_XSS');
const XFEATURE_MASK_PKRU = 1 << 9;

/**
 * XCR0, IA32_XSS and PKRU of a vCPU, which no world switch of hardware knows (`kvm_load_guest_xsave_state()`,
 * `kvm_load_host_xsave_state()`). Components above 31 are not modelled.
 */
export class GuestXsave {
  xcr0 = 1;
  xss = 0;
  pkru = 0;
  /** The guest may have XSAVES, and with it IA32_XSS. */
  usesXss = false;
  private hostXcr0 = 0;
  private hostXss = 0;
  private hostPkru = 0;
  private loadedXcr0 = false;
  private loadedXss = false;
  private loadedPkru = false;

  /**
   * Before the guest is entered: loads what differs from the host's.
   *
   * @param cr4 the guest's, low half
   */
  load(core: Core, cr4: number): void {
    const { control, msrs, clock, costs } = core;
    this.hostXcr0 = control.xcr0[0]!;
    this.hostXss = msrs.lo[XSS_SLOT]!;
    this.hostPkru = control.pkru;
    const enabled = (cr4 & CR4_OSXSAVE) !== 0;
    this.loadedXcr0 = enabled && this.xcr0 !== this.hostXcr0;
    this.loadedXss = enabled && this.usesXss && this.xss !== this.hostXss;
    if (this.loadedXcr0) {
      control.xsetbv(0, this.xcr0, 0);
      clock.advance(costs.op[OP.XSETBV]!);
    }
    if (this.loadedXss) {
      msrs.put(XSS_SLOT, this.xss, 0);
      control.version++;
      clock.advance(costs.op[OP.WRMSR]!);
    }
    this.loadedPkru = this.canUsePkru(core, cr4);
    if (this.loadedPkru && this.pkru !== this.hostPkru) {
      control.writePkru(this.pkru);
      clock.advance(costs.op[OP.WRPKRU]!);
    }
  }

  /** After the guest was left: brings back what the host had. XCR0 itself cannot have changed: XSETBV exits. */
  unload(core: Core, cr4: number): void {
    const { control, msrs, clock, costs } = core;
    if (this.canUsePkru(core, cr4)) {
      this.pkru = control.pkru;
      clock.advance(costs.op[OP.RDPKRU]!);
      if (this.pkru !== this.hostPkru) {
        control.writePkru(this.hostPkru);
        clock.advance(costs.op[OP.WRPKRU]!);
      }
    }
    if (this.loadedXcr0) {
      control.xsetbv(0, this.hostXcr0, 0);
      clock.advance(costs.op[OP.XSETBV]!);
    }
    if (this.loadedXss) {
      msrs.put(XSS_SLOT, this.hostXss, 0);
      control.version++;
      clock.advance(costs.op[OP.WRMSR]!);
    }
  }

  /** `cpu_feature_enabled(X86_FEATURE_PKU)`, and the guest has PKRU in XCR0 or CR4.PKE. */
  private canUsePkru(core: Core, cr4: number): boolean {
    if ((core.control.lo[4]! & CR4_PKE) === 0) return false;
    return (cr4 & CR4_PKE) !== 0 || (this.xcr0 & XFEATURE_MASK_PKRU) !== 0;
  }
}
