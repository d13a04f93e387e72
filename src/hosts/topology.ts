import type { CpuidRow } from '../cpuid/entry.js';
import { fieldRow, registerRow } from './fields.js';
import type { HostModel, Topology } from './model.js';

/**
 * Which logical CPUs share what, seen from logical CPU 0: leaves 0xB, 0x1F, 0x80000008.ECX, 0x8000001E, 0x80000026.
 * Intel SDM volume 3A, "Hierarchical Mapping of Shared Resources" and volume 2A, CPUID, "Input EAX = 0BH", "1FH";
 * AMD APM volume 3, appendix E, functions 0000_000B, 8000_0008, 8000_001E and 8000_0026.
 */

/** One level of an extended topology leaf. */
interface Level {
  readonly type: number;
  /** Bits of the x2APIC ID up to and including this level. */
  readonly bits: number;
  readonly cpus: number;
}

/** Level types of leaves 0xB and 0x1F, and those of leaf 0x80000026. */
const LEVEL = { thread: 1, core: 2, die: 5 } as const;
const AMD_LEVEL = { core: 1, complex: 2, die: 3, socket: 4 } as const;

/** The logical CPUs of one package. */
export function logicalCpus(topology: Topology): number {
  return topology.cores * topology.threadsPerCore;
}

/** Thread and core: all that leaf 0xB can say. */
function basicLevels(topology: Topology): readonly Level[] {
  return [
    { type: LEVEL.thread, bits: topology.threadBits, cpus: topology.threadsPerCore },
    { type: LEVEL.core, bits: topology.packageBits, cpus: logicalCpus(topology) },
  ];
}

function levelsWithDie(topology: Topology): readonly Level[] {
  const { die, threadBits, threadsPerCore } = topology;
  if (!die) return basicLevels(topology);
  return [
    { type: LEVEL.thread, bits: threadBits, cpus: threadsPerCore },
    { type: LEVEL.core, bits: die.bits, cpus: die.cores * threadsPerCore },
    { type: LEVEL.die, bits: topology.packageBits, cpus: logicalCpus(topology) },
  ];
}

/** AMD's own levels. A die (CCD) has one complex from Zen 3 on. */
function amdLevels(topology: Topology): readonly Level[] {
  const { threadBits, threadsPerCore, packageBits, complex } = topology;
  if (!complex) return [];
  const complexLevel = { bits: complex.bits, cpus: complex.cores * threadsPerCore };
  return [
    { type: AMD_LEVEL.core, bits: threadBits, cpus: threadsPerCore },
    { type: AMD_LEVEL.complex, ...complexLevel },
    { type: AMD_LEVEL.die, ...complexLevel },
    { type: AMD_LEVEL.socket, bits: packageBits, cpus: logicalCpus(topology) },
  ];
}

/** One sub-leaf per level, and the one behind them: of type 0, it ends the list but still echoes its number. */
function levelRows(fn: number, levels: readonly Level[]): readonly CpuidRow[] {
  const numberField = fn === 0xb ? 'domain_nr' : 'domain_level';
  const rows = levels.map(({ type, bits, cpus }, index) =>
    fieldRow(fn, index, {
      x2apic_id_shift: bits,
      domain_lcpus_count: cpus,
      [numberField]: index,
      domain_type: type,
    }),
  );
  return [...rows, registerRow(fn, levels.length, { ecx: levels.length })];
}

/** 0x80000008.ECX and 0x8000001E, which AMD had before leaf 0xB. */
function amdRows(topology: Topology): readonly CpuidRow[] {
  return [
    fieldRow(0x8000_0008, 0, {
      cpu_nthreads: logicalCpus(topology) - 1,
      apicid_coreid_len: topology.packageBits,
    }),
    fieldRow(0x8000_001e, 0, {
      core_nthreads: topology.threadsPerCore - 1,
      nnodes_per_socket: (topology.nodes ?? 1) - 1,
    }),
  ];
}

export function topologyRows({ vendor, maxima, topology }: HostModel): readonly CpuidRow[] {
  const rows: CpuidRow[] = [];
  // Zen 1 ends at leaf 0xD but has no leaf 0xB: its leaf is zero.
  const hasBasicLeaf = vendor !== 'amd' || maxima.basic > 0xd;
  if (hasBasicLeaf) rows.push(...levelRows(0xb, basicLevels(topology)));
  if (maxima.basic >= 0x1f) rows.push(...levelRows(0x1f, levelsWithDie(topology)));
  if (vendor === 'amd') rows.push(...amdRows(topology));
  if (maxima.extended >= 0x8000_0026) rows.push(...levelRows(0x8000_0026, amdLevels(topology)));
  return rows;
}
