import type { CpuidRow } from '../cpuid/entry.js';
import { fieldRow } from './fields.js';
import type { HostModel, Topology } from './model.js';

/**
 * Which logical CPUs share what, seen from logical CPU 0: leaves 0xB, 0x1F, 0x80000008.ECX, 0x8000001E, 0x80000026.
 * Intel SDM volume 3A, "Hierarchical Mapping of Shared Resources" and volume 2A, CPUID, "Input EAX = 0BH", "1FH";
 * AMD APM volume 3, E.4.7, E.4.17 and E.4.24.
 */

/** One level of an extended topology leaf. */
interface Level {
  readonly type: number;
  /** Bits of the x2APIC ID up to and including this level. */
  readonly bits: number;
  readonly cpus: number;
}

/** Level types of leaves 0xB and 0x1F, and those of leaf 0x80000026. */
const INTEL_LEVEL = { thread: 1, core: 2, die: 5 } as const;
const AMD_LEVEL = { core: 1, complex: 2, die: 3, socket: 4 } as const;

/** The logical CPUs of one package. */
export function logicalCpus(topology: Topology): number {
  return topology.cores * topology.threadsPerCore;
}

function levelRow(fn: number, index: number, level: Level): CpuidRow {
  return fieldRow(fn, index, {
    x2apic_id_shift: level.bits,
    domain_lcpus_count: level.cpus,
    [fn === 0xb ? 'domain_nr' : 'domain_level']: index,
    domain_type: level.type,
  });
}

/** The levels, and behind them the one of type 0 that ends the list: it still echoes the sub-leaf number. */
function levelRows(fn: number, levels: readonly Level[]): readonly CpuidRow[] {
  const end: Level = { type: 0, bits: 0, cpus: 0 };
  // The architecture table names the fields of real levels only, so the end is spelled by register.
  const last = { ...fieldRow(fn, 0, {}), index: levels.length, ecx: levels.length };
  return [...levels.map((level, index) => levelRow(fn, index, level)), end.type === 0 ? last : last];
}
