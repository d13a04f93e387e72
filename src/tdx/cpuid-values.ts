import type { Registers } from './cpuid-rules.js';
import type { CpuidValues } from './params.js';

/** Registers as an object. */
export function valuesOf(registers: Registers): CpuidValues {
  const [eax = 0, ebx = 0, ecx = 0, edx = 0] = registers;
  return { eax, ebx, ecx, edx };
}

/** An object as registers. */
export function registersOf(values: CpuidValues): Registers {
  const registers = new Uint32Array(4);
  registers[0] = values.eax;
  registers[1] = values.ebx;
  registers[2] = values.ecx;
  registers[3] = values.edx;
  return registers;
}
