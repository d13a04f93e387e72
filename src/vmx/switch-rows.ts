import type { KernelLine } from '../cpuid/kernel-line.js';
import type { Defect } from '../kvm/policy.js';

/**
 * How KVM keeps a guest's MSRs and the host's apart under VMX. What has no row is intercepted, and common code emulates it
 * or raises #GP.
 */
export interface SwitchRow {
  readonly msr: string;
  /**
   * - `shadow` intercepted; the guest's value never reaches hardware;
   * - `vmcs` a field of the guest's area; what the host gets back is the VMCS's business ({@link StateRow} of the silicon);
   * - `manual` WRMSR at the point that the row names, back at its counterpart, where the values differ;
   * - `user-return` loaded when the vCPU is, restored on the way to user mode;
   * - `never-loaded` has a user-return slot, but for emulation only;
   * - `none` a command: nothing stays; `nobody`: nothing is saved or restored (a defect).
   */
  readonly by: 'shadow' | 'vmcs' | 'manual' | 'user-return' | 'never-loaded' | 'none' | 'nobody';
  /** Of `manual` rows: `run` before each entry and after each exit, `load` while the vCPU is loaded (until its put). */
  readonly point: 'run' | 'load' | null;
  /** When the guest reaches hardware without an exit. `used`: once it has written something else than zero. */
  readonly passes: 'always' | 'never' | 'read' | 'used';
  /** What the guest must have, by its CPUID: one of them; '' always. */
  readonly needs: string;
  /** Bits that may be set, as in the silicon's MSR table; `canonical`: any canonical address. */
  readonly allowed: string;
  readonly since?: KernelLine;
  readonly until?: KernelLine;
  /** Only in a kernel with that defect, and then instead of the other rows of the MSR. */
  readonly defect?: Defect;
  readonly source: string;
}

type More = Partial<Pick<SwitchRow, 'point' | 'needs' | 'allowed' | 'since' | 'until' | 'defect'>>;

function row(
  msr: string,
  by: SwitchRow['by'],
  passes: SwitchRow['passes'],
  source: string,
  more: More = {},
): SwitchRow {
  return { msr, by, passes, source, point: null, needs: '', allowed: '63:0', ...more };
}

const PASSED = 'vmx_vcpu_create(): vmx_disable_intercept_for_msr()';

// biome-ignore format: one row per fact
export const SWITCH_ROWS: readonly SwitchRow[] = [
  row('IA32_FS_BASE', 'vmcs', 'always', PASSED, { allowed: 'canonical' }),
  row('IA32_GS_BASE', 'vmcs', 'always', PASSED, { allowed: 'canonical' }),
  row('IA32_KERNEL_GS_BASE', 'manual', 'always', 'vmx_prepare_switch_to_guest(), vmx_prepare_switch_to_host(); the host has gsbase of the task', { point: 'load', allowed: 'canonical' }),
  row('IA32_SYSENTER_CS', 'vmcs', 'always', PASSED, { allowed: '31:0' }),
  row('IA32_SYSENTER_ESP', 'vmcs', 'always', PASSED, { allowed: 'canonical' }),
  row('IA32_SYSENTER_EIP', 'vmcs', 'always', PASSED, { allowed: 'canonical' }),
  row('IA32_EFER', 'vmcs', 'never', 'vmx_set_efer(); update_transition_efer(): entry and exit controls'),
  row('IA32_PAT', 'vmcs', 'never', 'vmx_set_msr(): GUEST_IA32_PAT; the exit loads HOST_IA32_PAT', { allowed: 'pat' }),
  row('IA32_DEBUGCTL', 'vmcs', 'never', 'vmx_set_msr(): GUEST_IA32_DEBUGCTL; an exit clears it and vmx_vcpu_run() writes host_debugctlmsr back', { allowed: '1:0' }),
  row('IA32_STAR', 'user-return', 'never', 'vmx_uret_msrs_list[]; vmx_setup_uret_msrs()'),
  row('IA32_LSTAR', 'user-return', 'never', 'vmx_uret_msrs_list[]; vmx_setup_uret_msrs()', { allowed: 'canonical' }),
  row('IA32_FMASK', 'user-return', 'never', 'vmx_uret_msrs_list[]; vmx_setup_uret_msrs()', { allowed: '31:0' }),
  row('IA32_CSTAR', 'never-loaded', 'never', 'vmx_uret_msrs_list[]: never loaded into hardware', { allowed: 'canonical' }),
  row('IA32_TSC_AUX', 'user-return', 'never', 'vmx_uret_msrs_list[]; vmx_setup_uret_msrs()', { needs: 'RDTSCP RDPID', allowed: '31:0' }),
  row('IA32_TSX_CTRL', 'user-return', 'never', 'vmx_uret_msrs_list[]; vmx_vcpu_create(): CPUID_CLEAR never reaches hardware', { allowed: '1:0' }),
  row('IA32_UMWAIT_CONTROL', 'shadow', 'never', 'vmx_get_msr(), vmx_set_msr(): msr_ia32_umwait_control; not switched since bf09fb6cba4f (5.8)', { needs: 'WAITPKG', allowed: '31:2 0' }),
  row('IA32_UMWAIT_CONTROL', 'nobody', 'always', 'counterfactual: nobody shadows it', { needs: 'WAITPKG', allowed: '31:2 0', defect: 'umwait-passthrough' }),
  row('IA32_SPEC_CTRL', 'manual', 'used', 'vmx_spec_ctrl_restore_host(), vmenter.S; passed through once written (vmx_set_msr())', { point: 'run', needs: 'SPEC_CTRL AMD_STIBP AMD_IBRS AMD_SSBD INTEL_STIBP SPEC_CTRL_SSBD', allowed: '10 7:0' }),
  row('IA32_PRED_CMD', 'none', 'never', 'vmx_set_msr()', { needs: 'SPEC_CTRL AMD_IBPB', allowed: '0' }),
  row('IA32_XFD', 'manual', 'used', 'fpu_swap_kvm_fpstate(); vmx_set_msr() passes it through once it is written', { point: 'load', needs: 'XFD', allowed: '18' }),
  row('IA32_XFD_ERR', 'manual', 'never', 'fpu_sync_guest_vmexit_xfd_state()', { point: 'load', needs: 'XFD', allowed: '18' }),
  row('IA32_S_CET', 'vmcs', 'always', 'vmx_recalc_msr_intercepts(); VM_ENTRY_LOAD_CET_STATE', { needs: 'SHSTK IBT', allowed: '63:10 5:0', since: '6.18' }),
  row('IA32_INTERRUPT_SSP_TABLE_ADDR', 'vmcs', 'never', 'vmx_set_msr(): GUEST_INTR_SSP_TABLE', { needs: 'SHSTK', allowed: 'canonical', since: '6.18' }),
  row('IA32_U_CET', 'manual', 'always', 'vmx_recalc_msr_intercepts(); guest FPU', { point: 'load', needs: 'SHSTK IBT', allowed: '63:10 5:0', since: '6.18' }),
  row('IA32_PL0_SSP', 'manual', 'always', 'vmx_recalc_msr_intercepts(); guest FPU', { point: 'load', needs: 'SHSTK', allowed: 'canonical', since: '6.18' }),
  row('IA32_PL1_SSP', 'manual', 'always', 'vmx_recalc_msr_intercepts(); guest FPU', { point: 'load', needs: 'SHSTK', allowed: 'canonical', since: '6.18' }),
  row('IA32_PL2_SSP', 'manual', 'always', 'vmx_recalc_msr_intercepts(); guest FPU', { point: 'load', needs: 'SHSTK', allowed: 'canonical', since: '6.18' }),
  row('IA32_PL3_SSP', 'manual', 'always', 'vmx_recalc_msr_intercepts(); guest FPU', { point: 'load', needs: 'SHSTK', allowed: 'canonical', since: '6.18' }),
];
