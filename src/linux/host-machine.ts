import type { TscRatio } from '../emu/clock.js';
import { Core } from '../emu/core/core.js';
import type { EngineName } from '../emu/core/engine.js';
import { Monitors } from '../emu/core/monitors.js';
import { ACTIVITY, STOP, type Stop } from '../emu/core/status.js';
import { bringUp, type CpuScope, type Places, partOf } from './cpu-bringup.js';
import { kernelText } from './entry.js';
import { HostCpu } from './host-cpu.js';
import type { HostKernel } from './host-kernel.js';
import { KernelLog } from './kernel-log.js';
import { GDT_LIMIT, IDT_LIMIT, KernelMemory, TSS_LIMIT } from './kernel-memory.js';
import { type CpuPlaces, FRED_ENTRY, IDT, TSS_SELECTOR } from './layout.js';
import { hasFlag } from './scope.js';
import { Task } from './tasks.js';
import { UmwaitControl } from './umwait.js';

/** How many cycles a CPU runs before the next one has its turn. */
export const QUANTUM = 1000;

export interface HostMachineOptions {
  /** Logical CPUs that execute. Default: as many as the machine has. Those beyond are like CPU 0. */
  readonly cpus?: number;
  /** How fast the TSC runs against the core clock. Default: as fast. */
  readonly ratio?: TscRatio;
  /** NUMA node of a CPU. Default: 0. */
  readonly nodeOf?: (cpu: number) => number;
  /** How the CPUs execute blocks. Default: `interpreted`; nothing but speed depends on it. */
  readonly engine?: EngineName;
}

/** The host, executing: its CPUs with Linux on them, and the memory that they share. */
export class HostMachine {
  readonly kernel: HostKernel;
  readonly memory: KernelMemory;
  readonly cpus: readonly HostCpu[];
  /** What the kernel has printed since it was booted. */
  readonly log = new KernelLog();
  /** `/sys/devices/system/cpu/umwait_control/`; `null` on CPUs without WAITPKG. */
  readonly umwait: UmwaitControl | null;

  constructor(kernel: HostKernel, options: HostMachineOptions = {}) {
    const { machine, state, inputs } = kernel;
    const {
      cpus: count = machine.cpus.length,
      ratio = { numerator: 1, denominator: 1 },
      engine = 'interpreted',
    } = options;
    this.kernel = kernel;
    kernel.executing = this;
    const boot = partOf({ ...state, number: 0, node: 0 }, inputs);
    this.memory = new KernelMemory(
      {
        la57: hasFlag(state, 'LA57'),
        noExecute: hasFlag(state, 'NX'),
        gigabytePages: boot.silicon.has('GBPAGES'),
      },
      count,
    );
    const monitors = new Monitors();
    this.cpus = Array.from({ length: count }, (_, number) => {
      const cpu = machine.cpus[number] ?? machine.bootCpu;
      const scope: CpuScope = { ...state, cpu, number, node: options.nodeOf?.(number) ?? 0 };
      const { cpuid, silicon, costs } = partOf(scope, inputs);
      const memory = this.memory.physical;
      const core = new Core({ id: number, cpuid, silicon, costs, memory, monitors, ratio, engine });
      if (count > 1) core.apicId = number;
      core.ipi = (destination, vector) => this.cpus[destination]?.core.interrupt(vector);
      return this.bringUp(core, scope);
    });
    this.umwait = hasFlag(state, 'WAITPKG') ? new UmwaitControl(this.cpus) : null;
  }

  /** A new task, to be switched to on any CPU. */
  newTask(name: string, bases?: { readonly fs?: bigint; readonly gs?: bigint }): Task {
    return new Task(this.memory, name, bases);
  }

  /** The vector of the panic that the kernel had; `null`: none. */
  get panicked(): number | null {
    return this.cpus[0]!.panicked;
  }

  /**
   * Lets CPUs run the programs that they were given: whoever is furthest behind runs for a quantum, until all have ended
   * or none of them can go on.
   *
   * @returns why each CPU stopped, in their order
   */
  run(cpus: readonly HostCpu[] = this.cpus, limit: number = Number.POSITIVE_INFINITY): readonly Stop[] {
    const stops: (Stop | null)[] = cpus.map(() => null);
    // How many turns came to nothing, one after the other.
    let idle = 0;
    for (;;) {
      const at = behind(cpus, stops);
      if (at < 0) return stops.map((stop) => stop ?? STOP.IDLE);
      const { core } = cpus[at]!;
      const retired = core.retired[0]!;
      const stop = core.run(Math.min(limit, core.clock.now[0]! + QUANTUM));
      if (stop !== STOP.LIMIT || core.clock.now[0]! >= limit) stops[at] = stop;
      const isIdle = core.activity !== ACTIVITY.ACTIVE && core.events.next[0] === Number.POSITIVE_INFINITY;
      idle = isIdle && core.retired[0] === retired ? idle + 1 : 0;
      if (idle > 2 * cpus.length) stops.fill(STOP.IDLE);
    }
  }

  private bringUp(core: Core, scope: CpuScope): HostCpu {
    const area = this.memory.newCpu(scope.number);
    point(core.gdtr, area.gdt, GDT_LIMIT);
    point(core.tss, area.tss, TSS_LIMIT);
    core.segments.tr = TSS_SELECTOR;
    // With FRED "any further IDT use is a bug": `idt_invalidate()`.
    if (hasFlag(scope, 'FRED')) point(core.idtr, 0n, 0);
    else point(core.idtr, IDT, IDT_LIMIT);
    const refused = bringUp(core, scope, placesOf(area), this.memory.cr3, this.memory.la57);
    return new HostCpu(
      core,
      this.memory,
      { ...area, refused, log: this.log },
      new Task(this.memory, `task/${scope.number}`),
    );
  }
}

/** The CPU that is furthest behind of those that still run; -1 when none does. */
function behind(cpus: readonly HostCpu[], stops: readonly (Stop | null)[]): number {
  let found = -1;
  cpus.forEach((cpu, at) => {
    if (stops[at] !== null) return;
    if (found < 0 || cpu.core.clock.now[0]! < cpus[found]!.core.clock.now[0]!) found = at;
  });
  return found;
}

function placesOf({ perCpu, entryStack, ist }: CpuPlaces): Places {
  const { entrySyscall, entrySyscallCompat, entrySysenterCompat } = kernelText();
  return {
    perCpu,
    entrySyscall,
    entrySyscallCompat,
    entrySysenterCompat,
    entryStack,
    fredEntry: FRED_ENTRY,
    stackDB: ist.DB,
    stackNMI: ist.NMI,
    stackDF: ist.DF,
  };
}

function point(register: { baseLo: number; baseHi: number; limit: number }, base: bigint, limit: number): void {
  register.baseLo = Number(BigInt.asIntN(32, base));
  register.baseHi = Number(BigInt.asIntN(32, base >> 32n));
  register.limit = limit;
}
