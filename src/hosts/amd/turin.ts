import { extend, names } from '../model.js';
import { epycCaches } from './epyc.js';
import { genoa } from './genoa.js';

/**
 * Fifth generation EPYC: Zen 5 cores, 512-bit data paths, AVX-VNNI, MOVDIR64B, bus lock detection.
 *
 * Assumed: topology and APIC ID layout are Genoa's; the part checked had SMT and a third of its cores off.
 */
export const turin = extend(genoa, {
  name: 'turin',
  title: 'AMD EPYC 9655 (Turin)',
  family: 0x1a,
  model: 0x2,
  stepping: 1,
  microcode: 0x0b00_2116,
  brand: 'AMD EPYC 9655 96-Core Processor'.padEnd(47),
  add: names(`
    TSC_ADJUST BUS_LOCK_DETECT MOVDIRI MOVDIR64B AVX512_VP2INTERSECT AVX_VNNI fp_512
    pmc_virt bus_lock_threshold idle_hlt_intercept enhanced_shutdown_intercept
    ibs_load_latency_filter ibs_updated_dtlb_stats
    pmc_virt_guest_ctl rmpread guest_intercept_control segmented_rmp secure_avic allowed_sev_features
    hv_in_use_wr_allowed ibpb_on_entry
    abmc sdciae
    pmc2_precise_retire l2_tlb_size_x32 amd_ermsb opcode_reclaim fast_rep_scasb PREFETCHI fp512_downgrade ERAPS SBPB
    IBPB_BRTYPE SRSO_USER_KERNEL_NO srso_msr_fix
  `),
  remove: names('FP256'),
  caches: epycCaches({ l1Data: [48, 12], l1Instruction: [32, 8], l2: [1024, 16], l3: [32 * 1024, 16] }),
  pageTlbs: {
    '4k': { l1Instruction: [64, 'full'], l1Data: [96, 'full'], l2Instruction: [2048, 4], l2Data: [4096, 8] },
    '2m': { l1Instruction: [64, 'full'], l1Data: [96, 'full'], l2Instruction: [2048, 2], l2Data: [4096, 4] },
    '1g': { l1Instruction: [64, 'full'], l1Data: [96, 'full'], l2Data: [1024, 4] },
  },
  rdt: {
    rmids: 4096,
    counterBits: 44,
    countedBytes: 64,
    l3: { ways: 16, classes: 16, sharedWithDevices: 0 },
  },
  fields: {
    '5.0': { n_c1_substates: 2 },
    '80000020.1': { mba_limit_len: 12 },
    '80000020.2': { smba_limit_len: 12 },
    '80000020.5': { abmc_counter_width: 20, abmc_counter_max: 31, abmc_select_cos: 1 },
    '80000021.0': { microcode_patch_size: 898, rap_size: 8 },
    // RMP segments of 64 GiB to 4 TiB, sixteen of them cached at a time.
    '80000025.0': {
      rmp_segment_min_bits: 36,
      rmp_segment_max_bits: 42,
      rmp_cached_segments: 16,
      rmp_cached_segments_limit: 1,
    },
  },
});
