import type { RawCpuid } from './raw-cpuid.js';

/** One logical CPU: its CPUID silicon and its MSRs. */
export class Cpu {
  readonly id: number;
  readonly cpuid: RawCpuid;
  /** Values of the MSRs that are known; an MSR without a value faults on RDMSR. */
  readonly msrs: Map<number, bigint>;

  constructor(id: number, cpuid: RawCpuid, msrs: ReadonlyMap<number, bigint>) {
    this.id = id;
    this.cpuid = cpuid;
    this.msrs = new Map(msrs);
  }
}

/** The hardware: one or more logical CPUs. */
export class Machine {
  readonly cpus: readonly Cpu[];

  constructor(cpus: readonly Cpu[]) {
    if (cpus.length === 0) throw new Error('a machine needs at least one CPU');
    this.cpus = cpus;
  }

  /** CPU 0, on which the kernel boots. */
  get bootCpu(): Cpu {
    return this.cpus[0]!;
  }
}
