import { extend, names } from '../model.js';
import { epycCaches } from './epyc.js';
import { milan } from './milan.js';

/** Fourth generation EPYC: Zen 4 cores, AVX-512, five-level paging, automatic IBRS, x2AVIC. */
export const genoa = extend(milan, {
  name: 'genoa',
  title: 'AMD EPYC 9654 (Genoa)',
  model: 0x11,
  stepping: 1,
  microcode: 0x0a10_1148,
  brand: 'AMD EPYC 9654 96-Core Processor'.padEnd(47),
  maxima: { basic: 0x10, extended: 0x8000_0028 },
  add: names(`
    AVX512F AVX512DQ AVX512IFMA AVX512CD AVX512BW AVX512VL
    AVX512VBMI AVX512_VBMI2 GFNI AVX512_VNNI AVX512_BITALG AVX512_VPOPCNTDQ LA57 FLUSH_L1D AVX512_BF16
    cppc BTC_NO AMD_IBPB_RET
    avic x2avic ro_gpt VNMI ibs_virt ext_lvt_off_chg ibs_l3_miss_filter
    rpmquery vmpl_sss secure_tsc v_tsc_aux vmgexit_parameter virt_tom_msr virt_ibs vmsa_reg_protection smt_protection
    smba bmec l3rr
    WRMSR_XX_BASE_NS upper_addr_ignore AUTOIBRS NO_SMM_CTL_MSR fsrs@80000021 fsrc@80000021 GP_ON_USER_CPUID epsf
    PERFMON_V2 lbr_v2 lbr_pmc_freeze mem_hmk_mode
  `),
  remove: names('mcommit lbr_extn brs vm_page_flush'),
  topology: { cores: 96, threadsPerCore: 2, threadBits: 1, packageBits: 8, complex: { cores: 8, bits: 4 } },
  addressBits: { physical: 52, linear: 57 },
  caches: epycCaches({ l1Data: [32, 8], l1Instruction: [32, 8], l2: [1024, 8], l3: [32 * 1024, 16] }),
  pageTlbs: {
    '4k': { l1Instruction: [64, 'full'], l1Data: [72, 'full'], l2Instruction: [512, 4], l2Data: [3072, 8] },
    '2m': { l1Instruction: [64, 'full'], l1Data: [72, 'full'], l2Instruction: [512, 2], l2Data: [3072, 6] },
    '1g': { l1Instruction: [64, 'full'], l1Data: [72, 'full'], l2Data: [64, 'full'] },
  },
  xsave: { components: [...milan.xsave.components, 'OPMASK', 'ZMM_HI256', 'HI16_ZMM'] },
  rdt: {
    rmids: 256,
    counterBits: 44,
    countedBytes: 64,
    l3: { ways: 16, classes: 16, sharedWithDevices: 0 },
  },
  fields: {
    '7.0': { leaf7_n_subleaves: 1 },
    '8000001f.0': { phys_addr_reduction_nbits: 6, enc_guests_max: 1006 },
    '80000020.2': { smba_limit_len: 11, smba_cos_max: 15 },
    '80000020.3': {
      bmec_num_events: 2,
      bmec_local_reads: 1,
      bmec_remote_reads: 1,
      bmec_local_nontemp_wr: 1,
      bmec_remote_nontemp_wr: 1,
      bmec_local_slow_mem_rd: 1,
      bmec_remote_slow_mem_rd: 1,
      bmec_all_dirty_victims: 1,
    },
    '80000021.0': { microcode_patch_size: 348 },
    // Twelve memory controllers with four counters each.
    '80000022.0': {
      n_pmc_core: 6,
      lbr_v2_stack_size: 16,
      n_pmc_northbridge: 16,
      n_pmc_umc: 48,
      active_umc_bitmask: 0xfff,
    },
    '80000023.0': { mem_hmk_avail_keys: 63 },
  },
});
