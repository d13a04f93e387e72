import type { KernelLine } from '../cpuid/kernel-line.js';

/**
 * What KVM brings back after a TD has run: for each state that the TDX module does not leave as the host had it, when and
 * how. User-return MSRs are in `linux/user-return-rows.ts`. A state that is in neither table is not brought back.
 */
export interface RestoreRow {
  readonly state: string;
  /** Right after TDH.VP.ENTER; or when the vCPU leaves guest context (`vcpu_put()`). */
  readonly point: 'after-exit' | 'leave-guest';
  readonly since?: KernelLine;
  readonly source: string;
}

// biome-ignore format: one row per fact
export const TD_RESTORE_ROWS: readonly RestoreRow[] = [
  { state: 'XCR0', point: 'after-exit', source: 'tdx_load_host_xsave_state()' },
  { state: 'IA32_XSS', point: 'after-exit', source: 'tdx_load_host_xsave_state()' },
  { state: 'PKRU', point: 'after-exit', source: 'tdx_load_host_xsave_state()' },
  { state: 'IA32_DEBUGCTL', point: 'after-exit', source: 'tdx_vcpu_run(): if the host has bits that the module does not preserve' },
  { state: 'DR{0-3}', point: 'after-exit', source: 'vcpu_enter_guest(): hw_breakpoint_restore()' },
  { state: 'DR7', point: 'after-exit', source: 'vcpu_enter_guest(): hw_breakpoint_restore()' },
  { state: 'IA32_XFD', point: 'leave-guest', source: 'kvm_put_guest_fpu(): xfd_update_state()' },
  { state: 'IA32_XFD_ERR', point: 'leave-guest', source: 'kvm_put_guest_fpu()' },
  { state: 'IA32_KERNEL_GS_BASE', point: 'leave-guest', source: 'tdx_prepare_switch_to_host()' },
  // Extended state that the module resets is the task's own: its values are in the FPU buffer, and XRSTORS brings them back.
  { state: 'IA32_U_CET', point: 'leave-guest', source: 'kvm_put_guest_fpu(): XRSTORS' },
  { state: 'IA32_PL3_SSP', point: 'leave-guest', source: 'kvm_put_guest_fpu(): XRSTORS' },
];

/** The rows of a kernel line, with ranges written out. */
export function restoreRows(
  point: RestoreRow['point'],
  rows: readonly RestoreRow[] = TD_RESTORE_ROWS,
): readonly string[] {
  return rows.filter((row) => row.point === point).flatMap(({ state }) => expand(state));
}

function expand(state: string): readonly string[] {
  const range = /^(.*)\{(\d+)-(\d+)\}$/.exec(state);
  if (!range) return [state];
  const [, stem = '', first, last] = range;
  return Array.from({ length: Number(last) - Number(first) + 1 }, (_, at) => `${stem}${Number(first) + at}`);
}
