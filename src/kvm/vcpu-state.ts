import {
  DTABLE_LIMIT,
  RDX,
  REGS_WORDS,
  RFLAGS,
  RIP,
  SEGMENT,
  SREGS_APIC_BASE,
  SREGS_CR0,
  SREGS_CR4,
  SREGS_EFER,
  SREGS_GDT,
  SREGS_IDT,
  SREGS_SEGMENTS,
  SREGS_SIZE,
} from './abi.js';
import type { VendorModule } from './vendor.js';

/** The bit of RFLAGS that is always one. */
export const X86_EFLAGS_FIXED = 2n;

export const APICBASE_ENABLE = 1n << 11n;
export const APICBASE_X2APIC = 1n << 10n;
const APICBASE_BSP = 1n << 8n;
const APIC_DEFAULT_PHYS_BASE = 0xfee0_0000n;

/** IA32_MISC_ENABLE[18], MONITOR/MWAIT; [12] and [11], no PEBS and no BTS. */
export const MISC_ENABLE_MWAIT = 1n << 18n;
const MISC_ENABLE_PEBS_UNAVAIL = 1n << 12n;
const MISC_ENABLE_BTS_UNAVAIL = 1n << 11n;

const CR0_PG = 0x8000_0000;
const EFER_LMA = 1 << 10;

/** CR0 after RESET: ET, NW, CD. */
const CR0_RESET = 0x6000_0010n;

/** What `microcode_version` starts as: the vendor modules' own choice. */
const MICROCODE_VERSION = { kvm_intel: 0x1_0000_0000n, kvm_amd: 0x0100_0065n } as const;

/**
 * The registers of a vCPU, in the layout in which userspace reads and writes them. Starts as `kvm_vcpu_reset()` leaves
 * it; a few hidden descriptor bits, in which the vendor modules differ, are those of VMX.
 */
export class VcpuState {
  /** `struct kvm_regs`. */
  readonly regs = new BigUint64Array(REGS_WORDS);
  readonly regsBytes = new Uint8Array(this.regs.buffer);
  /** `struct kvm_sregs`. */
  readonly sregsBytes = new Uint8Array(SREGS_SIZE);
  readonly sregs = new DataView(this.sregsBytes.buffer);
  /** XCR0 and IA32_XSS; no component above 31 is modelled. */
  xcr0 = 1;
  xss = 0;
  miscEnable = MISC_ENABLE_PEBS_UNAVAIL | MISC_ENABLE_BTS_UNAVAIL;
  miscFeaturesEnables = 0n;
  microcodeVersion: bigint;
  /** IA32_TSX_CTRL as userspace set it; `null`: as the guest's table makes it. */
  tsxCtrl: bigint | null = null;
  platformInfo: bigint;

  /**
   * @param id the vCPU's id; 0 is the boot CPU
   * @param platformInfo what MSR_PLATFORM_INFO starts as
   */
  constructor(id: number, vendor: VendorModule, platformInfo: bigint) {
    this.microcodeVersion = MICROCODE_VERSION[vendor.name];
    this.platformInfo = platformInfo;
    this.regs[RDX] = 0x600n; // family 6: there is no CPUID entry 1 yet
    this.regs[RIP] = 0xfff0n;
    this.regs[RFLAGS] = X86_EFLAGS_FIXED;
    this.apicBase = APIC_DEFAULT_PHYS_BASE | APICBASE_ENABLE | (id === 0 ? APICBASE_BSP : 0n);
    this.sregs.setBigUint64(SREGS_CR0, CR0_RESET, true);
    this.resetSegments();
  }

  private resetSegments(): void {
    const { sregs } = this;
    const segment = (at: number, type: number, s: number) => {
      sregs.setUint32(at + SEGMENT.limit, 0xffff, true);
      sregs.setUint8(at + SEGMENT.type, type);
      sregs.setUint8(at + SEGMENT.present, 1);
      sregs.setUint8(at + SEGMENT.s, s);
    };
    const { cs, tr, ldt, ...data } = SREGS_SEGMENTS;
    for (const at of Object.values(data)) segment(at, 0x3, 1);
    segment(cs, 0xb, 1);
    segment(tr, 0xb, 0);
    segment(ldt, 0x2, 0);
    sregs.setBigUint64(cs + SEGMENT.base, 0xffff_0000n, true);
    sregs.setUint16(cs + SEGMENT.selector, 0xf000, true);
    sregs.setUint16(SREGS_GDT + DTABLE_LIMIT, 0xffff, true);
    sregs.setUint16(SREGS_IDT + DTABLE_LIMIT, 0xffff, true);
  }

  /** CR4[31:0]; the upper half is reserved on every modelled kernel. */
  get cr4(): number {
    return this.sregs.getUint32(SREGS_CR4, true);
  }

  get cr0(): number {
    return this.sregs.getUint32(SREGS_CR0, true);
  }

  /** CS.L with IA-32e mode and paging: code of 64 bits. */
  get isLongMode64(): boolean {
    const { sregs } = this;
    if ((this.cr0 & CR0_PG) === 0 || (sregs.getUint32(SREGS_EFER, true) & EFER_LMA) === 0) return false;
    return sregs.getUint8(SREGS_SEGMENTS.cs + SEGMENT.l) !== 0;
  }

  get apicBase(): bigint {
    return this.sregs.getBigUint64(SREGS_APIC_BASE, true);
  }

  set apicBase(value: bigint) {
    this.sregs.setBigUint64(SREGS_APIC_BASE, value, true);
  }

  get apicEnabled(): boolean {
    return (this.sregs.getUint32(SREGS_APIC_BASE, true) & Number(APICBASE_ENABLE)) !== 0;
  }

  get mwaitEnabled(): boolean {
    return (this.miscEnable & MISC_ENABLE_MWAIT) !== 0n;
  }
}
