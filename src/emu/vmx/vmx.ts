import { GuestTsc, VMX_TSC_FRACTION } from '../clock.js';
import { EFER_SLOT } from '../control.js';
import type { Core, Virtualization } from '../core/core.js';
import { inject } from '../core/delivery.js';
import { CF, setStatusFlags, ZF } from '../core/flags.js';
import { type Exit, INTERCEPT } from '../core/guest-world.js';
import { undefinedOpcode } from '../core/linear.js';
import { ACTIVITY, EVENT, EVENT_TYPE, JUMP, LEFT, NEXT, VECTOR } from '../core/status.js';
import { note, TRACE } from '../core/trace.js';
import type { EventHandle } from '../events.js';
import { OP, OP_NAMES } from '../isa/forms.js';
import { NestedPaging } from '../paging-nested.js';
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
  ENTRY_CONTROL,
  EXIT_CONTROL,
  INFO_ERROR_CODE,
  INFO_TYPE_SHIFT,
  INFO_VALID,
  INFO_VECTOR,
  PIN,
  VM_ERROR,
} from './controls.js';
import { describeExit } from './exit-information.js';
import { ENTRY_FAILURE, EXIT_REASON_ROWS, exitReason } from './exit-rows.js';
import { FIELD } from './field-rows.js';
import { executeVmx } from './instructions.js';
import { loadList, storeList } from './msr-lists.js';
import { loadGuest, loadHost, saveGuest } from './state.js';
import { DIRTY_ALL, DIRTY_CONTROL, DIRTY_GUEST, DIRTY_HOST, type Vmcs, vmcsAt } from './vmcs.js';
import { type Spaces, VmxWorld } from './world.js';

const RIP = 16;
const KINDS = 64;

/** Basic exit reasons by the core's kind of exit; VMX instructions by operation. */
const REASON_OF_KIND = new Int32Array(KINDS).fill(-1);
const REASON_OF_OP = new Int32Array(OP_NAMES.length).fill(-1);
for (const { reason, kind, op } of EXIT_REASON_ROWS) {
  if (op !== null) REASON_OF_OP[OP[op]] = reason;
  else if (kind !== null) REASON_OF_KIND[kind] = reason;
}
const INVALID_GUEST_STATE = exitReason('INVALID_GUEST_STATE');
const MSR_LOADING = exitReason('MSR_LOADING');
const INTERRUPT_WINDOW = exitReason('INTERRUPT_WINDOW');
const NMI_WINDOW = exitReason('NMI_WINDOW');

// Fields as constants of this module: V8 compiles them into its code.
const TIMER = FIELD.PREEMPTION_TIMER;
const PIN_CONTROLS = FIELD.PIN_BASED_CONTROLS;
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
const EXIT_REASON = FIELD.EXIT_REASON;
const QUALIFICATION = FIELD.EXIT_QUALIFICATION;
const LENGTH = FIELD.EXIT_INSTRUCTION_LENGTH;
const INSTRUCTION_INFO = FIELD.EXIT_INSTRUCTION_INFO;
const EXIT_INFO = FIELD.EXIT_INTERRUPTION_INFO;
const VECTORING_INFO = FIELD.IDT_VECTORING_INFO;
const ENTRY_LIST = FIELD.ENTRY_MSR_LOAD_ADDRESS;
const ENTRY_COUNT = FIELD.ENTRY_MSR_LOAD_COUNT;
const EXIT_LIST = FIELD.EXIT_MSR_LOAD_ADDRESS;
const EXIT_COUNT = FIELD.EXIT_MSR_LOAD_COUNT;

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
  readonly nested: readonly [NestedPaging, NestedPaging];
  private readonly vpids = new Map<number, Spaces>();
  /** How often all guests' translations were forgotten. */
  private invalidations = 0;
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
    this.invalidations++;
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
    loadGuest(core, vmcs, world.plan);
    const loaded = loadList(core, vmcs, ENTRY_LIST, ENTRY_COUNT, this.listCycles);
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

  /** Paging, TSC, timer: what the guest's world is beside its registers. */
  private enterWorld(vmcs: Vmcs, world: VmxWorld): void {
    const { core, guestTsc } = this;
    const { lo, hi } = vmcs;
    const { nested } = world;
    world.exceptionBitmap = lo[EXCEPTION_BITMAP]!;
    if (nested !== null) {
      // Its tables belong to whoever runs.
      nested.root = world.root;
      nested.accessedDirty = world.accessedDirty;
    }
    const { tlb } = core.mmu;
    if (world.usesVpid) {
      const spaces = this.spacesOf(lo[VPID]!, world);
      this.running = spaces;
      core.mmu.switchTo(nested, spaces.space, spaces.globals);
    } else {
      // Entries and exits forget everything.
      this.running = null;
      core.mmu.switchTo(nested, tlb.fresh(), tlb.fresh());
    }
    if (world.offsetsTsc) {
      guestTsc.offset[0] = lo[TSC_OFFSET]!;
      guestTsc.offset[1] = hi[TSC_OFFSET]!;
      guestTsc.multiplier[0] = world.scalesTsc ? lo[TSC_MULTIPLIER]! : 0;
      guestTsc.multiplier[1] = world.scalesTsc ? hi[TSC_MULTIPLIER]! : 0x1_0000;
    }
    core.enterWorld(world, world.offsetsTsc ? guestTsc : null, world.closed);
    if ((lo[PIN_CONTROLS]! & PIN.PREEMPTION_TIMER) !== 0) this.startTimer(lo[TIMER]! >>> 0);
  }

  private spacesOf(vpid: number, world: VmxWorld): Spaces {
    if (world.spaces !== null && world.spacesAt === this.invalidations && world.spaces.root === world.root)
      return world.spaces;
    const { tlb } = this.core.mmu;
    const { root } = world;
    let spaces = this.vpids.get(vpid);
    if (spaces === undefined) {
      spaces = { space: tlb.fresh(), globals: tlb.fresh(), root };
      this.vpids.set(vpid, spaces);
    } else if (spaces.root !== root) {
      spaces.space = tlb.fresh();
      spaces.globals = tlb.fresh();
      spaces.root = root;
    }
    world.spaces = spaces;
    world.spacesAt = this.invalidations;
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
    this.enterHost(vmcs, vmcs.world);
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
    describeExit(core, vmcs, exit);
    this.leave(vmcs);
    if (kind === INTERCEPT.NMI) core.nmiBlocked = true;
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
    saveGuest(core, vmcs, world.plan);
    if (this.running !== null) {
      const { tlb } = core.mmu;
      this.running.space = tlb.current;
      this.running.globals = tlb.globals;
    }
    const stored = storeList(core, vmcs, this.listCycles);
    this.enterHost(vmcs, world);
    if (!stored) this.abort();
    core.clock.now[0]! += this.exitCycles;
  }

  /** The host's registers, and its paging. */
  private enterHost(vmcs: Vmcs, world: VmxWorld): void {
    const { core } = this;
    loadHost(core, vmcs, world.plan);
    core.nmiBlocked = this.hostNmiBlocked;
    const { tlb } = core.mmu;
    if (this.running === null) {
      this.hostSpace = tlb.fresh();
      this.hostGlobals = tlb.fresh();
    }
    core.mmu.switchTo(null, this.hostSpace, this.hostGlobals);
    core.leaveWorld();
    if (loadList(core, vmcs, EXIT_LIST, EXIT_COUNT, this.listCycles) !== 0) this.abort();
  }

  /** VMX abort (29.7): the processor shuts down. */
  private abort(): void {
    note(this.core, TRACE.SHUTDOWN, 1, 0);
    this.core.activity = ACTIVITY.SHUTDOWN;
  }
}
