/**
 * How a TD reaches MSRs, one row per range: the module's MSR table (1.5.01; MIT source). A guest's access to an MSR
 * without a row raises #VE. 2.0.8 has rows for more of those, which only decide between #VE and #GP; they are not here.
 *
 * A row is `[first, last, RDMSR, WRMSR, name]`. An access is
 *
 * - `native`: the guest reaches the MSR itself; `gp`, `ve`: it gets that exception; `module`: the module answers;
 * - a flag of `module-flags.ts`: native in a TD that has it, else #GP;
 * - a flag behind `ve-`: #VE in a TD that has it, else #GP;
 * - `perfmon+pt`, `perfmon/module`: two flags, or what happens instead of #GP.
 */
export type AccessText = string;

export type AccessRow = readonly [first: number, last: number, read: AccessText, write: AccessText, name: string];

// biome-ignore format: one row per fact
export const ACCESS_ROWS: readonly AccessRow[] = [
  [0x10, 0x10, 'native', 've', 'IA32_TIME_STAMP_COUNTER'],
  [0x48, 0x48, 'native', 'native', 'IA32_SPEC_CTRL'],
  [0x49, 0x49, 'native', 'native', 'IA32_PRED_CMD'],
  [0x87, 0x87, 've-mktme', 've-mktme', 'IA32_MKTME_KEYID_PARTITIONING'],
  [0x8c, 0x8f, 'gp', 'gp', 'IA32_SGXLEPUBKEYHASH'],
  [0x98, 0x9b, 'gp', 'gp', 'MSR_WBINVDP to IA32_SMM_MONITOR_CTL'],
  [0x9e, 0x9e, 'gp', 'gp', 'IA32_SMBASE'],
  [0xbc, 0xbc, 'native', 've', 'IA32_MISC_PACKAGE_CTLS'],
  [0xbd, 0xbd, 'module', 'native', 'IA32_XAPIC_DISABLE_STATUS'],
  [0xc1, 0xc8, 'perfmon', 'perfmon', 'IA32_PMC'],
  [0xe1, 0xe1, 'waitpkg', 'waitpkg', 'IA32_UMWAIT_CONTROL'],
  [0x10a, 0x10a, 'module', 'native', 'IA32_ARCH_CAPABILITIES'],
  [0x10b, 0x10b, 'native', 'native', 'IA32_FLUSH_CMD'],
  [0x122, 0x122, 'tsx', 'tsx', 'IA32_TSX_CTRL'],
  [0x174, 0x176, 'native', 'native', 'IA32_SYSENTER_CS, ESP, EIP'],
  [0x186, 0x18d, 'perfmon', 'perfmon', 'IA32_PERFEVTSEL'],
  [0x195, 0x195, 'gp', 'gp', 'IA32_OVERCLOCKING_STATUS'],
  [0x1a0, 0x1a0, 'perfmon/module', 've', 'IA32_MISC_ENABLE'],
  [0x1a6, 0x1a7, 'perfmon', 'perfmon', 'MSR_OFFCORE_RSP'],
  [0x1c4, 0x1c5, 'xfd', 'xfd', 'IA32_XFD, IA32_XFD_ERR'],
  [0x1d9, 0x1d9, 'module', 'module', 'IA32_DEBUGCTL'],
  [0x1f8, 0x1fa, 've-dca', 've-dca', 'IA32_PLATFORM_DCA_CAP to IA32_DCA_0_CAP'],
  [0x276, 0x276, 'gp', 'gp', 'MSR_SLAM_ENABLE'],
  [0x277, 0x277, 'native', 'native', 'IA32_PAT'],
  [0x309, 0x310, 'perfmon', 'perfmon', 'IA32_FIXED_CTR'],
  // Also needs IA32_PERF_CAPABILITIES.PERF_METRICS_AVAILABLE.
  [0x329, 0x329, 'perfmon', 'perfmon', 'MSR_PERF_METRICS'],
  [0x345, 0x345, 'perfmon+pt/module', 'perfmon', 'IA32_PERF_CAPABILITIES'],
  [0x38d, 0x392, 'perfmon', 'perfmon', 'IA32_FIXED_CTR_CTRL to IA32_PERF_GLOBAL_INUSE'],
  [0x3f1, 0x3f2, 'perfmon', 'perfmon', 'IA32_PEBS_ENABLE, MSR_PEBS_DATA_CFG'],
  [0x3f6, 0x3f7, 'perfmon', 'perfmon', 'MSR_PEBS_LD_LAT, MSR_PEBS_FRONTEND'],
  [0x480, 0x480, 'module', 'gp', 'IA32_VMX_BASIC'],
  [0x481, 0x484, 've', 'gp', 'IA32_VMX_PINBASED_CTLS to IA32_VMX_ENTRY_CTLS'],
  [0x485, 0x489, 'module', 'gp', 'IA32_VMX_MISC to IA32_VMX_CR4_FIXED1'],
  [0x48a, 0x48a, 've', 'gp', 'IA32_VMX_VMCS_ENUM'],
  [0x48b, 0x492, 'module', 'gp', 'IA32_VMX_PROCBASED_CTLS2 to IA32_VMX_PROCBASED_CTLS3'],
  [0x4c1, 0x4c8, 'perfmon', 'perfmon', 'IA32_A_PMC'],
  [0x500, 0x500, 'gp', 'gp', 'IA32_SGX_SVN_STATUS'],
  [0x560, 0x561, 'pt', 'pt', 'IA32_RTIT_OUTPUT_BASE, IA32_RTIT_OUTPUT_MASK_PTRS'],
  [0x570, 0x572, 'pt', 'pt', 'IA32_RTIT_CTL to IA32_RTIT_CR3_MATCH'],
  [0x580, 0x587, 'pt', 'pt', 'IA32_RTIT_ADDR'],
  [0x600, 0x600, 'native', 'native', 'IA32_DS_AREA'],
  [0x6a0, 0x6a0, 'cet', 'cet', 'IA32_U_CET'],
  [0x6a2, 0x6a2, 'cet', 'cet', 'IA32_S_CET'],
  [0x6a4, 0x6a8, 'cet', 'cet', 'IA32_PL0_SSP to IA32_INTERRUPT_SSP_TABLE_ADDR'],
  [0x6e0, 0x6e0, 've-tscDeadline', 've-tscDeadline', 'IA32_TSC_DEADLINE'],
  [0x6e1, 0x6e1, 'pks', 'pks', 'IA32_PKRS'],
  // x2APIC: what the processor virtualises, and what is reserved.
  [0x800, 0x801, 'gp', 'gp', 'reserved'],
  [0x804, 0x807, 'gp', 'gp', 'reserved'],
  [0x808, 0x80c, 'native', 'native', 'IA32_X2APIC_TPR to IA32_X2APIC_EOI'],
  [0x80e, 0x80e, 'native', 'native', 'reserved'],
  [0x810, 0x827, 'native', 'native', 'IA32_X2APIC_ISR, TMR, IRR'],
  [0x829, 0x82e, 'gp', 'gp', 'reserved'],
  [0x831, 0x831, 'gp', 'gp', 'reserved'],
  [0x83f, 0x83f, 'native', 'native', 'IA32_X2APIC_SELF_IPI'],
  [0x840, 0x8ff, 'gp', 'gp', 'reserved'],
  [0x981, 0x984, 've-tme', 've-tme', 'IA32_TME_CAPABILITY to IA32_TME_EXCLUDE_BASE'],
  [0x985, 0x98a, 'uintr', 'uintr', 'IA32_UINTR_RR to IA32_UINTR_TT'],
  [0xc80, 0xc80, 'native', 've', 'IA32_DEBUG_INTERFACE'],
  [0xd90, 0xd90, 'gp', 'gp', 'IA32_BNDCFGS'],
  [0xd93, 0xd93, 'gp', 'gp', 'IA32_PASID'],
  [0xda0, 0xda0, 'native', 'module', 'IA32_XSS'],
  [0x1200, 0x12ff, 'lbr', 'lbr', 'IA32_LBR_INFO'],
  [0x14ce, 0x14cf, 'lbr', 'lbr', 'IA32_LBR_CTL, IA32_LBR_DEPTH'],
  [0x1500, 0x16ff, 'lbr', 'lbr', 'IA32_LBR_FROM_IP, IA32_LBR_TO_IP'],
  [0x1b01, 0x1b01, 'native', 'native', 'IA32_UARCH_MISC_CTL'],
  [0xc0000080, 0xc0000080, 'native', 'module', 'IA32_EFER'],
  [0xc0000081, 0xc0000082, 'native', 'native', 'IA32_STAR, IA32_LSTAR'],
  [0xc0000084, 0xc0000084, 'native', 'native', 'IA32_FMASK'],
  [0xc0000100, 0xc0000103, 'native', 'native', 'IA32_FS_BASE to IA32_TSC_AUX'],
];
