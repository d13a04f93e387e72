import { writeMsr } from './charge.js';
import { ERRNO } from './errno.js';
import type { HostCpu } from './host-cpu.js';
import { msrIndex } from './user-return-rows.js';

const UMWAIT_CONTROL = msrIndex('IA32_UMWAIT_CONTROL');
/** Bit 0: C0.2 is disabled; the time has the bits above 1. */
const C02_DISABLE = 1;
const TIME_MASK = ~3;
const DEFAULT = 100_000;

/**
 * IA32_UMWAIT_CONTROL as Linux manages it (`arch/x86/kernel/cpu/umwait.c`). The value is cached: the MSR is written when
 * the cached value changes and when a CPU comes online, and never read again. So whatever else was written there stays.
 */
export class UmwaitControl {
  private readonly cpus: readonly HostCpu[];
  private cached = DEFAULT;

  constructor(cpus: readonly HostCpu[]) {
    this.cpus = cpus;
  }

  /** What Linux takes to be in the MSR. */
  get value(): number {
    return this.cached;
  }

  /** Writes `max_time`. @returns 0, or -EINVAL for a time whose low two bits are set */
  setMaxTime(time: number): number {
    if ((time & ~TIME_MASK) !== 0) return -ERRNO.EINVAL;
    if (time >>> 0 !== (this.cached & TIME_MASK) >>> 0) this.update((time & TIME_MASK) | (this.cached & C02_DISABLE));
    return 0;
  }

  /** Writes `enable_c02`. */
  setC02(enabled: boolean): number {
    const control = (this.cached & TIME_MASK) | (enabled ? 0 : C02_DISABLE);
    if (control !== this.cached) this.update(control);
    return 0;
  }

  /** `umwait_cpu_online()`: after hotplug, and on resume. */
  online(cpu: HostCpu): void {
    writeMsr(cpu.core, UMWAIT_CONTROL, BigInt(this.cached >>> 0));
  }

  private update(control: number): void {
    this.cached = control;
    for (const cpu of this.cpus) this.online(cpu);
  }
}
