import { exitReason } from '../emu/vmx/exit-rows.js';
import { GUEST_EXIT } from '../kvm/guest-run.js';

/** What KVM does about an exit (`kvm_vmx_exit_handlers[]`), as common code knows it. Exits without a row are unexpected. */
// biome-ignore format: one row per fact
const HANDLER_ROWS: readonly (readonly [exit: string, kind: keyof typeof GUEST_EXIT, handler: string])[] = [
  ['EXCEPTION_NMI', 'EXCEPTION', 'handle_exception_nmi'],
  ['EXTERNAL_INTERRUPT', 'INTERRUPT', 'handle_external_interrupt'],
  ['TRIPLE_FAULT', 'SHUTDOWN', 'handle_triple_fault'],
  ['INTERRUPT_WINDOW', 'HANDLED', 'handle_interrupt_window'],
  ['NMI_WINDOW', 'HANDLED', 'handle_nmi_window'],
  ['CPUID', 'CPUID', 'kvm_emulate_cpuid'],
  ['HLT', 'HLT', 'kvm_emulate_halt'],
  ['VMCALL', 'HYPERCALL', 'kvm_emulate_hypercall'],
  ['VMCLEAR', 'UNDEFINED', 'handle_vmx_instruction, for a guest without VMX'],
  ['VMLAUNCH', 'UNDEFINED', 'handle_vmx_instruction'],
  ['VMPTRLD', 'UNDEFINED', 'handle_vmx_instruction'],
  ['VMPTRST', 'UNDEFINED', 'handle_vmx_instruction'],
  ['VMREAD', 'UNDEFINED', 'handle_vmx_instruction'],
  ['VMRESUME', 'UNDEFINED', 'handle_vmx_instruction'],
  ['VMWRITE', 'UNDEFINED', 'handle_vmx_instruction'],
  ['VMXOFF', 'UNDEFINED', 'handle_vmx_instruction'],
  ['VMXON', 'UNDEFINED', 'handle_vmx_instruction'],
  ['CR_ACCESS', 'CR_WRITE', 'handle_cr; the qualification tells a read'],
  ['RDMSR', 'MSR_READ', 'kvm_emulate_rdmsr'],
  ['WRMSR', 'MSR_WRITE', 'kvm_emulate_wrmsr'],
  ['INVALID_GUEST_STATE', 'ENTRY_FAILED', '__vmx_handle_exit()'],
  ['MSR_LOADING', 'ENTRY_FAILED', '__vmx_handle_exit()'],
  ['MWAIT', 'NOTHING', 'kvm_emulate_mwait'],
  ['MONITOR', 'NOTHING', 'kvm_emulate_monitor'],
  ['PAUSE', 'NOTHING', 'handle_pause'],
  ['GDTR_IDTR', 'UNEXPECTED', 'handle_desc: only with emulated UMIP'],
  ['EPT_VIOLATION', 'NESTED_FAULT', 'handle_ept_violation'],
  ['EPT_MISCONFIGURATION', 'UNEXPECTED', 'handle_ept_misconfig: KVM makes them for MMIO only'],
  ['PREEMPTION_TIMER', 'TIMER', 'handle_preemption_timer'],
  ['XSETBV', 'XSETBV', 'kvm_emulate_xsetbv'],
  ['RDRAND', 'UNDEFINED', 'kvm_handle_invalid_op: the guest has no RDRAND'],
  ['RDSEED', 'UNDEFINED', 'kvm_handle_invalid_op'],
  ['SEAMCALL', 'UNDEFINED', 'handle_tdx_instruction: kvm_queue_exception(UD_VECTOR)'],
  ['TDCALL', 'UNDEFINED', 'handle_tdx_instruction'],
  ['MSR_READ_IMM', 'MSR_READ', 'handle_rdmsr_imm'],
  ['MSR_WRITE_IMM', 'MSR_WRITE', 'handle_wrmsr_imm'],
];

const kinds = new Map(HANDLER_ROWS.map(([exit, kind]) => [exitReason(exit), GUEST_EXIT[kind]]));
const table = Int32Array.from({ length: 128 }, (_, reason) => kinds.get(reason) ?? GUEST_EXIT.UNEXPECTED);

/** By basic exit reason. */
export function handlerOf(reason: number): number {
  return table[reason & 0xffff] ?? GUEST_EXIT.UNEXPECTED;
}
