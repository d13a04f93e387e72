import { architectureFieldAt } from '../cpuid/architecture.js';
import { type CpuidEntry2, REGISTERS } from '../cpuid/entry.js';
import { wordAt } from '../cpuid/features.js';

/** The names of the single-bit features that an entry has. Numbers, sizes and fields have no name here. */
export function namedBits(entry: CpuidEntry2): string[] {
  const { function: fn, index } = entry;
  return REGISTERS.flatMap((register, number) => {
    const names: string[] = [];
    for (let bit = 0; bit < 32; bit++) {
      if ((entry[register] & (1 << bit)) === 0) continue;
      const name =
        wordAt(fn, index, number)?.features.find((feature) => feature.bit === bit)?.name ??
        oneBitField(fn, index, register, bit);
      if (name) names.push(name);
    }
    return names;
  });
}

function oneBitField(fn: number, index: number, register: (typeof REGISTERS)[number], bit: number): string | undefined {
  const field = architectureFieldAt(fn, index, register, bit);
  return field && field.high === field.low ? field.name : undefined;
}
