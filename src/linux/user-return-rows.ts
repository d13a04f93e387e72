import { inRange, type KernelLine } from '../cpuid/kernel-line.js';
import { msrNamed } from '../emu/msr-rows.js';

/** Which MSRs are user-return MSRs, and what TDX has to do with them. */
export interface UserReturnRow {
  readonly msr: string;
  readonly vendor: 'vmx' | 'svm';
  readonly since?: KernelLine;
  /** Bits of the guest's value that never reach hardware where the host kernel has RTM. */
  readonly kept?: bigint;
  readonly source: string;
}

// biome-ignore format: one row per fact
export const USER_RETURN_ROWS: readonly UserReturnRow[] = [
  { msr: 'IA32_FMASK', vendor: 'vmx', source: 'vmx_uret_msrs_list[]' },
  { msr: 'IA32_LSTAR', vendor: 'vmx', source: 'vmx_uret_msrs_list[]' },
  { msr: 'IA32_CSTAR', vendor: 'vmx', source: 'vmx_uret_msrs_list[]: for emulation only, never loaded' },
  { msr: 'IA32_EFER', vendor: 'vmx', source: 'vmx_uret_msrs_list[]' },
  { msr: 'IA32_TSC_AUX', vendor: 'vmx', source: 'vmx_uret_msrs_list[]' },
  { msr: 'IA32_STAR', vendor: 'vmx', source: 'vmx_uret_msrs_list[]' },
  { msr: 'IA32_TSX_CTRL', vendor: 'vmx', kept: 2n, source: 'vmx_uret_msrs_list[]; vmx_vcpu_create(): TSX_CTRL_CPUID_CLEAR would change CPUID under the host' },
  { msr: 'IA32_TSC_AUX', vendor: 'svm', source: 'svm_hardware_setup(): tsc_aux_uret_slot' },
];

/** The MSRs of a vendor module, in the kernel's order. */
export function userReturnRows(vendor: UserReturnRow['vendor'], line: KernelLine): readonly UserReturnRow[] {
  return USER_RETURN_ROWS.filter((row) => row.vendor === vendor && inRange(line, row.since));
}

/** A user-return MSR that the TDX module leaves with a fixed value when a TD exits. */
export interface TdxUserReturnRow {
  readonly msr: string;
  readonly value: bigint;
}

/** `tdx_uret_msrs[]` of `arch/x86/kvm/vmx/tdx.c`. */
export const TDX_USER_RETURN_ROWS: readonly TdxUserReturnRow[] = [
  { msr: 'IA32_FMASK', value: 0x2_0200n },
  { msr: 'IA32_STAR', value: 0n },
  { msr: 'IA32_LSTAR', value: 0n },
  { msr: 'IA32_TSC_AUX', value: 0n },
];

/**
 * How KVM keeps its cache true around TDH.VP.ENTER:
 *
 * - `after-exit` (6.16) tells the cache the fixed values when the guest's context is left, whether or not the module has
 *   written them: an exit that the module only pretends leaves a wrong `curr`, and the restore is skipped;
 * - `before-entry` (6.19, "KVM: TDX: Explicitly set user-return MSRs that *may* be clobbered by the TDX-Module") writes
 *   them to hardware first, so that both cases agree.
 */
export type TdxUserReturnRule = 'after-exit' | 'before-entry';

/** The rule of a kernel line. 6.18 has the first one; 7.1 is the first modelled line with the second. */
export function tdxUserReturnRule(line: KernelLine): TdxUserReturnRule {
  return inRange(line, '7.1') ? 'before-entry' : 'after-exit';
}

export const msrIndex = (name: string): number => msrNamed(name).index;
