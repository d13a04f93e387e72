import { GuestTsc, VMX_TSC_FRACTION } from '../clock.js';
import { CR4_VMXE, EFER_LMA, EFER_LME, EFER_SLOT } from '../control.js';
import { type Core, RSP, type Virtualization } from '../core/core.js';
import { inject } from '../core/delivery.js';
import { CF, setStatusFlags, ZF } from '../core/flags.js';
import { EXIT, type Exit, INTERCEPT } from '../core/guest-world.js';
import { undefinedOpcode } from '../core/linear.js';
import { ACTIVITY, EVENT, EVENT_TYPE, JUMP, LEFT, NEXT, VECTOR } from '../core/status.js';
import { note, TRACE } from '../core/trace.js';
import type { EventHandle } from '../events.js';
import { OP, OP_NAMES } from '../isa/forms.js';
import { MSR_OK, type MsrFile } from '../msrs.js';
import { NESTED_MISCONFIGURATION, NestedPaging } from '../paging-nested.js';
import { type VmxCapabilities, vmxCapabilities } from './capabilities.js';
import {
  CHECKS,
  type Check,
  checkControls,
  checkEvent,
  checkGuest,
  checkHost,
  checkRun,
  FIRST_GUEST_CHECK,
  FIRST_HOST_CHECK,
  type Limits,
  limitsOf,
} from './checks.js';
import {
  ACTIVITY_HLT,
  BLOCKED_BY_MOV_SS,
  BLOCKED_BY_NMI,
  BLOCKED_BY_STI,
  ENTRY_CONTROL,
  EXIT_CONTROL,
  INFO_ERROR_CODE,
  INFO_TYPE_SHIFT,
  INFO_VALID,
  INFO_VECTOR,
  PIN,
  PRIMARY,
  SECONDARY,
  VM_ERROR,
} from './controls.js';
import { ENTRY_FAILURE, EXIT_REASON_ROWS, exitReason } from './exit-rows.js';
import { FIELD } from './field-rows.js';
import { executeVmx } from './instructions.js';
import { DIRTY_ALL, DIRTY_CONTROL, DIRTY_GUEST, DIRTY_HOST, type Vmcs, vmcsAt } from './vmcs.js';
import { VmxWorld } from './world.js';

const RIP = 16;
const WORD = 0x1_0000_0000;
const KINDS = 64;

/** Basic exit reasons by the core's kind of exit; VMX instructions by operation. */
const REASON_OF_KIND = new Int32Array(KINDS).fill(-1);
const REASON_OF_OP = new Int32Array(OP_NAMES.length).fill(-1);
for (const { reason, kind, op } of EXIT_REASON_ROWS) {
  if (op !== null) REASON_OF_OP[OP[op]] = reason;
  else if (kind !== null) REASON_OF_KIND[kind] = reason;
}
const EPT_MISCONFIGURATION = exitReason('EPT_MISCONFIGURATION');
const INVALID_GUEST_STATE = exitReason('INVALID_GUEST_STATE');
const MSR_LOADING = exitReason('MSR_LOADING');
const INTERRUPT_WINDOW = exitReason('INTERRUPT_WINDOW');
const NMI_WINDOW = exitReason('NMI_WINDOW');

// What entries and exits move, as constants of this module.
const GUEST_CR0 = FIELD.GUEST_CR0;
const GUEST_CR3 = FIELD.GUEST_CR3;
const GUEST_CR4 = FIELD.GUEST_CR4;
const GUEST_EFER = FIELD.GUEST_EFER;
const GUEST_DR7 = FIELD.GUEST_DR7;
const GUEST_RSP = FIELD.GUEST_RSP;
const GUEST_RIP = FIELD.GUEST_RIP;
const GUEST_RFLAGS = FIELD.GUEST_RFLAGS;
const GUEST_SSP = FIELD.GUEST_SSP;
const ES_SELECTOR = FIELD.GUEST_ES_SELECTOR;
const CS_SELECTOR = FIELD.GUEST_CS_SELECTOR;
const SS_SELECTOR = FIELD.GUEST_SS_SELECTOR;
const DS_SELECTOR = FIELD.GUEST_DS_SELECTOR;
const FS_SELECTOR = FIELD.GUEST_FS_SELECTOR;
const GS_SELECTOR = FIELD.GUEST_GS_SELECTOR;
const LDTR_SELECTOR = FIELD.GUEST_LDTR_SELECTOR;
const TR_SELECTOR = FIELD.GUEST_TR_SELECTOR;
const CS_RIGHTS = FIELD.GUEST_CS_RIGHTS;
const SS_RIGHTS = FIELD.GUEST_SS_RIGHTS;
const TR_LIMIT = FIELD.GUEST_TR_LIMIT;
const TR_BASE = FIELD.GUEST_TR_BASE;
const GDTR_LIMIT = FIELD.GUEST_GDTR_LIMIT;
const GDTR_BASE = FIELD.GUEST_GDTR_BASE;
const IDTR_LIMIT = FIELD.GUEST_IDTR_LIMIT;
const IDTR_BASE = FIELD.GUEST_IDTR_BASE;
const INTERRUPTIBILITY = FIELD.GUEST_INTERRUPTIBILITY;
const GUEST_ACTIVITY = FIELD.GUEST_ACTIVITY;
const TIMER = FIELD.PREEMPTION_TIMER;
const HOST_CR0 = FIELD.HOST_CR0;
const HOST_CR3 = FIELD.HOST_CR3;
const HOST_CR4 = FIELD.HOST_CR4;
const HOST_EFER = FIELD.HOST_EFER;
const HOST_ES = FIELD.HOST_ES_SELECTOR;
const HOST_CS = FIELD.HOST_CS_SELECTOR;
const HOST_SS = FIELD.HOST_SS_SELECTOR;
const HOST_DS = FIELD.HOST_DS_SELECTOR;
const HOST_FS = FIELD.HOST_FS_SELECTOR;
const HOST_GS = FIELD.HOST_GS_SELECTOR;
const HOST_TR = FIELD.HOST_TR_SELECTOR;
const HOST_TR_BASE = FIELD.HOST_TR_BASE;
const HOST_GDTR_BASE = FIELD.HOST_GDTR_BASE;
const HOST_IDTR_BASE = FIELD.HOST_IDTR_BASE;
const HOST_RSP = FIELD.HOST_RSP;
const HOST_RIP = FIELD.HOST_RIP;
const HOST_SSP = FIELD.HOST_SSP;
const PIN_CONTROLS = FIELD.PIN_BASED_CONTROLS;
const PRIMARY_CONTROLS = FIELD.PRIMARY_CONTROLS;
const SECONDARY_CONTROLS = FIELD.SECONDARY_CONTROLS;
const EXIT_CONTROLS = FIELD.EXIT_CONTROLS;
const ENTRY_CONTROLS = FIELD.ENTRY_CONTROLS;
const EXCEPTION_BITMAP = FIELD.EXCEPTION_BITMAP;
const ENTRY_INFO = FIELD.ENTRY_INTERRUPTION_INFO;
const ENTRY_ERROR = FIELD.ENTRY_ERROR_CODE;
const ENTRY_LENGTH = FIELD.ENTRY_INSTRUCTION_LENGTH;
const INJECTED_DATA = FIELD.INJECTED_EVENT_DATA;
const TSC_OFFSET = FIELD.TSC_OFFSET;
const TSC_MULTIPLIER = FIELD.TSC_MULTIPLIER;
const VPID = FIELD.VPID;
const EPTP = FIELD.EPT_POINTER;
const EXIT_REASON = FIELD.EXIT_REASON;
const QUALIFICATION = FIELD.EXIT_QUALIFICATION;
const LENGTH = FIELD.EXIT_INSTRUCTION_LENGTH;
const INSTRUCTION_INFO = FIELD.EXIT_INSTRUCTION_INFO;
const EXIT_INFO = FIELD.EXIT_INTERRUPTION_INFO;
const EXIT_ERROR = FIELD.EXIT_INTERRUPTION_ERROR_CODE;
const VECTORING_INFO = FIELD.IDT_VECTORING_INFO;
const VECTORING_ERROR = FIELD.IDT_VECTORING_ERROR_CODE;
const LINEAR_ADDRESS = FIELD.GUEST_LINEAR_ADDRESS;
const PHYSICAL_ADDRESS = FIELD.GUEST_PHYSICAL_ADDRESS;

/** Access rights: DPL in bits 6:5. */
const DPL_SHIFT = 5;
const DPL = 3 << DPL_SHIFT;

/** Access type of a CR access: MOV from, in bit 4. */
const MOV_FROM_CR = 1 << 4;

const DR7_AFTER_EXIT = 0x400;
const HOST_TABLE_LIMIT = 0xffff;
const HOST_TSS_LIMIT = 0x67;

/** An entry of an MSR list: index, reserved word, value. */
const LIST_ENTRY = 16;
const X2APIC_PAGE = 8;
const FS_BASE_INDEX = 0xc000_0100;
const GS_BASE_INDEX = 0xc000_0101;

/** Who has translations in the TLB: spaces of `Tlb`, for one VPID under one set of EPT tables. */
interface Spaces {
  space: number;
  globals: number;
  root: number;
}

/**
 * VMX of one CPU: VMX operation, the current VMCS, VM entries and exits (SDM volume 3, chapters 24 to 31), as
 * instructions and as methods for a hypervisor that is no machine code. APIC virtualization, SMM, nested VMCS, page-
 * modification logging, #VE and VM functions are not modelled, nor are guests outside 64-bit mode.
 */
export class Vmx implements Virtualization {
  readonly core: Core;
  readonly capabilities: VmxCapabilities;
  readonly guestTsc: GuestTsc;
  /** Physical address of the VMXON region; -1 outside VMX operation. */
  vmxonPointer = -1;
  /** The current VMCS. */
  current: Vmcs | null = null;
  /** Why the last entry failed; `legal` when it did not. */
  refusal: Check = 'legal';
  /** SEAMCALL and SEAMRET: who answers them in VMX root operation. */
  seamcall: ((core: Core, op: number) => number) | null = null;

  private readonly limits: Limits;
  private readonly nested: readonly [NestedPaging, NestedPaging];
  private readonly vpids = new Map<number, Spaces>();
  private running: Spaces | null = null;
  private hostSpace = 0;
  private hostGlobals = 0;
  private hostNmiBlocked = false;
  private timer: EventHandle = 0;
  private timerStart = 0;
  private readonly entryCycles: number;
  private readonly exitCycles: number;
  private readonly listCycles: number;
  private readonly readCycles: number;
  private readonly writeCycles: number;

  constructor(core: Core) {
    const { silicon, costs, memory } = core;
    this.core = core;
    this.capabilities = vmxCapabilities(silicon);
    this.limits = limitsOf(silicon, this.capabilities);
    this.guestTsc = new GuestTsc(core.tsc, VMX_TSC_FRACTION);
    const { executeOnly } = this.capabilities;
    const options = { format: 'ept', root: 0, executeOnly } as const;
    this.nested = [
      new NestedPaging(memory, silicon, options),
      new NestedPaging(memory, silicon, { ...options, levels: 5 }),
    ];
    this.entryCycles = costs.of('vmentry');
    this.exitCycles = costs.of('vmexit');
    this.listCycles = costs.of('wrmsrns');
    this.readCycles = costs.of('vmread');
    this.writeCycles = costs.of('vmwrite');
    core.virtualization = this;
  }

  // Instructions. Privilege, gates and their own cost have been settled.

  execute(core: Core, op: number, insn: number): number {
    return executeVmx(this, core, op, insn);
  }

  seam(core: Core, op: number): number {
    if (this.vmxonPointer < 0 || core.world !== null) return undefinedOpcode(core);
    return this.seamcall === null ? this.failInvalid() : this.seamcall(core, op);
  }

  // VMfail and VMsucceed (32.2).

  succeed(): number {
    setStatusFlags(this.core.f, 0);
    return NEXT;
  }

  failInvalid(): number {
    setStatusFlags(this.core.f, CF);
    return NEXT;
  }

  /** With a current VMCS the error is in its VM-instruction error field. */
  fail(error: number): number {
    if (this.current === null) return this.failInvalid();
    this.current.lo[FIELD.INSTRUCTION_ERROR] = error;
    setStatusFlags(this.core.f, ZF);
    return NEXT;
  }

  // For a hypervisor that is no machine code: as the instructions. `true` is VMsucceed.

  /** VMXON, once the instruction's #UD and #GP are settled. The region must begin with the revision. */
  vmxon(pointer: number): boolean {
    if (this.revisionAt(pointer) !== this.capabilities.revision) {
      this.failInvalid();
      return false;
    }
    this.vmxonPointer = pointer;
    this.current = null;
    this.core.control.setVmxOperation(true);
    this.succeed();
    return true;
  }

  vmxoff(): void {
    this.vmxonPointer = -1;
    this.current = null;
    this.core.control.setVmxOperation(false);
    this.succeed();
  }

  vmclear(pointer: number): boolean {
    if (!this.isRegion(pointer)) return this.refuse(VM_ERROR.VMCLEAR_ADDRESS);
    if (pointer === this.vmxonPointer) return this.refuse(VM_ERROR.VMCLEAR_VMXON_POINTER);
    const vmcs = vmcsAt(this.core.memory, pointer);
    vmcs.launched = false;
    vmcs.dirty = DIRTY_ALL;
    vmcs.world = null;
    if (this.current === vmcs) this.current = null;
    this.succeed();
    return true;
  }

  vmptrld(pointer: number): boolean {
    if (!this.isRegion(pointer)) return this.refuse(VM_ERROR.VMPTRLD_ADDRESS);
    if (pointer === this.vmxonPointer) return this.refuse(VM_ERROR.VMPTRLD_VMXON_POINTER);
    if (this.revisionAt(pointer) !== this.capabilities.revision) return this.refuse(VM_ERROR.VMPTRLD_REVISION);
    this.current = vmcsAt(this.core.memory, pointer);
    this.succeed();
    return true;
  }

  /** VMWRITE of a field by number, with its cost. The field must be there. */
  vmwrite(field: number, lo: number, hi = 0): void {
    this.core.clock.now[0]! += this.writeCycles;
    this.current!.write(field, lo, hi);
  }

  /** VMREAD of a field's low half, with the cost of the instruction. */
  vmread(field: number): number {
    this.core.clock.now[0]! += this.readCycles;
    return this.current!.lo[field]!;
  }

  /** INVEPT and INVVPID with the widest type: no translation of any guest is found any more. */
  invalidateGuests(): void {
    this.vpids.clear();
  }

  /**
   * VMLAUNCH or VMRESUME.
   *
   * @returns JUMP: the guest's first instruction is next; LEFT: it was left already, or the entry failed, see the exit
   *   reason; NEXT: VMfail, see the flags
   */
  enter(launch: boolean): number {
    this.core.clock.advance(this.entryCycles);
    return this.enterGuest(launch, 0);
  }

  private refuse(error: number): boolean {
    this.fail(error);
    return false;
  }

  /** Whether a region may lie there: a page of physical memory. */
  isRegion(pointer: number): boolean {
    return pointer >= 0 && (pointer & 0xfff) === 0 && pointer < 2 ** this.core.silicon.physicalBits;
  }

  private revisionAt(pointer: number): number {
    this.core.memory.read(pointer, 4);
    return this.core.memory.value[0]!;
  }

  // VM entry: chapter 28.

  /** @param length bytes of the instruction: only VMfail goes on behind it */
  enterGuest(launch: boolean, _length: number): number {
    const { core, current: vmcs } = this;
    this.refusal = 'legal';
    if (vmcs === null) return this.failInvalid();
    if (core.shadow) return this.fail(VM_ERROR.EVENTS_BLOCKED);
    if (launch && vmcs.launched) return this.fail(VM_ERROR.VMLAUNCH_NOT_CLEAR);
    if (!launch && !vmcs.launched) return this.fail(VM_ERROR.VMRESUME_NOT_LAUNCHED);
    const check = this.check(vmcs);
    if (check !== 0) {
      this.refusal = CHECKS[check]!;
      if (check < FIRST_HOST_CHECK) return this.fail(VM_ERROR.CONTROLS);
      if (check < FIRST_GUEST_CHECK) return this.fail(VM_ERROR.HOST_STATE);
      return this.failEntry(vmcs, INVALID_GUEST_STATE, 0);
    }
    const world = vmcs.world!;
    if ((vmcs.lo[ENTRY_CONTROLS]! & ENTRY_CONTROL.IA32E_GUEST) === 0)
      throw core.unsupported('a VMX guest outside IA-32e mode');
    const { tlb } = core.mmu;
    this.hostSpace = tlb.current;
    this.hostGlobals = tlb.globals;
    this.hostNmiBlocked = core.nmiBlocked;
    this.loadGuest(vmcs, world);
    const loaded = this.loadList(vmcs, FIELD.ENTRY_MSR_LOAD_ADDRESS, FIELD.ENTRY_MSR_LOAD_COUNT);
    if (loaded !== 0) return this.failEntry(vmcs, MSR_LOADING, loaded);
    vmcs.launched = true;
    this.enterWorld(vmcs, world);
    note(core, TRACE.ENTRY, vmcs.lo[VPID]!, core.lo[RIP]!);
    return this.firstEvent(vmcs);
  }

  /** All checks that are outstanding, and those of every entry. @returns the first that fails, or 0 */
  private check(vmcs: Vmcs): number {
    const { core, limits } = this;
    if (vmcs.dirty !== 0) {
      const { dirty } = vmcs;
      let failed = (dirty & DIRTY_CONTROL) === 0 ? 0 : checkControls(vmcs, limits);
      if (failed === 0) failed = checkEvent(vmcs, limits);
      if (failed === 0 && (dirty & (DIRTY_HOST | DIRTY_CONTROL)) !== 0)
        failed = checkHost(vmcs, limits, core.msrs.lo[EFER_SLOT]!);
      if (failed === 0 && (dirty & (DIRTY_GUEST | DIRTY_CONTROL)) !== 0) failed = checkGuest(vmcs, limits);
      if (failed !== 0) return failed;
      if (vmcs.world === null || vmcs.world.vmx !== this) vmcs.world = new VmxWorld(this, vmcs);
      else if ((dirty & DIRTY_CONTROL) !== 0) vmcs.world.update();
      vmcs.dirty = 0;
    }
    return checkEvent(vmcs, limits) || checkRun(vmcs, limits);
  }

  private loadGuest(vmcs: Vmcs, world: VmxWorld): void {
    const { core } = this;
    const { lo, hi } = vmcs;
    const { segments, gdtr, idtr, tss, control, msrs } = core;
    const entry = lo[ENTRY_CONTROLS]!;
    moveToMsrs(msrs, lo, hi, world.plan.load);
    let efer = (msrs.lo[EFER_SLOT]! & ~(EFER_LMA | EFER_LME)) | EFER_LMA | EFER_LME;
    if ((entry & ENTRY_CONTROL.LOAD_EFER) !== 0) efer = lo[GUEST_EFER]!;
    if ((entry & ENTRY_CONTROL.LOAD_CET) !== 0) {
      core.ssp[0] = lo[GUEST_SSP]!;
      core.ssp[1] = hi[GUEST_SSP]!;
    }
    control.switchTo(lo[GUEST_CR0]!, lo[GUEST_CR3]!, hi[GUEST_CR3]!, lo[GUEST_CR4]!, hi[GUEST_CR4]!, efer);
    if ((entry & ENTRY_CONTROL.LOAD_DEBUG) !== 0) core.drLo[7] = lo[GUEST_DR7]!;
    segments.es = lo[ES_SELECTOR]!;
    segments.cs = lo[CS_SELECTOR]!;
    segments.ss = lo[SS_SELECTOR]!;
    segments.ds = lo[DS_SELECTOR]!;
    segments.fs = lo[FS_SELECTOR]!;
    segments.gs = lo[GS_SELECTOR]!;
    segments.ldtr = lo[LDTR_SELECTOR]!;
    segments.tr = lo[TR_SELECTOR]!;
    tss.limit = lo[TR_LIMIT]!;
    tss.baseLo = lo[TR_BASE]!;
    tss.baseHi = hi[TR_BASE]!;
    gdtr.limit = lo[GDTR_LIMIT]!;
    gdtr.baseLo = lo[GDTR_BASE]!;
    gdtr.baseHi = hi[GDTR_BASE]!;
    idtr.limit = lo[IDTR_LIMIT]!;
    idtr.baseLo = lo[IDTR_BASE]!;
    idtr.baseHi = hi[IDTR_BASE]!;
    core.lo[RSP] = lo[GUEST_RSP]!;
    core.hi[RSP] = hi[GUEST_RSP]!;
    core.lo[RIP] = lo[GUEST_RIP]!;
    core.hi[RIP] = hi[GUEST_RIP]!;
    core.rflags = lo[GUEST_RFLAGS]!;
    core.cpl = (lo[SS_RIGHTS]! & DPL) >> DPL_SHIFT;
    const blocked = lo[INTERRUPTIBILITY]!;
    core.shadow = (blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) !== 0;
    core.nmiBlocked = (blocked & BLOCKED_BY_NMI) !== 0;
    core.activity = lo[GUEST_ACTIVITY] === ACTIVITY_HLT ? ACTIVITY.HALTED : ACTIVITY.ACTIVE;
  }

  /** An MSR list of entry or exit. @returns 0, or the number of the entry that failed, from 1 on */
  private loadList(vmcs: Vmcs, address: number, count: number): number {
    const entries = vmcs.lo[count]!;
    if (entries === 0) return 0;
    const { memory, msrs, clock } = this.core;
    const list = physicalOf(vmcs, address);
    for (let n = 0; n < entries; n++) {
      const at = list + n * LIST_ENTRY;
      memory.read(at, 8);
      const index = memory.value[0]! >>> 0;
      if (memory.value[1] !== 0 || index >>> 8 === X2APIC_PAGE) return n + 1;
      if (index === FS_BASE_INDEX || index === GS_BASE_INDEX) return n + 1;
      memory.read(at + 8, 8);
      if (msrs.write(index, memory.value[0]!, memory.value[1]!) !== MSR_OK) return n + 1;
      note(this.core, TRACE.WRMSR, index, memory.value[0]!);
      clock.now[0]! += this.listCycles;
    }
    return 0;
  }

  private storeList(vmcs: Vmcs): boolean {
    const entries = vmcs.lo[FIELD.EXIT_MSR_STORE_COUNT]!;
    if (entries === 0) return true;
    const { memory, msrs, clock } = this.core;
    const list = physicalOf(vmcs, FIELD.EXIT_MSR_STORE_ADDRESS);
    for (let n = 0; n < entries; n++) {
      const at = list + n * LIST_ENTRY;
      memory.read(at, 8);
      if (memory.value[1] !== 0 || msrs.read(memory.value[0]! >>> 0) !== MSR_OK) return false;
      memory.write(at + 8, 8, msrs.value[0]!, msrs.value[1]!);
      clock.now[0]! += this.listCycles;
    }
    return true;
  }

  /** Paging, TSC, timer: what the guest's world is beside its registers. */
  private enterWorld(vmcs: Vmcs, world: VmxWorld): void {
    const { core, guestTsc } = this;
    const { lo, hi } = vmcs;
    const secondary = (lo[PRIMARY_CONTROLS]! & PRIMARY.SECONDARY) === 0 ? 0 : lo[SECONDARY_CONTROLS]!;
    world.exceptionBitmap = lo[EXCEPTION_BITMAP]!;
    world.nested = null;
    let root = 0;
    if ((secondary & SECONDARY.EPT) !== 0) {
      root = (hi[EPTP]! & 0xf_ffff) * WORD + ((lo[EPTP]! & ~0xfff) >>> 0);
      world.nested = this.nested[((lo[EPTP]! >> 3) & 7) === 4 ? 1 : 0];
      world.nested.root = root;
      world.nested.accessedDirty = (lo[EPTP]! & 0x40) !== 0;
    }
    const { tlb } = core.mmu;
    if ((secondary & SECONDARY.VPID) !== 0) {
      const spaces = this.spacesOf(lo[VPID]!, root);
      this.running = spaces;
      core.mmu.switchTo(world.nested, spaces.space, spaces.globals);
    } else {
      // Entries and exits forget everything.
      this.running = null;
      core.mmu.switchTo(world.nested, tlb.fresh(), tlb.fresh());
    }
    if (world.offsetsTsc) {
      const scales = (secondary & SECONDARY.TSC_SCALING) !== 0;
      guestTsc.offset[0] = lo[TSC_OFFSET]!;
      guestTsc.offset[1] = hi[TSC_OFFSET]!;
      guestTsc.multiplier[0] = scales ? lo[TSC_MULTIPLIER]! : 0;
      guestTsc.multiplier[1] = scales ? hi[TSC_MULTIPLIER]! : 0x1_0000;
    }
    core.enterWorld(world, world.offsetsTsc ? guestTsc : null, world.closed);
    if ((lo[PIN_CONTROLS]! & PIN.PREEMPTION_TIMER) !== 0) this.startTimer(lo[TIMER]! >>> 0);
  }

  private spacesOf(vpid: number, root: number): Spaces {
    const { tlb } = this.core.mmu;
    let spaces = this.vpids.get(vpid);
    if (spaces === undefined) {
      spaces = { space: tlb.fresh(), globals: tlb.fresh(), root };
      this.vpids.set(vpid, spaces);
    } else if (spaces.root !== root) {
      spaces.space = tlb.fresh();
      spaces.globals = tlb.fresh();
      spaces.root = root;
    }
    return spaces;
  }

  /** 27.5.1: the timer counts down with every change of bit n of the TSC. */
  private startTimer(value: number): void {
    const { clock, events } = this.core;
    const shift = 2 ** this.capabilities.timerShift;
    const ticks = clock.ticks();
    this.timerStart = Math.floor(ticks / shift);
    const cycle = value === 0 ? clock.now[0]! : clock.cycleOfTicks((this.timerStart + value) * shift);
    this.timer = events.push(cycle, EVENT.PREEMPTION, 0);
  }

  private stopTimer(vmcs: Vmcs): void {
    const { clock, events, interrupts } = this.core;
    if (this.timer === 0) return;
    events.cancel(this.timer);
    this.timer = 0;
    interrupts.preemption = false;
    if ((vmcs.lo[EXIT_CONTROLS]! & EXIT_CONTROL.SAVE_PREEMPTION_TIMER) === 0) return;
    const passed = Math.floor(clock.ticks() / 2 ** this.capabilities.timerShift) - this.timerStart;
    vmcs.lo[TIMER] = Math.max(0, (vmcs.lo[TIMER]! >>> 0) - passed) | 0;
  }

  /** Event injection (28.6). */
  private firstEvent(vmcs: Vmcs): number {
    const { core } = this;
    const { lo, hi } = vmcs;
    const info = lo[ENTRY_INFO]!;
    if ((info & INFO_VALID) === 0) return JUMP;
    const type = (info >> INFO_TYPE_SHIFT) & 7;
    const isSoftware = type >= EVENT_TYPE.SOFTWARE_INTERRUPT && type <= EVENT_TYPE.SOFTWARE_EXCEPTION;
    return inject(
      core,
      info & INFO_VECTOR,
      type,
      isSoftware ? lo[ENTRY_LENGTH]! : 0,
      (info & INFO_ERROR_CODE) !== 0,
      lo[ENTRY_ERROR]!,
      // #PF: CR2 is for software to have set.
      (info & INFO_VECTOR) === VECTOR.PF ? core.control.lo[2]! : lo[INJECTED_DATA]!,
      (info & INFO_VECTOR) === VECTOR.PF ? core.control.hi[2]! : hi[INJECTED_DATA]!,
    );
  }

  /** 28.8: the host's state is loaded as by an exit, the guest's not saved. */
  private failEntry(vmcs: Vmcs, reason: number, qualification: number): number {
    const { core } = this;
    const { lo, hi } = vmcs;
    lo[EXIT_REASON] = reason | ENTRY_FAILURE;
    lo[QUALIFICATION] = qualification;
    hi[QUALIFICATION] = 0;
    if (vmcs.world === null) vmcs.world = new VmxWorld(this, vmcs);
    const { tlb } = core.mmu;
    this.hostSpace = reason === MSR_LOADING ? this.hostSpace : tlb.current;
    this.hostGlobals = reason === MSR_LOADING ? this.hostGlobals : tlb.globals;
    if (reason !== MSR_LOADING) this.hostNmiBlocked = core.nmiBlocked;
    note(core, TRACE.EXIT, -1, reason);
    this.loadHost(vmcs, vmcs.world);
    core.clock.advance(this.exitCycles);
    return LEFT;
  }

  // VM exit: chapter 29.

  /** Leaves the guest for what the core says. */
  exit(exit: Exit): void {
    const { core } = this;
    const vmcs = this.current!;
    const { lo, hi } = vmcs;
    const { kind } = exit;
    lo[EXIT_REASON] = kind === INTERCEPT.VIRTUALIZATION ? REASON_OF_OP[exit.op]! : REASON_OF_KIND[kind]!;
    lo[QUALIFICATION] = 0;
    hi[QUALIFICATION] = 0;
    lo[LENGTH] = exit.length;
    lo[INSTRUCTION_INFO] = 0;
    lo[EXIT_INFO] = 0;
    lo[VECTORING_INFO] = 0;
    if (exit.deliveringVector >= 0) this.recordDelivery(vmcs, exit);
    this.describe(vmcs, exit);
    this.leave(vmcs);
    if (kind === INTERCEPT.NMI) core.nmiBlocked = true;
  }

  /** Qualification and information fields. */
  private describe(vmcs: Vmcs, exit: Exit): void {
    const { lo, hi } = vmcs;
    switch (exit.kind) {
      case EXIT.EXCEPTION:
        lo[EXIT_INFO] =
          exit.number | (exit.vector << INFO_TYPE_SHIFT) | (exit.hasErrorCode ? INFO_ERROR_CODE : 0) | INFO_VALID;
        lo[EXIT_ERROR] = exit.errorCode;
        lo[QUALIFICATION] = exit.dataLo;
        hi[QUALIFICATION] = exit.dataHi;
        break;
      case INTERCEPT.NMI:
        lo[EXIT_INFO] = VECTOR.NMI | (EVENT_TYPE.NMI << INFO_TYPE_SHIFT) | INFO_VALID;
        break;
      case INTERCEPT.EXTERNAL_INTERRUPT:
        if ((lo[EXIT_CONTROLS]! & EXIT_CONTROL.ACKNOWLEDGE_INTERRUPT) === 0) break;
        this.core.interrupts.take(exit.vector);
        lo[EXIT_INFO] = exit.vector | INFO_VALID;
        break;
      case EXIT.CR_READ:
      case EXIT.CR_WRITE:
        lo[QUALIFICATION] = exit.number | (exit.kind === EXIT.CR_READ ? MOV_FROM_CR : 0) | (exit.register << 8);
        break;
      case EXIT.MSR_READ_IMM:
      case EXIT.MSR_WRITE_IMM:
        lo[QUALIFICATION] = exit.number;
        lo[INSTRUCTION_INFO] = exit.register << 3;
        break;
      case INTERCEPT.UMWAIT:
      case INTERCEPT.TPAUSE:
        lo[INSTRUCTION_INFO] = exit.register << 3;
        break;
      case EXIT.NESTED_FAULT:
        this.describeNestedFault(vmcs);
        break;
      case INTERCEPT.VIRTUALIZATION:
        if (exit.register >= 0) lo[INSTRUCTION_INFO] = (exit.register << 3) | (1 << 10);
        break;
    }
  }

  private describeNestedFault({ lo, hi }: Vmcs): void {
    const { mmu } = this.core;
    const { address, infoLo } = mmu.nested!.fault;
    lo[PHYSICAL_ADDRESS] = address | 0;
    hi[PHYSICAL_ADDRESS] = Math.floor(address / WORD) | 0;
    if (mmu.nestedStatus === NESTED_MISCONFIGURATION) {
      lo[EXIT_REASON] = EPT_MISCONFIGURATION;
      return;
    }
    lo[QUALIFICATION] = infoLo;
    lo[LINEAR_ADDRESS] = mmu.fault.lo;
    hi[LINEAR_ADDRESS] = mmu.fault.hi;
  }

  private recordDelivery({ lo }: Vmcs, exit: Exit): void {
    lo[VECTORING_INFO] =
      exit.deliveringVector |
      (exit.deliveringType << INFO_TYPE_SHIFT) |
      (exit.deliveringHasErrorCode ? INFO_ERROR_CODE : 0) |
      INFO_VALID;
    lo[VECTORING_ERROR] = exit.deliveringErrorCode;
  }

  /** An interrupt or NMI window has opened. @returns LEFT */
  leaveByWindow(nmi: boolean): number {
    const { core } = this;
    const vmcs = this.current!;
    const { lo, hi } = vmcs;
    lo[EXIT_REASON] = nmi ? NMI_WINDOW : INTERRUPT_WINDOW;
    lo[QUALIFICATION] = 0;
    hi[QUALIFICATION] = 0;
    lo[LENGTH] = 0;
    lo[EXIT_INFO] = 0;
    lo[VECTORING_INFO] = 0;
    note(core, TRACE.EXIT, -1, lo[EXIT_REASON]!);
    this.leave(vmcs);
    core.shadow = false;
    return LEFT;
  }

  /** Takes the guest out of the core while it could still run: the core has stopped for a reason of the simulator's. */
  suspend(): void {
    const vmcs = this.current!;
    vmcs.lo[EXIT_REASON] = -1;
    vmcs.lo[EXIT_INFO] = 0;
    vmcs.lo[VECTORING_INFO] = 0;
    this.leave(vmcs);
  }

  private leave(vmcs: Vmcs): void {
    const { core } = this;
    this.stopTimer(vmcs);
    vmcs.lo[ENTRY_INFO] = vmcs.lo[ENTRY_INFO]! & ~INFO_VALID;
    const world = vmcs.world!;
    this.saveGuest(vmcs, world);
    const stored = this.storeList(vmcs);
    this.loadHost(vmcs, world);
    if (!stored) this.abort();
    core.clock.now[0]! += this.exitCycles;
  }

  private saveGuest(vmcs: Vmcs, world: VmxWorld): void {
    const { core } = this;
    const { lo, hi } = vmcs;
    const { segments, gdtr, idtr, tss, control, msrs } = core;
    moveFromMsrs(msrs, lo, hi, world.plan.save);
    const exit = lo[EXIT_CONTROLS]!;
    if ((exit & EXIT_CONTROL.SAVE_EFER) !== 0) lo[GUEST_EFER] = msrs.lo[EFER_SLOT]!;
    if ((exit & EXIT_CONTROL.SAVE_DEBUG) !== 0) lo[GUEST_DR7] = core.drLo[7]!;
    if ((lo[ENTRY_CONTROLS]! & ENTRY_CONTROL.LOAD_CET) !== 0) {
      lo[GUEST_SSP] = core.ssp[0]!;
      hi[GUEST_SSP] = core.ssp[1]!;
    }
    lo[GUEST_CR0] = control.lo[0]!;
    lo[GUEST_CR3] = control.lo[3]!;
    hi[GUEST_CR3] = control.hi[3]!;
    lo[GUEST_CR4] = control.lo[4]!;
    hi[GUEST_CR4] = control.hi[4]!;
    lo[ES_SELECTOR] = segments.es;
    lo[CS_SELECTOR] = segments.cs;
    lo[SS_SELECTOR] = segments.ss;
    lo[DS_SELECTOR] = segments.ds;
    lo[FS_SELECTOR] = segments.fs;
    lo[GS_SELECTOR] = segments.gs;
    lo[TR_SELECTOR] = segments.tr;
    lo[TR_LIMIT] = tss.limit;
    lo[TR_BASE] = tss.baseLo;
    hi[TR_BASE] = tss.baseHi;
    lo[GDTR_LIMIT] = gdtr.limit;
    lo[GDTR_BASE] = gdtr.baseLo;
    hi[GDTR_BASE] = gdtr.baseHi;
    lo[IDTR_LIMIT] = idtr.limit;
    lo[IDTR_BASE] = idtr.baseLo;
    hi[IDTR_BASE] = idtr.baseHi;
    const dpl = core.cpl << DPL_SHIFT;
    lo[CS_RIGHTS] = (lo[CS_RIGHTS]! & ~DPL) | dpl;
    lo[SS_RIGHTS] = (lo[SS_RIGHTS]! & ~DPL) | dpl;
    lo[GUEST_RSP] = core.lo[RSP]!;
    hi[GUEST_RSP] = core.hi[RSP]!;
    lo[GUEST_RIP] = core.lo[RIP]!;
    hi[GUEST_RIP] = core.hi[RIP]!;
    lo[GUEST_RFLAGS] = core.rflags;
    lo[INTERRUPTIBILITY] = (core.shadow ? BLOCKED_BY_STI : 0) | (core.nmiBlocked ? BLOCKED_BY_NMI : 0);
    lo[GUEST_ACTIVITY] = core.activity === ACTIVITY.HALTED ? ACTIVITY_HLT : 0;
    if (this.running !== null) {
      const { tlb } = core.mmu;
      this.running.space = tlb.current;
      this.running.globals = tlb.globals;
    }
  }

  private loadHost(vmcs: Vmcs, world: VmxWorld): void {
    const { core } = this;
    const { lo, hi } = vmcs;
    const { segments, gdtr, idtr, tss, control, msrs } = core;
    const { back, clear } = world.plan;
    moveToMsrs(msrs, lo, hi, back);
    for (let n = 0; n < clear.length; n++) {
      msrs.lo[clear[n]!] = 0;
      msrs.hi[clear[n]!] = 0;
    }
    const exit = lo[EXIT_CONTROLS]!;
    let efer = msrs.lo[EFER_SLOT]! | EFER_LMA | EFER_LME;
    if ((exit & EXIT_CONTROL.LOAD_EFER) !== 0) efer = lo[HOST_EFER]!;
    if ((exit & EXIT_CONTROL.LOAD_CET) !== 0) {
      core.ssp[0] = lo[HOST_SSP]!;
      core.ssp[1] = hi[HOST_SSP]!;
    }
    control.switchTo(lo[HOST_CR0]!, lo[HOST_CR3]!, hi[HOST_CR3]!, lo[HOST_CR4]! | CR4_VMXE, hi[HOST_CR4]!, efer);
    core.drLo[7] = DR7_AFTER_EXIT;
    segments.es = lo[HOST_ES]!;
    segments.cs = lo[HOST_CS]!;
    segments.ss = lo[HOST_SS]!;
    segments.ds = lo[HOST_DS]!;
    segments.fs = lo[HOST_FS]!;
    segments.gs = lo[HOST_GS]!;
    segments.tr = lo[HOST_TR]!;
    segments.ldtr = 0;
    tss.limit = HOST_TSS_LIMIT;
    tss.baseLo = lo[HOST_TR_BASE]!;
    tss.baseHi = hi[HOST_TR_BASE]!;
    gdtr.limit = HOST_TABLE_LIMIT;
    gdtr.baseLo = lo[HOST_GDTR_BASE]!;
    gdtr.baseHi = hi[HOST_GDTR_BASE]!;
    idtr.limit = HOST_TABLE_LIMIT;
    idtr.baseLo = lo[HOST_IDTR_BASE]!;
    idtr.baseHi = hi[HOST_IDTR_BASE]!;
    core.lo[RSP] = lo[HOST_RSP]!;
    core.hi[RSP] = hi[HOST_RSP]!;
    core.lo[RIP] = lo[HOST_RIP]!;
    core.hi[RIP] = hi[HOST_RIP]!;
    core.rflags = 2;
    core.cpl = 0;
    core.shadow = false;
    core.nmiBlocked = this.hostNmiBlocked;
    core.activity = ACTIVITY.ACTIVE;
    const { tlb } = core.mmu;
    if (this.running === null) {
      this.hostSpace = tlb.fresh();
      this.hostGlobals = tlb.fresh();
    }
    core.mmu.switchTo(null, this.hostSpace, this.hostGlobals);
    core.leaveWorld();
    if (this.loadList(vmcs, FIELD.EXIT_MSR_LOAD_ADDRESS, FIELD.EXIT_MSR_LOAD_COUNT) !== 0) this.abort();
  }

  /** VMX abort (29.7): the processor shuts down. */
  private abort(): void {
    note(this.core, TRACE.SHUTDOWN, 1, 0);
    this.core.activity = ACTIVITY.SHUTDOWN;
  }
}

/** @param moves fields, each followed by an MSR's slot */
function moveToMsrs(msrs: MsrFile, lo: Int32Array, hi: Int32Array, moves: Int32Array): void {
  const { lo: msrsLo, hi: msrsHi } = msrs;
  for (let n = 0; n < moves.length; n += 2) {
    const field = moves[n]!;
    const slot = moves[n + 1]!;
    msrsLo[slot] = lo[field]!;
    msrsHi[slot] = hi[field]!;
  }
}

/** The other way. */
function moveFromMsrs(msrs: MsrFile, lo: Int32Array, hi: Int32Array, moves: Int32Array): void {
  const { lo: msrsLo, hi: msrsHi } = msrs;
  for (let n = 0; n < moves.length; n += 2) {
    const field = moves[n]!;
    const slot = moves[n + 1]!;
    lo[field] = msrsLo[slot]!;
    hi[field] = msrsHi[slot]!;
  }
}

function physicalOf({ lo, hi }: Vmcs, field: number): number {
  return (hi[field]! & 0xf_ffff) * WORD + (lo[field]! >>> 0);
}
