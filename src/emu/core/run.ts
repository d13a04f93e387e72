import { CR4_UINTR } from '../control.js';
import { INSN_WORDS } from '../isa/insn.js';
import type { Core } from './core.js';
import { raise, takePending, wakes } from './delivery.js';
import { setRip } from './engine.js';
import { execute } from './execute.js';
import { F, IF } from './flags.js';
import { MICRO } from './lower.js';
import { ABORTED, ACTIVITY, EVENT, FAULT, JUMP, LEFT, NEXT, SPLIT, STOP, type Stop } from './status.js';
import { deliverUserInterrupt, isUserInterruptDue, takesNotification } from './uintr.js';
import { endWait } from './waits.js';

/** The run of a core: events when they are due, then the block at RIP, and so on. */

const RIP = 16;

/** @param limit cycle at which to stop at the latest; the instruction that reaches it is done */
export function run(core: Core, limit: number): Stop {
  const { blocks, events, interrupts, trace } = core;
  const { now } = core.clock;
  const { next } = events;
  for (;;) {
    if (now[0]! >= next[0]!) takeEvents(core);
    if (core.activity !== ACTIVITY.ACTIVE) {
      const stop = idle(core, limit);
      if (stop !== null) return stop;
      continue;
    }
    if (interrupts.attention && !core.shadow) {
      const stop = attend(core);
      if (stop !== null) return stop;
      if (core.activity !== ACTIVITY.ACTIVE) continue;
    }
    if (now[0]! >= limit) return STOP.LIMIT;

    const block = blocks.find();
    if (block < 0) {
      if (isExit(core, raise(core))) return STOP.EXIT;
      continue;
    }
    trace.block(core.lo[RIP]!, core.hi[RIP]!, now[0]!);
    const horizon = Math.min(next[0]!, limit);
    const stepwise = core.shadow || core.sink !== null || now[0]! + blocks.cycles[block]! >= horizon;
    const status = stepwise ? stepThrough(core, block, horizon) : core.engine.run(core, block, horizon);
    if (status === LEFT && core.stopsAtExit) return STOP.EXIT;
  }
}

function isExit(core: Core, status: number): boolean {
  return status === LEFT && core.stopsAtExit;
}

/** Executes a block one instruction at a time, up to an event, or telling somebody of each. */
function stepThrough(core: Core, block: number, horizon: number): number {
  const { blocks } = core;
  const { now } = core.clock;
  const first = blocks.first[block]!;
  const count = blocks.count[block]!;
  for (let number = first; number < first + count; number++) {
    setRip(core, block, number);
    core.sink?.instruction?.(core, number * INSN_WORDS, blocks.lengthOf(number));
    core.owedCycles = blocks.cyclesOf[number]!;
    core.settled = false;
    const shadowed = core.shadow;
    const status = execute(core, number, number + 1, MICRO.FULL);
    if (shadowed) {
      core.shadow = false;
      core.interrupts.attention = true;
    }
    if (status !== NEXT && status !== JUMP) return interruptedStep(core, block, number, status);
    core.clock.now[0]! += core.owedCycles;
    core.owedCycles = 0;
    core.retired[0]! += 1;
    if (status === JUMP) return JUMP;
    if (number === first + count - 1) {
      core.lo[RIP] = blocks.endLo[block]!;
      core.hi[RIP] = blocks.endHi[block]!;
    } else if (now[0]! >= horizon || shadowed || blocks.hit || core.interrupts.debugTrap !== 0) {
      blocks.hit = false;
      setRip(core, block, number + 1);
      return NEXT;
    }
  }
  return NEXT;
}

function interruptedStep(core: Core, block: number, number: number, status: number): number {
  if (!core.settled) {
    core.clock.now[0]! += core.owedCycles;
    core.owedCycles = 0;
    if (status !== ABORTED) setRip(core, block, status === SPLIT ? number + 1 : number);
  }
  return status === FAULT ? raise(core) : status;
}

/** Everything that is due by now. */
function takeEvents(core: Core): void {
  const { events, clock, interrupts } = core;
  while (events.next[0]! <= clock.now[0]! && events.pop()) {
    const { kind, argument } = events.popped;
    switch (kind) {
      case EVENT.TSC_DEADLINE:
        core.hooks.deadlineReached();
        interrupts.post(core.timerVector);
        break;
      case EVENT.INTERRUPT:
        interrupts.post(argument);
        break;
      case EVENT.NMI:
        interrupts.postNmi();
        break;
      case EVENT.WAKE:
        core.wait.handle = 0;
        interrupts.attention = true;
        break;
      case EVENT.PREEMPTION:
        interrupts.preemption = core.world !== null;
        interrupts.attention = true;
        break;
      default:
        interrupts.stop = true;
        interrupts.attention = true;
    }
  }
}

/** Delivers what may be delivered. @returns why to stop, or null */
function attend(core: Core): Stop | null {
  const { interrupts } = core;
  if (interrupts.stop) {
    interrupts.stop = false;
    return STOP.EVENT;
  }
  if ((core.control.lo[4]! & CR4_UINTR) !== 0) {
    const vector = interrupts.highest;
    if (vector >= 0 && takesNotification(core, vector)) interrupts.take(vector);
    if (isUserInterruptDue(core)) {
      if (deliverUserInterrupt(core) === FAULT && isExit(core, raise(core))) return STOP.EXIT;
      return null;
    }
  }
  const status = takePending(core);
  if (status === NEXT) {
    // What is pending now is masked: whatever unmasks it asks for attention again.
    interrupts.attention = interrupts.nmi && core.nmiBlocked ? false : interrupts.stop;
    return null;
  }
  return isExit(core, status) ? STOP.EXIT : null;
}

/** A core that does nothing goes to the next thing that happens. @returns why to stop, or null when it goes on */
function idle(core: Core, limit: number): Stop | null {
  const { clock, events, interrupts, wait } = core;
  if (core.activity === ACTIVITY.SHUTDOWN) return STOP.SHUTDOWN;
  const waiting = core.activity === ACTIVITY.WAITING;
  if (waiting && (clock.now[0]! >= wait.until || wait.triggered || wakes(core, wait.masked))) {
    endWait(core);
    interrupts.attention = true;
    return null;
  }
  if (!waiting && wakes(core, false)) {
    core.activity = ACTIVITY.ACTIVE;
    interrupts.attention = true;
    return null;
  }
  if (!waiting && core.stopsAtHalt && core.world === null && (core.f[F.REST]! & IF) === 0) return STOP.IDLE;
  const next = events.next[0]!;
  if (next === Number.POSITIVE_INFINITY && limit === Number.POSITIVE_INFINITY) return STOP.IDLE;
  const before = clock.now[0]!;
  if (next > limit) {
    clock.advanceTo(limit);
    if (!waiting) core.residency.halted += clock.now[0]! - before;
    return STOP.LIMIT;
  }
  clock.advanceTo(next);
  if (!waiting) core.residency.halted += clock.now[0]! - before;
  takeEvents(core);
  return null;
}
