import type { CpuidRow } from '../cpuid/entry.js';
import { Cpu, Machine } from '../emu/machine.js';
import { type OutOfRange, RawCpuid } from '../emu/raw-cpuid.js';
import { vendorString } from './scope.js';

/** Builds the machine that a dump describes. CPUs with the same rows share their silicon. */
export function machineOf(
  cpus: readonly (readonly CpuidRow[])[],
  options: { readonly outOfRange?: OutOfRange | undefined; readonly msrs?: ReadonlyMap<number, bigint> } = {},
): Machine {
  const made = cpus.map(
    (rows, id) =>
      new Cpu(id, siliconOf(rows, options.outOfRange ?? defaultOutOfRange(rows)), options.msrs ?? new Map()),
  );
  return new Machine(made);
}

/** The CPUID of rows that nobody changes: made once, so that whatever is derived from it is, too. */
const known = new WeakMap<readonly CpuidRow[], Map<OutOfRange, RawCpuid>>();

function siliconOf(rows: readonly CpuidRow[], outOfRange: OutOfRange): RawCpuid {
  const byRule = known.get(rows) ?? new Map<OutOfRange, RawCpuid>();
  known.set(rows, byRule);
  const cpuid = byRule.get(outOfRange) ?? new RawCpuid(rows, outOfRange);
  byRule.set(outOfRange, cpuid);
  return cpuid;
}

/** Intel answers with the highest basic leaf above its maxima, AMD and its relatives with zeros. */
function defaultOutOfRange(rows: readonly CpuidRow[]): OutOfRange {
  const zero = rows.find((row) => row.function === 0);
  return zero && vendorString(zero.ebx, zero.ecx, zero.edx) === 'GenuineIntel' ? 'basic' : 'zero';
}
