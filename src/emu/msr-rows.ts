/**
 * The MSR table of the silicon: one row per MSR (or per array of like MSRs), sorted by index. Not KVM's view of them.
 *
 * Indices and names: SDM volume 4, chapter 2, and APM volume 2, appendix A, compared with Linux's `msr-index.h` where
 * Linux has them. `source` says where writable bits, gate and reset value come from:
 *
 * - `reference`: read in public sources (Linux, the TDX module, Bochs), as the project's notes on clobbering have them;
 * - `SDM`, `APM`: recalled from that manual, not compared with it line by line;
 * - `model`: model-specific or our choice; real parts differ.
 *
 * A row is `row(index, name, gate, writable bits, source, options)`. Gates and bits are in the notation of
 * `silicon.ts`.
 */

export type MsrSource = 'reference' | 'SDM' | 'APM' | 'model';

/**
 * What else a value must satisfy, or how it is stored:
 *
 * - `canonical` a canonical linear address, by the widest paging mode of the CPU (alignment is in the writable bits);
 * - `pat`, `mtrr-type`, `mtrr-types` memory types: eight bytes, one byte, eight bytes;
 * - `lock` nothing can be written while bit 0 is set;
 * - `apic-base` transitions between xAPIC, x2APIC and off (SDM volume 3, 11.12.5);
 * - `cet` canonical, and not both SUPPRESS and TRACKER (bits 10, 11);
 * - `lbr-depth` a depth that CPUID.(EAX=1CH,ECX=0):EAX[7:0] has;
 * - `counter` the low half is sign-extended from bit 31 and cut to the width of the counters;
 * - `vm-cr` LOCK keeps itself and SVMDIS;
 * - `command` cannot be read, keeps nothing; `discard` reads as zero, keeps nothing.
 */
export const MSR_RULES = [
  'none',
  'canonical',
  'pat',
  'mtrr-type',
  'mtrr-types',
  'lock',
  'apic-base',
  'cet',
  'lbr-depth',
  'counter',
  'vm-cr',
  'command',
  'discard',
] as const;
export type MsrRule = (typeof MSR_RULES)[number];

/**
 * Side effects, by name: the machine has to do more than to keep the value. `tsc`, `tsc-adjust` and `tsc-deadline`
 * belong to the clock, `efer`, `pkrs` and `xss` to the control registers; the others are for whoever models the unit.
 */
export const MSR_HOOKS = [
  'none',
  'tsc',
  'tsc-adjust',
  'tsc-deadline',
  'efer',
  'pkrs',
  'xss',
  'apic-base',
  'prediction-barrier',
  'l1d-flush',
  'tsx-ctrl',
  'cpuid-faulting',
  'misc-enable',
  'debugctl',
  'perf-status-clear',
  'perf-status-set',
  'lbr-depth',
] as const;
export type MsrHook = (typeof MSR_HOOKS)[number];

export interface MsrRow {
  readonly index: number;
  /** SDM or APM name; AMD's without prefix get `MSR_`. */
  readonly name: string;
  /** What brings the MSR to life; '' always. */
  readonly gate: string;
  /** Bits that software may change; `null` when every write faults. '' leaves only the value 0. */
  readonly writable: string | null;
  readonly source: MsrSource;
  /** A value, or a mask that depends on the CPU. */
  readonly reset: bigint | 'CR4';
  /** Bits that keep their value without a fault when something else is written. */
  readonly ignored: string;
  readonly rule: MsrRule;
  readonly hook: MsrHook;
  /** Only CPUs of this line have it. */
  readonly vendor: 'intel' | 'amd' | null;
  /** The index of the MSR that holds the value, when this is another name for it. */
  readonly alias: number | null;
}

interface MsrOptions {
  readonly reset?: bigint | 'CR4';
  readonly ignored?: string;
  readonly rule?: MsrRule;
  readonly hook?: MsrHook;
  readonly vendor?: 'intel' | 'amd';
  /** The row stands for several: `{n}` in name, gate and bits counts up from 0. */
  readonly count?: number;
  /** Distance of their indices; 1 when not given. */
  readonly step?: number;
  readonly alias?: number;
  readonly aliasStep?: number;
}

function row(
  index: number,
  name: string,
  gate: string,
  writable: string | null,
  source: MsrSource,
  options: MsrOptions = {},
): MsrRow[] {
  const { count = 1, step = 1, alias, aliasStep = 1, vendor = null } = options;
  const { reset = 0n, ignored = '', rule = 'none', hook = 'none' } = options;
  const gates = vendor === null ? gate : onVendor(gate, vendor);
  return Array.from({ length: count }, (_, n) => ({
    index: index + n * step,
    name: name.replaceAll('{n}', String(n)),
    gate: gates.replaceAll('{n}', String(n)),
    writable: writable?.replaceAll('{n}', String(n)) ?? null,
    source,
    reset,
    ignored,
    rule,
    hook,
    vendor,
    alias: alias === undefined ? null : alias + n * aliasStep,
  }));
}

function onVendor(gate: string, vendor: 'intel' | 'amd'): string {
  const term = vendor.toUpperCase();
  return gate === ''
    ? term
    : gate
        .split('|')
        .map((terms) => `${term}&${terms}`)
        .join('|');
}

/** Every byte of it may hold a type of three bits. */
const EIGHT_TYPES = '58:56 50:48 42:40 34:32 26:24 18:16 10:8 2:0';
const ANY_FIXED_MTRR = 'MTRR&IA32_MTRRCAP[8]';
const COUNTERS =
  '0?PMC>0 1?PMC>1 2?PMC>2 3?PMC>3 4?PMC>4 5?PMC>5 6?PMC>6 7?PMC>7 32?FIXED>0 33?FIXED>1 34?FIXED>2 35?FIXED>3';
const TOPDOWN = '48?IA32_PERF_CAPABILITIES[15]';
const EVENT_SELECT = '20:0 21?!ANYTHREAD_DEPRECATED&PMCVER>2 31:22 33:32?RTM';

// biome-ignore format: one row per fact
export const MSR_ROWS: readonly MsrRow[] = [
  row(0x10, 'IA32_TIME_STAMP_COUNTER', 'TSC', '63:0', 'SDM', { hook: 'tsc' }),
  row(0x17, 'IA32_PLATFORM_ID', '', null, 'SDM', { vendor: 'intel' }),
  row(0x1b, 'IA32_APIC_BASE', 'APIC', 'PHYS:12 11 10?X2APIC 8', 'SDM', { reset: 0xfee0_0900n, rule: 'apic-base', hook: 'apic-base' }),
  row(0x1c, 'IA32_USER_MSR_CTL', 'USER_MSR', '63:12 0', 'SDM', { rule: 'canonical' }),
  row(0x33, 'MSR_TEST_CTRL', 'IA32_CORE_CAPABILITIES[5]', '31 29', 'model', { vendor: 'intel' }),
  row(0x34, 'MSR_SMI_COUNT', '', null, 'model', { vendor: 'intel' }),
  row(0x3a, 'IA32_FEATURE_CONTROL', 'VMX|SMX|SGX', '20?IA32_MCG_CAP[27] 18?SGX 17?SGX_LC 15:8?SMX 2?VMX 1?VMX&SMX 0', 'SDM', { rule: 'lock', vendor: 'intel' }),
  row(0x3b, 'IA32_TSC_ADJUST', 'TSC_ADJUST', '63:0', 'SDM', { hook: 'tsc-adjust' }),
  // Where IBRS is there but not STIBP, bit 1 is ignored (Intel's guidance on speculative execution).
  row(0x48, 'IA32_SPEC_CTRL', 'SPEC_CTRL|INTEL_STIBP|SPEC_CTRL_SSBD|AMD_IBRS|AMD_STIBP|AMD_SSBD', '10?BHI_CTRL 8?DDPD_U 7?INTEL_PSFD|AMD_PSFD 6:5?RRSBA_CTRL 4:3?IPRED_CTRL 2?SPEC_CTRL_SSBD|AMD_SSBD 1?INTEL_STIBP|AMD_STIBP 0?SPEC_CTRL|AMD_IBRS', 'SDM', { ignored: '1?SPEC_CTRL' }),
  row(0x49, 'IA32_PRED_CMD', 'SPEC_CTRL|AMD_IBPB', '7?SBPB 0', 'SDM', { rule: 'command', hook: 'prediction-barrier' }),
  row(0x79, 'IA32_BIOS_UPDT_TRIG', '', '63:0', 'SDM', { rule: 'command', vendor: 'intel' }),
  row(0x8b, 'IA32_BIOS_SIGN_ID', '', '', 'SDM', { ignored: '63:0' }),
  row(0x8c, 'IA32_SGXLEPUBKEYHASH0', 'SGX_LC', '63:0', 'SDM', { reset: 0xa605_3e05_1270_b7acn, vendor: 'intel' }),
  row(0x8d, 'IA32_SGXLEPUBKEYHASH1', 'SGX_LC', '63:0', 'SDM', { reset: 0x6cfb_e8ba_8b3b_413dn, vendor: 'intel' }),
  row(0x8e, 'IA32_SGXLEPUBKEYHASH2', 'SGX_LC', '63:0', 'SDM', { reset: 0xc491_6d99_f2b3_735dn, vendor: 'intel' }),
  row(0x8f, 'IA32_SGXLEPUBKEYHASH3', 'SGX_LC', '63:0', 'SDM', { reset: 0xd4f8_c059_09f9_bb3bn, vendor: 'intel' }),
  // Writable in SMM only, which is not modelled.
  row(0x9b, 'IA32_SMM_MONITOR_CTL', 'VMX|SMX', null, 'SDM', { vendor: 'intel' }),
  row(0xbc, 'IA32_MISC_PACKAGE_CTLS', 'IA32_ARCH_CAPABILITIES[10]', '0', 'SDM', { vendor: 'intel' }),
  row(0xbd, 'IA32_XAPIC_DISABLE_STATUS', 'IA32_ARCH_CAPABILITIES[21]', null, 'SDM', { vendor: 'intel' }),
  row(0xc1, 'IA32_PMC{n}', 'PMC>{n}', '63:0', 'SDM', { count: 8, rule: 'counter' }),
  row(0xce, 'MSR_PLATFORM_INFO', '', null, 'model', { vendor: 'intel' }),
  row(0xcf, 'IA32_CORE_CAPABILITIES', 'CORE_CAPABILITIES', null, 'SDM', { vendor: 'intel' }),
  row(0xe1, 'IA32_UMWAIT_CONTROL', 'WAITPKG', '31:2 0', 'reference'),
  row(0xe2, 'MSR_PKG_CST_CONFIG_CONTROL', 'MWAIT', '31:0', 'model', { vendor: 'intel' }),
  // MPERF and APERF keep what is written; they do not count.
  row(0xe7, 'IA32_MPERF', 'APERFMPERF', '63:0', 'SDM'),
  row(0xe8, 'IA32_APERF', 'APERFMPERF', '63:0', 'SDM'),
  row(0xfe, 'IA32_MTRRCAP', 'MTRR', null, 'SDM', { reset: 0x508n }),
  row(0x10a, 'IA32_ARCH_CAPABILITIES', 'ARCH_CAPABILITIES', null, 'SDM', { vendor: 'intel' }),
  row(0x10b, 'IA32_FLUSH_CMD', 'FLUSH_L1D', '0', 'SDM', { rule: 'command', hook: 'l1d-flush' }),
  row(0x10f, 'MSR_TSX_FORCE_ABORT', 'TSX_FORCE_ABORT', '2:0', 'model', { vendor: 'intel' }),
  row(0x122, 'IA32_TSX_CTRL', 'IA32_ARCH_CAPABILITIES[7]', '1:0', 'reference', { hook: 'tsx-ctrl', vendor: 'intel' }),
  row(0x123, 'IA32_MCU_OPT_CTRL', 'SRBDS_CTRL|IA32_ARCH_CAPABILITIES[18]|IA32_ARCH_CAPABILITIES[25]', '5:4?IA32_ARCH_CAPABILITIES[25] 3?IA32_ARCH_CAPABILITIES[18] 1?SRBDS_CTRL&RTM 0?SRBDS_CTRL', 'SDM', { vendor: 'intel' }),
  row(0x140, 'MSR_MISC_FEATURES_ENABLES', 'MSR_PLATFORM_INFO[31]', '0', 'model', { hook: 'cpuid-faulting', vendor: 'intel' }),
  row(0x174, 'IA32_SYSENTER_CS', 'SEP', '31:0', 'SDM', { ignored: '63:32' }),
  // Outside Intel's line only the low halves are there (KVM says of AMD that it ignores the upper ones).
  row(0x175, 'IA32_SYSENTER_ESP', 'SEP', '63:32?INTEL 31:0', 'SDM', { ignored: '63:32?AMD', rule: 'canonical' }),
  row(0x176, 'IA32_SYSENTER_EIP', 'SEP', '63:32?INTEL 31:0', 'SDM', { ignored: '63:32?AMD', rule: 'canonical' }),
  // Ten banks and MCG_CTL, without CMCI and LMCE, unless the host model says better.
  row(0x179, 'IA32_MCG_CAP', 'MCA', null, 'model', { reset: 0x10an }),
  row(0x17a, 'IA32_MCG_STATUS', 'MCA', '3?IA32_MCG_CAP[27] 2:0', 'SDM'),
  row(0x17b, 'IA32_MCG_CTL', 'MCA&IA32_MCG_CAP[8]', '63:0', 'SDM'),
  row(0x186, 'IA32_PERFEVTSEL{n}', 'PMC>{n}', EVENT_SELECT, 'SDM', { count: 8 }),
  row(0x198, 'IA32_PERF_STATUS', 'EST', null, 'SDM', { vendor: 'intel' }),
  row(0x199, 'IA32_PERF_CTL', 'EST', '32 15:0', 'SDM', { vendor: 'intel' }),
  row(0x19a, 'IA32_CLOCK_MODULATION', 'ACPI', '4:0', 'SDM', { vendor: 'intel' }),
  row(0x1a0, 'IA32_MISC_ENABLE', '', '38 34?NX 23?XTPR 22 18?MWAIT 16?EST 3 0', 'model', { reset: 0x85_0089n, ignored: '23 18 16 12:11 7', hook: 'misc-enable', vendor: 'intel' }),
  row(0x1b0, 'IA32_ENERGY_PERF_BIAS', 'EPB', '3:0', 'SDM', { vendor: 'intel' }),
  row(0x1c4, 'IA32_XFD', 'XFD', 'XFD', 'reference'),
  row(0x1c5, 'IA32_XFD_ERR', 'XFD', 'XFD', 'reference'),
  row(0x1cc, 'IA32_FRED_RSP{n}', 'FRED', '63:6', 'reference', { count: 4, rule: 'canonical' }),
  row(0x1d0, 'IA32_FRED_STKLVLS', 'FRED', '63:0', 'reference'),
  // There with FRED alone, as the MSR table of the FRED notes has it; another of our notes asks for CET_SS as well.
  row(0x1d1, 'IA32_FRED_SSP1', 'FRED', '63:3', 'reference', { rule: 'canonical' }),
  row(0x1d2, 'IA32_FRED_SSP2', 'FRED', '63:3', 'reference', { rule: 'canonical' }),
  row(0x1d3, 'IA32_FRED_SSP3', 'FRED', '63:3', 'reference', { rule: 'canonical' }),
  row(0x1d4, 'IA32_FRED_CONFIG', 'FRED', '63:12 10:6 3 1:0', 'reference', { rule: 'canonical' }),
  row(0x1d9, 'IA32_DEBUGCTL', '', '15?RTM 14?IA32_PERF_CAPABILITIES[12] 12:11?PMCVER>1 10:9?DSCPL 8:7?DS 6?INTEL 5:3?AMD 2?BUS_LOCK_DETECT|AMD 1:0', 'SDM', { hook: 'debugctl' }),
  row(0x1db, 'MSR_LASTBRANCHFROMIP', '', null, 'APM', { vendor: 'amd' }),
  row(0x1dc, 'MSR_LASTBRANCHTOIP', '', null, 'APM', { vendor: 'amd' }),
  row(0x1dd, 'MSR_LASTINTFROMIP', '', null, 'APM', { vendor: 'amd' }),
  row(0x1de, 'MSR_LASTINTTOIP', '', null, 'APM', { vendor: 'amd' }),
  row(0x200, 'IA32_MTRR_PHYSBASE{n}', 'MTRR>{n}', 'PHYS:12 2:0', 'SDM', { count: 10, step: 2, rule: 'mtrr-type' }),
  row(0x201, 'IA32_MTRR_PHYSMASK{n}', 'MTRR>{n}', 'PHYS:12 11', 'SDM', { count: 10, step: 2 }),
  row(0x250, 'IA32_MTRR_FIX64K_00000', ANY_FIXED_MTRR, EIGHT_TYPES, 'SDM', { rule: 'mtrr-types' }),
  row(0x258, 'IA32_MTRR_FIX16K_80000', ANY_FIXED_MTRR, EIGHT_TYPES, 'SDM', { rule: 'mtrr-types' }),
  row(0x259, 'IA32_MTRR_FIX16K_A0000', ANY_FIXED_MTRR, EIGHT_TYPES, 'SDM', { rule: 'mtrr-types' }),
  row(0x268, 'IA32_MTRR_FIX4K_{n}', ANY_FIXED_MTRR, EIGHT_TYPES, 'SDM', { count: 8, rule: 'mtrr-types' }),
  row(0x277, 'IA32_PAT', 'PAT', EIGHT_TYPES, 'SDM', { reset: 0x0007_0406_0007_0406n, rule: 'pat' }),
  row(0x280, 'IA32_MC{n}_CTL2', 'MC>{n}&IA32_MCG_CAP[10]', '30 14:0', 'SDM', { count: 32, vendor: 'intel' }),
  row(0x2ff, 'IA32_MTRR_DEF_TYPE', 'MTRR', '11 10?IA32_MTRRCAP[8] 2:0', 'SDM', { rule: 'mtrr-type' }),
  row(0x309, 'IA32_FIXED_CTR{n}', 'FIXED>{n}', '47:0', 'SDM', { count: 4 }),
  row(0x329, 'MSR_PERF_METRICS', 'IA32_PERF_CAPABILITIES[15]', '63:0', 'model', { vendor: 'intel' }),
  row(0x345, 'IA32_PERF_CAPABILITIES', 'PDCM', null, 'SDM', { vendor: 'intel' }),
  row(0x38d, 'IA32_FIXED_CTR_CTRL', 'PMCVER>1', '15:12?FIXED>3 11:8?FIXED>2 7:4?FIXED>1 3:0?FIXED>0', 'SDM'),
  row(0x38e, 'IA32_PERF_GLOBAL_STATUS', 'PMCVER>1', null, 'SDM'),
  row(0x38f, 'IA32_PERF_GLOBAL_CTRL', 'PMCVER>1', `${TOPDOWN} ${COUNTERS}`, 'SDM'),
  row(0x390, 'IA32_PERF_GLOBAL_STATUS_RESET', 'PMCVER>1', `63:61 58:55 ${TOPDOWN} ${COUNTERS}`, 'SDM', { rule: 'discard', hook: 'perf-status-clear' }),
  row(0x391, 'IA32_PERF_GLOBAL_STATUS_SET', 'PMCVER>3', `62:61 58:55 ${TOPDOWN} ${COUNTERS}`, 'SDM', { rule: 'discard', hook: 'perf-status-set' }),
  row(0x392, 'IA32_PERF_GLOBAL_INUSE', 'PMCVER>3', null, 'SDM'),
  row(0x3f1, 'IA32_PEBS_ENABLE', 'DS&PMCVER>1', COUNTERS, 'SDM', { vendor: 'intel' }),
  row(0x3f2, 'MSR_PEBS_DATA_CFG', 'IA32_PERF_CAPABILITIES[14]', '31:24 3:0', 'SDM', { vendor: 'intel' }),
  row(0x3f6, 'MSR_PEBS_LD_LAT', 'DS&PMCVER>1', '15:0', 'model', { vendor: 'intel' }),
  // Only 0 may be written to STATUS, ADDR and MISC.
  row(0x400, 'IA32_MC{n}_CTL', 'MCA&MC>{n}', '63:0', 'SDM', { count: 32, step: 4 }),
  row(0x401, 'IA32_MC{n}_STATUS', 'MCA&MC>{n}', '', 'SDM', { count: 32, step: 4 }),
  row(0x402, 'IA32_MC{n}_ADDR', 'MCA&MC>{n}', '', 'SDM', { count: 32, step: 4 }),
  row(0x403, 'IA32_MC{n}_MISC', 'MCA&MC>{n}', '', 'SDM', { count: 32, step: 4 }),
  // What a server of 2017 says, unless the host model says better. CR4_FIXED1 follows the CPU.
  row(0x480, 'IA32_VMX_BASIC', 'VMX', null, 'model', { reset: 0x00da_0400_0000_0004n }),
  row(0x481, 'IA32_VMX_PINBASED_CTLS', 'VMX', null, 'model', { reset: 0x7f_0000_0016n }),
  row(0x482, 'IA32_VMX_PROCBASED_CTLS', 'VMX', null, 'model', { reset: 0xfff9_fffe_0401_e172n }),
  row(0x483, 'IA32_VMX_EXIT_CTLS', 'VMX', null, 'model', { reset: 0x01ff_ffff_0003_6dffn }),
  row(0x484, 'IA32_VMX_ENTRY_CTLS', 'VMX', null, 'model', { reset: 0x0003_ffff_0000_11ffn }),
  row(0x485, 'IA32_VMX_MISC', 'VMX', null, 'model', { reset: 0x7004_c1e7n }),
  row(0x486, 'IA32_VMX_CR0_FIXED0', 'VMX', null, 'SDM', { reset: 0x8000_0021n }),
  row(0x487, 'IA32_VMX_CR0_FIXED1', 'VMX', null, 'SDM', { reset: 0xffff_ffffn }),
  row(0x488, 'IA32_VMX_CR4_FIXED0', 'VMX', null, 'SDM', { reset: 0x2000n }),
  row(0x489, 'IA32_VMX_CR4_FIXED1', 'VMX', null, 'SDM', { reset: 'CR4' }),
  row(0x48a, 'IA32_VMX_VMCS_ENUM', 'VMX', null, 'model', { reset: 0x2en }),
  row(0x48b, 'IA32_VMX_PROCBASED_CTLS2', 'VMX&IA32_VMX_PROCBASED_CTLS[63]', null, 'model', { reset: 0x0005_7cff_0000_0000n }),
  row(0x48c, 'IA32_VMX_EPT_VPID_CAP', 'IA32_VMX_PROCBASED_CTLS2[33]|IA32_VMX_PROCBASED_CTLS2[37]', null, 'model', { reset: 0xf01_0633_4141n }),
  row(0x48d, 'IA32_VMX_TRUE_PINBASED_CTLS', 'IA32_VMX_BASIC[55]', null, 'model', { reset: 0x7f_0000_0016n }),
  row(0x48e, 'IA32_VMX_TRUE_PROCBASED_CTLS', 'IA32_VMX_BASIC[55]', null, 'model', { reset: 0xfff9_fffe_0400_6172n }),
  row(0x48f, 'IA32_VMX_TRUE_EXIT_CTLS', 'IA32_VMX_BASIC[55]', null, 'model', { reset: 0x01ff_ffff_0003_6dfbn }),
  row(0x490, 'IA32_VMX_TRUE_ENTRY_CTLS', 'IA32_VMX_BASIC[55]', null, 'model', { reset: 0x0003_ffff_0000_11fbn }),
  row(0x491, 'IA32_VMX_VMFUNC', 'IA32_VMX_PROCBASED_CTLS2[45]', null, 'model', { reset: 1n }),
  row(0x492, 'IA32_VMX_PROCBASED_CTLS3', 'IA32_VMX_PROCBASED_CTLS[49]', null, 'SDM'),
  row(0x493, 'IA32_VMX_EXIT_CTLS2', 'IA32_VMX_EXIT_CTLS[63]', null, 'reference'),
  row(0x4c1, 'IA32_A_PMC{n}', 'PMC>{n}&IA32_PERF_CAPABILITIES[13]', '47:0', 'SDM', { count: 8, alias: 0xc1 }),
  row(0x4d0, 'IA32_MCG_EXT_CTL', 'IA32_MCG_CAP[27]', '0', 'SDM'),
  row(0x560, 'IA32_RTIT_OUTPUT_BASE', 'INTEL_PT', 'PHYS:7', 'SDM', { vendor: 'intel' }),
  row(0x561, 'IA32_RTIT_OUTPUT_MASK_PTRS', 'INTEL_PT', '63:7', 'SDM', { reset: 0x7fn, ignored: '6:0', vendor: 'intel' }),
  row(0x570, 'IA32_RTIT_CTL', 'INTEL_PT', '56?PT_PSB_PMI 55?PT_DISTNT 47:44?PTADDR>3 43:40?PTADDR>2 39:36?PTADDR>1 35:32?PTADDR>0 31?PT_EVENT 27:24?PT_PSB 22:19?PT_PSB 17:14?PT_MTC 13 12?PT_PTW 11:10 9?PT_MTC 8?PT_TOPA 7?PT_CR3 6?PT_FABRIC 5?PT_PTW 4?PT_POWER 3:2 1?PT_PSB 0', 'SDM', { vendor: 'intel' }),
  row(0x571, 'IA32_RTIT_STATUS', 'INTEL_PT', '48:32 5:4', 'SDM', { ignored: '3:0', vendor: 'intel' }),
  row(0x572, 'IA32_RTIT_CR3_MATCH', 'INTEL_PT&PT_CR3', '63:5', 'SDM', { vendor: 'intel' }),
  row(0x580, 'IA32_RTIT_ADDR{n}_A', 'PTADDR>{n}', '63:0', 'SDM', { count: 4, step: 2, rule: 'canonical', vendor: 'intel' }),
  row(0x581, 'IA32_RTIT_ADDR{n}_B', 'PTADDR>{n}', '63:0', 'SDM', { count: 4, step: 2, rule: 'canonical', vendor: 'intel' }),
  row(0x600, 'IA32_DS_AREA', 'DS', '63:0', 'SDM', { rule: 'canonical', vendor: 'intel' }),
  row(0x6a0, 'IA32_U_CET', 'SHSTK|IBT', '63:10?IBT 5:2?IBT 1:0?SHSTK', 'SDM', { rule: 'cet' }),
  row(0x6a2, 'IA32_S_CET', 'SHSTK|IBT', '63:10?IBT 5:2?IBT 1:0?SHSTK', 'SDM', { rule: 'cet' }),
  // Also IA32_FRED_SSP0.
  row(0x6a4, 'IA32_PL0_SSP', 'SHSTK|FRED', '63:2', 'reference', { rule: 'canonical' }),
  row(0x6a5, 'IA32_PL1_SSP', 'SHSTK', '63:2', 'SDM', { rule: 'canonical' }),
  row(0x6a6, 'IA32_PL2_SSP', 'SHSTK', '63:2', 'SDM', { rule: 'canonical' }),
  row(0x6a7, 'IA32_PL3_SSP', 'SHSTK', '63:2', 'SDM', { rule: 'canonical' }),
  row(0x6a8, 'IA32_INTERRUPT_SSP_TABLE_ADDR', 'SHSTK', '63:0', 'SDM', { rule: 'canonical' }),
  row(0x6e0, 'IA32_TSC_DEADLINE', 'TSC_DEADLINE_TIMER', '63:0', 'SDM', { hook: 'tsc-deadline' }),
  row(0x6e1, 'IA32_PKRS', 'PKS', '31:0', 'reference', { hook: 'pkrs' }),
  row(0x770, 'IA32_PM_ENABLE', 'HWP', '0', 'SDM', { vendor: 'intel' }),
  row(0x771, 'IA32_HWP_CAPABILITIES', 'HWP', null, 'SDM', { vendor: 'intel' }),
  row(0x774, 'IA32_HWP_REQUEST', 'HWP', '63:59 42:0', 'SDM', { vendor: 'intel' }),
  row(0x985, 'IA32_UINTR_RR', 'UINTR', '63:0', 'SDM'),
  row(0x986, 'IA32_UINTR_HANDLER', 'UINTR', '63:0', 'SDM', { rule: 'canonical' }),
  row(0x987, 'IA32_UINTR_STACKADJUST', 'UINTR', '63:3 0', 'SDM', { rule: 'canonical' }),
  row(0x988, 'IA32_UINTR_MISC', 'UINTR', '39:0', 'SDM'),
  row(0x989, 'IA32_UINTR_PD', 'UINTR', '63:6', 'SDM', { rule: 'canonical' }),
  row(0x98a, 'IA32_UINTR_TT', 'UINTR', '63:4 0', 'SDM', { rule: 'canonical' }),
  row(0xc8d, 'IA32_QM_EVTSEL', 'CQM', '41:32 7:0', 'SDM'),
  row(0xc8e, 'IA32_QM_CTR', 'CQM', null, 'SDM'),
  row(0xc8f, 'IA32_PQR_ASSOC', 'CQM|RDT_A', '63:32?RDT_A 9:0?CQM', 'SDM'),
  row(0xd90, 'IA32_BNDCFGS', 'MPX', '63:12 1:0', 'SDM', { rule: 'canonical' }),
  row(0xd93, 'IA32_PASID', 'ENQCMD', '31 19:0', 'SDM'),
  row(0xda0, 'IA32_XSS', 'XSAVES', 'XSS', 'SDM', { hook: 'xss' }),
  row(0x1200, 'IA32_LBR_{n}_INFO', 'ARCH_LBR&LBR>{n}', '63:0', 'SDM', { count: 32 }),
  row(0x14ce, 'IA32_LBR_CTL', 'ARCH_LBR', '22:16?LBR_FILTER 3?LBR_STACK 2:1?LBR_CPL 0', 'SDM'),
  row(0x14cf, 'IA32_LBR_DEPTH', 'ARCH_LBR', '6:0', 'reference', { reset: 0x20n, rule: 'lbr-depth', hook: 'lbr-depth' }),
  row(0x1500, 'IA32_LBR_{n}_FROM_IP', 'ARCH_LBR&LBR>{n}', '63:0', 'SDM', { count: 32, rule: 'canonical' }),
  row(0x1600, 'IA32_LBR_{n}_TO_IP', 'ARCH_LBR&LBR>{n}', '63:0', 'SDM', { count: 32, rule: 'canonical' }),
  row(0x17da, 'IA32_HRESET_ENABLE', 'HRESET', '0', 'SDM', { vendor: 'intel' }),
  row(0x1b01, 'IA32_UARCH_MISC_CTL', 'IA32_ARCH_CAPABILITIES[12]', '0', 'reference', { vendor: 'intel' }),
  // Fictional: what a feature may bring that nobody knows yet.
  row(0x1bff, 'MSR_UNKNOWN', 'UNKNOWN', '63:0', 'model', { vendor: 'intel' }),
  // LMA follows LME and CR0.PG; writes do not reach it.
  row(0xc0000080, 'IA32_EFER', 'SYSCALL|NX|LM', '21?AUTOIBRS 20?UPPER_ADDR_IGNORE 18?WBINVD_INT 17?MCOMMIT 15?TCE 14?FXSR_OPT 13?AMD&LM&!EFER_LMSLE_MBZ 12?SVM 11?NX 8?LM 0?SYSCALL', 'reference', { ignored: '10', hook: 'efer' }),
  row(0xc0000081, 'IA32_STAR', 'SYSCALL|LM', '63:0', 'reference'),
  row(0xc0000082, 'IA32_LSTAR', 'LM', '63:0', 'reference', { rule: 'canonical' }),
  row(0xc0000083, 'IA32_CSTAR', 'LM', '63:0', 'SDM', { rule: 'canonical' }),
  row(0xc0000084, 'IA32_FMASK', 'SYSCALL|LM', '31:0', 'reference', { reset: 0x2_0200n }),
  row(0xc0000100, 'IA32_FS_BASE', 'LM', '63:0', 'SDM', { rule: 'canonical' }),
  row(0xc0000101, 'IA32_GS_BASE', 'LM', '63:0', 'SDM', { rule: 'canonical' }),
  row(0xc0000102, 'IA32_KERNEL_GS_BASE', 'LM', '63:0', 'reference', { rule: 'canonical' }),
  // AMD ignores the upper half (KVM's finding).
  row(0xc0000103, 'IA32_TSC_AUX', 'RDTSCP|RDPID', '31:0', 'reference', { ignored: '63:32?AMD' }),
  row(0xc0000104, 'MSR_TSC_RATIO', 'TSCRATEMSR', '39:0', 'APM', { reset: 0x1_0000_0000n, vendor: 'amd' }),
  row(0xc000010e, 'MSR_LBR_SELECT', 'LBR_V2', '8:0', 'APM', { vendor: 'amd' }),
  row(0xc000010f, 'MSR_DBG_EXTN_CFG', 'LBR_V2', '6', 'APM', { vendor: 'amd' }),
  row(0xc0000300, 'MSR_PERF_CNTR_GLOBAL_STATUS', 'PERFMON_V2', null, 'APM', { vendor: 'amd' }),
  row(0xc0000301, 'MSR_PERF_CNTR_GLOBAL_CTL', 'PERFMON_V2', '5:0', 'APM', { vendor: 'amd' }),
  row(0xc0000302, 'MSR_PERF_CNTR_GLOBAL_STATUS_CLR', 'PERFMON_V2', '63 59:58 5:0', 'APM', { rule: 'discard', hook: 'perf-status-clear', vendor: 'amd' }),
  row(0xc0010000, 'MSR_PERF_LEGACY_CTL{n}', 'AMDPMC>{n}', '35:22 20 18:0', 'APM', { count: 4, alias: 0xc0010200, aliasStep: 2, vendor: 'amd' }),
  row(0xc0010004, 'MSR_PERF_LEGACY_CTR{n}', 'AMDPMC>{n}', '47:0', 'APM', { count: 4, alias: 0xc0010201, aliasStep: 2, vendor: 'amd' }),
  row(0xc0010010, 'MSR_SYSCFG', '', '25:24?SEV_SNP 23?SME 22:18', 'model', { vendor: 'amd' }),
  row(0xc0010015, 'MSR_HWCR', '', '31:0', 'model', { vendor: 'amd' }),
  row(0xc001001a, 'MSR_TOP_MEM', '', 'PHYS:23', 'APM', { vendor: 'amd' }),
  row(0xc001001d, 'MSR_TOM2', '', 'PHYS:23', 'APM', { vendor: 'amd' }),
  row(0xc0010061, 'MSR_PSTATE_CURRENT_LIMIT', 'HW_PSTATE', null, 'APM', { vendor: 'amd' }),
  row(0xc0010062, 'MSR_PSTATE_CONTROL', 'HW_PSTATE', '2:0', 'APM', { vendor: 'amd' }),
  row(0xc0010063, 'MSR_PSTATE_STATUS', 'HW_PSTATE', null, 'APM', { vendor: 'amd' }),
  row(0xc0010114, 'MSR_VM_CR', 'SVM', '4:0', 'APM', { rule: 'vm-cr', vendor: 'amd' }),
  row(0xc0010115, 'MSR_IGNNE', 'SVM', '0', 'APM', { vendor: 'amd' }),
  row(0xc0010117, 'MSR_VM_HSAVE_PA', 'SVM', 'PHYS:12', 'APM', { vendor: 'amd' }),
  row(0xc001011f, 'MSR_VIRT_SPEC_CTRL', 'VIRT_SSBD', '2', 'APM', { vendor: 'amd' }),
  row(0xc0010130, 'MSR_SEV_ES_GHCB', 'SEV_ES', '63:0', 'APM', { vendor: 'amd' }),
  row(0xc0010131, 'MSR_SEV_STATUS', 'SEV', null, 'APM', { vendor: 'amd' }),
  row(0xc0010140, 'MSR_OSVW_ID_LENGTH', 'OSVW', '63:0', 'APM', { vendor: 'amd' }),
  row(0xc0010141, 'MSR_OSVW_STATUS', 'OSVW', '63:0', 'APM', { vendor: 'amd' }),
  row(0xc0010200, 'MSR_PERF_CTL{n}', 'PERFCTR_CORE&AMDPMC>{n}', '35:22 20 18:0', 'APM', { count: 6, step: 2, vendor: 'amd' }),
  row(0xc0010201, 'MSR_PERF_CTR{n}', 'PERFCTR_CORE&AMDPMC>{n}', '47:0', 'APM', { count: 6, step: 2, vendor: 'amd' }),
  row(0xc0011019, 'MSR_DR1_ADDR_MASK', 'BPEXT', '31:0', 'APM', { vendor: 'amd' }),
  row(0xc001101a, 'MSR_DR2_ADDR_MASK', 'BPEXT', '31:0', 'APM', { vendor: 'amd' }),
  row(0xc001101b, 'MSR_DR3_ADDR_MASK', 'BPEXT', '31:0', 'APM', { vendor: 'amd' }),
  row(0xc0011020, 'MSR_LS_CFG', '', '63:0', 'model', { vendor: 'amd' }),
  row(0xc0011027, 'MSR_DR0_ADDR_MASK', 'BPEXT', '31:0', 'APM', { vendor: 'amd' }),
  row(0xc0011029, 'MSR_DE_CFG', '', '63:0', 'model', { vendor: 'amd' }),
].flat().sort((one, other) => one.index - other.index);

const byName = new Map(MSR_ROWS.map((item) => [item.name, item]));

/** The MSR of that name. Throws on a name that is not in the table: a typing error. */
export function msrNamed(name: string): MsrRow {
  const found = byName.get(name);
  if (!found) throw new Error(`no MSR is called ${name}`);
  return found;
}
