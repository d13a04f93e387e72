import { type HostModel, names } from '../model.js';

/**
 * Zhaoxin's server part with Yongfeng cores. It calls itself CentaurHauls, speaks VMX, and has Centaur's own range of
 * functions at 0xC0000000.
 *
 * The names of that range are Linux's (cpufeatures.h, word 5); see `model.ts` for where the values come from.
 */
export const kh40000: HostModel = {
  name: 'zhaoxin-kh40000',
  title: 'Zhaoxin KaiSheng KH-40000/16 (Yongfeng)',
  vendor: 'centaur',
  technology: 'vmx',
  tdx: false,
  family: 7,
  model: 0x5b,
  stepping: 3,
  microcode: undefined,
  // Right-aligned in its 47 characters.
  brand: 'ZHAOXIN KaiSheng KH-40000/16@2.2GHz'.padStart(47),
  maxima: { basic: 0x1f, extended: 0x8000_0008, centaur: 0xc000_0005 },
  features: names(`
    FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH acpi MMX FXSR XMM XMM2 SELFSNOOP
    HTT tm pbe
    XMM3 PCLMULQDQ VMX smx est tm2 SSSE3 FMA CX16 xtpr PCID XMM4_1 XMM4_2 X2APIC MOVBE POPCNT TSC_DEADLINE_TIMER AES
    XSAVE AVX F16C RDRAND
    FSGSBASE TSC_ADJUST BMI1 AVX2 SMEP BMI2 INVPCID ZERO_FCS_FDS RDSEED ADX SMAP SHA_NI
    prefetchwt1 UMIP PKU RDPID SPEC_CTRL ARCH_CAPABILITIES
    dtherm aperfmperf
    XSAVEOPT
    LAHF_LM ABM 3DNOWPREFETCH SYSCALL NX GBPAGES RDTSCP LM CONSTANT_TSC
    SM2 SM2_EN XSTORE XSTORE_EN CCS CCS_EN XCRYPT XCRYPT_EN ACE2 PHE PHE_EN PMM PMM_EN parallax parallax_en
    RNG2 RNG2_EN PHE2 PHE2_EN RSA RSA_EN
  `),
  // Four clusters of four cores with an L3 cache each. The APIC ID has room for four such dies.
  topology: {
    cores: 16,
    threadsPerCore: 1,
    threadBits: 0,
    packageBits: 6,
    complex: { cores: 4, bits: 2 },
    die: { cores: 16, bits: 4 },
  },
  addressBits: { physical: 46, linear: 48 },
  caches: [
    { level: 1, type: 'data', sizeKiB: 32, ways: 8, sharedBy: 'core' },
    { level: 1, type: 'instruction', sizeKiB: 64, ways: 16, sharedBy: 'core' },
    { level: 2, type: 'unified', sizeKiB: 256, ways: 8, sharedBy: 'core', inclusive: true },
    {
      level: 3,
      type: 'unified',
      sizeKiB: 8 * 1024,
      ways: 16,
      sharedBy: 'complex',
      inclusive: true,
      wbinvdNotShared: true,
    },
  ],
  descriptors: { 1: 'prefetch-64', 2: 'dtlb-2m-32', 3: 'dtlb-2m-32-1g-4', 12: 'caches-in-leaf-4' },
  legacyL2: undefined,
  tlbs: [],
  pageTlbs: {
    '4k': { l1Instruction: [96, 6], l1Data: [96, 6] },
    '2m': { l1Instruction: [32, 4], l1Data: [32, 4] },
    '1g': {},
  },
  xsave: { components: ['YMM', 'PKRU'] },
  clock: undefined,
  pmu: { version: 2, counters: 4, fixedCounters: 3, counterBits: 48, events: 7, anyThreadDeprecated: false },
  rdt: undefined,
  sgx: undefined,
  fields: {
    '5.0': { n_c1_substates: 2, n_c2_substates: 2, n_c3_substates: 2, n_c4_substates: 2 },
  },
  // Assumed: the value is not documented.
  archCapabilities: ['RDCL_NO'],
};
