import type { Core } from '../emu/core/core.js';
import { note, TRACE } from '../emu/core/trace.js';
import { OP } from '../emu/isa/forms.js';
import type { Process } from '../linux/process.js';
import { CHARGE_ROWS, type ChargeKey } from './charge-rows.js';
import type { Placement } from './policy.js';

/** Cycles for KVM's code. Only where CPUs execute: without them there is no clock, and nothing is counted. */

/** The cycles of a row. */
export const cyclesOf = (key: ChargeKey): number => CHARGE_ROWS[key][0];

/** Lets the cycles of a row pass, `times` over. */
export function chargeFor(core: Core, key: ChargeKey, times = 1): void {
  const cycles = CHARGE_ROWS[key][0] * times;
  core.clock.now[0]! += cycles;
  note(core, TRACE.CHARGE, cycles, 0);
}

/** The core on which a process runs; `null` where the host does not execute. */
export function coreOf(process: Process): Core | null {
  return process.kernel.executing?.cpus[process.cpu]?.core ?? null;
}

/** A system call of the process, there and back. */
export function chargeSystemCall(core: Core): void {
  core.clock.advance(core.costs.op[OP.SYSCALL]! + core.costs.op[OP.SYSRETQ]!);
  chargeFor(core, 'run.ioctl');
}

/** What KVM does with a table of `entries`: KVM_SET_CPUID2. @param verified where paranoid mode verifies; `null`: it does not */
export function chargeSetCpuid(core: Core, entries: number, verified: Placement | null): void {
  chargeSystemCall(core);
  chargeFor(core, 'cpuid.ioctl');
  chargeFor(core, 'cpuid.set.entry', entries);
  if (verified === 'separate') chargeFor(core, 'cpuid.verify.entry', entries);
  if (verified === 'combined') chargeFor(core, 'cpuid.verify.combined', entries);
  chargeFor(core, 'cpuid.set.after');
}

/** Functions between these are made up by KVM: it executes nothing for them. */
const FIRST_SOFTWARE = 0x4000_0000;
const LAST_SOFTWARE = 0x4fff_ffff;

/** KVM_GET_SUPPORTED_CPUID: every entry that silicon has something to say about is asked for, each time. */
export function chargeGetSupported(core: Core, entries: readonly Leaf[]): void {
  chargeSystemCall(core);
  chargeFor(core, 'cpuid.ioctl');
  chargeFor(core, 'cpuid.get.entry', entries.length);
  chargeCpuid(
    core,
    entries.filter(({ function: fn }) => fn < FIRST_SOFTWARE || fn > LAST_SOFTWARE),
  );
}

interface Leaf {
  readonly function: number;
  readonly index: number;
}

/** CPUID instructions that the kernel executes, on the CPU that it runs on. */
export function chargeCpuid(core: Core, leaves: Iterable<Leaf>): void {
  for (const { function: fn, index } of leaves) core.clock.now[0]! += core.costs.cpuid(fn, index);
}

/**
 * `xstate_required_size()`: until 6.12 KVM asks the CPU for every component, each time; later kernels have cached leaf
 * 0DH (1201f226c863).
 */
export function chargeXstateSizes(core: Core, components: number): void {
  for (let component = 2; component < 32; component++)
    if (((components >>> component) & 1) === 1) core.clock.now[0]! += core.costs.cpuid(0xd, component);
}
