/** Between the two shapes of CPUID data: rows (what a CPU answers) and entries (what KVM exchanges). */

import type { HostDump, Payload, PayloadTable } from '../dump.js';
import { type CpuidEntry2, type CpuidRow, KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../entry.js';
import { kvmIndexedFunctions } from '../indexed.js';
import { NEWEST_KERNEL } from '../kernel-line.js';
import { DumpBuilder } from './dump-builder.js';

const kvmIndexed = kvmIndexedFunctions(NEWEST_KERNEL);

/** A row from its six words in the order of every dump: function, index, EAX, EBX, ECX, EDX. */
export function rowFromWords(words: readonly number[]): CpuidRow {
  const [fn = 0, index = 0, eax = 0, ebx = 0, ecx = 0, edx = 0] = words;
  return { function: fn, index, eax, ebx, ecx, edx };
}

/** An entry from its seven to ten words in the order of the struct; zero padding is left out. */
export function entryFromWords(words: readonly number[]): CpuidEntry2 {
  const [fn = 0, index = 0, flags = 0, eax = 0, ebx = 0, ecx = 0, edx = 0, p0 = 0, p1 = 0, p2 = 0] = words;
  const entry = { function: fn, index, flags, eax, ebx, ecx, edx };
  return p0 || p1 || p2 ? { ...entry, padding: [p0, p1, p2] } : entry;
}

/** The row as an entry, with the flag that a VMM would set for its function. */
export function entryFromRow(row: CpuidRow): CpuidEntry2 {
  const { function: fn, index, eax, ebx, ecx, edx } = row;
  const flags = kvmIndexed.has(fn) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
  return { function: fn, index, flags, eax, ebx, ecx, edx };
}

/** The entry without its flags and padding. */
export function rowFromEntry(entry: CpuidEntry2): CpuidRow {
  const { function: fn, index, eax, ebx, ecx, edx } = entry;
  return { function: fn, index, eax, ebx, ecx, edx };
}

/** What a VMM would set if it copied the host: one table per logical CPU. */
export function payloadFromHost(dump: HostDump): Payload {
  const tables = dump.cpus.map((cpu, n) => ({
    label: dump.cpus.length === 1 ? '' : `vcpu ${n}`,
    entries: cpu.rows.map(entryFromRow),
  }));
  return { format: dump.format, tables, warnings: dump.warnings };
}

/**
 * A host whose CPUs answer what the tables say: one logical CPU per table.
 *
 * @throws FormatError when all tables are empty
 */
export function hostFromPayload(payload: Payload, name: string): HostDump {
  const dump = new DumpBuilder(name);
  for (const warning of payload.warnings) dump.remarks.add(warning);
  payload.tables.forEach((table, n) => {
    dump.startCpu(`CPU ${n}`, name);
    addTable(dump, table, name);
  });
  return dump.build(payload.format, 'at least one entry');
}

function addTable(dump: DumpBuilder, table: PayloadTable, name: string): void {
  const where = table.label === '' ? name : `${name} (${table.label})`;
  for (const entry of table.entries) dump.add(rowFromEntry(entry), where);
}
