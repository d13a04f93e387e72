import type { KernelLine } from '../cpuid/kernel-line.js';

/**
 * How KVM keeps a guest's MSRs and the host's apart under SVM. What has no row is intercepted, and the guest's value never
 * reaches hardware.
 */
export interface SwitchRow {
  readonly msr: string;
  /**
   * - `vmload` VMLOAD and VMSAVE around VMRUN, with the host's values in the per-CPU save area;
   * - `vmcb` VMRUN and #VMEXIT themselves;
   * - `user-return` loaded when the vCPU is, restored on the way to user mode;
   * - `manual` WRMSR before VMRUN and after #VMEXIT, where the values differ;
   * - `nobody` the guest's value waits in the VMCB, and the guest runs with the host's;
   * - `none` a command: nothing stays.
   */
  readonly by: 'vmload' | 'vmcb' | 'user-return' | 'manual' | 'nobody' | 'none';
  /** When the row counts; several rows of one MSR exclude each other. */
  readonly when: SwitchCondition;
  /** When the guest reads and writes hardware without an exit. */
  readonly passes: PassCondition;
  readonly since?: KernelLine;
  readonly until?: KernelLine;
  readonly source: string;
}

export type SwitchCondition = '' | 'lbr' | 'no-lbr' | 'v-spec-ctrl' | 'no-v-spec-ctrl';
/** `used`: once the guest has written something else than zero. */
export type PassCondition = 'always' | 'never' | 'amd-guest' | 'lbr' | 'spec-ctrl' | 'used' | 'ibpb' | 'shstk';

const ALWAYS_PASSED = 'svm_vcpu_init_msrpm(): direct_access_msrs[]';

function row(
  msr: string,
  by: SwitchRow['by'],
  passes: PassCondition,
  source: string,
  more: { when?: SwitchCondition; since?: KernelLine; until?: KernelLine } = {},
): SwitchRow {
  return { msr, by, passes, source, when: '', ...more };
}

// biome-ignore format: one row per fact
export const SWITCH_ROWS: readonly SwitchRow[] = [
  row('IA32_STAR', 'vmload', 'always', ALWAYS_PASSED),
  row('IA32_LSTAR', 'vmload', 'always', ALWAYS_PASSED),
  row('IA32_CSTAR', 'vmload', 'always', ALWAYS_PASSED),
  row('IA32_FMASK', 'vmload', 'always', ALWAYS_PASSED),
  row('IA32_FS_BASE', 'vmload', 'always', ALWAYS_PASSED),
  row('IA32_GS_BASE', 'vmload', 'always', ALWAYS_PASSED),
  row('IA32_KERNEL_GS_BASE', 'vmload', 'always', ALWAYS_PASSED),
  row('IA32_SYSENTER_CS', 'vmload', 'always', ALWAYS_PASSED),
  row('IA32_SYSENTER_ESP', 'vmload', 'amd-guest', 'init_vmcb_after_set_cpuid(): an Intel guest wants 64 bits'),
  row('IA32_SYSENTER_EIP', 'vmload', 'amd-guest', 'init_vmcb_after_set_cpuid()'),
  row('IA32_EFER', 'vmcb', 'never', 'svm_set_efer(): with SVME, which the guest does not see'),
  row('IA32_PAT', 'vmcb', 'never', 'svm_set_msr(): vmcb01->save.g_pat, with nested paging'),
  row('IA32_TSC_AUX', 'user-return', 'never', 'svm_prepare_switch_to_guest(): tsc_aux_uret_slot'),
  row('IA32_DEBUGCTL', 'vmcb', 'lbr', 'svm_update_lbrv(): LBR virtualization is on while the guest records branches', { when: 'lbr' }),
  row('IA32_DEBUGCTL', 'nobody', 'never', 'svm_set_msr(): before 433265870ab3', { when: 'no-lbr', until: '6.12' }),
  row('IA32_DEBUGCTL', 'manual', 'never', '433265870ab3: svm_vcpu_run() switches it where hardware does not', { when: 'no-lbr', since: '6.18' }),
  row('MSR_LASTBRANCHFROMIP', 'vmcb', 'lbr', 'svm_recalc_lbr_msr_intercepts()', { when: 'lbr' }),
  row('MSR_LASTBRANCHTOIP', 'vmcb', 'lbr', 'svm_recalc_lbr_msr_intercepts()', { when: 'lbr' }),
  row('MSR_LASTINTFROMIP', 'vmcb', 'lbr', 'svm_recalc_lbr_msr_intercepts()', { when: 'lbr' }),
  row('MSR_LASTINTTOIP', 'vmcb', 'lbr', 'svm_recalc_lbr_msr_intercepts()', { when: 'lbr' }),
  row('IA32_SPEC_CTRL', 'vmcb', 'spec-ctrl', 'init_vmcb_after_set_cpuid(): V_SPEC_CTRL', { when: 'v-spec-ctrl' }),
  row('IA32_SPEC_CTRL', 'manual', 'used', 'RESTORE_GUEST_SPEC_CTRL, RESTORE_HOST_SPEC_CTRL of vmenter.S', { when: 'no-v-spec-ctrl' }),
  row('IA32_PRED_CMD', 'none', 'ibpb', 'svm_vcpu_after_set_cpuid()'),
  row('IA32_S_CET', 'vmcb', 'shstk', 'svm_recalc_msr_intercepts()', { since: '6.18' }),
];
