import type { CpuidRow } from '../cpuid/entry.js';
import { fieldRow } from './fields.js';
import type { HostModel, RdtFacts } from './model.js';

/**
 * Monitoring and allocation of shared resources: leaves 0xF and 0x10.
 * Intel SDM volume 3B, "Intel Resource Director Technology Features"; AMD, "AMD64 Technology Platform Quality of
 * Service Extensions" (56375).
 */

/** Counter widths are given beyond this many bits. */
const COUNTER_BASE_BITS = 24;

function monitoringRows(rdt: RdtFacts): readonly CpuidRow[] {
  return [
    fieldRow(0xf, 0, { core_rmid_max: rdt.rmids - 1, cqm_llc: 1 }),
    fieldRow(0xf, 1, {
      l3c_qm_bitwidth: rdt.counterBits - COUNTER_BASE_BITS,
      l3c_qm_conver_factor: rdt.countedBytes,
      l3c_qm_rmid_max: rdt.rmids - 1,
      cqm_occup_llc: 1,
      cqm_mbm_total: 1,
      cqm_mbm_local: 1,
    }),
  ];
}

/** The ways that devices write to as well are the uppermost. */
function sharedWays({ l3 }: RdtFacts): number {
  return ((1 << l3.sharedWithDevices) - 1) << (l3.ways - l3.sharedWithDevices);
}

function allocationRows(rdt: RdtFacts): readonly CpuidRow[] {
  const { l3, l2, bandwidth } = rdt;
  const rows = [
    fieldRow(0x10, 0, { cat_l3: 1, cat_l2: l2 ? 1 : 0, mba: bandwidth ? 1 : 0 }),
    fieldRow(0x10, 1, {
      cat_cbm_len: l3.ways - 1,
      cat_units_bitmap: sharedWays(rdt),
      cat_cos_max: l3.classes - 1,
    }),
  ];
  // The bit for code and data prioritisation has its name from the L3's sub-leaf.
  if (l2) rows.push(fieldRow(0x10, 2, { cat_cbm_len: l2.ways - 1, cat_cos_max: l2.classes - 1, cdp_l3: 1 }));
  if (bandwidth) {
    rows.push(
      fieldRow(0x10, 3, {
        mba_max_delay: bandwidth.maxDelay - 1,
        mba_delay_linear: 1,
        mba_cos_max: bandwidth.classes - 1,
      }),
    );
  }
  return rows;
}

export function rdtRows({ rdt }: HostModel): readonly CpuidRow[] {
  return rdt ? [...monitoringRows(rdt), ...allocationRows(rdt)] : [];
}
