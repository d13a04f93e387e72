import { extend, names, type SgxFacts } from '../model.js';
import { iceLakeSp } from './ice-lake-sp.js';
import {
  goldenCoveHwp,
  goldenCoveInstructionTlbs,
  type LastLevelCache,
  sunnyCoveDataTlbs,
  xeonCaches,
  xeonRdt,
} from './xeon.js';

/**
 * TDX attestation needs SGX, so the firmware has it on. Assumed: the bits of leaf 0x12, and an enclave page cache of
 * two GiB above the memory; the part that the model was checked against had SGX off.
 */
const enclaves: SgxFacts = {
  bits: names(`
    SGX1 SGX2 enclu_everifyreport2 SGX_EDECCSSA SGX_MISC_EXINFO
    SGX_ATTR_DEBUG SGX_ATTR_MODE64BIT SGX_ATTR_PROVISIONKEY SGX_ATTR_EINITTOKENKEY SGX_ATTR_KSS
    SGX_ATTR_ASYNC_EXIT_NOTIFY
  `),
  epc: { base: 0x20_0000_0000n, bytes: 0x8000_0000n },
};

const l3: LastLevelCache = { slices: 56, sliceKiB: 1920, ways: 15 };

/**
 * Fourth generation Xeon Scalable: Golden Cove cores, AMX, CET, user interrupts, WAITPKG; the first with TDX.
 *
 * Set up as Intel's TDX enabling guide asks for: SGX on, and "Limit CPU PA to 46 bits" off. Of the 52 bits TME-MK
 * takes the uppermost as key IDs, which CPUID does not show.
 */
export const sapphireRapids = extend(iceLakeSp, {
  name: 'sapphire-rapids',
  title: 'Intel Xeon Platinum 8480+ (Sapphire Rapids)',
  tdx: true,
  model: 0x8f,
  stepping: 8,
  microcode: 0x2b00_0639,
  brand: 'Intel(R) Xeon(R) Platinum 8480+',
  maxima: { basic: 0x20, extended: 0x8000_0008 },
  add: [
    ...names(`
      WAITPKG SHSTK BUS_LOCK_DETECT CLDEMOTE MOVDIRI MOVDIR64B ENQCMD pks
      uintr SERIALIZE TSXLDTRK arch_lbr IBT AMX_BF16 AVX512_FP16 AMX_TILE AMX_INT8 CORE_CAPABILITIES
      AVX_VNNI AVX512_BF16 FZRM FSRS FSRC
      INTEL_PSFD IPRED_CTRL RRSBA_CTRL BHI_CTRL
      XFD cdp_l3 ptwrite psb_pmi_preserve
      lbr_cpl lbr_branch_filter lbr_call_stack lbr_mispredict lbr_timed_lbr lbr_branch_type lbr_deep_c_reset
    `),
    ...goldenCoveHwp,
  ],
  topology: { cores: 56, threadsPerCore: 2, threadBits: 1, packageBits: 7 },
  addressBits: { physical: 52, linear: 57 },
  caches: xeonCaches({ l1Data: [48, 12], l1Instruction: [32, 8], l2: [2048, 16] }, l3),
  legacyL2: undefined,
  tlbs: [...goldenCoveInstructionTlbs, ...sunnyCoveDataTlbs(4)],
  xsave: {
    components: [...iceLakeSp.xsave.components, 'PASID', 'CET_U', 'CET_S', 'UINTR', 'LBR', 'XTILE_CFG', 'XTILE_DATA'],
  },
  clock: { baseMHz: 2000, maxMHz: 3800, crystalEnumerated: true },
  rdt: xeonRdt(l3, { counterBits: 32, countedKiB: 2, classes: 15, bandwidthClasses: 15, l2Ways: 16 }),
  sgx: enclaves,
  fields: {
    '7.0': { leaf7_n_subleaves: 2 },
    '14.1': { cycle_thresholds_bmp: 0x3f },
    // Stacks of 8, 16 and 32 branch records.
    '1c.0': { lbr_depth_mask: 0b1011 },
  },
  // Assumed from the table of affected processors.
  archCapabilities: names(`
    RDCL_NO IBRS_ALL SKIP_L1DFL_VMENTRY MDS_NO IF_PSCHANGE_MC_NO TSX_CTRL TAA_NO MISC_PACKAGE_CTLS
    ENERGY_FILTERING_CTL DOITM SBDR_SSDP_NO FBSDP_NO PSDP_NO FB_CLEAR RRSBA XAPIC_DISABLE_STATUS GDS_NO RFDS_NO
  `),
});
