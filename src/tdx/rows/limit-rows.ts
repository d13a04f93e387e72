import type { AttributeName, TdxModuleVersion } from '../params.js';

/** What TDH.MNG.INIT accepts in ATTRIBUTES and XFAM; the module's `td_control_structures.h` and `check_xfam()`. */

/**
 * Bits of ATTRIBUTES that may be set, since which version, and the CPU's feature that they need. None must be set. That
 * 1.5.01 has no LASS and ICSSD is assumed: its CPUID table has LASS fixed to 0.
 */
// biome-ignore format: one row per fact
export const ATTRIBUTE_ROWS: readonly (readonly [name: AttributeName, since: TdxModuleVersion, needs: string | null])[] = [
  ['DEBUG', '1.5.01', null],
  ['PMT_PROF', '2.0.8', null],
  ['ICSSD', '1.5.28', null],
  ['LASS', '1.5.28', 'LASS'],
  ['SEPT_VE_DISABLE', '1.5.01', null],
  ['MIGRATABLE', '1.5.01', null],
  ['PKS', '1.5.01', null],
  ['TPA', '2.0.8', null],
  ['PERFMON', '1.5.01', null],
];

/** Attributes that exclude each other. */
export const ATTRIBUTE_CONFLICTS: readonly (readonly [AttributeName, AttributeName])[] = [
  ['MIGRATABLE', 'DEBUG'],
  ['MIGRATABLE', 'PERFMON'],
  ['PERFMON', 'ICSSD'],
];

/** State components that the module knows, if the CPU has them: all but MPX, PASID, HDC and HWP. */
export const XFAM_COMPONENTS: readonly number[] = [0, 1, 2, 5, 6, 7, 8, 9, 11, 12, 14, 15, 17, 18];

/** Those that every TD has. */
export const XFAM_ALWAYS: readonly number[] = [0, 1];

/** If one of the bits `any` is set, all of `needs` must be. */
export const XFAM_RULES: readonly { readonly any: readonly number[]; readonly needs: readonly number[] }[] = [
  { any: [5, 6, 7], needs: [2, 5, 6, 7] },
  { any: [11, 12], needs: [11, 12] },
  { any: [17, 18], needs: [17, 18] },
];
