import type { CpuidRow } from '../cpuid/entry.js';
import { Cpu, Machine } from '../emu/machine.js';
import { type OutOfRange, RawCpuid } from '../emu/raw-cpuid.js';
import { vendorString } from './scope.js';

/** Builds the machine that a dump describes. CPUs with the same rows share their silicon. */
export function machineOf(
  cpus: readonly (readonly CpuidRow[])[],
  options: { readonly outOfRange?: OutOfRange | undefined; readonly msrs?: ReadonlyMap<number, bigint> } = {},
): Machine {
  const silicon = new Map<readonly CpuidRow[], RawCpuid>();
  const made = cpus.map((rows, id) => {
    let cpuid = silicon.get(rows);
    if (!cpuid) {
      cpuid = new RawCpuid(rows, options.outOfRange ?? defaultOutOfRange(rows));
      silicon.set(rows, cpuid);
    }
    return new Cpu(id, cpuid, options.msrs ?? new Map());
  });
  return new Machine(made);
}

/** Intel answers with the highest basic leaf above its maxima, AMD and its relatives with zeros. */
function defaultOutOfRange(rows: readonly CpuidRow[]): OutOfRange {
  const zero = rows.find((row) => row.function === 0);
  return zero && vendorString(zero.ebx, zero.ecx, zero.edx) === 'GenuineIntel' ? 'basic' : 'zero';
}
