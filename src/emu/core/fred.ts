import { isLegalRflags } from '../control.js';
import { slotNamed } from '../msrs.js';
import { ACCESS } from '../paging-rows.js';
import { type Core, RSP } from './core.js';
import { disarm, type Event } from './delivery.js';
import { F } from './flags.js';
import { fault, generalProtection, loadAs, storeAs, undefinedOpcode } from './linear.js';
import { GS_BASE } from './operands.js';
import { EVENT_TYPE, FAULT, JUMP, NEXT, VECTOR } from './status.js';

/** Flexible return and event delivery (FRED specification 5.0, chapters 5 and 6). Shadow stacks are not part of it here. */

const CONFIG = slotNamed('IA32_FRED_CONFIG');
const STKLVLS = slotNamed('IA32_FRED_STKLVLS');
const RSP0 = slotNamed('IA32_FRED_RSP0');
const STAR = slotNamed('IA32_STAR');
const KERNEL_GS_BASE = slotNamed('IA32_KERNEL_GS_BASE');

const RIP = 16;
const CSL = 3;
const REDZONE = 0x1c0;
const FRAME = 64;
/** Events from ring 0 enter this much behind those from ring 3. */
const RING0_ENTRY = 0x100;

/** Bits of the slot of SS: event information. */
const SS_STI = 1 << 16;
const SS_SOFTWARE = 1 << 17;
const SS_NMI = 1 << 18;
/** Upper half. */
const SS_LONG_HI = 1 << (57 - 32);
const SS_NESTED_HI = 1 << (58 - 32);

/** @returns NEXT, or FAULT and nothing has changed */
export function fredDelivery(core: Core, event: Event): number {
  const { msrs } = core;
  const config = msrs.lo[CONFIG]!;
  const user = core.cpl === 3;
  const oldLevel = user ? 0 : config & CSL;
  const target = (config & ~0xfff) + (user ? 0 : RING0_ENTRY);
  if (!core.isCanonical(msrs.hi[CONFIG]!)) return generalProtection(core);

  const level = Math.max(oldLevel, stackLevel(core, event, user));
  let stackLo = (core.lo[RSP]! - (config & REDZONE)) | 0;
  let stackHi = (core.hi[RSP]! - (core.lo[RSP]! >>> 0 < (config & REDZONE) ? 1 : 0)) | 0;
  stackLo &= ~0x3f;
  if (user || level > oldLevel) {
    stackLo = msrs.lo[RSP0 + level]!;
    stackHi = msrs.hi[RSP0 + level]!;
  }
  const frameLo = (stackLo - FRAME) | 0;
  const frameHi = (stackHi - (stackLo >>> 0 < FRAME ? 1 : 0)) | 0;

  const { cs, ss } = core.segments;
  const software = event.type === EVENT_TYPE.SOFTWARE_INTERRUPT || event.type === EVENT_TYPE.OTHER;
  const ssSlot =
    ss | (core.shadow ? SS_STI : 0) | (software ? SS_SOFTWARE : 0) | (event.type === EVENT_TYPE.NMI ? SS_NMI : 0);
  const ssSlotHi =
    event.vector |
    (event.type << (48 - 32)) |
    SS_LONG_HI |
    (event.nested ? SS_NESTED_HI : 0) |
    (event.length << (60 - 32));
  const ripLo = (core.lo[RIP]! + event.length) | 0;
  const ripHi = (core.hi[RIP]! + (ripLo >>> 0 < event.length ? 1 : 0)) | 0;
  const put = (offset: number, lo: number, hi: number): boolean =>
    storeAs(core, (frameLo + offset) | 0, frameHi, 8, lo, hi, ACCESS.WRITE, true) === NEXT;
  const pushed =
    put(56, 0, 0) &&
    put(48, event.dataLo, event.dataHi) &&
    put(40, ssSlot, ssSlotHi) &&
    put(32, core.lo[RSP]!, core.hi[RSP]!) &&
    put(24, core.rflags, 0) &&
    put(16, cs | (oldLevel << 16), 0) &&
    put(8, ripLo, ripHi) &&
    put(0, event.errorCode, 0);
  if (!pushed) return FAULT;

  core.lo[RSP] = frameLo;
  core.hi[RSP] = frameHi;
  core.lo[RIP] = target | 0;
  core.hi[RIP] = msrs.hi[CONFIG]!;
  msrs.put(CONFIG, (config & ~CSL) | level, msrs.hi[CONFIG]!);
  if (user) {
    core.segments.cs = msrs.hi[STAR]! & 0xfffc;
    core.segments.ss = core.segments.cs + 8;
    swapGs(core);
    disarm(core);
  }
  core.cpl = 0;
  core.rflags = 2;
  core.shadow = false;
  if (event.type === EVENT_TYPE.NMI) core.nmiBlocked = true;
  core.clock.advance(core.costs.of('fred_delivery_r3_r0'));
  return NEXT;
}

/** The level that the event asks for (FRED 5.1.2). */
function stackLevel(core: Core, event: Event, user: boolean): number {
  const isDoubleFault = event.type === EVENT_TYPE.EXCEPTION && event.vector === VECTOR.DF;
  if (user && !event.nested && !isDoubleFault) return 0;
  switch (event.type) {
    case EVENT_TYPE.INTERRUPT:
      return (core.msrs.lo[CONFIG]! >>> 9) & 3;
    case EVENT_TYPE.SOFTWARE_INTERRUPT:
    case EVENT_TYPE.OTHER:
      return 0;
    default: {
      const { vector } = event;
      const word = vector < 16 ? core.msrs.lo[STKLVLS]! : core.msrs.hi[STKLVLS]!;
      return (word >>> (2 * (vector & 15))) & 3;
    }
  }
}

export function swapGs(core: Core): void {
  const { msrs } = core;
  const lo = msrs.lo[GS_BASE]!;
  const hi = msrs.hi[GS_BASE]!;
  msrs.put(GS_BASE, msrs.lo[KERNEL_GS_BASE]!, msrs.hi[KERNEL_GS_BASE]!);
  msrs.put(KERNEL_GS_BASE, lo, hi);
}

const popped = new Int32Array(10);

/** Reads RIP, CS, RFLAGS, RSP, SS behind the error code, as ERETU and ERETS do. */
function pop(core: Core): number {
  for (let slot = 0; slot < 5; slot++) {
    const lo = (core.lo[RSP]! + 8 + slot * 8) | 0;
    const hi = (core.hi[RSP]! + (lo >>> 0 < core.lo[RSP]! >>> 0 ? 1 : 0)) | 0;
    if (loadAs(core, lo, hi, 8, core.readAccess, true) !== NEXT) return FAULT;
    popped[slot * 2] = core.v[0]!;
    popped[slot * 2 + 1] = core.v[1]!;
  }
  return NEXT;
}

/** ERETU: to ring 3 (FRED 6.2). */
export function eretu(core: Core): number {
  if (core.cpl !== 0) return undefinedOpcode(core);
  const { msrs } = core;
  if ((msrs.lo[CONFIG]! & CSL) !== 0) return generalProtection(core);
  if (pop(core) !== NEXT) return FAULT;
  const cs = popped[2]! & 0xffff;
  const ss = popped[8]! & 0xffff;
  const legal =
    core.isCanonical(popped[1]!) &&
    (cs & 3) === 3 &&
    (ss & 3) === 3 &&
    popped[2]! >>> 16 === 0 &&
    popped[3] === 0 &&
    isLegalRflags(popped[4]!, popped[5]!);
  if (!legal) return fault(core, VECTOR.GP, 0);
  resume(core);
  core.segments.cs = cs;
  core.segments.ss = ss;
  swapGs(core);
  core.cpl = 3;
  disarm(core);
  return JUMP;
}

/** ERETS: within ring 0 (FRED 6.1). */
export function erets(core: Core): number {
  if (core.cpl !== 0) return undefinedOpcode(core);
  if (pop(core) !== NEXT) return FAULT;
  const legal =
    core.isCanonical(popped[1]!) &&
    (popped[2]! & 0xffff) === core.segments.cs &&
    (popped[8]! & 0xffff) === core.segments.ss &&
    isLegalRflags(popped[4]!, popped[5]!);
  if (!legal) return fault(core, VECTOR.GP, 0);
  const { msrs } = core;
  const saved = (popped[2]! >>> 16) & CSL;
  const level = Math.min(msrs.lo[CONFIG]! & CSL, saved);
  resume(core);
  msrs.put(CONFIG, (msrs.lo[CONFIG]! & ~CSL) | level, msrs.hi[CONFIG]!);
  return JUMP;
}

function resume(core: Core): void {
  core.lo[RIP] = popped[0]!;
  core.hi[RIP] = popped[1]!;
  core.rflags = popped[4]!;
  core.lo[RSP] = popped[6]!;
  core.hi[RSP] = popped[7]!;
  if ((popped[8]! & SS_NMI) !== 0) core.nmiBlocked = false;
  core.shadow = (popped[8]! & SS_STI) !== 0;
  core.interrupts.attention = true;
  core.f[F.REST]! |= 2;
}
