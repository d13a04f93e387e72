import type { Core } from '../core/core.js';
import { F, IF } from '../core/flags.js';
import { closedSets } from '../core/gates.js';
import { type Exit, type GuestWorld, INTERCEPT } from '../core/guest-world.js';
import { NEXT, VECTOR } from '../core/status.js';
import type { NestedPaging } from '../paging-nested.js';
import { PIN, PRIMARY, SECONDARY } from './controls.js';
import { FIELD } from './field-rows.js';
import { type SwitchPlan, switchPlan } from './state-rows.js';
import type { Vmcs } from './vmcs.js';
import type { Vmx } from './vmx.js';

const PF_MASK = FIELD.PAGE_FAULT_MASK;
const PF_MATCH = FIELD.PAGE_FAULT_MATCH;
const CR0_MASK = FIELD.CR0_MASK;
const CR4_MASK = FIELD.CR4_MASK;
const CR0_SHADOW = FIELD.CR0_SHADOW;
const CR4_SHADOW = FIELD.CR4_SHADOW;
const CR3_TARGET0 = FIELD.CR3_TARGET0;

/** MSRs of the bitmap: two ranges of 2000H, a page of reads low, reads high, writes low, writes high. */
const RANGE = 0x2000;
const HIGH_RANGE = 0xc000_0000;
const HIGH_OFFSET = 0x400;
const WRITE_OFFSET = 0x800;

const WORD = 0x1_0000_0000;

/** Who has translations in the TLB: spaces of `Tlb`, for one VPID under one set of EPT tables. */
export interface Spaces {
  space: number;
  globals: number;
  root: number;
}

/** What leaves a VMX guest, as the controls of its VMCS say. Worked out anew when they have changed. */
export class VmxWorld implements GuestWorld {
  readonly name = 'vmx';
  readonly intercepts = new Uint8Array(INTERCEPT.COUNT);
  exceptionBitmap = 0;
  offsetsTsc = false;
  nested: NestedPaging | null = null;
  /** What the EPT pointer says: its tables, and whether accessed and dirty bits are kept. */
  root = 0;
  accessedDirty = false;
  usesVpid = false;
  scalesTsc = false;
  /** Who has the translations of its VPID under its EPT tables, if {@link Vmx.invalidations} were so many then. */
  spaces: Spaces | null = null;
  spacesAt = -1;
  /** Physical interrupts leave the guest whatever RFLAGS.IF says, if they do at all. */
  readonly masksInterruptsByHost = true;
  /** The gates that the controls close. */
  closed: Uint8Array = closedSets(() => true);
  plan: SwitchPlan;

  readonly vmx: Vmx;
  private readonly vmcs: Vmcs;
  private primary = 0;
  private secondary = 0;
  /** Offset of the MSR bitmap in the bytes of memory; -1: all accesses leave. */
  private bitmap = -1;

  constructor(vmx: Vmx, vmcs: Vmcs) {
    this.vmx = vmx;
    this.vmcs = vmcs;
    this.plan = this.update();
  }

  /** Takes the controls over. */
  update(): SwitchPlan {
    const { vmcs, vmx, intercepts } = this;
    const { lo, hi } = vmcs;
    const pin = lo[FIELD.PIN_BASED_CONTROLS]!;
    const primary = lo[FIELD.PRIMARY_CONTROLS]!;
    const secondary = (primary & PRIMARY.SECONDARY) === 0 ? 0 : lo[FIELD.SECONDARY_CONTROLS]!;
    this.primary = primary;
    this.secondary = secondary;
    const set = (place: number, on: boolean) => {
      intercepts[place] = on ? 1 : 0;
    };
    const rdtsc = (primary & PRIMARY.RDTSC) !== 0;
    set(INTERCEPT.CPUID, true);
    set(INTERCEPT.XSETBV, true);
    set(INTERCEPT.HYPERCALL, true);
    set(INTERCEPT.TRIPLE_FAULT, true);
    set(INTERCEPT.VIRTUALIZATION, true);
    set(INTERCEPT.SEAMCALL, true);
    set(INTERCEPT.TDCALL, true);
    set(INTERCEPT.HLT, (primary & PRIMARY.HLT) !== 0);
    set(INTERCEPT.RDTSC, rdtsc);
    set(INTERCEPT.RDTSCP, rdtsc);
    set(INTERCEPT.UMWAIT, rdtsc);
    set(INTERCEPT.TPAUSE, rdtsc);
    set(INTERCEPT.PAUSE, (primary & PRIMARY.PAUSE) !== 0);
    set(INTERCEPT.MONITOR, (primary & PRIMARY.MONITOR) !== 0);
    set(INTERCEPT.MWAIT, (primary & PRIMARY.MWAIT) !== 0);
    set(INTERCEPT.EXTERNAL_INTERRUPT, (pin & PIN.EXTERNAL_INTERRUPT) !== 0);
    set(INTERCEPT.NMI, (pin & PIN.NMI) !== 0);
    set(INTERCEPT.RDRAND, (secondary & SECONDARY.RDRAND) !== 0);
    set(INTERCEPT.RDSEED, (secondary & SECONDARY.RDSEED) !== 0);
    set(INTERCEPT.LIDT, (secondary & SECONDARY.DESCRIPTOR_TABLE) !== 0);
    if ((primary & PRIMARY.TPR_SHADOW) !== 0 || (secondary & SECONDARY.VIRTUAL_APIC) !== 0)
      throw vmx.core.unsupported('APIC virtualization');

    this.nested = null;
    this.root = 0;
    if ((secondary & SECONDARY.EPT) !== 0) {
      const pointer = lo[FIELD.EPT_POINTER]!;
      this.root = (hi[FIELD.EPT_POINTER]! & 0xf_ffff) * WORD + ((pointer & ~0xfff) >>> 0);
      this.nested = vmx.nested[((pointer >> 3) & 7) === 4 ? 1 : 0];
      this.accessedDirty = (pointer & 0x40) !== 0;
    }
    this.usesVpid = (secondary & SECONDARY.VPID) !== 0;
    this.scalesTsc = (secondary & SECONDARY.TSC_SCALING) !== 0;
    this.spaces = null;

    this.bitmap = -1;
    if ((primary & PRIMARY.MSR_BITMAPS) !== 0) {
      const address = (hi[FIELD.MSR_BITMAP]! & 0xf_ffff) * WORD + ((lo[FIELD.MSR_BITMAP]! & ~0xfff) >>> 0);
      this.bitmap = vmx.core.memory.touch(address);
      if (this.bitmap < 0) throw vmx.core.unsupported('an MSR bitmap outside RAM');
    }
    this.offsetsTsc = (primary & PRIMARY.TSC_OFFSETTING) !== 0;
    this.closed = closedSets((name) => this.gate(name));
    this.plan = switchPlan(
      lo[FIELD.ENTRY_CONTROLS]!,
      lo[FIELD.EXIT_CONTROLS]!,
      lo[FIELD.SECONDARY_EXIT_CONTROLS]!,
      vmx.core.msrs.exists,
    );
    return this.plan;
  }

  gate(name: string): boolean {
    switch (name) {
      case 'VMX.ENABLE_RDTSCP':
        return (this.secondary & SECONDARY.RDTSCP) !== 0;
      case 'VMX.ENABLE_USER_WAIT_PAUSE':
        return (this.secondary & SECONDARY.USER_WAIT_PAUSE) !== 0;
      default:
        throw new Error(`${name} is no control of VMX`);
    }
  }

  /** Bit 14 of the exception bitmap, turned round when the error code does not match (SDM volume 3, 27.2). */
  interceptsPageFault(errorCode: number): boolean {
    const { lo } = this.vmcs;
    const set = ((this.exceptionBitmap >>> VECTOR.PF) & 1) === 1;
    return ((errorCode & lo[PF_MASK]!) === lo[PF_MATCH]!) === set;
  }

  interceptsMsr(index: number, write: boolean): boolean {
    if (this.bitmap < 0) return true;
    let at = this.bitmap + (write ? WRITE_OFFSET : 0);
    let place = index;
    if (index >= HIGH_RANGE) {
      place = index - HIGH_RANGE;
      at += HIGH_OFFSET;
    }
    if (place >= RANGE) return true;
    return ((this.vmx.core.memory.bytes[at + (place >> 3)]! >> (place & 7)) & 1) === 1;
  }

  interceptsCrRead(number: number): boolean {
    if (number === 3) return (this.primary & PRIMARY.CR3_STORE) !== 0;
    return number === 8 && (this.primary & PRIMARY.CR8_STORE) !== 0;
  }

  interceptsCrWrite(number: number, valueLo: number, valueHi: number): boolean {
    const { lo, hi } = this.vmcs;
    switch (number) {
      case 0:
        return (
          ((valueLo ^ lo[CR0_SHADOW]!) & lo[CR0_MASK]!) !== 0 || ((valueHi ^ hi[CR0_SHADOW]!) & hi[CR0_MASK]!) !== 0
        );
      case 4:
        return (
          ((valueLo ^ lo[CR4_SHADOW]!) & lo[CR4_MASK]!) !== 0 || ((valueHi ^ hi[CR4_SHADOW]!) & hi[CR4_MASK]!) !== 0
        );
      case 3:
        return (this.primary & PRIMARY.CR3_LOAD) !== 0 && !this.isTarget(valueLo, valueHi);
      case 8:
        return (this.primary & PRIMARY.CR8_LOAD) !== 0;
      default:
        return false;
    }
  }

  private isTarget(valueLo: number, valueHi: number): boolean {
    const { lo, hi } = this.vmcs;
    for (let n = 0; n < Math.min(4, lo[FIELD.CR3_TARGET_COUNT]!); n++) {
      if (lo[CR3_TARGET0 + n] === valueLo && hi[CR3_TARGET0 + n] === valueHi) return true;
    }
    return false;
  }

  readCr(number: number, out: Int32Array): void {
    const { lo, hi } = this.vmcs;
    const { control } = this.vmx.core;
    const mask = number === 0 ? CR0_MASK : CR4_MASK;
    const shadow = number === 0 ? CR0_SHADOW : CR4_SHADOW;
    out[0] = (control.lo[number]! & ~lo[mask]!) | (lo[shadow]! & lo[mask]!);
    out[1] = (control.hi[number]! & ~hi[mask]!) | (hi[shadow]! & hi[mask]!);
  }

  writtenCr(number: number, valueLo: number, valueHi: number, out: Int32Array): void {
    const { lo, hi } = this.vmcs;
    const { control } = this.vmx.core;
    const mask = number === 0 ? CR0_MASK : CR4_MASK;
    out[0] = (valueLo & ~lo[mask]!) | (control.lo[number]! & lo[mask]!);
    out[1] = (valueHi & ~hi[mask]!) | (control.hi[number]! & hi[mask]!);
  }

  /** Interrupt and NMI windows. */
  takeVirtual(core: Core): number {
    const { primary } = this;
    if ((primary & (PRIMARY.INTERRUPT_WINDOW | PRIMARY.NMI_WINDOW)) === 0 || core.shadow) return NEXT;
    if ((primary & PRIMARY.NMI_WINDOW) !== 0 && !core.nmiBlocked) return this.vmx.leaveByWindow(true);
    if ((primary & PRIMARY.INTERRUPT_WINDOW) !== 0 && (core.f[F.REST]! & IF) !== 0)
      return this.vmx.leaveByWindow(false);
    return NEXT;
  }

  exit(_core: Core, exit: Exit): void {
    this.vmx.exit(exit);
  }
}
