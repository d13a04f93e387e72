import type { CpuidEntry2, CpuidRow } from './entry.js';

/** The formats that the readers know. `capture` is a recording of a real KVM on a real or emulated host. */
export type FormatName =
  | 'cpuid-r'
  | 'aida64'
  | 'libcpuid'
  | 'libvirt'
  | 'capture'
  | 'entries'
  | 'kvm_cpuid2'
  | 'strace';

/** What one logical CPU answered. A function or sub-leaf without a row is *absent*, which is not the same as zero. */
export interface DumpCpu {
  /** What the dump calls it (`CPU 0`, `APIC 4`), for messages. */
  readonly label: string;
  readonly rows: readonly CpuidRow[];
}

/** A host as a dump describes it: one or more logical CPUs. */
export interface HostDump {
  readonly format: FormatName;
  readonly cpus: readonly DumpCpu[];
  /** The parsed document behind the rows, for formats that say more than CPUID (captures). */
  readonly document?: Readonly<Record<string, unknown>>;
  /** MSRs by index, for formats that record some. */
  readonly msrs?: ReadonlyMap<number, bigint>;
  /** Remarks for the user, e.g. that the CPUs differ in more than their own ids. */
  readonly warnings: readonly string[];
}

/** One table that a VMM passes to KVM_SET_CPUID2. */
export interface PayloadTable {
  /** `vcpu 0`, or empty when there is only one. */
  readonly label: string;
  readonly entries: readonly CpuidEntry2[];
  /** `struct kvm_cpuid2.padding`, where the source has it. */
  readonly headPadding?: number;
}

/** What a VMM wants to set: one table, or one per vCPU. */
export interface Payload {
  readonly format: FormatName;
  readonly tables: readonly PayloadTable[];
  readonly warnings: readonly string[];
}
