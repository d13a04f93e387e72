/** Which of a dump's logical CPUs is the host, and whether it matters. */

import type { DumpCpu, HostDump } from '../dump.js';
import { type CpuidRow, REGISTERS, type Register } from '../entry.js';
import { FormatError } from '../errors.js';
import { rowKey } from './dump-builder.js';

/**
 * One logical CPU of a dump, counted from 0 in the order of the dump.
 *
 * @throws FormatError when there is no such CPU, with how many there are
 */
export function pickCpu(dump: HostDump, n = 0): DumpCpu {
  const cpu = dump.cpus[n];
  if (cpu !== undefined) return cpu;
  const count = dump.cpus.length;
  throw new FormatError(`no CPU ${n}: the dump has ${count}`, 'cpu', count === 1 ? '0' : `0 to ${count - 1}`);
}

/** A field that rightly differs from CPU to CPU. */
interface PerCpuField {
  readonly functions: readonly number[];
  readonly register: Register;
  readonly mask: number;
}

const ALL = 0xffff_ffff;

const PER_CPU_FIELDS: readonly PerCpuField[] = [
  { functions: [0x1], register: 'ebx', mask: 0xff00_0000 }, // initial APIC id
  { functions: [0x6], register: 'edx', mask: 0xffff_0000 }, // the CPU's row in the hardware feedback table
  { functions: [0xb, 0x1f, 0x8000_0026], register: 'edx', mask: ALL }, // x2APIC id
  { functions: [0x1a], register: 'eax', mask: ALL }, // core kind: told apart from the rest, see coreKinds()
  { functions: [0x8000_001e], register: 'eax', mask: ALL }, // extended APIC id
  { functions: [0x8000_001e], register: 'ebx', mask: ALL }, // core id
  { functions: [0x8000_001e], register: 'ecx', mask: ALL }, // node id
  // Centaur and Zhaoxin: temperature, voltage and clock of the moment.
  ...REGISTERS.map((register) => ({ functions: [0xc000_0002, 0xc000_0003, 0xc000_0004], register, mask: ALL })),
];

/**
 * A warning when the CPUs differ in more than their own ids, since whoever picks another one gets another host; it
 * names the leaves, and says so when the host is a hybrid one. Undefined when the CPUs are alike.
 */
export function cpuDifferences(dump: HostDump): string | undefined {
  const [first, ...others] = dump.cpus;
  if (first === undefined) return undefined;
  const reference = answersOf(first);
  const leaves = new Set<number>();
  const differing = others.filter((cpu) => {
    const different = differingLeaves(reference, answersOf(cpu));
    for (const leaf of different) leaves.add(leaf);
    return different.size > 0;
  });
  const kinds = coreKinds(dump);
  if (differing.length === 0 && kinds.size < 2) return undefined;
  return sentence(dump, differing, leaves, kinds);
}

function sentence(dump: HostDump, differing: DumpCpu[], leaves: Set<number>, kinds: Map<number, string>): string {
  const parts: string[] = [];
  if (differing.length > 0) {
    const names = [...leaves].sort((a, b) => a - b).map(leafName);
    const who = `${differing.length} of ${dump.cpus.length} CPUs (first ${differing[0]?.label})`;
    parts.push(`${who} differ from ${dump.cpus[0]?.label} in more than their own ids: CPUID ${names.join(', ')}`);
  }
  if (kinds.size > 1) {
    const list = [...kinds].map(([kind, label]) => `${kind.toString(16)}${KIND_NAMES[kind] ?? ''} (first ${label})`);
    parts.push(`a hybrid host, CPUID 1AH has the core kinds ${list.join(' and ')}`);
  }
  return parts.join('; ');
}

/** A CPU's answers, without what lies beyond its own maximum leaves: that repeats other leaves, ids and all. */
function answersOf(cpu: DumpCpu): Map<string, CpuidRow> {
  const answers = new Map(cpu.rows.map((row) => [rowKey(row), row]));
  for (const [key, row] of answers) {
    const base = (row.function & 0xf000_0000) >>> 0;
    const maximum = answers.get(rowKey({ ...row, function: base, index: 0 }))?.eax;
    if (maximum !== undefined && row.function > maximum && row.function !== base) answers.delete(key);
  }
  return answers;
}

/** The leaves in which two CPUs differ, apart from the per-CPU fields. */
function differingLeaves(a: Map<string, CpuidRow>, b: Map<string, CpuidRow>): Set<number> {
  const leaves = new Set<number>();
  for (const [key, row] of a) {
    const other = b.get(key);
    if (other === undefined || differ(row, other)) leaves.add(row.function);
  }
  for (const [key, row] of b) if (!a.has(key)) leaves.add(row.function);
  return leaves;
}

function differ(a: CpuidRow, b: CpuidRow): boolean {
  return REGISTERS.some((register) => ((a[register] ^ b[register]) & ~perCpuMask(a.function, register)) !== 0);
}

function perCpuMask(fn: number, register: Register): number {
  return PER_CPU_FIELDS.find((field) => field.register === register && field.functions.includes(fn))?.mask ?? 0;
}

const KIND_NAMES: Readonly<Record<number, string>> = { 32: ' Atom', 64: ' Core' };

/** The core kinds of CPUID.1AH:EAX[31:24] that occur, each with the first CPU that has it. */
function coreKinds(dump: HostDump): Map<number, string> {
  const kinds = new Map<number, string>();
  for (const cpu of dump.cpus) {
    const kind = (cpu.rows.find((row) => row.function === 0x1a)?.eax ?? 0) >>> 24;
    if (!kinds.has(kind)) kinds.set(kind, cpu.label);
  }
  return kinds;
}

/** In SDM notation: `4`, `1AH`. */
function leafName(leaf: number): string {
  return `${leaf.toString(16).toUpperCase()}${leaf > 9 ? 'H' : ''}`;
}
