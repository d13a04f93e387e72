import type { ByKernel, KernelLine } from '../cpuid/kernel-line.js';

/**
 * How the host kernel arrives at its boot capability words, as ordered rows. Read in `arch/x86/kernel/cpu/` of Linux
 * 6.1.176, 6.12.107, 6.18.15, 7.1.8 and 7.3.4; conditions in the language of `cpuid/expression.ts`.
 */

/**
 * - `set`, `clear` change the words as they stand; `clear` takes along what depends on the flag;
 * - `force_set`, `force_clear` (`setup_force_cpu_cap()`, `setup_clear_cpu_cap()`) are remembered and win over raw CPUID.
 */
export interface BootStep {
  readonly op: 'set' | 'clear' | 'force_set' | 'force_clear';
  readonly flag?: string;
  /** Instead of `flag`: every flag that this word of the command line lists. */
  readonly each?: 'clearcpuid' | 'setcpuid';
  readonly when?: string;
  readonly since?: KernelLine;
  readonly until?: KernelLine;
  readonly note?: string;
}

/** While CPUID is probed: `get_cpu_cap()`, `init_speculation_control()`. */
// biome-ignore format: one row per fact
export const PROBE_STEPS: readonly BootStep[] = [
  { op: 'clear', flag: 'OSPKE', note: 'a dump taken under a running OS shows CR4.PKE and CR4.OSXSAVE in 7.0.ECX[4] and 1.ECX[27]; ignore both, the late step decides' },
  { op: 'set', flag: 'CONSTANT_TSC', when: '(x86_power & 0x100) && (vendor == "amd" || vendor == "hygon" || vendor == "intel")', note: 'Centaur and Zhaoxin set it for most models as well' },
  { op: 'set', flag: 'CONSTANT_TSC', when: 'vendor == "intel" && ((family == 6 && model >= 0xe) || (family == 15 && model >= 3))', until: '6.12', note: 'model rule; harmless for KVM because 0x80000007.EDX is also ANDed with x86_power' },
  { op: 'set', flag: 'CONSTANT_TSC', when: 'vendor == "intel" && ((family == 6 && model >= 0xe && model <= 0x3e) || (family == 15 && model >= 3 && model <= 6))', since: '6.18', note: 'approximation of the model range (P4 Prescott..Cedarmill, Yonah..IvyBridge)' },
  { op: 'set', flag: 'IBRS', when: 'kernel(SPEC_CTRL)' },
  { op: 'set', flag: 'IBPB', when: 'kernel(SPEC_CTRL)' },
  { op: 'set', flag: 'MSR_SPEC_CTRL', when: 'kernel(SPEC_CTRL)' },
  { op: 'set', flag: 'STIBP', when: 'kernel(INTEL_STIBP)' },
  { op: 'set', flag: 'SSBD', when: 'kernel(SPEC_CTRL_SSBD) || kernel(VIRT_SSBD)' },
  { op: 'set', flag: 'IBRS', when: 'kernel(AMD_IBRS)' },
  { op: 'set', flag: 'IBPB', when: 'kernel(AMD_IBPB)' },
  { op: 'set', flag: 'STIBP', when: 'kernel(AMD_STIBP)' },
  { op: 'set', flag: 'SSBD', when: 'kernel(AMD_SSBD)' },
  { op: 'clear', flag: 'VIRT_SSBD', when: 'kernel(AMD_SSBD)' },
];

/** Before the vendor code: command line, errata, mitigations. */
// biome-ignore format: one row per fact
export const EARLY_STEPS: readonly BootStep[] = [
  { op: 'force_clear', flag: 'XSAVE', when: 'cmdline(noxsave)' },
  { op: 'force_clear', flag: 'XSAVEOPT', when: 'cmdline(noxsaveopt)' },
  { op: 'force_clear', flag: 'XSAVES', when: 'cmdline(noxsaves)' },
  { op: 'force_clear', each: 'clearcpuid', note: 'names as in /proc/cpuinfo; dependents are cleared too' },
  { op: 'force_set', each: 'setcpuid', since: '6.18' },
  { op: 'force_clear', flag: 'PCID', when: 'cmdline(nopcid)' },
  { op: 'force_clear', flag: 'INVPCID', when: 'cmdline(noinvpcid)' },
  { op: 'force_clear', flag: 'FSGSBASE', when: 'cmdline(nofsgsbase)' },
  { op: 'force_clear', flag: 'SGX', when: 'cmdline(nosgx)' },
  { op: 'force_clear', flag: 'FRED', until: '6.1', note: 'not known yet; the words of 6.1 have room for it' },
  { op: 'force_clear', flag: 'FRED', when: '!cmdline("fred=on")', since: '6.12', note: 'FRED is off unless asked for; KVM does not look at the flag' },
  { op: 'force_clear', flag: 'LA57', when: '!host_la57', note: 'host_la57: the kernel itself runs 5-level paging: raw LA57, CONFIG_X86_5LEVEL (always built in from 6.17), no no5lvl' },
  { op: 'force_set', flag: 'LS_CFG_SSBD', when: '!kernel(AMD_SSBD) && !kernel(VIRT_SSBD) && ((vendor == "amd" && family >= 0x15 && family <= 0x17) || vendor == "hygon") && msr_ls_cfg_readable' },
  { op: 'force_set', flag: 'SSBD', when: '!kernel(AMD_SSBD) && !kernel(VIRT_SSBD) && ((vendor == "amd" && family >= 0x15 && family <= 0x17) || vendor == "hygon") && msr_ls_cfg_readable' },
  { op: 'force_set', flag: 'VERW_CLEAR', when: 'vendor == "amd" && !kernel(HYPERVISOR) && (family == 0x19) && tsa_microcode', note: '6.12 and later: Zen3/Zen4 models only' },
  { op: 'force_set', flag: 'TSA_SQ_NO', when: 'vendor == "amd" && !kernel(HYPERVISOR) && family != 0x19 && !zen5', note: '6.1: every family but 0x19; 6.12..7.1: everything but Zen3/Zen4; 7.3: everything but Zen3/4/5. zen5 is 0 for 6.1..7.1' },
  { op: 'force_set', flag: 'TSA_L1_NO', when: 'vendor == "amd" && !kernel(HYPERVISOR) && family != 0x19 && !zen5' },
  { op: 'force_set', flag: 'TSA_FILL_NO', when: 'vendor == "amd" && !kernel(HYPERVISOR) && !zen5', since: '7.3' },
  { op: 'force_set', flag: 'IBPB_BRTYPE', when: 'vendor == "amd" && !kernel(HYPERVISOR) && !kernel(IBPB_BRTYPE) && family == 0x17 && kernel(AMD_IBPB)', since: '6.12' },
  { op: 'force_set', flag: 'SBPB', when: 'vendor == "amd" && !kernel(HYPERVISOR) && !kernel(IBPB_BRTYPE) && family >= 0x19 && msr_pred_cmd_sbpb', since: '6.12' },
  { op: 'force_set', flag: 'IBPB_BRTYPE', when: 'vendor == "amd" && !kernel(HYPERVISOR) && !kernel(IBPB_BRTYPE) && family >= 0x19 && msr_pred_cmd_sbpb', since: '6.12', note: 'same test as SBPB, evaluated before either is set' },
  { op: 'force_clear', flag: 'SPEC_CTRL', when: 'vendor == "intel" && bad_spectre_microcode' },
  { op: 'force_clear', flag: 'SPEC_CTRL_SSBD', when: 'vendor == "intel" && bad_spectre_microcode' },
  { op: 'force_clear', flag: 'INTEL_STIBP', when: 'vendor == "intel" && bad_spectre_microcode' },
  { op: 'force_clear', flag: 'IBRS', when: 'vendor == "intel" && bad_spectre_microcode' },
  { op: 'force_clear', flag: 'IBPB', when: 'vendor == "intel" && bad_spectre_microcode' },
  { op: 'force_clear', flag: 'STIBP', when: 'vendor == "intel" && bad_spectre_microcode' },
  { op: 'force_clear', flag: 'SSBD', when: 'vendor == "intel" && bad_spectre_microcode' },
  { op: 'force_clear', flag: 'SELFSNOOP', when: 'vendor == "intel" && family == 6 && (model == 0xe || model == 0xf || model == 0x16 || model == 0x17 || model == 0x1d || model == 0x1a || model == 0x1e || model == 0x1f || model == 0x2e || model == 0x25 || model == 0x2c || model == 0x2a)', note: 'memory-type self-snoop errata: Yonah, Merom(+L), Penryn, Dunnington, Nehalem(all), Westmere(+EP), SandyBridge' },
  { op: 'force_clear', flag: 'ERMS', when: 'vendor == "intel" && !misc_enable_fast_string && (family > 6 || (family == 6 && model >= 0xd))', note: 'MISC_ENABLE bit 0; also FSRM is untouched' },
  { op: 'force_clear', flag: 'RTM', when: 'tsx_disabled', note: 'RTM_ALWAYS_ABORT, or MSR_IA32_TSX_CTRL present and tsx=off (Debian default off) or auto with TAA' },
  { op: 'force_clear', flag: 'HLE', when: 'tsx_disabled' },
  { op: 'force_clear', flag: 'SME', when: 'vendor == "amd" && !sme_active', note: 'sme_active: SYSCFG[23] set and the kernel itself encrypts memory' },
  { op: 'force_clear', flag: 'TSC_DEADLINE_TIMER', when: 'tsc_deadline_errata', note: 'Intel Haswell..Skylake/Kaby Lake bare metal with old microcode; no effect on KVM output' },
  { op: 'force_clear', flag: 'SEV', when: '!sev_bios_enabled', note: 'SYSCFG[23] clear or HWCR SMM lock clear' },
  { op: 'force_clear', flag: 'SEV_ES', when: '!sev_bios_enabled' },
  { op: 'force_clear', flag: 'SEV_SNP', when: '!sev_bios_enabled' },
  { op: 'force_clear', flag: 'PCID', when: '!kernel(PGE) || invlpg_miss_microcode' },
  { op: 'force_clear', flag: 'AVX', when: 'gds_force_no_microcode', note: 'gather_data_sampling=force on affected Intel parts without microcode' },
];

/** `init_amd()`, `init_hygon()`, `init_intel()` and their early halves. */
// biome-ignore format: one row per fact
export const VENDOR_STEPS: readonly BootStep[] = [
  { op: 'clear', flag: 'MCE', when: 'vendor == "amd" && family < 6' },
  { op: 'clear', flag: 'LAHF_LM', when: 'vendor == "amd" && family == 15 && model < 0x14 && !kernel(HYPERVISOR)' },
  { op: 'clear', flag: 'RDRAND', when: 'vendor == "amd" && (family == 0x15 || family == 0x16) && rdrand_hidden_by_msr', note: 'only if the CPUID bit really goes away' },
  { op: 'set', flag: 'FSRS', when: 'vendor == "amd" && kernel(FSRM)', since: '6.12', note: 'word 7_1_EAX bit 11; KVM still ANDs with raw CPUID' },
  { op: 'clear', flag: 'XSAVES', when: 'vendor == "amd" && zen12 && !erratum_1386_microcode', since: '6.12', note: 'Zen1/Zen2 without fixed microcode, also under a hypervisor' },
  { op: 'clear', flag: 'RDSEED', when: 'vendor == "amd" && family == 0x17 && model == 0x47 && stepping == 0', since: '6.12' },
  { op: 'clear', flag: 'RDSEED', when: 'vendor == "amd" && zen5_rdseed_broken', since: '6.18' },
  { op: 'clear', flag: 'V_VMSAVE_VMLOAD', when: 'vendor == "amd" && family == 0x19 && ((model >= 0x18 && model <= 0x1f) || (model >= 0x60 && model <= 0x7f))', since: '6.12' },
  { op: 'clear', flag: 'SVM', when: '(vendor == "amd" || vendor == "hygon") && svm_disabled_by_bios', since: '6.12' },
  { op: 'set', flag: 'LFENCE_RDTSC', when: '(vendor == "amd" || vendor == "hygon" || vendor == "intel") && kernel(XMM2)', note: 'Centaur/Zhaoxin set it always; 6.1 keeps it in a Linux-defined word, from 6.3 it is word 8000_0021_EAX bit 2' },
  { op: 'set', flag: 'ARAT', when: 'vendor == "amd" && family > 0x11' },
  { op: 'set', flag: '3DNOWPREFETCH', when: 'vendor == "amd" && (kernel(3DNOW) || kernel(LM))' },
  { op: 'set', flag: 'TOPOEXT', when: 'vendor == "amd" && family == 0x15 && model >= 0x10 && model <= 0x6f && msr_topoext_enabled' },
  { op: 'set', flag: 'BTC_NO', when: 'vendor == "amd" && family == 0x19 && model < 0x10 && !kernel(HYPERVISOR)' },
  { op: 'set', flag: 'ARCH_PERFMON', when: 'vendor == "intel" && raw_reg(0x0,0,"eax") > 9 && (raw_reg(0xa,0,"eax") & 0xff) && ((raw_reg(0xa,0,"eax") >> 8) & 0xff) > 1' },
  { op: 'set', flag: 'PEBS', when: 'vendor == "intel" && kernel(DS) && !misc_enable_pebs_unavail' },
  { op: 'clear', flag: 'PSE', when: 'vendor == "intel" && family == 6 && model == 0x1c && stepping <= 2 && old_microcode_20e' },
  { op: 'clear', flag: 'PAT', when: 'vendor == "intel" && family == 6 && model < 15' },
  { op: 'set', flag: 'VNMI', when: 'vendor == "intel" && kernel(VMX) && vmx_virtual_nmis', note: 'same name as the AMD flag (one flag from 6.12 on); KVM reads it only on SVM' },
  { op: 'clear', flag: 'VMX', when: 'vendor == "intel" && !feat_ctl_vmx' },
  { op: 'clear', flag: 'SGX', when: 'vendor == "intel" && !feat_ctl_sgx' },
];

/** `filter_cpuid_features()`, `setup_pku()`, `fpu__init_system_xstate()`, mitigation selection. */
// biome-ignore format: one row per fact
export const LATE_STEPS: readonly BootStep[] = [
  { op: 'clear', flag: 'MWAIT', when: 'raw_reg(0x0,0,"eax") < 5' },
  { op: 'clear', flag: 'XSAVE', when: 'kernel(XSAVE) && raw_reg(0x0,0,"eax") < 0xd', note: 'with dependents' },
  { op: 'clear', flag: 'RDRAND', when: 'rdrand_selftest_fails' },
  { op: 'clear', flag: 'RDSEED', when: 'rdrand_selftest_fails' },
  { op: 'force_set', flag: 'OSPKE', when: 'kernel(PKU) && !cmdline(nopku)', note: 'PKU itself stays set with nopku' },
  { op: 'force_clear', flag: 'XSAVE', when: 'kernel(XSAVE) && ((raw_reg(0xd,0,"eax") | raw_reg(0xd,1,"ecx")) & 3) != 3', note: 'or other xstate inconsistencies' },
  { op: 'force_set', flag: 'SRSO_NO', when: 'bug_srso && kernel(IBPB_BRTYPE) && family < 0x19 && smt_impossible && !mitigations_off', until: '6.12', note: '6.18 and later do not synthesise SRSO_NO' },
];

/** `cpuid_deps[]`: clearing a flag clears what needs it. Only clearing spreads. */
export interface Dependency {
  readonly clearing: string;
  readonly takes: readonly string[];
  readonly since?: KernelLine;
}

// biome-ignore format: one row per fact
export const DEPENDENCIES: readonly Dependency[] = [
  { clearing: 'FPU', takes: ['FXSR'] },
  { clearing: 'XSAVE', takes: ['XSAVEOPT', 'XSAVEC', 'XSAVES', 'AVX', 'PKU', 'MPX', 'XGETBV1'] },
  { clearing: 'FXSR', takes: ['CMOV', 'MMX', 'FXSR_OPT', 'XSAVE', 'XMM'] },
  { clearing: 'MMX', takes: ['MMXEXT'] },
  { clearing: 'XMM', takes: ['XMM2'] },
  { clearing: 'XMM2', takes: ['XMM3', 'XMM4_1', 'XMM4_2', 'PCLMULQDQ', 'SSSE3', 'F16C', 'AES', 'SHA_NI', 'GFNI'] },
  { clearing: 'AVX', takes: ['FMA', 'VAES', 'VPCLMULQDQ', 'AVX2', 'AVX512F'] },
  { clearing: 'AVX512F', takes: ['AVX512IFMA', 'AVX512PF', 'AVX512ER', 'AVX512CD', 'AVX512DQ', 'AVX512BW', 'AVX512VL', 'AVX512VBMI', 'AVX512_4VNNIW', 'AVX512_4FMAPS', 'AVX512_VPOPCNTDQ'] },
  { clearing: 'AVX512VL', takes: ['AVX512_VBMI2', 'AVX512_VNNI', 'AVX512_BITALG', 'AVX512_VP2INTERSECT', 'AVX512_BF16'] },
  { clearing: 'AVX512BW', takes: ['AVX512_FP16'] },
  { clearing: 'XSAVES', takes: ['ENQCMD', 'XFD'] },
  { clearing: 'SGX', takes: ['SGX_LC', 'SGX1'] },
  { clearing: 'SGX1', takes: ['SGX2'] },
  { clearing: 'XGETBV1', takes: ['XFD'] },
  { clearing: 'XFD', takes: ['AMX_TILE'] },
  { clearing: 'SGX1', takes: ['SGX_EDECCSSA'], since: '6.12' },
  { clearing: 'XSAVES', takes: ['SHSTK'], since: '6.12' },
  { clearing: 'LKGS', takes: ['FRED'], since: '6.12' },
  { clearing: 'XSAVE', takes: ['APX'], since: '6.18' },
  { clearing: 'AVX', takes: ['AVX_VNNI'], since: '6.18' },
  { clearing: 'AMX_TILE', takes: ['AMX_FP16', 'AMX_BF16', 'AMX_INT8'], since: '6.18' },
  { clearing: 'SPEC_CTRL', takes: ['SPEC_CTRL_SSBD'], since: '6.18' },
  { clearing: 'SGX1', takes: ['SGX_EUPDATESVN'], since: '7.1' },
  { clearing: 'SMAP', takes: ['LASS'], since: '7.1' },
  { clearing: 'PCID', takes: ['INVLPGB'], since: '7.1' },
];

/** Bugs that KVM asks about (`boot_cpu_has_bug()`). */
export interface BugRow {
  readonly name: BugName;
  /** The name in /proc/cpuinfo. */
  readonly cpuinfo: string;
  readonly when: string;
}
export type BugName = 'NULL_SEG' | 'SPEC_STORE_BYPASS' | 'EIBRS_PBRSB';

// biome-ignore format: one row per fact
export const BUG_ROWS: readonly BugRow[] = [
  { name: 'NULL_SEG', cpuinfo: 'null_seg', when: '(vendor == "amd" || vendor == "hygon") && !raw_ext_bit(0x80000021,"eax",6) && (kernel(HYPERVISOR) || !((family == 0x17 || family == 0x18) && null_seg_clears_base_measured))' },
  { name: 'SPEC_STORE_BYPASS', cpuinfo: 'spec_store_bypass', when: '!no_ssb_model && !arch_cap_ssb_no && !kernel(AMD_SSB_NO)' },
  { name: 'EIBRS_PBRSB', cpuinfo: 'eibrs_pbrsb', when: 'vendor == "intel" && arch_cap_ibrs_all && !arch_cap_pbrsb_no && !no_pbrsb_model' },
];

/** The flag that an XSAVE component needs (`xsave_cpuid_features[]`); a component without a row is dropped. */
export interface XstateRow {
  readonly bit: number;
  readonly flag: string | ByKernel<string>;
  readonly since?: KernelLine;
}

// biome-ignore format: one row per fact
export const XSTATE_ROWS: readonly XstateRow[] = [
  { bit: 0, flag: 'FPU' },
  { bit: 1, flag: 'XMM' },
  { bit: 2, flag: 'AVX' },
  { bit: 3, flag: 'MPX' },
  { bit: 4, flag: 'MPX' },
  { bit: 5, flag: 'AVX512F' },
  { bit: 6, flag: 'AVX512F' },
  { bit: 7, flag: 'AVX512F' },
  { bit: 8, flag: 'INTEL_PT' },
  { bit: 9, flag: { '6.1': 'PKU', '6.12': 'OSPKE' } },
  { bit: 10, flag: 'ENQCMD' },
  { bit: 11, flag: 'SHSTK', since: '6.12' },
  { bit: 12, flag: 'SHSTK', since: '6.18' },
  { bit: 17, flag: 'AMX_TILE' },
  { bit: 18, flag: 'AMX_TILE' },
  { bit: 19, flag: 'APX', since: '6.18' },
];

/** `XFEATURE_MASK_USER_SUPPORTED`, by component number. */
export const USER_XFEATURES: ByKernel<readonly number[]> = {
  '6.1': [0, 1, 2, 3, 4, 5, 6, 7, 9, 17, 18],
  '6.18': [0, 1, 2, 3, 4, 5, 6, 7, 9, 17, 18, 19],
};

/** `XFEATURE_MASK_SUPERVISOR_SUPPORTED`, by component number. */
export const SUPERVISOR_XFEATURES: ByKernel<readonly number[]> = {
  '6.1': [10],
  '6.12': [10, 11],
  '6.18': [10, 11, 12],
};

/** XTILEDATA needs XFD: without it Linux drops the component. */
export const XFEATURE_XTILE_DATA = 18;
