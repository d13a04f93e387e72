import { type HostModel, names } from '../model.js';
import { epycCaches } from './epyc.js';

const basic = names(`
  FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH MMX FXSR XMM XMM2 HTT
  XMM3 PCLMULQDQ MWAIT SSSE3 FMA CX16 XMM4_1 XMM4_2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND
  ARAT aperfmperf
  FSGSBASE BMI1 AVX2 SMEP BMI2 RDSEED ADX SMAP CLFLUSHOPT SHA_NI
  XSAVEOPT XSAVEC XGETBV1 XSAVES
`);

const extended = names(`
  LAHF_LM CMP_LEGACY SVM extapic CR8_LEGACY ABM SSE4A MISALIGNSSE 3DNOWPREFETCH OSVW skinit wdt tce TOPOEXT
  PERFCTR_CORE perfctr_nb bpext perfctr_llc mwaitx
  SYSCALL NX MMXEXT FXSR_OPT GBPAGES RDTSCP LM
  overflow_recov succor smca
  digital_temp thermal_trip hw_thermal_control hw_pstate CONSTANT_TSC cpb eff_freq_ro connected_standby rapl
  CLZERO irperf XSAVEERPTR AMD_IBPB
  FP128 MOVU
  ibs_flags ibs_fetch_sampling ibs_op_sampling ibs_rdwr_op_counter ibs_op_count ibs_branch_target ibs_op_counters_ext
  ibs_rip_invalid_chk ibs_op_branch_fuse ibs_fetch_ctl_ext
`);

const virtualisation = names(`
  NPT LBRV svm_lock NRIPS TSCRATEMSR VMCBCLEAN FLUSHBYASID decodeassists PAUSEFILTER PFTHRESHOLD avic V_VMSAVE_VMLOAD
  VGIF
  SME SEV vm_page_flush SEV_ES
`);

/** First generation EPYC: Zen cores, four dies in a package. The later ones are described as changes to it. */
export const naples: HostModel = {
  name: 'naples',
  title: 'AMD EPYC 7551P (Naples)',
  vendor: 'amd',
  technology: 'svm',
  tdx: false,
  family: 0x17,
  model: 0x1,
  stepping: 2,
  microcode: 0x0800_126f,
  brand: 'AMD EPYC 7551P 32-Core Processor'.padEnd(47),
  maxima: { basic: 0xd, extended: 0x8000_001f },
  features: [...basic, ...extended, ...virtualisation],
  topology: {
    cores: 32,
    threadsPerCore: 2,
    threadBits: 1,
    packageBits: 6,
    complex: { cores: 4, bits: 3 },
    nodes: 4,
  },
  addressBits: { physical: 48, linear: 48 },
  caches: epycCaches({ l1Data: [32, 8], l1Instruction: [64, 4], l2: [512, 8], l3: [8 * 1024, 16] }),
  descriptors: {},
  legacyL2: undefined,
  tlbs: [],
  pageTlbs: {
    '4k': { l1Instruction: [64, 'full'], l1Data: [64, 'full'], l2Instruction: [1024, 8], l2Data: [1536, 6] },
    '2m': { l1Instruction: [64, 'full'], l1Data: [64, 'full'], l2Instruction: [1024, 8], l2Data: [1536, 3] },
    '1g': { l1Instruction: [64, 'full'], l1Data: [64, 'full'] },
  },
  xsave: { components: ['YMM'] },
  clock: undefined,
  pmu: undefined,
  rdt: undefined,
  sgx: undefined,
  fields: {
    '5.0': {
      min_mon_size: 64,
      max_mon_size: 64,
      mwait_ext: 1,
      mwait_irq_break: 1,
      n_c0_substates: 1,
      n_c1_substates: 1,
    },
    // Socket SP3.
    '80000001.0': { pkg_type: 4 },
    '8000000a.0': { svm_version: 1, svm_nasid: 0x8000 },
    // The C-bit is bit 47; with memory encryption on, physical addresses lose five bits.
    '8000001f.0': { pte_cbit_pos: 47, phys_addr_reduction_nbits: 5, enc_guests_max: 15, min_sev_asid_no_sev_es: 1 },
  },
  archCapabilities: undefined,
};
