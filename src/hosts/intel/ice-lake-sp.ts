import { extend, names } from '../model.js';
import { cascadeLake } from './cascade-lake.js';
import { type LastLevelCache, sunnyCoveDataTlbs, xeonCaches, xeonRdt } from './xeon.js';

const l3: LastLevelCache = { slices: 36, sliceKiB: 1536, ways: 12 };

/** Third generation Xeon Scalable: Sunny Cove cores, five-level paging, total memory encryption, no MPX any more. */
export const iceLakeSp = extend(cascadeLake, {
  name: 'ice-lake-sp',
  title: 'Intel Xeon Platinum 8351N (Ice Lake-SP)',
  model: 0x6a,
  stepping: 6,
  microcode: 0x0d00_03a5,
  brand: 'Intel(R) Xeon(R) Platinum 8351N CPU @ 2.40GHz',
  maxima: { basic: 0x1b, extended: 0x8000_0008 },
  // SGX is there, but the firmware has set no memory aside for it: leaf 0x12 is empty.
  add: names(`
    SGX AVX512IFMA SHA_NI
    AVX512VBMI UMIP AVX512_VBMI2 GFNI VAES VPCLMULQDQ AVX512_BITALG tme AVX512_VPOPCNTDQ LA57 RDPID SGX_LC
    sgx_keys FSRM pconfig
    WBNOINVD
  `),
  // This part does not divide its L3 cache between code and data.
  remove: names('MPX cdp_l3'),
  topology: { cores: 36, threadsPerCore: 2, threadBits: 1, packageBits: 7 },
  addressBits: { physical: 46, linear: 57 },
  caches: xeonCaches({ l1Data: [48, 12], l1Instruction: [32, 8], l2: [1280, 20] }, l3),
  descriptors: { 1: 'caches-in-leaf-4', 2: 'tlbs-in-leaf-18', 4: 'prefetch-64' },
  tlbs: [{ level: 1, type: 'instruction', pages: ['4k', '2m', '4m'], ways: 8, sets: 1 }, ...sunnyCoveDataTlbs(4)],
  xsave: { components: ['YMM', 'OPMASK', 'ZMM_HI256', 'HI16_ZMM', 'PT', 'PKRU'] },
  clock: { baseMHz: 2400, maxMHz: 3500, crystalEnumerated: false },
  pmu: { version: 5, counters: 8, fixedCounters: 4, counterBits: 48, events: 8, anyThreadDeprecated: true },
  rdt: xeonRdt(l3, { counterBits: 32, countedKiB: 2, classes: 15, bandwidthClasses: 15 }),
  fields: {
    '5.0': { n_c3_substates: 1 },
    '14.1': { cycle_thresholds_bmp: 0x1fff },
    // PCONFIG programs the keys of multi-key total memory encryption.
    '1b.0': { pconfig_subleaf_type: 1, pconfig_target_id_x: 1 },
  },
  // Assumed from the table of affected processors.
  archCapabilities: names(`
    RDCL_NO IBRS_ALL SKIP_L1DFL_VMENTRY MDS_NO IF_PSCHANGE_MC_NO TSX_CTRL TAA_NO MISC_PACKAGE_CTLS
    ENERGY_FILTERING_CTL DOITM SBDR_SSDP_NO FB_CLEAR RRSBA
  `),
});
