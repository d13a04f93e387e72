import { featureNamed } from '../cpuid/features.js';
import { inRange } from '../cpuid/kernel-line.js';
import {
  CR0_CD,
  CR0_ET,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR4_LA57,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_PKE,
  EFER_LMA,
} from '../emu/control.js';
import { RAX, RCX, RSP } from '../emu/core/core.js';
import { STOP, type Stop } from '../emu/core/status.js';
import { msrNamed } from '../emu/msr-rows.js';
import { MSR_OK } from '../emu/msrs.js';
import { PF_I, PF_W } from '../emu/paging-rows.js';
import { exitCode } from '../emu/svm/exit-rows.js';
import { VMCB } from '../emu/svm/vmcb.js';
import {
  EVENT_HAS_ERROR,
  EVENT_TYPE_SHIFT,
  EVENT_VALID,
  EVENT_VECTOR,
  SVM_EVENT,
  TLB_FLUSH_ASID,
} from '../emu/svm/vmcb-rows.js';
import {
  DTABLE_LIMIT,
  SEGMENT,
  SREGS_CR0,
  SREGS_CR2,
  SREGS_CR3,
  SREGS_CR4,
  SREGS_CR8,
  SREGS_EFER,
  SREGS_GDT,
  SREGS_IDT,
  SREGS_SEGMENTS,
} from '../kvm/abi.js';
import { type EferRow, nextEfer } from '../kvm/efer.js';
import {
  emptyGuestExit,
  GUEST_EXIT,
  GUEST_RIP,
  type GuestContext,
  type GuestExit,
  type GuestRunner,
} from '../kvm/guest-run.js';
import { assigned } from '../kvm/scope.js';
import { handlerOf } from './exit-handlers.js';
import { SvmGuest } from './guest.js';

const WORD = 0x1_0000_0000;

const SEGMENTS = [
  ['CS', SREGS_SEGMENTS.cs],
  ['DS', SREGS_SEGMENTS.ds],
  ['ES', SREGS_SEGMENTS.es],
  ['FS', SREGS_SEGMENTS.fs],
  ['GS', SREGS_SEGMENTS.gs],
  ['SS', SREGS_SEGMENTS.ss],
  ['TR', SREGS_SEGMENTS.tr],
  ['LDTR', SREGS_SEGMENTS.ldt],
] as const;

/** Bits of a segment's attributes in the VMCB: the byte of `struct kvm_segment`, where they begin, their mask. */
const ATTRIBUTES: readonly (readonly [at: number, shift: number, mask: number])[] = [
  [SEGMENT.type, 0, 0xf],
  [SEGMENT.s, 4, 1],
  [SEGMENT.dpl, 5, 3],
  [SEGMENT.present, 7, 1],
  [SEGMENT.avl, 8, 1],
  [SEGMENT.l, 9, 1],
  [SEGMENT.db, 10, 1],
  [SEGMENT.g, 11, 1],
];

const EFER = msrNamed('IA32_EFER').index;
const DEBUGCTL = msrNamed('IA32_DEBUGCTL').index;
const SPEC_CTRL = msrNamed('IA32_SPEC_CTRL').index;
const PRED_CMD = msrNamed('IA32_PRED_CMD').index;
const TSC_AUX = msrNamed('IA32_TSC_AUX').index;

/** `guest_has_spec_ctrl_msr()`, `guest_has_pred_cmd_msr()` */
const SPEC_CTRL_FEATURES = ['SPEC_CTRL', 'AMD_STIBP', 'AMD_IBRS', 'AMD_SSBD'];
const PRED_CMD_FEATURES = ['SPEC_CTRL', 'AMD_IBPB'];
const TSC_AUX_FEATURES = ['RDTSCP', 'RDPID'];

/** Bits of EFER that AMD adds. */
const EFER_ROWS: readonly EferRow[] = [
  [1 << 12, 'SVM'],
  [1 << 14, 'FXSR_OPT'],
  [1 << 21, 'AUTOIBRS'],
];

/** DEBUGCTL: what a guest may set. Before 6.18 also the bits that later CPUs trap bus locks with. */
const DEBUGCTL_LBR = 1;
const DEBUGCTL_BTF = 2;
const DEBUGCTL_PINS = 0x3c;

const INTERCEPT_MSR_WRITE = 1;
const CR0_SEL_WRITE = exitCode('CR0_SEL_WRITE');

/** kvm-amd's part of running a vCPU: `struct kvm_vcpu` on one side, {@link SvmGuest} on the other. */
export class SvmRunner implements GuestRunner {
  readonly exit: GuestExit = emptyGuestExit();
  private readonly context: GuestContext;
  private readonly guest: SvmGuest;
  private readonly zeroesDebugctlPins: boolean;
  private memoryVersion: number;

  constructor(context: GuestContext) {
    const { vcpu, cpu, memory, registers } = context;
    const { module } = vcpu.vm;
    const { scope } = module.caps(module.defaultOverlay);
    this.context = context;
    this.memoryVersion = memory.version;
    this.zeroesDebugctlPins = inRange(scope.line, '6.18');
    this.guest = new SvmGuest(cpu, {
      line: scope.line,
      nestedRoot: memory.root,
      lbrv: assigned(scope, 'lbrv') !== 0,
      vgif: assigned(scope, 'vgif') !== 0,
      hltExits: !vcpu.vm.hltExitsDisabled,
      has: (name) => this.has(name),
      isAmd: vcpu.guestCaps.isAmdCompatible,
      debugctlNotSwitched: module.defects.has('svm-debugctl-not-switched'),
      registers,
    });
  }

  /** The vCPU's VMCB and world switch, for those who look behind KVM. */
  get hardware(): SvmGuest {
    return this.guest;
  }

  private has(name: string): boolean {
    return this.context.vcpu.guestCaps.has(featureNamed(name));
  }

  // State of userspace: __set_sregs(), __get_sregs().

  loadState(): void {
    const { vcpu } = this.context;
    const { vmcb } = this.guest;
    const { sregs, cr0, cr4 } = vcpu.state;
    for (const [name, at] of SEGMENTS) {
      const attributes = ATTRIBUTES.reduce(
        (bits, [byte, shift, mask]) => bits | ((sregs.getUint8(at + byte) & mask) << shift),
        0,
      );
      const unusable = sregs.getUint8(at + SEGMENT.unusable) !== 0;
      vmcb.set(`${name}_SELECTOR`, sregs.getUint16(at + SEGMENT.selector, true));
      vmcb.set(`${name}_ATTRIB`, unusable ? attributes & ~0x80 : attributes);
      vmcb.set(`${name}_LIMIT`, sregs.getUint32(at + SEGMENT.limit, true));
      vmcb.set(`${name}_BASE`, sregs.getBigUint64(at + SEGMENT.base, true));
    }
    // svm_set_segment(): CPL is SS.DPL.
    vmcb.set('CPL', sregs.getUint8(SREGS_SEGMENTS.ss + SEGMENT.dpl) & 3);
    for (const [name, at] of [
      ['GDTR', SREGS_GDT],
      ['IDTR', SREGS_IDT],
    ] as const) {
      vmcb.set(`${name}_BASE`, sregs.getBigUint64(at, true));
      vmcb.set(`${name}_LIMIT`, sregs.getUint16(at + DTABLE_LIMIT, true));
    }
    vmcb.set('CR0', cr0);
    vmcb.set('CR2', sregs.getBigUint64(SREGS_CR2, true));
    vmcb.set('CR3', sregs.getBigUint64(SREGS_CR3, true));
    vmcb.set('CR4', cr4);
    this.guest.write(EFER, sregs.getBigUint64(SREGS_EFER, true));
    vmcb.set('VINTR', (vmcb.get('VINTR') & ~0xffn) | (sregs.getBigUint64(SREGS_CR8, true) & 0xfn));
    this.guest.xsave.usesXss = this.has('XSAVES');
    this.guest.cpuidChanged(vcpu.guestCaps.isAmdCompatible);
    this.invalidate();
  }

  saveState(): void {
    const { vmcb } = this.guest;
    const { sregs } = this.context.vcpu.state;
    for (const [name, at] of SEGMENTS) {
      const attributes = Number(vmcb.get(`${name}_ATTRIB`));
      for (const [byte, shift, mask] of ATTRIBUTES) sregs.setUint8(at + byte, (attributes >> shift) & mask);
      sregs.setUint16(at + SEGMENT.selector, Number(vmcb.get(`${name}_SELECTOR`)), true);
      sregs.setUint32(at + SEGMENT.limit, Number(vmcb.get(`${name}_LIMIT`)), true);
      sregs.setBigUint64(at + SEGMENT.base, vmcb.get(`${name}_BASE`), true);
      sregs.setUint8(at + SEGMENT.unusable, (attributes & 0x80) === 0 ? 1 : 0);
    }
    for (const [name, at] of [
      ['GDTR', SREGS_GDT],
      ['IDTR', SREGS_IDT],
    ] as const) {
      sregs.setBigUint64(at, vmcb.get(`${name}_BASE`), true);
      sregs.setUint16(at + DTABLE_LIMIT, Number(vmcb.get(`${name}_LIMIT`) & 0xffffn), true);
    }
    sregs.setBigUint64(SREGS_CR0, vmcb.get('CR0'), true);
    sregs.setBigUint64(SREGS_CR2, vmcb.get('CR2'), true);
    sregs.setBigUint64(SREGS_CR3, vmcb.get('CR3'), true);
    sregs.setBigUint64(SREGS_CR4, vmcb.get('CR4'), true);
    sregs.setBigUint64(SREGS_CR8, vmcb.get('VINTR') & 0xfn, true);
    sregs.setBigUint64(SREGS_EFER, this.guest.read(EFER)!, true);
  }

  // KVM_RUN.

  load(): void {}

  put(): void {
    this.guest.put();
  }

  enter(limit: number): Stop {
    const { context, guest } = this;
    this.prepare();
    const stop = guest.run(limit);
    const { registers } = context;
    const { vmcb } = guest;
    registers.lo[RAX] = vmcb.lo(VMCB.RAX);
    registers.hi[RAX] = vmcb.hi(VMCB.RAX);
    registers.lo[RSP] = vmcb.lo(VMCB.RSP);
    registers.hi[RSP] = vmcb.hi(VMCB.RSP);
    registers.lo[GUEST_RIP] = vmcb.lo(VMCB.RIP);
    registers.hi[GUEST_RIP] = vmcb.hi(VMCB.RIP);
    registers.rflags = vmcb.lo(VMCB.RFLAGS);
    if (stop === STOP.EXIT) this.decode(vmcb.lo(VMCB.EXITCODE));
    else this.exit.kind = GUEST_EXIT.NONE;
    this.completeInterrupts();
    return stop;
  }

  /** What common code has changed: registers; XCR0 and IA32_XSS; guest memory. */
  private prepare(): void {
    const { context, guest } = this;
    const { registers, vcpu, memory } = context;
    const { vmcb } = guest;
    const oldRip = vmcb.lo(VMCB.RIP);
    vmcb.put(VMCB.RAX, registers.lo[RAX]!, registers.hi[RAX]!);
    vmcb.put(VMCB.RSP, registers.lo[RSP]!, registers.hi[RSP]!);
    vmcb.put(VMCB.RIP, registers.lo[GUEST_RIP]!, registers.hi[GUEST_RIP]!);
    vmcb.put(VMCB.RFLAGS, registers.rflags, 0);
    // __svm_skip_emulated_instruction(): the shadow of STI is over when the instruction is.
    if (registers.lo[GUEST_RIP] !== oldRip) vmcb.put32(VMCB.INTERRUPT_STATE, 0);
    guest.xsave.xcr0 = vcpu.state.xcr0;
    guest.xsave.xss = vcpu.state.xss;
    if (memory.version !== this.memoryVersion) this.invalidate();
  }

  private decode(code: number): void {
    const { exit, guest, context } = this;
    const { vmcb } = guest;
    const { exitInfo } = context.cpu.core;
    exit.reason = code;
    exit.kind = handlerOf(code);
    // Without nRIP saving KVM decodes the instruction.
    const next = vmcb.lo(VMCB.NRIP);
    exit.length = next === 0 ? exitInfo.length : (next - vmcb.lo(VMCB.RIP)) | 0;
    exit.number = -1;
    exit.register = -1;
    switch (exit.kind) {
      case GUEST_EXIT.MSR_READ:
        if (vmcb.lo(VMCB.EXITINFO1) === INTERCEPT_MSR_WRITE) exit.kind = GUEST_EXIT.MSR_WRITE;
        exit.number = context.registers.lo[RCX]! >>> 0;
        break;
      case GUEST_EXIT.CR_READ:
      case GUEST_EXIT.CR_WRITE:
        exit.number = code === CR0_SEL_WRITE ? 0 : code & 0xf;
        exit.register = vmcb.lo(VMCB.EXITINFO1) & 0xf;
        break;
      case GUEST_EXIT.EXCEPTION:
        exit.number = code & 0x1f;
        exit.hasErrorCode = exitInfo.hasErrorCode;
        exit.errorCode = vmcb.lo(VMCB.EXITINFO1);
        exit.dataLo = exitInfo.dataLo;
        exit.dataHi = exitInfo.dataHi;
        break;
      case GUEST_EXIT.NESTED_FAULT: {
        const error = vmcb.lo(VMCB.EXITINFO1);
        exit.gpa = (vmcb.hi(VMCB.EXITINFO2) >>> 0) * WORD + (vmcb.lo(VMCB.EXITINFO2) >>> 0);
        exit.write = (error & PF_W) !== 0;
        exit.fetch = (error & PF_I) !== 0;
        break;
      }
    }
  }

  /** `svm_complete_interrupts()`: an event that was on its way is on its way again. INT3 and INTO are executed again. */
  private completeInterrupts(): void {
    const { vmcb } = this.guest;
    const event = vmcb.lo(VMCB.EXITINTINFO);
    if ((event & EVENT_VALID) === 0) return;
    const vector = event & EVENT_VECTOR;
    const isException = ((event >> EVENT_TYPE_SHIFT) & 7) === SVM_EVENT.EXCEPTION;
    if (isException && (vector === 3 || vector === 4)) return;
    vmcb.put(VMCB.EVENTINJ, event, vmcb.hi(VMCB.EXITINTINFO));
  }

  inject(vector: number, hasErrorCode: boolean, errorCode: number): void {
    const event = EVENT_VALID | (SVM_EVENT.EXCEPTION << EVENT_TYPE_SHIFT) | vector;
    this.guest.vmcb.put(VMCB.EVENTINJ, event | (hasErrorCode ? EVENT_HAS_ERROR : 0), hasErrorCode ? errorCode : 0);
  }

  // MSRs: svm_get_msr(), svm_set_msr(), as a guest's access.

  readMsr(index: number, out: Int32Array): boolean | null {
    if (!this.mayAccess(index)) return false;
    const value = index === PRED_CMD ? undefined : this.guest.read(index);
    if (value === undefined) return index === PRED_CMD ? false : null;
    out[0] = Number(BigInt.asIntN(32, value));
    out[1] = Number(BigInt.asIntN(32, value >> 32n));
    return true;
  }

  writeMsr(index: number, lo: number, hi: number): boolean | null {
    if (!this.guest.rowOf(index)) return null;
    if (!this.mayAccess(index)) return false;
    const value = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    switch (index) {
      case EFER:
        return this.writeEfer(lo, hi);
      case DEBUGCTL:
        return this.writeDebugctl(lo, hi);
      case TSC_AUX:
        // AMD's CPUs ignore the upper half; on an Intel guest it must be zero.
        if (hi !== 0 && !this.context.vcpu.guestCaps.isAmdCompatible) return false;
        return this.guest.write(index, BigInt(lo >>> 0));
      case PRED_CMD:
        return hi === 0 && (lo & ~1) === 0;
      default:
        return this.isTaken(index, lo, hi) && this.guest.write(index, value);
    }
  }

  /** Whether the guest's CPUID gives it the MSR. */
  private mayAccess(index: number): boolean {
    const needs =
      index === SPEC_CTRL
        ? SPEC_CTRL_FEATURES
        : index === PRED_CMD
          ? PRED_CMD_FEATURES
          : index === TSC_AUX
            ? TSC_AUX_FEATURES
            : null;
    return needs === null || needs.some((name) => this.has(name));
  }

  /** Whether hardware takes the value, which KVM tries out; the host keeps its own. */
  private isTaken(index: number, lo: number, hi: number): boolean {
    const { msrs } = this.context.cpu.core;
    if (msrs.read(index) !== MSR_OK) return false;
    const [oldLo, oldHi] = [msrs.value[0]!, msrs.value[1]!];
    const taken = msrs.write(index, lo, hi) === MSR_OK;
    if (taken) msrs.write(index, oldLo, oldHi);
    return taken;
  }

  private writeEfer(lo: number, hi: number): boolean {
    const pages = (this.guest.vmcb.lo(VMCB.CR0) & CR0_PG) !== 0;
    const value = nextEfer(lo, hi, Number(this.guest.read(EFER)!), pages, (name) => this.has(name), EFER_ROWS);
    return value >= 0 && this.guest.write(EFER, BigInt(value));
  }

  /** Without LBR virtualization the write is ignored. */
  private writeDebugctl(lo: number, hi: number): boolean {
    if (!this.guest.hasLbrv) return true;
    const kept = this.zeroesDebugctlPins ? lo & ~(DEBUGCTL_PINS | DEBUGCTL_BTF) : lo;
    const allowed = this.zeroesDebugctlPins ? DEBUGCTL_LBR : DEBUGCTL_LBR | DEBUGCTL_BTF | DEBUGCTL_PINS;
    if (hi !== 0 || (kept & ~allowed) !== 0) return false;
    return this.guest.write(DEBUGCTL, BigInt(kept >>> 0));
  }

  // Control registers: kvm_set_cr0(), kvm_set_cr4(), kvm_set_cr8().

  readCr(number: number, out: Int32Array): void {
    const { vmcb } = this.guest;
    out[0] = number === 8 ? vmcb.lo(VMCB.VINTR) & 0xf : vmcb.lo(CR_FIELDS[number]!);
    out[1] = number === 8 ? 0 : vmcb.hi(CR_FIELDS[number]!);
  }

  writeCr(number: number, lo: number, hi: number): boolean {
    const { vmcb } = this.guest;
    switch (number) {
      case 0:
        return this.writeCr0(lo, hi);
      case 4:
        return this.writeCr4(lo, hi);
      case 8:
        if ((lo & ~0xf) !== 0 || hi !== 0) return false;
        vmcb.put32(VMCB.VINTR, (vmcb.lo(VMCB.VINTR) & ~0xff) | lo);
        return true;
      default:
        vmcb.put(CR_FIELDS[number]!, lo, hi);
        this.invalidate();
        return true;
    }
  }

  private writeCr0(lo: number, hi: number): boolean {
    const { vmcb } = this.guest;
    const long = (Number(this.guest.read(EFER)!) & EFER_LMA) !== 0;
    if (hi !== 0 || ((lo & CR0_NW) !== 0 && (lo & CR0_CD) === 0)) return false;
    if ((lo & CR0_PG) !== 0 && (lo & CR0_PE) === 0) return false;
    // To leave paging in 64-bit mode faults; other modes than that are not modelled.
    if (long && (lo & CR0_PG) === 0) return false;
    vmcb.put(VMCB.CR0, lo | CR0_ET, 0);
    this.invalidate();
    return true;
  }

  private writeCr4(lo: number, hi: number): boolean {
    const { vmcb } = this.guest;
    const { vcpu } = this.context;
    const value = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    const old = vmcb.lo(VMCB.CR4);
    if ((value & vcpu.guestCaps.cr4ReservedBits) !== 0n) return false;
    if ((lo & CR4_PAE) === 0 || ((lo ^ old) & CR4_LA57) !== 0) return false;
    vmcb.put(VMCB.CR4, lo, hi);
    vcpu.state.sregs.setBigUint64(SREGS_CR4, value, true);
    if (((lo ^ old) & (CR4_OSXSAVE | CR4_PKE)) !== 0) vcpu.cpuid.stateChanged();
    this.invalidate();
    return true;
  }

  get cr4(): number {
    return this.guest.vmcb.lo(VMCB.CR4);
  }

  get cpl(): number {
    return Number(this.guest.vmcb.get('CPL'));
  }

  /** `svm_flush_tlb_asid()` */
  invalidate(): void {
    this.memoryVersion = this.context.memory.version;
    this.guest.vmcb.set('TLB_CONTROL', TLB_FLUSH_ASID);
  }
}

const CR_FIELDS: Readonly<Record<number, number>> = { 0: VMCB.CR0, 2: VMCB.CR2, 3: VMCB.CR3, 4: VMCB.CR4 };
