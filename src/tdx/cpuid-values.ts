import { REGISTERS } from '../cpuid/entry.js';
import type { Registers } from './cpuid-rules.js';
import type { CpuidValues } from './params.js';

/** Registers as an object. */
export function valuesOf(registers: Registers): CpuidValues {
  const [eax = 0, ebx = 0, ecx = 0, edx = 0] = registers;
  return { eax, ebx, ecx, edx };
}

/** An object as registers. */
export function registersOf(values: CpuidValues): Registers {
  return Uint32Array.from(REGISTERS, (register) => values[register]);
}
