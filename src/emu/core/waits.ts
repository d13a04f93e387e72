import { OP } from '../isa/forms.js';
import { FLAG, INSN, SEGMENT } from '../isa/insn.js';
import { slotNamed } from '../msrs.js';
import { PAGING_OK } from '../paging.js';
import { type Core, RAX, RCX, RDX } from './core.js';
import { disarm, leave } from './delivery.js';
import { CF, setStatusFlags } from './flags.js';
import { INTERCEPT } from './guest-world.js';
import { generalProtection, translationFault } from './linear.js';
import { FS_BASE, GS_BASE } from './operands.js';
import { ACTIVITY, EVENT, NEXT } from './status.js';
import { note, TRACE } from './trace.js';

/** HLT, MONITOR and MWAIT, UMONITOR, UMWAIT and TPAUSE. Nothing spins: a core that waits jumps to what ends the wait. */

const UMWAIT_CONTROL = slotNamed('IA32_UMWAIT_CONTROL');
const C02_DISABLE = 1;
const LINE_MASK = 0x3f;

/** MONITOR (RAX) and UMONITOR (a register): arms the line that holds the address. */
export function monitor(core: Core, insn: number, register: number): number {
  const { insns } = core.blocks;
  let lo = core.lo[register]!;
  let hi = (insns[insn + INSN.FLAGS]! & FLAG.ADDRESS_SIZE) !== 0 ? 0 : core.hi[register]!;
  const segment = insns[insn + INSN.SEGMENT]!;
  if (segment === SEGMENT.FS || segment === SEGMENT.GS) {
    const slot = segment === SEGMENT.FS ? FS_BASE : GS_BASE;
    const low = (lo >>> 0) + (core.msrs.lo[slot]! >>> 0);
    lo = low | 0;
    hi = (hi + core.msrs.hi[slot]! + (low > 0xffff_ffff ? 1 : 0)) | 0;
  }
  const status = core.mmu.translate(lo, hi, core.readAccess);
  if (status !== PAGING_OK) return translationFault(core, status, false);
  const physical = core.mmu.physical[0]!;
  core.wait.line = physical - (physical & LINE_MASK);
  core.wait.triggered = false;
  core.monitors.changed();
  return NEXT;
}

/** UMWAIT and TPAUSE (SDM volume 2). */
export function userWait(core: Core, insn: number): number {
  const { insns } = core.blocks;
  const op = insns[insn]!;
  const register = insns[insn + INSN.DST]!;
  const control = core.lo[register]!;
  if ((control & ~1) !== 0) return generalProtection(core);
  if (core.timeStampDisabled) return generalProtection(core);
  const isUmwait = op === OP.UMWAIT;
  const intercept = isUmwait ? INTERCEPT.UMWAIT : INTERCEPT.TPAUSE;
  if (core.world?.intercepts[intercept] === 1) {
    const { exitInfo } = core;
    exitInfo.kind = intercept;
    exitInfo.op = op;
    exitInfo.length = insns[insn + INSN.LENGTH]!;
    exitInfo.register = register;
    return leave(core);
  }
  const { wait } = core;
  setStatusFlags(core.f, 0);
  if (isUmwait && (wait.line < 0 || wait.triggered)) {
    wait.triggered = false;
    return NEXT;
  }
  // The limit is the one of the MSR as it is in hardware, whoever wrote it.
  const msr = core.msrs.lo[UMWAIT_CONTROL]!;
  const deadline = (core.guestTsc ?? core.tsc).cycleOf(core.lo[RAX]!, core.lo[RDX]!);
  const limit = limitCycle(core, msr & ~3);
  wait.byLimit = limit < deadline;
  wait.deep = (control & 1) === 0 && (msr & C02_DISABLE) === 0;
  const which = isUmwait ? 'umwait' : 'tpause';
  wait.wakeCycles = core.costs.of(`${which}_wake_${wait.deep ? 'c02' : 'c01'}`);
  begin(core, op, Math.min(limit, deadline));
  return NEXT;
}

/** The cycle at which IA32_UMWAIT_CONTROL's limit, in TSC ticks, ends a wait that begins now. */
function limitCycle(core: Core, ticks: number): number {
  if (ticks === 0) return Number.POSITIVE_INFINITY;
  const { tsc } = core;
  tsc.read();
  const low = (tsc.value[0]! >>> 0) + (ticks >>> 0);
  return tsc.cycleOf(low | 0, (tsc.value[1]! + (low > 0xffff_ffff ? 1 : 0)) | 0);
}

/** MWAIT: no deadline of its own. */
export function mwait(core: Core, insn: number): number {
  if ((core.lo[RCX]! & ~1) !== 0) return generalProtection(core);
  const { wait } = core;
  if (wait.line < 0 || wait.triggered) {
    wait.triggered = false;
    return NEXT;
  }
  wait.byLimit = false;
  wait.deep = false;
  wait.wakeCycles = core.costs.of('hlt_wake');
  wait.masked = (core.lo[RCX]! & 1) !== 0;
  begin(core, core.blocks.insns[insn]!, Number.POSITIVE_INFINITY);
  return NEXT;
}

function begin(core: Core, op: number, until: number): void {
  const { wait, clock } = core;
  wait.op = op;
  wait.until = until;
  wait.since = clock.now[0]!;
  if (op !== OP.MWAIT) wait.masked = true;
  if (until <= clock.now[0]!) {
    if (wait.byLimit) setStatusFlags(core.f, CF);
    return;
  }
  if (until !== Number.POSITIVE_INFINITY) wait.handle = core.events.push(until, EVENT.WAKE, 0);
  core.activity = ACTIVITY.WAITING;
  note(core, TRACE.WAIT, op, wait.deep ? 1 : 0);
}

/** The wait is over, for whatever reason. CF says whether it was IA32_UMWAIT_CONTROL's limit. */
export function endWait(core: Core): void {
  const { wait, clock, events, residency } = core;
  const now = clock.now[0]!;
  if (wait.handle !== 0) events.cancel(wait.handle);
  wait.handle = 0;
  wait.triggered = false;
  const spent = now - wait.since;
  if (wait.deep) residency.c02 += spent;
  else residency.c01 += spent;
  if (wait.byLimit && now >= wait.until) setStatusFlags(core.f, CF);
  core.activity = ACTIVITY.ACTIVE;
  disarm(core);
  note(core, TRACE.WAKE, wait.op, 0);
  clock.advance(wait.wakeCycles);
}
