import type { CpuidRow } from '../cpuid/entry.js';
import { fieldRow } from './fields.js';
import type { HostModel } from './model.js';

/** From this version on the fixed counters are also listed as a bitmap. */
const FIXED_BITMAP_VERSION = 5;

/** Leaf 0xA. Intel SDM volume 3B, "Architectural Performance Monitoring"; volume 2A, CPUID, "Input EAX = 0AH". */
export function pmuRows({ pmu }: HostModel): readonly CpuidRow[] {
  if (!pmu) return [];
  return [
    fieldRow(0xa, 0, {
      pmu_version: pmu.version,
      num_counters_gp: pmu.counters,
      bit_width_gp: pmu.counterBits,
      events_mask_len: pmu.events,
      pmu_fcounters_bitmap: pmu.version >= FIXED_BITMAP_VERSION ? (1 << pmu.fixedCounters) - 1 : 0,
      num_counters_fixed: pmu.fixedCounters,
      bitwidth_fixed: pmu.counterBits,
      anythread_deprecation: pmu.anyThreadDeprecated ? 1 : 0,
    }),
  ];
}
