import { extend, names } from '../model.js';
import { emeraldRapids } from './emerald-rapids.js';
import {
  goldenCoveHwp,
  goldenCoveInstructionTlbs,
  type LastLevelCache,
  sunnyCoveDataTlbs,
  xeonCaches,
  xeonRdt,
} from './xeon.js';

/** 336 MiB are public; that they are slices of 4 MiB is assumed from a smaller part of the family. */
const l3: LastLevelCache = { slices: 84, sliceKiB: 4096, ways: 16 };

/** Xeon 6 with P-cores: Redwood Cove, AMX-FP16, AVX10.1, architectural performance monitoring in leaf 0x23. */
export const graniteRapids = extend(emeraldRapids, {
  name: 'granite-rapids',
  title: 'Intel Xeon 6776P (Granite Rapids)',
  model: 0xad,
  stepping: 1,
  microcode: 0x0100_0380,
  brand: 'Intel(R) Xeon(R) 6776P',
  maxima: { basic: 0x24, extended: 0x8000_0008 },
  add: [
    ...names(`
      arch_perfmon_ext AMX_FP16 invd_disable intel_ppin PREFETCHITI uiret_uif AVX10 MCDT_NO
      AVX10_128 AVX10_256 AVX10_512
      io_rdt_cmt io_rdt_mbm l3_cat_cos_infreq_updates cat_sparse_1s
      subleaf_0 counters_subleaf events_subleaf
      core_cycles_evt insn_retired_evt ref_cycles_evt llc_refs_evt llc_misses_evt br_insn_ret_evt br_mispr_evt
      td_slots_evt td_backend_bound_evt td_frontend_bound_evt td_retiring_evt
    `),
    ...goldenCoveHwp,
  ],
  remove: names('epb'),
  topology: { cores: 64, threadsPerCore: 2, threadBits: 1, packageBits: 7 },
  caches: xeonCaches({ l1Data: [48, 12], l1Instruction: [64, 16], l2: [2048, 16] }, l3),
  tlbs: [...goldenCoveInstructionTlbs, ...sunnyCoveDataTlbs(6)],
  xsave: { components: [...emeraldRapids.xsave.components, 'HWP'] },
  clock: { baseMHz: 2300, maxMHz: 3900, crystalEnumerated: true },
  rdt: xeonRdt(l3, { counterBits: 32, countedKiB: 2, classes: 15, bandwidthClasses: 15, l2Ways: 16 }),
  fields: {
    '5.0': { n_c3_substates: 2 },
    // A core of the Core kind (as opposed to Atom), native model 2.
    '1a.0': { core_type: 0x40, core_native_model: 2 },
    '23.1': { gp_counters: 0xff, fixed_counters: 0xf },
    '24.0': { avx10_version: 1 },
  },
  // Assumed from the table of affected processors.
  archCapabilities: [...(emeraldRapids.archCapabilities ?? []), 'PBRSB_NO'],
});
