import { GuestTsc, VMX_TSC_FRACTION } from '../emu/clock.js';
import { CONTROL_OK, CR4_OSXSAVE, CR4_PKE } from '../emu/control.js';
import { type Core, RAX, RBX, RCX, RDX } from '../emu/core/core.js';
import { inject } from '../emu/core/delivery.js';
import { closedSets } from '../emu/core/gates.js';
import { EXIT, type Exit, INTERCEPT } from '../emu/core/guest-world.js';
import { EVENT_TYPE, STOP, type Stop, VECTOR } from '../emu/core/status.js';
import { note, TRACE } from '../emu/core/trace.js';
import { MSR_OK, slotNamed } from '../emu/msrs.js';
import type { NestedPaging } from '../emu/paging-nested.js';
import { type ExitKind, type ExitRow, kindAfter } from './exit.js';
import type { Td } from './module.js';
import { accessOf, emptyFrame, type Frame, loadFrame, saveFrame } from './td-state.js';
import { TdWorld } from './td-world.js';

/**
 * TDH.VP.ENTER and TD exit: the module's switch of worlds on a core. What it leaves of the host's state is decided by the
 * rows of the exit table and by nothing else.
 */

/** What KVM is told. */
export type TdExitReason =
  | 'external-interrupt'
  | 'nmi'
  | 'tdvmcall'
  | 'triple-fault'
  | 'ept-violation'
  | 'tdx-error'
  /** The core stopped for a reason of its own while the guest ran: a limit of cycles, an event. */
  | 'stopped';

export interface TdExit {
  readonly reason: TdExitReason;
  /** Guest-physical address of an EPT violation; vector of an interrupt. */
  readonly detail: number;
  /** Why the core stopped, when that is the reason. */
  readonly stop: Stop | null;
}

/** {@link TdExit.detail} of an EPT violation that the module only pretends. */
export const PRETENDED = -1;

const TSX_CTRL = slotNamed('IA32_TSX_CTRL');
const XSS = slotNamed('IA32_XSS');
const CPUID_CLEAR = 2;
const VECTOR_VE = 20;
const RIP = 16;

/** Exit reasons as #VE information has them (SDM volume 3, appendix C). */
const REASON = { CPUID: 10, HLT: 12, VMCALL: 18, RDMSR: 31, WRMSR: 32, MONITOR: 39, MWAIT: 36 } as const;

/** TDCALL leaves. */
const TDG_VP_VMCALL = 0;
const TDG_VP_INFO = 1;
const TDG_VP_VEINFO_GET = 3;
const TDX_SUCCESS = 0n;
const TDX_NO_VE_INFO = 0xc000_0704_0000_0000n;
const TDX_OPERAND_INVALID = 0xc000_0100_0000_0000n;

interface VeInfo {
  valid: boolean;
  reason: number;
  length: number;
}

/** One row with how its state is reached, the guest's copy, and the host's value while the guest runs. */
interface LiveRow {
  readonly row: ExitRow;
  readonly access: NonNullable<ReturnType<typeof accessOf>>;
  guest: bigint;
  host: bigint;
}

/** A virtual processor of a TD, as the module keeps it (TDVPS). */
export class TdVcpuState {
  readonly td: Td;
  readonly index: number;
  readonly frame: Frame;
  /** Guest-physical memory. */
  readonly nested: NestedPaging;
  readonly world: TdWorld;
  private readonly core: Core;
  private readonly host: Frame;
  private readonly rows: readonly LiveRow[];
  private readonly guestTsc: GuestTsc;
  private readonly closed: Uint8Array;
  private readonly ve: VeInfo = { valid: false, reason: 0, length: 0 };
  /** The next entry only pretends to have run: the zero-step filter answers it. */
  synthesizeNext = false;

  constructor(td: Td, index: number, core: Core, nested: NestedPaging) {
    this.td = td;
    this.index = index;
    this.core = core;
    this.nested = nested;
    this.frame = emptyFrame(core);
    this.host = emptyFrame(core);
    this.world = new TdWorld(td, nested);
    this.closed = closedSets((name) => this.world.gate(name));
    this.guestTsc = new GuestTsc(core.tsc, VMX_TSC_FRACTION);
    this.rows = td.exitRows().flatMap((row) => {
      const access = accessOf(row);
      return access === null ? [] : [{ row, access, guest: row.initial, host: 0n }];
    });
  }

  /**
   * Puts the guest where its firmware leaves it: 64-bit mode with these page tables. The way from reset to there is not
   * executed.
   */
  boot(start: { readonly rip: bigint; readonly rsp: bigint; readonly cr3: bigint; readonly cr4?: bigint }): void {
    this.set('CR0', 0x8005_0033n);
    this.set('CR3', start.cr3);
    // PAE, OSFXSR, VMXE (always the module's), OSXSAVE.
    this.set('CR4', (start.cr4 ?? 0n) | 0x4_2220n);
    this.set('IA32_EFER', 0xd01n);
    this.set('XCR0', 1n);
    this.setGuest(RIP, start.rip);
    this.setGuest(4, start.rsp);
  }

  /** A general register, or RIP, of the guest while it does not run. */
  setGuest(register: number, value: bigint): void {
    this.frame.lo[register] = Number(BigInt.asIntN(32, value));
    this.frame.hi[register] = Number(BigInt.asIntN(32, value >> 32n));
  }

  guest(register: number): bigint {
    return (BigInt(this.frame.hi[register]! >>> 0) << 32n) | BigInt(this.frame.lo[register]! >>> 0);
  }

  private set(state: string, value: bigint): void {
    const found = this.rows.find(({ row }) => row.state === state);
    if (found) found.guest = value;
  }

  /**
   * TDH.VP.ENTER. The guest runs until KVM has to be told; the core is in the host again afterwards.
   *
   * @param limit cycle at which the core stops
   */
  enter(limit: number): TdExit {
    const { core } = this;
    core.clock.advance(core.costs.of('tdh_vp_enter'));
    if (this.synthesizeNext) {
      this.synthesizeNext = false;
      this.recordHost();
      this.leaveRows('synthesized');
      core.clock.advance(core.costs.of('td_exit_to_host'));
      return { reason: 'ept-violation', detail: PRETENDED, stop: null };
    }
    this.load();
    const exit = this.runGuest(limit);
    this.unload();
    core.clock.advance(core.costs.of('td_exit_to_host'));
    return exit;
  }

  private recordHost(): void {
    for (const live of this.rows) live.host = live.access.read(this.core);
  }

  private load(): void {
    const { core, frame, host } = this;
    saveFrame(core, host);
    this.recordHost();
    for (const { row, access, guest } of this.rows) {
      if (row.entry === 'guest') access.write(core, guest);
      else if (row.entry === 'fixed') access.write(core, row.entryValue!);
    }
    core.mmu.switchTo(this.nested, frame.space, frame.globals);
    loadFrame(core, frame);
    core.enterWorld(this.world, this.guestTsc, this.closed);
    core.stopsAtExit = true;
    note(core, TRACE.ENTRY, this.index, 0);
  }

  private unload(): void {
    const { core, frame, host } = this;
    saveFrame(core, frame);
    for (const live of this.rows) if (live.row.entry === 'guest') live.guest = live.access.read(core);
    this.leaveRows('exit');
    core.leaveWorld();
    core.mmu.switchTo(null, host.space, host.globals);
    loadFrame(core, host);
    note(core, TRACE.LEFT, this.index, 0);
  }

  /** Every state becomes what its row says. */
  private leaveRows(way: 'exit' | 'synthesized'): void {
    const { core } = this;
    for (const { row, access, host } of this.rows) {
      const now = access.read(core);
      const left = valueAfter(kindAfter(row, way), row, host, now);
      const bits = row.bits;
      access.write(core, bits === null ? left : (left & bits) | (host & ~bits));
    }
  }

  private runGuest(limit: number): TdExit {
    const { core, world } = this;
    for (;;) {
      const stop = core.run(limit);
      if (stop !== STOP.EXIT) return { reason: 'stopped', detail: 0, stop };
      const exit = this.handle(world.last!);
      if (exit !== null) return exit;
    }
  }

  /** What the module does about an exit. @returns what KVM is told, or null when the guest goes on */
  private handle(exit: Exit): TdExit | null {
    switch (exit.kind) {
      case INTERCEPT.EXTERNAL_INTERRUPT:
        return { reason: 'external-interrupt', detail: exit.vector, stop: null };
      case INTERCEPT.NMI:
        return { reason: 'nmi', detail: VECTOR.NMI, stop: null };
      case INTERCEPT.TRIPLE_FAULT:
        return { reason: 'triple-fault', detail: 0, stop: null };
      case EXIT.NESTED_FAULT:
        return { reason: 'ept-violation', detail: this.nested.fault.address, stop: null };
      case INTERCEPT.CPUID:
        return this.cpuid(exit);
      case EXIT.MSR_READ:
      case EXIT.MSR_WRITE:
        return this.msr(exit, exit.kind === EXIT.MSR_WRITE);
      case EXIT.CR_WRITE:
        return this.raise(VECTOR.GP, true);
      case INTERCEPT.XSETBV:
        return this.xsetbv(exit);
      case INTERCEPT.TDCALL:
        return this.tdcall(exit);
      case INTERCEPT.HLT:
        return this.virtualizationException(REASON.HLT, exit.length);
      case INTERCEPT.HYPERCALL:
        return this.virtualizationException(REASON.VMCALL, exit.length);
      case INTERCEPT.MONITOR:
        return this.virtualizationException(REASON.MONITOR, exit.length);
      case INTERCEPT.MWAIT:
        return this.virtualizationException(REASON.MWAIT, exit.length);
      default:
        // VMX and SEAM instructions do not exist in a TD.
        return this.raise(VECTOR.UD, false);
    }
  }

  private skip(length: number): void {
    const { core } = this;
    const lo = (core.lo[RIP]! + length) | 0;
    core.hi[RIP] = (core.hi[RIP]! + (lo >>> 0 < length ? 1 : 0)) | 0;
    core.lo[RIP] = lo;
  }

  /** CPUID, as the module plays it. */
  private cpuid(exit: Exit): TdExit | null {
    const { core, td } = this;
    const { control, msrs } = core;
    const cr4 = control.lo[4]!;
    const answer = td.cpuid(core.lo[RAX]! >>> 0, core.lo[RCX]! >>> 0, {
      vcpuIndex: this.index,
      cr4: { osxsave: (cr4 & CR4_OSXSAVE) !== 0, pke: (cr4 & CR4_PKE) !== 0 },
      tsxCpuidClear: td.flags.tsx && (msrs.lo[TSX_CTRL]! & CPUID_CLEAR) !== 0,
      xcr0: (BigInt(control.xcr0[1]! >>> 0) << 32n) | BigInt(control.xcr0[0]! >>> 0),
      xss: (BigInt(msrs.hi[XSS]! >>> 0) << 32n) | BigInt(msrs.lo[XSS]! >>> 0),
      longMode: true,
    });
    core.clock.advance(core.costs.of('td_cpuid_module_handled'));
    if (answer === '#VE') return this.virtualizationException(REASON.CPUID, exit.length);
    for (const [register, value] of [
      [RAX, answer.eax],
      [RBX, answer.ebx],
      [RCX, answer.ecx],
      [RDX, answer.edx],
    ] as const) {
      core.lo[register] = value | 0;
      core.hi[register] = 0;
    }
    this.skip(exit.length);
    return null;
  }

  private msr(exit: Exit, write: boolean): TdExit | null {
    const access = this.td.msrAccess(exit.number, write);
    if (access === '#GP') return this.raise(VECTOR.GP, true);
    if (access === '#VE') return this.virtualizationException(write ? REASON.WRMSR : REASON.RDMSR, exit.length);
    return this.moduleMsr(exit, write);
  }

  /** MSRs that the module plays: with what the guest's copy has, as far as this model keeps one. */
  private moduleMsr(exit: Exit, write: boolean): TdExit | null {
    const { core } = this;
    if (write) {
      if (core.msrs.write(exit.number, core.lo[RAX]!, core.lo[RDX]!) !== MSR_OK) return this.raise(VECTOR.GP, true);
    } else {
      if (core.msrs.read(exit.number) !== MSR_OK) return this.raise(VECTOR.GP, true);
      core.lo[RAX] = core.msrs.value[0]!;
      core.hi[RAX] = 0;
      core.lo[RDX] = core.msrs.value[1]!;
      core.hi[RDX] = 0;
    }
    this.skip(exit.length);
    return null;
  }

  /** Within the user part of XFAM. */
  private xsetbv(exit: Exit): TdExit | null {
    const { core, td } = this;
    const value = (BigInt(core.lo[RDX]! >>> 0) << 32n) | BigInt(core.lo[RAX]! >>> 0);
    const fits = (value & ~td.params.xfam) === 0n;
    if (!fits || core.control.xsetbv(core.lo[RCX]!, core.lo[RAX]!, core.lo[RDX]!) !== CONTROL_OK)
      return this.raise(VECTOR.GP, true);
    this.skip(exit.length);
    return null;
  }

  private tdcall(exit: Exit): TdExit | null {
    const { core, ve } = this;
    core.clock.advance(core.costs.of('tdcall_to_module'));
    switch (core.lo[RAX]! | core.hi[RAX]!) {
      case TDG_VP_VMCALL:
        this.skip(exit.length);
        this.answer(TDX_SUCCESS);
        return { reason: 'tdvmcall', detail: 0, stop: null };
      case TDG_VP_INFO:
        core.setRegister(RCX, BigInt(this.td.params.gpaw52 ? 52 : 48));
        core.setRegister(RDX, this.td.params.attributes);
        core.setRegister(8, BigInt(this.td.params.maxVcpus ?? 1) << 32n);
        core.setRegister(9, BigInt(this.index));
        this.answer(TDX_SUCCESS);
        break;
      case TDG_VP_VEINFO_GET:
        if (ve.valid) {
          core.setRegister(RCX, BigInt(ve.reason));
          core.setRegister(RDX, 0n);
          core.setRegister(8, 0n);
          core.setRegister(9, 0n);
          core.setRegister(10, BigInt(ve.length));
        }
        this.answer(ve.valid ? TDX_SUCCESS : TDX_NO_VE_INFO);
        ve.valid = false;
        break;
      default:
        this.answer(TDX_OPERAND_INVALID);
    }
    this.skip(exit.length);
    return null;
  }

  private answer(status: bigint): void {
    this.core.setRegister(RAX, status);
  }

  /** #VE, or #DF when the guest has not read about the last one. */
  private virtualizationException(reason: number, length: number): TdExit | null {
    const { core, ve } = this;
    if (ve.valid) return this.raise(VECTOR.DF, true);
    ve.valid = true;
    ve.reason = reason;
    ve.length = length;
    core.clock.advance(core.costs.of('td_ve_delivery'));
    return this.raise(VECTOR_VE, false);
  }

  /** An exception that the module injects. Its delivery may leave the guest in turn. */
  private raise(vector: number, hasErrorCode: boolean): TdExit | null {
    const { core, world } = this;
    world.last = null;
    inject(core, vector, EVENT_TYPE.EXCEPTION, 0, hasErrorCode, 0);
    return world.last === null ? null : this.handle(world.last);
  }
}

function valueAfter(kind: ExitKind, row: ExitRow, host: bigint, now: bigint): bigint {
  switch (kind) {
    case 'host':
    case 'vmcs':
      return host;
    case 'init':
      return row.value ?? now;
    default:
      return now;
  }
}
