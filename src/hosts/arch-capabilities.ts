/** IA32_ARCH_CAPABILITIES, Intel SDM volume 4, table 2-2 "IA-32 Architectural MSRs". */
export const MSR_IA32_ARCH_CAPABILITIES = 0x10a;

const BITS: Readonly<Record<string, bigint>> = {
  RDCL_NO: 0n,
  IBRS_ALL: 1n,
  RSBA: 2n,
  SKIP_L1DFL_VMENTRY: 3n,
  SSB_NO: 4n,
  MDS_NO: 5n,
  IF_PSCHANGE_MC_NO: 6n,
  TSX_CTRL: 7n,
  TAA_NO: 8n,
  MISC_PACKAGE_CTLS: 10n,
  ENERGY_FILTERING_CTL: 11n,
  DOITM: 12n,
  SBDR_SSDP_NO: 13n,
  FBSDP_NO: 14n,
  PSDP_NO: 15n,
  FB_CLEAR: 17n,
  RRSBA: 19n,
  BHI_NO: 20n,
  XAPIC_DISABLE_STATUS: 21n,
  PBRSB_NO: 24n,
  GDS_CTRL: 25n,
  GDS_NO: 26n,
  RFDS_NO: 27n,
};

/** The MSR's value from the names of its bits. Throws on a name that it does not have. */
export function archCapabilities(names: readonly string[]): bigint {
  return names.reduce((value, name) => {
    const bit = BITS[name];
    if (bit === undefined) throw new Error(`IA32_ARCH_CAPABILITIES has no bit called ${name}`);
    return value | (1n << bit);
  }, 0n);
}
