import { type HostModel, names } from '../model.js';
import { type LastLevelCache, skylakeHwp, xeonCaches, xeonRdt } from './xeon.js';

const basic = names(`
  FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH DS acpi MMX FXSR XMM XMM2 SELFSNOOP
  HTT tm pbe
  XMM3 PCLMULQDQ DTES64 MWAIT DSCPL VMX smx est tm2 SSSE3 sdbg FMA CX16 xtpr PDCM PCID dca XMM4_1 XMM4_2 X2APIC MOVBE
  POPCNT TSC_DEADLINE_TIMER AES XSAVE AVX F16C RDRAND
  LAHF_LM ABM 3DNOWPREFETCH SYSCALL NX GBPAGES RDTSCP LM CONSTANT_TSC
`);

const structured = names(`
  FSGSBASE TSC_ADJUST BMI1 HLE AVX2 FDP_EXCPTN_ONLY SMEP BMI2 ERMS INVPCID RTM cqm ZERO_FCS_FDS MPX rdt_a
  AVX512F AVX512DQ RDSEED ADX SMAP CLFLUSHOPT CLWB INTEL_PT AVX512CD AVX512BW AVX512VL
  PKU
  MD_CLEAR tsx_force_abort SPEC_CTRL INTEL_STIBP FLUSH_L1D SPEC_CTRL_SSBD
  XSAVEOPT XSAVEC XGETBV1 XSAVES
`);

const power = [...names('dtherm turbo_boost ARAT pln ecmd pts aperfmperf epb'), ...skylakeHwp];

const trace = names(
  'cr3_filtering psb_cyc ip_filtering mtc_timing topa_output topa_multiple_entries single_range_output',
);

export const skylakeL1 = { l1Data: [32, 8], l1Instruction: [32, 8], l2: [1024, 16] } as const;
const l3: LastLevelCache = { slices: 24, sliceKiB: 1408, ways: 11 };

/** First generation Xeon Scalable. The later ones are described as changes to it. */
export const skylakeSp: HostModel = {
  name: 'skylake-sp',
  title: 'Intel Xeon Platinum 8160 (Skylake-SP)',
  vendor: 'intel',
  technology: 'vmx',
  tdx: false,
  family: 6,
  model: 0x55,
  stepping: 4,
  microcode: undefined,
  brand: 'Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz',
  maxima: { basic: 0x16, extended: 0x8000_0008 },
  features: [...basic, ...structured, ...power, ...trace, 'cdp_l3'],
  topology: { cores: 24, threadsPerCore: 2, threadBits: 1, packageBits: 6 },
  addressBits: { physical: 46, linear: 48 },
  caches: xeonCaches(skylakeL1, l3),
  descriptors: {
    1: 'dtlb-2m-32-1g-4',
    2: 'dtlb-4k-64',
    3: 'itlb-2m-8',
    4: 'caches-in-leaf-4',
    5: 'itlb-4k-64',
    6: 'prefetch-64',
    14: 'stlb-1536',
  },
  // The leaf still shows the L2 of the cores before.
  legacyL2: { sizeKiB: 256, ways: 8 },
  tlbs: [],
  pageTlbs: undefined,
  xsave: { components: ['YMM', 'BNDREGS', 'BNDCSR', 'OPMASK', 'ZMM_HI256', 'HI16_ZMM', 'PT', 'PKRU'] },
  clock: { baseMHz: 2100, maxMHz: 3700, crystalEnumerated: false },
  pmu: { version: 4, counters: 4, fixedCounters: 3, counterBits: 48, events: 7, anyThreadDeprecated: false },
  rdt: xeonRdt(l3, { counterBits: 24, countedKiB: 4, classes: 16, bandwidthClasses: 8 }),
  sgx: undefined,
  fields: {
    '5.0': {
      min_mon_size: 64,
      max_mon_size: 64,
      mwait_ext: 1,
      mwait_irq_break: 1,
      n_c1_substates: 2,
      n_c3_substates: 2,
    },
    '6.0': { n_therm_thresholds: 2 },
    '14.0': { pt_max_subleaf: 1 },
    '14.1': {
      num_address_ranges: 2,
      // Every third exponent from 0 to 9; thresholds and PSB periods from 0 on.
      mtc_periods_bmp: 0b10_0100_1001,
      cycle_thresholds_bmp: 0x3fff,
      psb_periods_bmp: 0x3f,
    },
  },
  archCapabilities: undefined,
};
