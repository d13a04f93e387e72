import { inRange, type KernelLine } from '../cpuid/kernel-line.js';

/** One parameter of a kvm module that KVM's CPUID answers depend on. */
export interface ParameterRow {
  readonly module: 'kvm' | 'kvm_intel' | 'kvm_amd';
  readonly name: string;
  /** The kernel's default. */
  readonly default: number;
  readonly since?: KernelLine;
  readonly meaning: string;
}

// biome-ignore format: one row per fact
export const PARAMETER_ROWS: readonly ParameterRow[] = [
  { module: 'kvm', name: 'enable_pmu', default: 1, meaning: 'virtual PMU' },
  { module: 'kvm', name: 'tdp_mmu', default: 1, meaning: 'the TDP MMU; no effect on CPUID' },
  { module: 'kvm', name: 'mitigate_smt_rsb', default: 0, meaning: 'no exits may be disabled on CPUs with the SMT RSB bug' },
  { module: 'kvm_intel', name: 'ept', default: 1, meaning: 'extended page tables' },
  { module: 'kvm_intel', name: 'nested', default: 1, meaning: 'nested VMX' },
  { module: 'kvm_intel', name: 'unrestricted_guest', default: 1, meaning: 'real mode without emulation' },
  { module: 'kvm_intel', name: 'sgx', default: 1, meaning: 'SGX for guests' },
  { module: 'kvm_intel', name: 'cet', default: 1, since: '7.1', meaning: 'CET for guests' },
  { module: 'kvm_intel', name: 'pt_mode', default: 0, meaning: '1: Intel PT for guests' },
  { module: 'kvm_intel', name: 'allow_smaller_maxphyaddr', default: 0, meaning: 'guests with a smaller MAXPHYADDR' },
  { module: 'kvm_intel', name: 'enable_mediated_pmu', default: 0, since: '7.1', meaning: 'mediated PMU; excludes PEBS' },
  { module: 'kvm_intel', name: 'tdx', default: 0, since: '6.18', meaning: 'trust domains' },
  { module: 'kvm_amd', name: 'npt', default: 1, meaning: 'nested page tables' },
  { module: 'kvm_amd', name: 'nested', default: 1, meaning: 'nested SVM' },
  { module: 'kvm_amd', name: 'nrips', default: 1, meaning: 'next RIP save' },
  { module: 'kvm_amd', name: 'vls', default: 1, meaning: 'virtual VMLOAD and VMSAVE' },
  { module: 'kvm_amd', name: 'vgif', default: 1, meaning: 'virtual GIF' },
  { module: 'kvm_amd', name: 'lbrv', default: 1, meaning: 'LBR virtualization' },
  { module: 'kvm_amd', name: 'tsc_scaling', default: 1, meaning: 'TSC scaling' },
  { module: 'kvm_amd', name: 'vnmi', default: 1, since: '6.12', meaning: 'virtual NMI' },
  { module: 'kvm_amd', name: 'gmet', default: 1, since: '7.3', meaning: 'guest mode execute trap' },
  { module: 'kvm_amd', name: 'sev', default: 1, meaning: 'SEV' },
  { module: 'kvm_amd', name: 'sev_es', default: 1, meaning: 'SEV-ES' },
  { module: 'kvm_amd', name: 'sev_snp', default: 1, since: '6.12', meaning: 'SEV-SNP' },
];

/** The rows of a kernel line, by `module.name`. */
export function parameterRows(line: KernelLine): ReadonlyMap<string, ParameterRow> {
  return new Map(
    PARAMETER_ROWS.filter((row) => inRange(line, row.since)).map((row) => [`${row.module}.${row.name}`, row]),
  );
}

/** Reads a parameter's value as the kernel prints or takes it (`Y`, `N`, `1`, `0`, `0x10`); `null`: not a value. */
export function parseParameter(text: string): number | null {
  if (/^(y|yes|on|true)$/i.test(text)) return 1;
  if (/^(n|no|off|false)$/i.test(text)) return 0;
  return /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) >>> 0 : null;
}
