import { exitCode } from '../emu/svm/exit-rows.js';
import { GUEST_EXIT } from '../kvm/guest-run.js';

/** What KVM does about an exit (`svm_exit_handlers[]`), as common code knows it. Exits without a row are unexpected. */
// biome-ignore format: one row per fact
const HANDLER_ROWS: readonly (readonly [exit: string, kind: keyof typeof GUEST_EXIT, handler: string])[] = [
  ['CR0_READ', 'CR_READ', 'cr_interception'],
  ['CR3_READ', 'CR_READ', 'cr_interception'],
  ['CR4_READ', 'CR_READ', 'cr_interception'],
  ['CR8_READ', 'CR_READ', 'cr_interception'],
  ['CR0_WRITE', 'CR_WRITE', 'cr_interception'],
  ['CR3_WRITE', 'CR_WRITE', 'cr_interception'],
  ['CR4_WRITE', 'CR_WRITE', 'cr_interception'],
  ['CR8_WRITE', 'CR_WRITE', 'cr8_write_interception'],
  ['CR0_SEL_WRITE', 'CR_WRITE', 'cr_interception'],
  ['EXCP1', 'EXCEPTION', 'db_interception'],
  ['EXCP6', 'EXCEPTION', 'ud_interception'],
  ['EXCP14', 'EXCEPTION', 'pf_interception'],
  ['EXCP17', 'EXCEPTION', 'ac_interception'],
  ['EXCP18', 'HANDLED', 'mc_interception'],
  ['INTR', 'INTERRUPT', 'intr_interception'],
  ['NMI', 'NMI', 'nmi_interception'],
  ['VINTR', 'HANDLED', 'interrupt_window_interception'],
  ['CPUID', 'CPUID', 'kvm_emulate_cpuid'],
  ['HLT', 'HLT', 'kvm_emulate_halt'],
  ['MSR', 'MSR_READ', 'msr_interception; EXITINFO1 tells a write'],
  ['SHUTDOWN', 'SHUTDOWN', 'shutdown_interception'],
  ['VMRUN', 'UNDEFINED', 'vmrun_interception, for a guest without SVM'],
  ['VMMCALL', 'HYPERCALL', 'kvm_emulate_hypercall'],
  ['VMLOAD', 'UNDEFINED', 'vmload_interception, for a guest without SVM'],
  ['VMSAVE', 'UNDEFINED', 'vmsave_interception, for a guest without SVM'],
  ['STGI', 'UNDEFINED', 'stgi_interception, for a guest without SVM'],
  ['CLGI', 'UNDEFINED', 'clgi_interception, for a guest without SVM'],
  ['MONITOR', 'NOTHING', 'kvm_emulate_monitor'],
  ['MWAIT', 'NOTHING', 'kvm_emulate_mwait'],
  ['XSETBV', 'XSETBV', 'kvm_emulate_xsetbv'],
  ['NPF', 'NESTED_FAULT', 'npf_interception'],
  ['INVALID', 'ENTRY_FAILED', 'svm_handle_exit(): KVM_EXIT_FAIL_ENTRY'],
];

const kinds = new Map(HANDLER_ROWS.map(([exit, kind]) => [exitCode(exit), GUEST_EXIT[kind]]));

/** By exit code. */
export function handlerOf(code: number): number {
  return kinds.get(code) ?? GUEST_EXIT.UNEXPECTED;
}
