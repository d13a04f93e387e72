import type { CpuidRow } from '../cpuid/entry.js';
import { fieldRow } from './fields.js';
import type { HostModel } from './model.js';

const CRYSTAL_MHZ = 25;
const BUS_MHZ = 100;
const TSC_DENOMINATOR = 2;

/**
 * Leaves 0x15 and 0x16: the TSC runs at the base frequency, a multiple of half the crystal's.
 * Intel SDM volume 2A, CPUID, "Input EAX = 15H" and "16H".
 */
export function clockRows({ clock }: HostModel): readonly CpuidRow[] {
  if (!clock) return [];
  return [
    fieldRow(0x15, 0, {
      tsc_denominator: TSC_DENOMINATOR,
      tsc_numerator: (clock.baseMHz * TSC_DENOMINATOR) / CRYSTAL_MHZ,
      cpu_crystal_hz: clock.crystalEnumerated ? CRYSTAL_MHZ * 1_000_000 : 0,
    }),
    fieldRow(0x16, 0, { cpu_base_mhz: clock.baseMHz, cpu_max_mhz: clock.maxMHz, bus_mhz: BUS_MHZ }),
  ];
}
