/**
 * MSRs of a TD that KVM emulates (`tdx_has_emulated_msr()`, `tdx_is_read_only_msr()`): for userspace, and for a guest that
 * asks by TDVMCALL. Every other access fails: the guest's MSRs are the TDX module's.
 */
interface TdMsrRow {
  readonly first: number;
  /** Default: `first`. */
  readonly last?: number;
  readonly name: string;
  readonly readOnly?: true;
}

// biome-ignore format: one row per fact
const TD_MSR_ROWS: readonly TdMsrRow[] = [
  { first: 0x1b, name: 'IA32_APIC_BASE', readOnly: true },
  { first: 0x3a, name: 'IA32_FEATURE_CONTROL', readOnly: true },
  { first: 0x8b, name: 'IA32_BIOS_SIGN_ID' },
  { first: 0xce, name: 'MSR_PLATFORM_INFO' },
  { first: 0xfe, name: 'IA32_MTRRCAP' },
  { first: 0x10a, name: 'IA32_ARCH_CAPABILITIES' },
  { first: 0x140, name: 'MSR_MISC_FEATURES_ENABLES' },
  { first: 0x179, last: 0x17b, name: 'IA32_MCG_CAP, IA32_MCG_STATUS, IA32_MCG_CTL' },
  { first: 0x1a0, name: 'IA32_MISC_ENABLE' },
  { first: 0x1fc, name: 'MSR_POWER_CTL' },
  { first: 0x200, last: 0x26f, name: 'IA32_MTRR_PHYSBASE0 to IA32_MTRR_FIX4K_F8000' },
  { first: 0x277, name: 'IA32_PAT' },
  { first: 0x280, last: 0x29f, name: 'IA32_MC0_CTL2 to IA32_MC31_CTL2' },
  { first: 0x2ff, name: 'IA32_MTRR_DEF_TYPE' },
  { first: 0x400, last: 0x47f, name: 'IA32_MC0_CTL to IA32_MC31_MISC' },
  { first: 0x4d0, name: 'IA32_MCG_EXT_CTL' },
  { first: 0x6e0, name: 'IA32_TSC_DEADLINE' },
  { first: 0x4b56_4d05, name: 'MSR_KVM_POLL_CONTROL' },
  { first: 0xc000_0080, name: 'IA32_EFER', readOnly: true },
];

/** Whether KVM emulates the access. The APIC's registers are not modelled. */
export function emulatesMsr(index: number, write: boolean): boolean {
  const row = TD_MSR_ROWS.find(({ first, last = first }) => first <= index && index <= last);
  return row !== undefined && !(write && row.readOnly);
}
