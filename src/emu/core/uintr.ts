import { slotNamed } from '../msrs.js';
import { ACCESS } from '../paging-rows.js';
import { type Core, RSP } from './core.js';
import { F, RF, STATUS_FLAGS, TF } from './flags.js';
import { push } from './integer.js';
import { carried, generalProtection, loadAs, loadStack, storeAs, undefinedOpcode } from './linear.js';
import { FAULT, JUMP, NEXT } from './status.js';

/** User interrupts (SDM volume 3, chapter 8). */

const RR = slotNamed('IA32_UINTR_RR');
const HANDLER = slotNamed('IA32_UINTR_HANDLER');
const STACKADJUST = slotNamed('IA32_UINTR_STACKADJUST');
const MISC = slotNamed('IA32_UINTR_MISC');
const PD = slotNamed('IA32_UINTR_PD');
const TT = slotNamed('IA32_UINTR_TT');

const RIP = 16;
/** UPID: outstanding notification, suppressed notification. */
const ON = 1;
const SN = 2;
/** What UIRET may change. */
const UIRET_MASK = STATUS_FLAGS | TF | (1 << 10) | (1 << 14) | RF | (1 << 18) | (1 << 21);

/** SENDUIPI: posts a user interrupt to the descriptor that the target table names, and notifies. */
export function senduipi(core: Core, register: number): number {
  const { msrs } = core;
  if ((msrs.lo[TT]! & 1) === 0) return undefinedOpcode(core);
  const index = core.lo[register]!;
  if (core.hi[register] !== 0 || index >>> 0 > msrs.lo[MISC]! >>> 0) return generalProtection(core);
  const tableLo = ((msrs.lo[TT]! & ~0xf) + index * 16) | 0;
  const tableHi = msrs.hi[TT]!;
  if (loadAs(core, tableLo, tableHi, 8, ACCESS.READ, false) !== NEXT) return FAULT;
  const head = core.v[0]!;
  if ((head & 1) === 0 || (head & 0xfe) !== 0 || core.v[1] !== 0 || head >>> 16 !== 0) return generalProtection(core);
  const vector = (head >>> 8) & 0xff;
  if (vector > 63) return generalProtection(core);
  if (loadAs(core, (tableLo + 8) | 0, carried(tableLo, tableHi, 8), 8, ACCESS.READ, false) !== NEXT) return FAULT;
  const upidLo = core.v[0]!;
  const upidHi = core.v[1]!;
  if ((upidLo & 0x3f) !== 0) return generalProtection(core);
  if (loadAs(core, upidLo, upidHi, 8, ACCESS.WRITE, false) !== NEXT) return FAULT;
  const control = core.v[0]!;
  const destination = core.v[1]!;
  const pirLo = (upidLo + 8) | 0;
  if (loadAs(core, pirLo, upidHi, 8, ACCESS.WRITE, false) !== NEXT) return FAULT;
  const lo = core.v[0]! | (vector < 32 ? 1 << vector : 0);
  const hi = core.v[1]! | (vector < 32 ? 0 : 1 << (vector - 32));
  if (storeAs(core, pirLo, upidHi, 8, lo, hi, ACCESS.WRITE, false) !== NEXT) return FAULT;
  if ((control & (ON | SN)) !== 0) return NEXT;
  if (storeAs(core, upidLo, upidHi, 4, control | ON, 0, ACCESS.WRITE, false) !== NEXT) return FAULT;
  core.sendIpi(destination >>> 0, (control >>> 16) & 0xff);
  return NEXT;
}

/**
 * An external interrupt with the notification vector becomes user interrupts of this core instead (8.5.2).
 *
 * @returns whether the interrupt is dealt with
 */
export function takesNotification(core: Core, vector: number): boolean {
  const { msrs } = core;
  if ((msrs.hi[MISC]! & 0xff) !== vector) return false;
  const upidLo = msrs.lo[PD]!;
  const upidHi = msrs.hi[PD]!;
  if (loadAs(core, upidLo, upidHi, 4, ACCESS.WRITE, false) !== NEXT) return false;
  storeAs(core, upidLo, upidHi, 4, core.v[0]! & ~ON, 0, ACCESS.WRITE, false);
  loadAs(core, (upidLo + 8) | 0, upidHi, 8, ACCESS.WRITE, false);
  msrs.put(RR, msrs.lo[RR]! | core.v[0]!, msrs.hi[RR]! | core.v[1]!);
  storeAs(core, (upidLo + 8) | 0, upidHi, 8, 0, 0, ACCESS.WRITE, false);
  return true;
}

/** Whether a user interrupt is to be delivered now. */
export function isUserInterruptDue(core: Core): boolean {
  return core.uif && core.cpl === 3 && (core.msrs.lo[RR]! | core.msrs.hi[RR]!) !== 0;
}

/** Delivers the highest user interrupt to the handler (8.4.2). @returns JUMP or FAULT */
export function deliverUserInterrupt(core: Core): number {
  const { msrs } = core;
  const vector = msrs.hi[RR] !== 0 ? 63 - Math.clz32(msrs.hi[RR]!) : 31 - Math.clz32(msrs.lo[RR]!);
  const oldLo = core.lo[RSP]!;
  const oldHi = core.hi[RSP]!;
  const adjust = msrs.lo[STACKADJUST]!;
  if ((adjust & 1) !== 0) {
    core.lo[RSP] = adjust & ~7;
    core.hi[RSP] = msrs.hi[STACKADJUST]!;
  } else {
    core.lo[RSP] = (oldLo - adjust) | 0;
    core.hi[RSP] = (oldHi - msrs.hi[STACKADJUST]! - (oldLo >>> 0 < adjust >>> 0 ? 1 : 0)) | 0;
  }
  core.lo[RSP] = core.lo[RSP]! & ~15;
  const pushed =
    push(core, 8, oldLo, oldHi) === NEXT &&
    push(core, 8, core.rflags, 0) === NEXT &&
    push(core, 8, core.lo[RIP]!, core.hi[RIP]!) === NEXT &&
    push(core, 8, vector, 0) === NEXT;
  if (!pushed) {
    core.lo[RSP] = oldLo;
    core.hi[RSP] = oldHi;
    return FAULT;
  }
  const taken = 1 << (vector & 31);
  msrs.put(RR, vector < 32 ? msrs.lo[RR]! & ~taken : msrs.lo[RR]!, vector < 32 ? msrs.hi[RR]! : msrs.hi[RR]! & ~taken);
  core.f[F.REST] = core.f[F.REST]! & ~(TF | RF);
  core.uif = false;
  core.lo[RIP] = msrs.lo[HANDLER]!;
  core.hi[RIP] = msrs.hi[HANDLER]!;
  return JUMP;
}

/** UIRET: RSP is behind the vector already. */
export function uiret(core: Core): number {
  const lo = core.lo[RSP]!;
  const hi = core.hi[RSP]!;
  if (loadStack(core, lo, hi, 8) !== NEXT) return FAULT;
  const ripLo = core.v[0]!;
  const ripHi = core.v[1]!;
  if (!core.isCanonical(ripHi)) return generalProtection(core);
  if (loadStack(core, (lo + 8) | 0, carried(lo, hi, 8), 8) !== NEXT) return FAULT;
  const flags = core.v[0]!;
  if (loadStack(core, (lo + 16) | 0, carried(lo, hi, 16), 8) !== NEXT) return FAULT;
  core.lo[RSP] = core.v[0]!;
  core.hi[RSP] = core.v[1]!;
  core.lo[RIP] = ripLo;
  core.hi[RIP] = ripHi;
  core.rflags = (core.rflags & ~UIRET_MASK) | (flags & UIRET_MASK);
  core.uif = true;
  core.interrupts.attention = true;
  return JUMP;
}
