import { CR4_FRED_HI } from '../control.js';
import { ACCESS } from '../paging-rows.js';
import { type Core, RSP } from './core.js';
import { F, IF, NT, RF, TF, VM } from './flags.js';
import { fredDelivery } from './fred.js';
import { EXIT, INTERCEPT } from './guest-world.js';
import { fault, loadAs, storeAs } from './linear.js';
import { ACTIVITY, dr6After, EVENT_TYPE, FAULT, JUMP, LEFT, NEXT, VECTOR } from './status.js';
import { note, TRACE } from './trace.js';
import { abortTransaction } from './transactions.js';

/**
 * Delivery of events: exceptions, interrupts, software interrupts. Through the IDT (SDM volume 3, chapter 6) or, with
 * CR4.FRED, the FRED way (`fred.ts`); or out of the guest. An event that cannot be delivered becomes #DF, and that a
 * triple fault.
 */

/** An event on its way. */
export interface Event {
  vector: number;
  /** `EVENT_TYPE` */
  type: number;
  hasErrorCode: boolean;
  errorCode: number;
  /** Bytes of the instruction that raised it on purpose (INT n, INT3, SYSCALL); 0 for all others. */
  length: number;
  /** #PF: the linear address. #DB: what DR6 gets. */
  dataLo: number;
  dataHi: number;
  /** It was raised while another one was being delivered. */
  nested: boolean;
}

const TSS_RSP0 = 4;
const TSS_IST1 = 0x24;
const RIP = 16;
const IDT_GATE_BYTES = 16;
/** External or not caused by software: bit 0 of a selector error code. */
const EXT = 1;
/** The error code names a gate of the IDT. */
const IDT = 2;

/** Exceptions that make #DF of another contributory one, or of themselves after #PF (SDM volume 3, table 6-4). */
const CONTRIBUTORY = new Set<number>([VECTOR.DE, VECTOR.TS, VECTOR.NP, VECTOR.SS, VECTOR.GP, VECTOR.CP]);

function makesDoubleFault(first: Event, second: number): boolean {
  if (first.type !== EVENT_TYPE.EXCEPTION) return false;
  if (first.vector === VECTOR.PF) return second === VECTOR.PF || CONTRIBUTORY.has(second);
  return CONTRIBUTORY.has(first.vector) && CONTRIBUTORY.has(second);
}

/** One event per nesting, so that none is made on the way. */
const events: Event[] = Array.from({ length: 4 }, () => ({
  vector: 0,
  type: 0,
  hasErrorCode: false,
  errorCode: 0,
  length: 0,
  dataLo: 0,
  dataHi: 0,
  nested: false,
}));

/** What a fault of an instruction (`core.fault`) comes to; RIP is the instruction's. @returns JUMP or LEFT */
export function raise(core: Core): number {
  const { fault: raised } = core;
  if (core.transaction.active) return abortTransaction(core, 0);
  if (raised.nested) return leaveByNestedFault(core, null);
  const event = events[0]!;
  event.vector = raised.vector;
  event.type = EVENT_TYPE.EXCEPTION;
  event.hasErrorCode = raised.hasErrorCode;
  event.errorCode = raised.errorCode;
  event.length = 0;
  event.nested = false;
  pageFaultData(core, event);
  return deliver(core, event);
}

/**
 * Delivers an event that is no fault of an instruction.
 *
 * @param length bytes of the instruction that asks for it; RIP is still the instruction's. 0 when there is none
 * @param dataLo #DB: why
 */
export function deliverEvent(core: Core, vector: number, type: number, length: number, dataLo = 0): number {
  const event = events[0]!;
  event.vector = vector;
  event.type = type;
  event.hasErrorCode = false;
  event.errorCode = 0;
  event.length = length;
  event.dataLo = dataLo;
  event.dataHi = 0;
  event.nested = false;
  return deliver(core, event);
}

/** Delivers an event with all that it has: what a VM entry injects. It is not intercepted. @returns JUMP or LEFT */
export function inject(
  core: Core,
  vector: number,
  type: number,
  length: number,
  hasErrorCode: boolean,
  errorCode: number,
  dataLo = 0,
  dataHi = 0,
): number {
  const event = events[0]!;
  event.vector = vector;
  event.type = type;
  event.length = length;
  event.hasErrorCode = hasErrorCode;
  event.errorCode = errorCode;
  event.dataLo = dataLo;
  event.dataHi = dataHi;
  event.nested = false;
  return attempt(core, event, 0, false);
}

function pageFaultData(core: Core, event: Event): void {
  const isPageFault = event.vector === VECTOR.PF && event.type === EVENT_TYPE.EXCEPTION;
  event.dataLo = isPageFault ? core.mmu.fault.lo : 0;
  event.dataHi = isPageFault ? core.mmu.fault.hi : 0;
}

function deliver(core: Core, event: Event): number {
  if (core.transaction.active) return abortTransaction(core, 0);
  return attempt(core, event, 0, true);
}

/** Tries to deliver an event; what goes wrong is the next event. */
function attempt(core: Core, event: Event, depth: number, interceptable: boolean): number {
  if (interceptable && isIntercepted(core, event))
    return leaveByEvent(core, event, depth > 0 ? events[depth - 1]! : null);
  core.activity = ACTIVITY.ACTIVE;
  note(core, TRACE.DELIVER, event.vector, event.type);
  if (event.vector === VECTOR.PF && event.type === EVENT_TYPE.EXCEPTION)
    core.control.writeCr2(event.dataLo, event.dataHi);
  const fred = (core.control.hi[4]! & CR4_FRED_HI) !== 0;
  const status = fred ? fredDelivery(core, event) : idtDelivery(core, event);
  if (status === NEXT) {
    core.interrupts.attention = true;
    return JUMP;
  }
  if (core.fault.nested) return leaveByNestedFault(core, event);
  const { vector } = core.fault;
  if (event.vector === VECTOR.DF && event.type === EVENT_TYPE.EXCEPTION) return tripleFault(core);
  const next = events[depth + 1]!;
  const double = makesDoubleFault(event, vector) || depth === 2;
  next.vector = double ? VECTOR.DF : vector;
  next.type = EVENT_TYPE.EXCEPTION;
  next.hasErrorCode = true;
  next.errorCode = double ? 0 : core.fault.errorCode;
  next.length = 0;
  next.nested = true;
  pageFaultData(core, next);
  return attempt(core, next, depth + 1, true);
}

function isIntercepted(core: Core, event: Event): boolean {
  const { world } = core;
  // INT n, interrupts and NMIs have been decided before; INT3 counts as an exception.
  if (world === null) return false;
  if (event.type !== EVENT_TYPE.EXCEPTION && event.type !== EVENT_TYPE.SOFTWARE_EXCEPTION) return false;
  if (event.vector === VECTOR.PF) return world.interceptsPageFault(event.errorCode);
  return ((world.exceptionBitmap >>> event.vector) & 1) === 1;
}

function leaveByEvent(core: Core, event: Event, during: Event | null): number {
  const { exitInfo } = core;
  exitInfo.kind = EXIT.EXCEPTION;
  exitInfo.op = -1;
  exitInfo.length = event.length;
  exitInfo.number = event.vector;
  exitInfo.vector = event.type;
  exitInfo.errorCode = event.errorCode;
  exitInfo.hasErrorCode = event.hasErrorCode;
  exitInfo.dataLo = event.dataLo;
  exitInfo.dataHi = event.dataHi;
  return leave(core, during);
}

function leaveByNestedFault(core: Core, during: Event | null): number {
  const { exitInfo } = core;
  exitInfo.kind = EXIT.NESTED_FAULT;
  exitInfo.op = -1;
  exitInfo.length = 0;
  exitInfo.number = core.mmu.nestedStatus;
  return leave(core, during);
}

/** Leaves the guest for what `core.exitInfo` says. @param during the event that was being delivered, if one was */
export function leave(core: Core, during: Event | null = null): number {
  const { exitInfo, world } = core;
  exitInfo.deliveringVector = during === null ? -1 : during.vector;
  exitInfo.deliveringType = during === null ? 0 : during.type;
  exitInfo.deliveringHasErrorCode = during?.hasErrorCode ?? false;
  exitInfo.deliveringErrorCode = during?.errorCode ?? 0;
  note(core, TRACE.EXIT, exitInfo.kind, exitInfo.number);
  core.activity = ACTIVITY.ACTIVE;
  world!.exit(core, exitInfo);
  core.shadow = false;
  return LEFT;
}

function tripleFault(core: Core): number {
  note(core, TRACE.SHUTDOWN, 0, 0);
  if (core.world !== null) {
    core.exitInfo.kind = INTERCEPT.TRIPLE_FAULT;
    core.exitInfo.op = -1;
    core.exitInfo.length = 0;
    core.exitInfo.number = 0;
    return leave(core);
  }
  core.activity = ACTIVITY.SHUTDOWN;
  return JUMP;
}

const isSoftware = (event: Event): boolean =>
  event.type === EVENT_TYPE.SOFTWARE_INTERRUPT || event.type === EVENT_TYPE.SOFTWARE_EXCEPTION;

/** Through a 64-bit gate of the IDT. @returns NEXT, or FAULT and nothing has changed */
function idtDelivery(core: Core, event: Event): number {
  const { idtr, tss } = core;
  const external = isSoftware(event) ? 0 : EXT;
  const gateError = event.vector * 8 + IDT + external;
  const gate = event.vector * IDT_GATE_BYTES;
  if (gate + IDT_GATE_BYTES - 1 > idtr.limit) return fault(core, VECTOR.GP, gateError);
  const gateLo = (idtr.baseLo + gate) | 0;
  const gateHi = (idtr.baseHi + (gateLo >>> 0 < idtr.baseLo >>> 0 ? 1 : 0)) | 0;
  if (loadAs(core, gateLo, gateHi, 8, ACCESS.READ, false) !== NEXT) return FAULT;
  const low = core.v[0]!;
  const high = core.v[1]!;
  if (loadAs(core, (gateLo + 8) | 0, gateHi, 8, ACCESS.READ, false) !== NEXT) return FAULT;
  const targetHi = core.v[0]!;
  const targetLo = (low & 0xffff) | (high & ~0xffff);
  const kind = (high >> 8) & 0xf;
  if (kind !== 0xe && kind !== 0xf) return fault(core, VECTOR.GP, gateError);
  if (isSoftware(event) && ((high >> 13) & 3) < core.cpl) return fault(core, VECTOR.GP, gateError);
  if ((high & 0x8000) === 0) return fault(core, VECTOR.NP, gateError);
  const selector = (low >>> 16) & 0xffff;
  if ((selector & ~3) === 0) return fault(core, VECTOR.GP, external);

  const ist = high & 7;
  const changes = core.cpl !== 0;
  let stackLo = core.lo[RSP]!;
  let stackHi = core.hi[RSP]!;
  if (ist !== 0 || changes) {
    const at = (tss.baseLo + (ist !== 0 ? TSS_IST1 + (ist - 1) * 8 : TSS_RSP0)) | 0;
    if (loadAs(core, at, tss.baseHi, 8, ACCESS.READ, false) !== NEXT) return FAULT;
    stackLo = core.v[0]!;
    stackHi = core.v[1]!;
    if (!core.isCanonical(stackHi)) return fault(core, VECTOR.SS, external);
  }
  stackLo &= ~15;
  const rflags = core.rflags | (event.type === EVENT_TYPE.EXCEPTION ? RF : 0);
  const slots = event.hasErrorCode ? 6 : 5;
  const frameLo = (stackLo - slots * 8) | 0;
  const frameHi = (stackHi - (stackLo >>> 0 < slots * 8 ? 1 : 0)) | 0;
  if (!core.isCanonical(targetHi)) return fault(core, VECTOR.GP, external);
  let at = frameLo;
  if (event.hasErrorCode) {
    if (put(core, at, frameHi, event.errorCode, 0) !== NEXT) return FAULT;
    at += 8;
  }
  const returnLo = (core.lo[RIP]! + event.length) | 0;
  const returnHi = (core.hi[RIP]! + (returnLo >>> 0 < event.length ? 1 : 0)) | 0;
  if (put(core, at, frameHi, returnLo, returnHi) !== NEXT) return FAULT;
  if (put(core, at + 8, frameHi, core.segments.cs, 0) !== NEXT) return FAULT;
  if (put(core, at + 16, frameHi, rflags, 0) !== NEXT) return FAULT;
  if (put(core, at + 24, frameHi, core.lo[RSP]!, core.hi[RSP]!) !== NEXT) return FAULT;
  if (put(core, at + 32, frameHi, core.segments.ss, 0) !== NEXT) return FAULT;

  core.lo[RSP] = frameLo;
  core.hi[RSP] = frameHi;
  core.lo[RIP] = targetLo;
  core.hi[RIP] = targetHi;
  core.segments.cs = selector & ~3;
  if (changes) {
    core.segments.ss = 0;
    disarm(core);
  }
  core.f[F.REST] = core.f[F.REST]! & ~(TF | NT | RF | VM | (kind === 0xe ? IF : 0));
  core.cpl = 0;
  core.shadow = false;
  if (event.type === EVENT_TYPE.NMI) core.nmiBlocked = true;
  core.clock.advance(core.costs.of('int_exception_idt_r3_r0'));
  return NEXT;
}

/** Pushes below the stack pointer, with the rights of the kernel. */
function put(core: Core, lo: number, hi: number, valueLo: number, valueHi: number): number {
  return storeAs(core, lo | 0, hi, 8, valueLo, valueHi, ACCESS.WRITE, true);
}

/** A change of privilege ends what UMONITOR has begun. */
export function disarm(core: Core): void {
  if (core.wait.line < 0) return;
  core.wait.line = -1;
  core.monitors.changed();
}

/**
 * Takes what is pending, if it may be taken now: what the machine has, then what the guest's world has for it.
 *
 * @returns NEXT when nothing was, JUMP or LEFT otherwise
 */
export function takePending(core: Core): number {
  if (core.shadow || core.virtualization?.holdsEvents) return NEXT;
  const status = takePhysical(core);
  return status === NEXT && core.world !== null ? (core.world.takeVirtual?.(core) ?? NEXT) : status;
}

function takePhysical(core: Core): number {
  const { interrupts, world } = core;
  if (interrupts.preemption && world !== null) {
    interrupts.preemption = false;
    core.exitInfo.kind = EXIT.PREEMPTION_TIMER;
    core.exitInfo.op = -1;
    core.exitInfo.length = 0;
    return leave(core);
  }
  if (interrupts.debugTrap !== 0) {
    const bits = interrupts.debugTrap;
    core.drLo[6] = dr6After(core.drLo[6]!, bits);
    interrupts.debugTrap = 0;
    return deliverEvent(core, VECTOR.DB, EVENT_TYPE.EXCEPTION, 0, bits);
  }
  if (interrupts.nmi) {
    if (world !== null && world.intercepts[INTERCEPT.NMI] === 1) {
      interrupts.nmi = false;
      core.exitInfo.kind = INTERCEPT.NMI;
      core.exitInfo.op = -1;
      core.exitInfo.length = 0;
      core.exitInfo.vector = VECTOR.NMI;
      return leave(core);
    }
    if (!core.nmiBlocked) {
      interrupts.nmi = false;
      return deliverEvent(core, VECTOR.NMI, EVENT_TYPE.NMI, 0);
    }
  }
  const vector = interrupts.highest;
  if (vector < 0) return NEXT;
  if (world !== null && world.intercepts[INTERCEPT.EXTERNAL_INTERRUPT] === 1) {
    if (!world.masksInterruptsByHost && (core.f[F.REST]! & IF) === 0 && world.name === 'svm') return NEXT;
    core.exitInfo.kind = INTERCEPT.EXTERNAL_INTERRUPT;
    core.exitInfo.op = -1;
    core.exitInfo.length = 0;
    core.exitInfo.vector = vector;
    return leave(core);
  }
  if ((core.f[F.REST]! & IF) === 0 || (core.control.lo[8]! & 0xf) >= vector >> 4) return NEXT;
  interrupts.take(vector);
  return deliverEvent(core, vector, EVENT_TYPE.INTERRUPT, 0);
}

/** Whether an interrupt or NMI that is pending would end HLT or a wait now. */
export function wakes(core: Core, waitsMasked: boolean): boolean {
  const { interrupts, world } = core;
  if (interrupts.stop || interrupts.preemption || interrupts.debugTrap !== 0) return true;
  if (core.virtualization?.holdsEvents) return false;
  if (interrupts.nmi && (!core.nmiBlocked || world?.intercepts[INTERCEPT.NMI] === 1)) return true;
  const vector = interrupts.highest;
  if (vector < 0) return false;
  if (waitsMasked || world?.intercepts[INTERCEPT.EXTERNAL_INTERRUPT] === 1) return true;
  return (core.f[F.REST]! & IF) !== 0 && (core.control.lo[8]! & 0xf) < vector >> 4;
}
