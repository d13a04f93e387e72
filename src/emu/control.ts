import { CR0_ROWS, CR4_ROWS, lowMasks, RFLAGS_ROWS, XCR0_RULES } from './control-rows.js';
import { type MsrFile, slotNamed } from './msrs.js';
import type { Silicon } from './silicon.js';

/**
 * CR0, CR2, CR3, CR4, CR8, XCR0, PKRU of one CPU and the rules of writing them. EFER, IA32_XSS and IA32_PKRS live in
 * the MSR file. Privilege, intercepts and decoding (CR1, OSXSAVE) are the instruction's business.
 */

export const CONTROL_OK = 0;
/** #GP(0); nothing has changed. */
export const CONTROL_GP = 1;

const CR0 = lowMasks(CR0_ROWS);
const CR4 = lowMasks(CR4_ROWS);
/** CR4.FRED, in the upper half. */
export const CR4_FRED_HI = 1;

export const CR0_PE = CR0.PE!;
export const CR0_WP = CR0.WP!;
export const CR0_NW = CR0.NW!;
export const CR0_CD = CR0.CD!;
export const CR0_PG = CR0.PG!;
/** Always set. */
export const CR0_ET = 0x10;
const CR0_WRITABLE = CR0_ROWS.reduce((mask, { bit }) => mask | (1 << bit), 0);

export const CR4_PAE = CR4.PAE!;
export const CR4_PGE = CR4.PGE!;
export const CR4_LA57 = CR4.LA57!;
export const CR4_VMXE = CR4.VMXE!;
export const CR4_PCIDE = CR4.PCIDE!;
export const CR4_OSXSAVE = CR4.OSXSAVE!;
export const CR4_SMEP = CR4.SMEP!;
export const CR4_SMAP = CR4.SMAP!;
export const CR4_PKE = CR4.PKE!;
export const CR4_CET = CR4.CET!;
export const CR4_PKS = CR4.PKS!;
export const CR4_TSD = CR4.TSD!;
export const CR4_UINTR = CR4.UINTR!;

export const EFER_SCE = 1 << 0;
export const EFER_LME = 1 << 8;
export const EFER_LMA = 1 << 10;
export const EFER_NXE = 1 << 11;
export const EFER_SVME = 1 << 12;

/** Bits of CR4 that decide what an address translates to, beside PCIDE (SDM volume 3, 4.10.4.1). */
const CR4_PAGING = CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PKS | CR4.PSE!;

/** Bits of RFLAGS that a program can set; bit 1 reads as one, all others as zero. */
export const RFLAGS_MASK = RFLAGS_ROWS.reduce((mask, { bit }) => mask | (1 << bit), 0);
export const RFLAGS_FIXED = 2;

export const EFER_SLOT = slotNamed('IA32_EFER');
export const XSS_SLOT = slotNamed('IA32_XSS');
export const PKRS_SLOT = slotNamed('IA32_PKRS');
const VM_CR_SLOT = slotNamed('MSR_VM_CR');
const CR0_FIXED0_SLOT = slotNamed('IA32_VMX_CR0_FIXED0');
const CR0_FIXED1_SLOT = slotNamed('IA32_VMX_CR0_FIXED1');
const CR4_FIXED0_SLOT = slotNamed('IA32_VMX_CR4_FIXED0');
const CR4_FIXED1_SLOT = slotNamed('IA32_VMX_CR4_FIXED1');

const VM_CR_SVMDIS = 1 << 4;
/** CR3[63] with CR4.PCIDE: keep what the TLB has for the PCID. Not stored. */
const CR3_NO_FLUSH = 1 << 31;
/** CR3[62:61] with LAM. */
const CR3_LAM = 3 << 29;

const RULES = XCR0_RULES.map(({ any, needs }) => ({ any: maskOf(any), needs: maskOf(needs) }));

/** Who has to know that translations may have changed. */
export interface PagingListener {
  /** @param all global translations too, as against a new CR3 */
  pagingChanged(all: boolean): void;
}

/** All registers at one time. */
export interface ControlSnapshot {
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  readonly xcr0: Int32Array;
  readonly pkru: number;
  readonly vmxOperation: boolean;
}

export class ControlRegisters {
  /** Low and high halves by number: 0, 2, 3, 4, 8. Reading is free; to write, use the methods. */
  readonly lo = new Int32Array(9);
  readonly hi = new Int32Array(9);
  readonly xcr0 = new Int32Array(2);
  pkru = 0;
  /** Between VMXON and VMXOFF: CR0 and CR4 have fixed bits. */
  vmxOperation = false;
  /** Goes up with every change to what instructions are there or what they mean (CR0, CR4, EFER, XCR0, VMX operation). */
  version = 0;
  paging: PagingListener | null = null;

  private readonly msrs: MsrFile;
  private cr4Lo = 0;
  private cr4Hi = 0;
  private cr3ReservedHi = 0;
  private xcr0Lo = 0;
  private xcr0Hi = 0;

  constructor(silicon: Silicon, msrs: MsrFile) {
    this.msrs = msrs;
    this.evaluate(silicon);
    this.reset();
  }

  /** Decides anew which bits are there. Values stay. */
  evaluate(silicon: Silicon): void {
    const cr4 = silicon.mask('CR4');
    this.cr4Lo = Number(cr4 & 0xffff_ffffn) | 0;
    this.cr4Hi = Number(cr4 >> 32n) | 0;
    this.cr3ReservedHi = silicon.physicalBits >= 64 ? 0 : ~(2 ** Math.max(0, silicon.physicalBits - 32) - 1);
    if (silicon.has('LAM')) this.cr3ReservedHi &= ~CR3_LAM;
    this.xcr0Lo = Number(silicon.xcr0 & 0xffff_ffffn) | 0;
    this.xcr0Hi = Number(silicon.xcr0 >> 32n) | 0;
  }

  /** The values after reset (SDM volume 3, table 10-1). MSRs are not touched. */
  reset(): void {
    this.lo.fill(0);
    this.hi.fill(0);
    this.lo[0] = CR0_CD | CR0_NW | CR0_ET;
    this.xcr0[0] = 1;
    this.xcr0[1] = 0;
    this.pkru = 0;
    this.vmxOperation = false;
    this.changed(true);
  }

  get efer(): number {
    return this.msrs.lo[EFER_SLOT]!;
  }

  /** Whether the CPU is in IA-32e mode. */
  get longMode(): boolean {
    return (this.efer & EFER_LMA) !== 0;
  }

  /**
   * MOV to CR0 (SDM volume 2, MOV—Move to/from Control Registers; volume 3, 4.1.2 and 23.8).
   *
   * @param code64 CS.L: the instruction runs in 64-bit mode
   */
  writeCr0(lo: number, hi: number, code64: boolean): number {
    if (hi !== 0) return CONTROL_GP;
    const value = (lo & CR0_WRITABLE) | CR0_ET;
    const cr4 = this.lo[4]!;
    if ((value & CR0_PG) !== 0 && (value & CR0_PE) === 0) return CONTROL_GP;
    if ((value & CR0_NW) !== 0 && (value & CR0_CD) === 0) return CONTROL_GP;
    if ((value & CR0_WP) === 0 && (cr4 & CR4_CET) !== 0) return CONTROL_GP;
    const old = this.lo[0]!;
    const starts = (value & CR0_PG) !== 0 && (old & CR0_PG) === 0;
    const ends = (value & CR0_PG) === 0 && (old & CR0_PG) !== 0;
    const { efer } = this;
    if (starts && (efer & EFER_LME) !== 0 && ((cr4 & CR4_PAE) === 0 || code64)) return CONTROL_GP;
    if (ends && (code64 || (cr4 & CR4_PCIDE) !== 0)) return CONTROL_GP;
    if (this.vmxOperation && !this.isFixed(CR0_FIXED0_SLOT, CR0_FIXED1_SLOT, value, 0)) return CONTROL_GP;
    this.lo[0] = value;
    if (starts && (efer & EFER_LME) !== 0) this.msrs.put(EFER_SLOT, efer | EFER_LMA, 0);
    if (ends) this.msrs.put(EFER_SLOT, efer & ~EFER_LMA, 0);
    this.changed(((value ^ old) & (CR0_PG | CR0_WP | CR0_PE)) !== 0);
    return CONTROL_OK;
  }

  /** A page fault's address. Any value fits. */
  writeCr2(lo: number, hi: number): void {
    this.lo[2] = lo;
    this.hi[2] = hi;
  }

  /** MOV to CR3 in 64-bit mode. What the TLB keeps is not asked for: it always forgets all but global translations. */
  writeCr3(lo: number, hi: number): number {
    const pcide = (this.lo[4]! & CR4_PCIDE) !== 0;
    const value = pcide ? hi & ~CR3_NO_FLUSH : hi;
    if ((value & this.cr3ReservedHi) !== 0) return CONTROL_GP;
    this.lo[3] = lo;
    this.hi[3] = value;
    this.paging?.pagingChanged(false);
    return CONTROL_OK;
  }

  /** MOV to CR4. */
  writeCr4(lo: number, hi: number): number {
    if ((lo & ~this.cr4Lo) !== 0 || (hi & ~this.cr4Hi) !== 0) return CONTROL_GP;
    const old = this.lo[4]!;
    const { longMode } = this;
    if (longMode && ((lo & CR4_PAE) === 0 || ((lo ^ old) & CR4_LA57) !== 0)) return CONTROL_GP;
    const startsPcid = (lo & CR4_PCIDE) !== 0 && (old & CR4_PCIDE) === 0;
    if (startsPcid && (!longMode || (this.lo[3]! & 0xfff) !== 0)) return CONTROL_GP;
    if ((lo & CR4_CET) !== 0 && (this.lo[0]! & CR0_WP) === 0) return CONTROL_GP;
    // Outside IA-32e mode there is no way to say so: MOV to CR4 has 32 bits.
    if ((hi & CR4_FRED_HI) !== 0 && !longMode) return CONTROL_GP;
    if (this.vmxOperation && !this.isFixed(CR4_FIXED0_SLOT, CR4_FIXED1_SLOT, lo, hi)) return CONTROL_GP;
    this.lo[4] = lo;
    this.hi[4] = hi;
    this.changed(((lo ^ old) & CR4_PAGING) !== 0);
    return CONTROL_OK;
  }

  /** MOV to CR8: the task priority. */
  writeCr8(lo: number, hi: number): number {
    if ((lo & ~0xf) !== 0 || hi !== 0) return CONTROL_GP;
    this.lo[8] = lo;
    return CONTROL_OK;
  }

  /** What remains to be checked when EFER is written, once reserved bits and LMA are settled; then its effects. */
  eferWritten(lo: number): number {
    const old = this.efer;
    if (((lo ^ old) & EFER_LME) !== 0 && (this.lo[0]! & CR0_PG) !== 0) return CONTROL_GP;
    if ((lo & EFER_SVME) !== 0 && (this.msrs.lo[VM_CR_SLOT]! & VM_CR_SVMDIS) !== 0) return CONTROL_GP;
    this.msrs.put(EFER_SLOT, lo, 0);
    this.changed(((lo ^ old) & EFER_NXE) !== 0);
    return CONTROL_OK;
  }

  /** XSETBV, once CR4.OSXSAVE and the privilege are settled (SDM volume 1, 13.3). */
  xsetbv(index: number, lo: number, hi: number): number {
    if (index !== 0 || (lo & 1) === 0) return CONTROL_GP;
    if ((lo & ~this.xcr0Lo) !== 0 || (hi & ~this.xcr0Hi) !== 0) return CONTROL_GP;
    for (let n = 0; n < RULES.length; n++) {
      const { any, needs } = RULES[n]!;
      if ((lo & any) !== 0 && (lo & needs) !== needs) return CONTROL_GP;
    }
    this.xcr0[0] = lo;
    this.xcr0[1] = hi;
    this.version++;
    return CONTROL_OK;
  }

  /** WRPKRU. Any value fits. */
  writePkru(value: number): void {
    if (value === this.pkru) return;
    this.pkru = value | 0;
    this.paging?.pagingChanged(true);
  }

  /** IA32_PKRS has changed. */
  pkrsWritten(): void {
    this.paging?.pagingChanged(true);
  }

  /** Enters or leaves VMX operation. Entering is refused unless CR0 and CR4 have the bits that it fixes (VMXON). */
  setVmxOperation(on: boolean): number {
    const fixed =
      this.isFixed(CR0_FIXED0_SLOT, CR0_FIXED1_SLOT, this.lo[0]!, this.hi[0]!) &&
      this.isFixed(CR4_FIXED0_SLOT, CR4_FIXED1_SLOT, this.lo[4]!, this.hi[4]!);
    if (on && !fixed) return CONTROL_GP;
    this.vmxOperation = on;
    this.version++;
    return CONTROL_OK;
  }

  /**
   * What hardware loads without the checks of an instruction: world switches, and the set-up of a machine. A reserved
   * bit that gets in here stays.
   */
  load(number: 0 | 2 | 3 | 4 | 8, lo: number, hi: number): void {
    this.lo[number] = lo;
    this.hi[number] = hi;
    this.changed(true);
  }

  /**
   * CR0, CR3, CR4 and EFER of another world, at once and without checks. The paging unit is not told: whoever switches
   * worlds does that too ({@link Mmu.switchTo}).
   */
  switchTo(cr0: number, cr3Lo: number, cr3Hi: number, cr4Lo: number, cr4Hi: number, efer: number): void {
    const { lo, hi } = this;
    lo[0] = cr0;
    hi[0] = 0;
    lo[3] = cr3Lo;
    hi[3] = cr3Hi;
    lo[4] = cr4Lo;
    hi[4] = cr4Hi;
    this.msrs.put(EFER_SLOT, efer, 0);
    this.version++;
  }

  snapshot(): ControlSnapshot {
    const { pkru, vmxOperation } = this;
    return { lo: this.lo.slice(), hi: this.hi.slice(), xcr0: this.xcr0.slice(), pkru, vmxOperation };
  }

  restore(snapshot: ControlSnapshot): void {
    this.lo.set(snapshot.lo);
    this.hi.set(snapshot.hi);
    this.xcr0.set(snapshot.xcr0);
    this.pkru = snapshot.pkru;
    this.vmxOperation = snapshot.vmxOperation;
    this.changed(true);
  }

  private changed(translations: boolean): void {
    this.version++;
    if (translations) this.paging?.pagingChanged(true);
  }

  private isFixed(ones: number, allowed: number, lo: number, hi: number): boolean {
    const { msrs } = this;
    return (
      (msrs.lo[ones]! & ~lo) === 0 &&
      (msrs.hi[ones]! & ~hi) === 0 &&
      (lo & ~msrs.lo[allowed]!) === 0 &&
      (hi & ~msrs.hi[allowed]!) === 0
    );
  }
}

/** Whether RFLAGS may be loaded with the value by an instruction that does not repair it (ERETU, VM entry). */
export function isLegalRflags(lo: number, hi: number): boolean {
  return hi === 0 && (lo & ~RFLAGS_MASK) === RFLAGS_FIXED;
}

function maskOf(bits: readonly number[]): number {
  return bits.reduce((mask, bit) => mask | (1 << bit), 0);
}
