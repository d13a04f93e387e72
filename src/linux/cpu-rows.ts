import type { KernelLine } from '../cpuid/kernel-line.js';

/**
 * What a CPU's registers hold once Linux runs on it, as rows: first what the firmware has left there, then what the kernel
 * writes, in that order. Conditions and values are in the language of `cpuid/expression.ts`, with `cpu`, `node`, `xcr0`
 * and `xss` beside the names that all rows about the host may use.
 *
 * `from` says where a row comes from: `linux` is written by the named function of the kernel, `firmware` is what a BIOS
 * leaves, by the manuals or by the kernel's own comments; `model` is our choice.
 *
 * Left out: performance monitoring and machine-check banks, whose MSRs keep their reset values, and what KVM does when it
 * enables virtualization.
 */
export interface CpuRow {
  /** An MSR, or `CR0`, `CR4`, `XCR0`, `PKRU`. */
  readonly register: string;
  /**
   * What is written: bits by name (`CR0`, `CR4`, `EFER`), a place in memory, or a number. Bits and `also` come on top of
   * what is there.
   */
  readonly bits?: string;
  readonly place?: Place;
  readonly value?: string;
  readonly also?: string;
  /** Bits 63:32. */
  readonly high?: string;
  readonly when: string;
  readonly since?: KernelLine;
  readonly until?: KernelLine;
  readonly from: 'linux' | 'firmware' | 'model';
  readonly note: string;
}

/** Places whose address depends on the CPU or on the layout of memory. */
export type Place =
  | 'perCpu'
  | 'entrySyscall'
  | 'entrySyscallCompat'
  | 'entrySysenterCompat'
  | 'entryStack'
  | 'fredEntry'
  | 'stackDB'
  | 'stackNMI'
  | 'stackDF';

type What = Pick<CpuRow, 'bits' | 'place' | 'value' | 'also' | 'high'>;
type Range = Pick<CpuRow, 'since' | 'until'>;

const rows =
  (from: CpuRow['from']) =>
  (register: string, what: What, when: string, note: string, range: Range = {}): CpuRow => ({
    register,
    ...what,
    when,
    from,
    note,
    ...range,
  });
const linux = rows('linux');
const firmware = rows('firmware');
const model = rows('model');

const ALWAYS = '1';
/** IBRS_ALL: SPEC_CTRL.IBRS is set once and stays (`spectre_v2=` at its default). */
const ENHANCED_IBRS = 'vendor == "intel" && arch_cap_ibrs_all && kernel(SPEC_CTRL) && !mitigations_off';
const FRED = 'kernel(FRED)';
const KERNEL_IBT = 'kernel(IBT) && !cmdline("ibt=off")';

/** Before the kernel starts. Rows of CPUs that have no such register do not count. */
// biome-ignore format: one row per fact
export const FIRMWARE_ROWS: readonly CpuRow[] = [
  model('IA32_ARCH_CAPABILITIES', { also: 'arch_capabilities' }, 'raw_bit(0x7,0,"edx",29)', 'a value that is given as a fact is that of the silicon'),
  firmware('IA32_FEATURE_CONTROL', { value: '1 | (feat_ctl_vmx ? 4 : 0) | (feat_ctl_sgx && raw_bit(0x7,0,"ebx",2) ? 0x60000 : 0)' }, 'vendor != "amd" && vendor != "hygon"', 'locked; VMX outside SMX; SGX with launch control'),
  firmware('IA32_BIOS_SIGN_ID', { value: '0', high: 'microcode' }, 'vendor != "amd" && vendor != "hygon"', 'microcode revision'),
  firmware('IA32_BIOS_SIGN_ID', { value: 'microcode' }, 'vendor == "amd" || vendor == "hygon"', 'microcode revision'),
  firmware('IA32_MTRRCAP', { also: '0x8000' }, 'tdx_platform', 'SEAMRR: the SEAM range is set up'),
  firmware('IA32_MTRR_DEF_TYPE', { value: '0xc06' }, ALWAYS, 'MTRRs on, write-back by default'),
  firmware('MSR_SYSCFG', { also: '0x800000' }, 'sev_bios_enabled', 'MemEncryptionModEn: __sev_platform_init() and early_detect_mem_encrypt() ask for it'),
  firmware('MSR_HWCR', { also: '1' }, 'vendor == "amd" || vendor == "hygon"', 'SMMLOCK, without which SEV is not offered'),
  firmware('MSR_VM_CR', { value: '0x18' }, 'svm_disabled_by_bios', 'SVMDIS, locked'),
];

/** What the kernel writes while it brings a CPU up. */
// biome-ignore format: one row per fact
export const LINUX_ROWS: readonly CpuRow[] = [
  linux('CR0', { bits: 'PE MP ET NE WP AM PG' }, ALWAYS, 'CR0_STATE'),
  linux('EFER', { bits: 'LME' }, ALWAYS, 'startup_32'),
  linux('EFER', { bits: 'SCE' }, ALWAYS, 'secondary_startup_64'),
  linux('EFER', { bits: 'NXE' }, 'kernel(NX)', 'secondary_startup_64'),
  linux('EFER', { bits: 'AUTOIBRS' }, '(vendor == "amd" || vendor == "hygon") && kernel(AUTOIBRS) && !mitigations_off', 'spectre_v2_select_mitigation()', { since: '6.12' }),
  linux('EFER', { bits: 'TCE' }, 'vendor == "amd" && raw_ext_bit(0x80000001,"ecx",17)', 'init_amd()', { since: '6.18' }),
  linux('IA32_PAT', { value: '0x00070106', high: '0x04070506' }, 'kernel(PAT)', 'pat_bp_init(): WB WC UC- UC WB WP UC- WT'),

  linux('CR4', { bits: 'PAE' }, ALWAYS, 'startup_32'),
  linux('CR4', { bits: 'LA57' }, 'kernel(LA57)', 'configure_5level_paging()'),
  linux('CR4', { bits: 'PSE' }, 'kernel(PSE)', 'probe_page_size_mask()'),
  linux('CR4', { bits: 'PGE' }, 'kernel(PGE)', 'probe_page_size_mask()'),
  linux('CR4', { bits: 'MCE' }, 'kernel(MCE)', '__mcheck_cpu_init_generic()'),
  linux('CR4', { bits: 'OSFXSR' }, 'kernel(FXSR)', 'fpu__init_cpu_generic()'),
  linux('CR4', { bits: 'OSXMMEXCPT' }, 'kernel(XMM)', 'fpu__init_cpu_generic()'),
  linux('CR4', { bits: 'OSXSAVE' }, 'kernel(XSAVE)', 'fpu__init_cpu_xstate()'),
  linux('CR4', { bits: 'SMEP' }, 'kernel(SMEP)', 'setup_smep()'),
  linux('CR4', { bits: 'SMAP' }, 'kernel(SMAP)', 'setup_smap()'),
  linux('CR4', { bits: 'UMIP' }, 'kernel(UMIP)', 'setup_umip()'),
  linux('CR4', { bits: 'FSGSBASE' }, 'kernel(FSGSBASE)', 'identify_cpu()'),
  linux('CR4', { bits: 'PKE' }, 'kernel(PKU) && !cmdline(nopku)', 'setup_pku()'),
  linux('CR4', { bits: 'PCIDE' }, 'kernel(PCID) && kernel(PGE)', 'setup_pcid()'),
  linux('CR4', { bits: 'LASS' }, 'kernel(LASS)', 'setup_lass()', { since: '7.1' }),
  linux('CR4', { bits: 'CET' }, KERNEL_IBT, 'setup_cet()', { until: '6.1' }),
  linux('CR4', { bits: 'CET' }, `(${KERNEL_IBT}) || (kernel(SHSTK) && !cmdline(nousershstk))`, 'setup_cet()', { since: '6.12' }),
  linux('IA32_S_CET', { value: '4' }, KERNEL_IBT, 'setup_cet(): CET_ENDBR_EN'),

  linux('XCR0', { value: 'xcr0' }, 'kernel(XSAVE)', 'fpu__init_cpu_xstate()'),
  linux('IA32_XSS', { value: 'xss' }, 'kernel(XSAVES)', 'fpu__init_cpu_xstate()'),
  linux('IA32_XFD', { value: '0x40000' }, 'kernel(XFD) && (xcr0 & 0x40000)', 'fpu__init_cpu_xstate(): XTILEDATA is dynamic'),
  linux('PKRU', { value: '0x55555554' }, 'kernel(PKU) && !cmdline(nopku)', 'pkru_write_default(): init_pkru_value'),

  linux('IA32_GS_BASE', { place: 'perCpu' }, ALWAYS, 'load_direct_gdt(), cpu_init()'),
  linux('IA32_KERNEL_GS_BASE', { value: '0' }, ALWAYS, 'cpu_init(): that of user mode'),
  linux('IA32_TSC_AUX', { value: '(node << 12) | cpu' }, 'kernel(RDTSCP) || kernel(RDPID)', 'setup_getcpu()'),
  linux('IA32_STAR', { value: '0', high: '0x00230010' }, ALWAYS, 'syscall_init(): __USER32_CS, __KERNEL_CS'),
  linux('IA32_LSTAR', { place: 'entrySyscall' }, `!${FRED}`, 'idt_syscall_init()'),
  linux('IA32_CSTAR', { place: 'entrySyscallCompat' }, `!${FRED} && vendor != "intel"`, 'wrmsrl_cstar(): not on Intel'),
  linux('IA32_SYSENTER_CS', { value: '0x10' }, `!${FRED}`, 'idt_syscall_init()'),
  linux('IA32_SYSENTER_ESP', { place: 'entryStack' }, `!${FRED}`, 'idt_syscall_init()'),
  linux('IA32_SYSENTER_EIP', { place: 'entrySysenterCompat' }, `!${FRED}`, 'idt_syscall_init()'),
  linux('IA32_FMASK', { value: '0x257fd5' }, `!${FRED}`, 'idt_syscall_init(): every flag but VM, VIF, VIP'),

  linux('IA32_FRED_CONFIG', { place: 'fredEntry' }, FRED, 'cpu_init_fred_exceptions(): the entry page'),
  linux('IA32_FRED_CONFIG', { also: '0x40' }, FRED, 'cpu_init_fred_exceptions(): a redzone of 64 bytes; interrupts on level 0'),
  linux('IA32_FRED_STKLVLS', { value: '(1 << 2) | (2 << 4) | (3 << 16)', high: '2 << 4' }, FRED, 'cpu_init_fred_rsps(): #DB 1, NMI 2, #MC 2, #DF 3'),
  linux('IA32_FRED_RSP0', { value: '0' }, FRED, 'cpu_init_fred_exceptions(): as the per-CPU cache has it'),
  linux('IA32_FRED_RSP1', { place: 'stackDB' }, FRED, 'cpu_init_fred_rsps()'),
  linux('IA32_FRED_RSP2', { place: 'stackNMI' }, FRED, 'cpu_init_fred_rsps()'),
  linux('IA32_FRED_RSP3', { place: 'stackDF' }, FRED, 'cpu_init_fred_rsps()'),
  linux('CR4', { bits: 'FRED' }, FRED, 'cpu_init_fred_exceptions()'),

  linux('IA32_SPEC_CTRL', { also: '1' }, ENHANCED_IBRS, 'spectre_v2_select_mitigation(): IBRS'),
  linux('IA32_SPEC_CTRL', { also: '0x400' }, `${ENHANCED_IBRS} && kernel(BHI_CTRL) && !(arch_capabilities & 0x100000)`, 'spec_ctrl_bhi_dis(): BHI_DIS_S'),
  linux('IA32_TSX_CTRL', { value: 'kernel(RTM) ? 0 : 3' }, '(arch_capabilities & 0x80) && raw_bit(0x7,0,"edx",29)', 'tsx_disable(), tsx_enable(): RTM_DISABLE and CPUID_CLEAR when TSX is off'),
  linux('IA32_UMWAIT_CONTROL', { value: '100000' }, 'kernel(WAITPKG)', 'umwait_init(): 100000 quanta, C0.2 allowed'),
  linux('MSR_TEST_CTRL', { also: '0x20000000' }, 'vendor == "intel" && (msr(0xcf) & 0x20) && !cmdline("split_lock_detect=off")', '__split_lock_setup(): #AC on split locks'),
  linux('IA32_DEBUGCTL', { also: '4' }, 'vendor == "intel" && kernel(BUS_LOCK_DETECT) && !(msr(0xcf) & 0x20) && !cmdline("split_lock_detect=off")', 'bus_lock_init(): where split locks give no #AC'),
  linux('IA32_DEBUGCTL', { also: '4' }, 'vendor == "amd" && kernel(BUS_LOCK_DETECT) && !cmdline("split_lock_detect=off")', 'bus_lock_init()', { since: '6.18' }),
  linux('IA32_ENERGY_PERF_BIAS', { value: '6' }, 'vendor == "intel" && (leaf(0x6,0,"ecx") & 8)', 'intel_epb_restore(): normal, where the firmware left 0'),
  linux('IA32_APIC_BASE', { also: '0x400' }, 'kernel(X2APIC) && !cmdline(nox2apic)', '__x2apic_enable()'),
  linux('MSR_HWCR', { also: '0x40000000' }, '(vendor == "amd" || vendor == "hygon") && raw_ext_bit(0x80000008,"ebx",1) && !(family == 0x17 && model <= 0x2f)', 'init_amd(): IRPERF_EN, but for erratum 1054'),
  linux('MSR_DE_CFG', { also: '2' }, '(vendor == "amd" || vendor == "hygon") && family >= 0x10 && kernel(XMM2) && !raw_ext_bit(0x80000021,"eax",2)', 'init_amd(): LFENCE serializes'),

  model('IA32_FS_BASE', { value: '0' }, ALWAYS, 'the idle task has no TLS'),
];
