import { extend, names } from '../model.js';
import { epycCaches } from './epyc.js';
import { rome } from './rome.js';

/** Third generation EPYC: Zen 3 cores, complexes of eight, SEV-SNP, protection keys, shadow stacks. */
export const milan = extend(rome, {
  name: 'milan',
  title: 'AMD EPYC 7763 (Milan)',
  family: 0x19,
  model: 0x1,
  stepping: 1,
  microcode: 0x0a00_11d5,
  brand: 'AMD EPYC 7763 64-Core Processor'.padEnd(47),
  maxima: { basic: 0x10, extended: 0x8000_0023 },
  add: names(`
    PCID ERMS INVPCID PKU SHSTK VAES VPCLMULQDQ FSRM
    INVLPGB EFER_LMSLE_MBZ tlb_flush_nested AMD_PSFD brs
    sss_check h_mce_override tlbsync_int SVME_ADDR_CHK
    SEV_SNP vm_permission_levels SME_COHERENT req_64bit_hypervisor restricted_injection alternate_injection debug_swap
    disallow_host_ibs
    NO_NESTED_DATA_BP LFENCE_RDTSC smm_page_cfg_lock NULL_SEL_CLR_BASE prefetch_ctl_msr
  `),
  // Linux has kvm_amd.force_avic for parts like this one that do not announce AVIC.
  remove: names('avic'),
  topology: { cores: 64, threadsPerCore: 2, threadBits: 1, packageBits: 7, complex: { cores: 8, bits: 4 } },
  caches: epycCaches({ l1Data: [32, 8], l1Instruction: [32, 8], l2: [512, 8], l3: [32 * 1024, 16] }),
  pageTlbs: {
    '4k': { l1Instruction: [64, 'full'], l1Data: [64, 'full'], l2Instruction: [512, 4], l2Data: [2048, 8] },
    '2m': { l1Instruction: [64, 'full'], l1Data: [64, 'full'], l2Instruction: [512, 2], l2Data: [2048, 4] },
    '1g': { l1Instruction: [64, 'full'], l1Data: [64, 'full'], l2Data: [64, 'full'] },
  },
  xsave: { components: ['YMM', 'PKRU', 'CET_U', 'CET_S'] },
  fields: {
    '80000008.0': { invlpgb_max_pages: 7 },
    // The C-bit moves to bit 51; four virtual machine privilege levels.
    '8000001f.0': { pte_cbit_pos: 51, vmpl_count: 4 },
  },
});
