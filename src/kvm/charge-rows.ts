/**
 * What KVM's own code costs where it is no machine code, in core cycles: [cycles, how it is known, remark]. World switches
 * and the instructions that the kernel executes for real (CPUID, RDMSR, WRMSR, XSETBV) are charged as what they are, from
 * the CPU's own table; these rows are the C code around them.
 */
export type ChargeRow = readonly [cycles: number, kind: 'input' | 'estimate', remark: string];

/**
 * VM exit and entry were derived from the published round trip of VMCALL (1181 cycles); `exit.dispatch` and `exit.hypercall`
 * are what is left of it beside KVM's accesses to the VMCS. So it is an input. Everything else is estimated, and CPUID exits
 * and whole ioctls are predictions.
 */
// biome-ignore format: one row per fact
export const CHARGE_ROWS = {
  'exit.dispatch': [20, 'input', 'vcpu_run() and the vendor\'s exit handler table, once per exit: what VMCALL leaves'],
  'exit.hypercall': [10, 'input', '____kvm_emulate_hypercall(): the rest of it'],
  'exit.cpuid': [40, 'estimate', 'kvm_emulate_cpuid(), without the search'],
  'exit.cpuid.scan': [3, 'estimate', 'cpuid_entry2_find(): per entry that it looks at'],
  'exit.msr': [120, 'estimate', 'kvm_emulate_rdmsr(), kvm_emulate_wrmsr(): two levels of switch statements'],
  'exit.cr': [150, 'estimate', 'handle_cr()'],
  'exit.inject': [60, 'estimate', 'kvm_queue_exception(), kvm_inject_exception()'],
  'exit.page': [1800, 'estimate', 'kvm_mmu_page_fault(): a page is mapped'],
  'exit.mmio': [900, 'estimate', 'x86_emulate_instruction()'],
  'exit.other': [40, 'estimate', 'every other handler'],
  'run.ioctl': [210, 'estimate', 'entry_SYSCALL_64, sys_ioctl(), kvm_vcpu_ioctl(), without SYSCALL and SYSRET'],
  'run.load': [330, 'estimate', 'vcpu_load(), kvm_load_guest_fpu(), srcu, entry checks'],
  'run.put': [330, 'estimate', 'kvm_put_guest_fpu(), vcpu_put()'],
  'cpuid.ioctl': [600, 'estimate', 'KVM_GET_SUPPORTED_CPUID and KVM_SET_CPUID2: allocation, copying of the header'],
  'cpuid.get.entry': [60, 'estimate', '__do_cpuid_func(), copy_to_user(): per entry, without CPUID itself'],
  'cpuid.set.entry': [35, 'estimate', 'copy_from_user(), kvm_check_cpuid(), kvm_update_cpuid_runtime(): per entry'],
  'cpuid.set.after': [900, 'estimate', 'kvm_vcpu_after_set_cpuid(): capabilities, reserved bits, MSR bitmaps'],
  'cpuid.verify.entry': [45, 'estimate', 'paranoid mode, a pass of its own: per entry'],
  'cpuid.verify.combined': [30, 'estimate', 'paranoid mode while capabilities are set up: per entry, which is at hand already'],
} as const satisfies Readonly<Record<string, ChargeRow>>;

export type ChargeKey = keyof typeof CHARGE_ROWS;
