import type { Tsc } from './clock.js';
import { CONTROL_OK, type ControlRegisters } from './control.js';
import type { EventHandle, EventQueue } from './events.js';
import { HOOK, MSR_GP, MSR_OK, type MsrFile, type MsrHooks, slotNamed } from './msrs.js';

const DEADLINE_SLOT = slotNamed('IA32_TSC_DEADLINE');

/** What else happens in one CPU when some of its MSRs are read or written: clock, timer, control registers. */
export class CpuMsrHooks implements MsrHooks {
  private readonly msrs: MsrFile;
  private readonly control: ControlRegisters;
  private readonly tsc: Tsc;
  private readonly events: EventQueue;
  private readonly deadlineKind: number;
  private readonly cpu: number;
  private deadline: EventHandle = 0;

  /**
   * @param deadlineKind kind of the event that the TSC deadline timer schedules
   * @param cpu its argument
   */
  constructor(
    msrs: MsrFile,
    control: ControlRegisters,
    tsc: Tsc,
    events: EventQueue,
    deadlineKind: number,
    cpu: number,
  ) {
    this.msrs = msrs;
    this.control = control;
    this.tsc = tsc;
    this.events = events;
    this.deadlineKind = deadlineKind;
    this.cpu = cpu;
  }

  read(hook: number, slot: number): void {
    const { msrs, tsc } = this;
    switch (hook) {
      case HOOK.tsc:
        tsc.read();
        msrs.put(slot, tsc.value[0]!, tsc.value[1]!);
        break;
      case HOOK['tsc-adjust']:
        msrs.put(slot, tsc.adjust[0]!, tsc.adjust[1]!);
        break;
    }
  }

  write(hook: number, slot: number, lo: number, hi: number): number {
    switch (hook) {
      case HOOK.tsc:
        this.tsc.write(lo, hi);
        this.schedule(this.msrs.lo[DEADLINE_SLOT]!, this.msrs.hi[DEADLINE_SLOT]!);
        break;
      case HOOK['tsc-adjust']:
        this.tsc.writeAdjust(lo, hi);
        this.schedule(this.msrs.lo[DEADLINE_SLOT]!, this.msrs.hi[DEADLINE_SLOT]!);
        break;
      case HOOK['tsc-deadline']:
        this.schedule(lo, hi);
        break;
      case HOOK.efer:
        return this.control.eferWritten(lo) === CONTROL_OK ? MSR_OK : MSR_GP;
      case HOOK.pkrs:
        this.msrs.put(slot, lo, hi);
        this.control.pkrsWritten();
        break;
      case HOOK.xss:
        this.control.version++;
        break;
    }
    return MSR_OK;
  }

  /** The timer has fired: the MSR reads as zero from now on (SDM volume 3, 11.5.4.1). */
  deadlineReached(): void {
    this.deadline = 0;
    this.msrs.put(DEADLINE_SLOT, 0, 0);
  }

  /** Zero disarms. */
  private schedule(lo: number, hi: number): void {
    this.events.cancel(this.deadline);
    this.deadline = 0;
    if (lo === 0 && hi === 0) return;
    const cycle = this.tsc.cycleOf(lo, hi);
    if (cycle !== Number.POSITIVE_INFINITY) this.deadline = this.events.push(cycle, this.deadlineKind, this.cpu);
  }
}
