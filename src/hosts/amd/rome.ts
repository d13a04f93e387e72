import { extend, names } from '../model.js';
import { epycCaches } from './epyc.js';
import { naples } from './naples.js';

/** Second generation EPYC: Zen 2 cores, 256-bit data paths, one I/O die, platform quality of service. */
export const rome = extend(naples, {
  name: 'rome',
  title: 'AMD EPYC 7742 (Rome)',
  model: 0x31,
  stepping: 0,
  microcode: 0x0830_107c,
  brand: 'AMD EPYC 7742 64-Core Processor'.padEnd(47),
  maxima: { basic: 0x10, extended: 0x8000_0020 },
  add: names(`
    X2APIC cqm rdt_a CLWB UMIP RDPID cdp_l3 ibs addr_mask_ext FP256
    rdpru mba@80000008 mcommit WBNOINVD lbr_extn wbinvd_int AMD_IBRS AMD_STIBP AMD_STIBP_ALWAYS_ON ibrs_fast
    AMD_IBRS_SAME_MODE amd_ppin AMD_SSBD
    GMET v_spec_ctrl virt_transparent_enc mba@80000020
  `),
  remove: names('FP128'),
  topology: { cores: 64, threadsPerCore: 2, threadBits: 1, packageBits: 7, complex: { cores: 4, bits: 3 } },
  caches: epycCaches({ l1Data: [32, 8], l1Instruction: [32, 8], l2: [512, 8], l3: [16 * 1024, 16] }),
  pageTlbs: {
    '4k': { l1Instruction: [64, 'full'], l1Data: [64, 'full'], l2Instruction: [1024, 8], l2Data: [2048, 8] },
    '2m': { l1Instruction: [64, 'full'], l1Data: [64, 'full'], l2Instruction: [1024, 8], l2Data: [2048, 4] },
    '1g': { l1Instruction: [64, 'full'], l1Data: [64, 'full'] },
  },
  // PKRU is announced, in a place of its own, although Zen 2 has no protection keys.
  xsave: { components: ['YMM', 'PKRU'], exceptions: { PKRU: { size: 64, offset: 0x340 } } },
  rdt: {
    rmids: 256,
    counterBits: 24,
    countedBytes: 64,
    l3: { ways: 16, classes: 16, sharedWithDevices: 0 },
  },
  fields: {
    '80000008.0': { rdpru_max_reg_id: 1 },
    '8000001f.0': { enc_guests_max: 509 },
    // Assumed: the sub-leaf of the part checked was not recorded.
    '80000020.1': { mba_limit_len: 11, mba_cos_max: 15 },
  },
});
