import type { Machine } from '../emu/machine.js';
import { type BootState, boot } from './boot.js';
import { CommandLine } from './command-line.js';
import type { HostInputs } from './host-inputs.js';
import { HostMachine, type HostMachineOptions } from './host-machine.js';
import { parameterRows } from './module-parameters.js';
import { type OpenFile, Process, type ProcessOptions } from './process.js';

/** The host kernel, booted on a machine. */
export class HostKernel {
  readonly machine: Machine;
  readonly inputs: HostInputs;
  readonly state: BootState;
  /** The CPUs on which this kernel really executes; `null` until somebody asks for {@link hardware}. */
  executing: HostMachine | null = null;
  /** Character devices by path; a module that loads adds its own. */
  readonly devices = new Map<string, () => OpenFile>();
  private readonly parameters: ReturnType<typeof parameterRows>;

  constructor(machine: Machine, inputs: HostInputs) {
    this.machine = machine;
    this.inputs = inputs;
    this.parameters = parameterRows(inputs.kernel);
    this.state = boot(machine, inputs, new CommandLine(inputs.cmdline));
  }

  /** The host as a machine that executes. It is brought up when it is first asked for. */
  get hardware(): HostMachine {
    return this.executing ?? this.bringUp();
  }

  /** Brings the executing host up, anew if need be: with other CPUs, say. */
  bringUp(options?: HostMachineOptions): HostMachine {
    this.executing = new HostMachine(this, options);
    return this.executing;
  }

  /** The value of a module parameter, given or default; 0 when this kernel has no such parameter. */
  parameter(name: string): number {
    return this.inputs.parameters.get(name) ?? this.parameters.get(name)?.default ?? 0;
  }

  /** Starts a userspace process. */
  spawn(options?: ProcessOptions): Process {
    return new Process(this, options);
  }
}
