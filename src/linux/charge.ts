import type { Core } from '../emu/core/core.js';
import { note, TRACE } from '../emu/core/trace.js';
import { OP } from '../emu/isa/forms.js';
import { MSR_OK } from '../emu/msrs.js';

/** What the kernel's own code costs where it is not machine code: every such step says what it does to the clock. */

/** Lets the cycles of kernel code pass on a CPU. */
export function charge(core: Core, cycles: number): void {
  core.clock.advance(cycles);
  note(core, TRACE.CHARGE, cycles, 0);
}

/** `wrmsrq_safe()`: one WRMSR, with its cost. @returns whether it was taken */
export function writeMsr(core: Core, index: number, value: bigint): boolean {
  const lo = Number(BigInt.asIntN(32, value));
  const hi = Number(BigInt.asIntN(32, value >> 32n));
  core.clock.advance(core.costs.op[OP.WRMSR]!);
  if (core.msrs.write(index, lo, hi) !== MSR_OK) return false;
  note(core, TRACE.WRMSR, index, lo);
  core.interrupts.attention = true;
  return true;
}
