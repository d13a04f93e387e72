import { type Cache, names, type RdtFacts, type Tlb } from '../model.js';

/**
 * What the Xeon models have in common beside their features. Names and layouts are those of the SDM (volumes 1, 2A and
 * 4) and of Intel's Instruction Set Extensions reference; see `model.ts` for where the values come from.
 */

type SizeAndWays = readonly [sizeKiB: number, ways: number];

/** A last-level cache: as many slices as there are cache agents on the dies, used as one. */
export interface LastLevelCache {
  readonly slices: number;
  readonly sliceKiB: number;
  readonly ways: number;
}

/** Three private caches per core, one shared by the package. */
export function xeonCaches(
  sizes: { readonly l1Data: SizeAndWays; readonly l1Instruction: SizeAndWays; readonly l2: SizeAndWays },
  { slices, sliceKiB, ways }: LastLevelCache,
): readonly Cache[] {
  const core = (level: 1 | 2, type: Cache['type'], size: SizeAndWays): Cache => ({
    level,
    type,
    sizeKiB: size[0],
    ways: size[1],
    sharedBy: 'core',
  });
  return [
    core(1, 'data', sizes.l1Data),
    core(1, 'instruction', sizes.l1Instruction),
    core(2, 'unified', sizes.l2),
    { level: 3, type: 'unified', sizeKiB: slices * sliceKiB, ways, sharedBy: 'package', complexIndexing: true },
  ];
}

/**
 * Eight RMIDs per slice and two ways that devices write to: no manual says so, but it holds on every part checked.
 * Assumed: bandwidth can be throttled by up to 90 %, and the L2 cache has as many classes as the L3.
 */
export function xeonRdt(
  { slices, ways }: LastLevelCache,
  options: {
    readonly counterBits: number;
    /** What one count stands for, per slice. */
    readonly countedKiB: number;
    readonly classes: number;
    readonly bandwidthClasses: number;
    readonly l2Ways?: number;
  },
): RdtFacts {
  const { counterBits, countedKiB, classes, bandwidthClasses, l2Ways } = options;
  return {
    rmids: slices * 8,
    counterBits,
    countedBytes: slices * countedKiB * 1024,
    l3: { ways, classes, sharedWithDevices: 2 },
    bandwidth: { maxDelay: 90, classes: bandwidthClasses },
    ...(l2Ways === undefined ? {} : { l2: { ways: l2Ways, classes } }),
  };
}

/** The data TLBs from Sunny Cove on: loads and stores have their own. */
export function sunnyCoveDataTlbs(smallPageLoadWays: number): readonly Tlb[] {
  return [
    { level: 1, type: 'store', pages: ['4k', '2m', '4m', '1g'], ways: 16, sets: 1 },
    { level: 1, type: 'load', pages: ['4k'], ways: smallPageLoadWays, sets: 16 },
    { level: 1, type: 'load', pages: ['2m', '4m'], ways: 4, sets: 8 },
    { level: 1, type: 'load', pages: ['1g'], ways: 8, sets: 1 },
    { level: 2, type: 'unified', pages: ['4k', '2m', '4m'], ways: 8, sets: 128 },
    { level: 2, type: 'unified', pages: ['4k', '1g'], ways: 8, sets: 128 },
  ];
}

/** Instruction TLBs from Golden Cove on. */
export const goldenCoveInstructionTlbs: readonly Tlb[] = [
  { level: 1, type: 'instruction', pages: ['4k'], ways: 8, sets: 32 },
  { level: 1, type: 'instruction', pages: ['2m', '4m'], ways: 8, sets: 4 },
];

/** Hardware P-states, where the firmware leaves them to the operating system: of Skylake, and what came later. */
export const skylakeHwp = names('hwp hwp_act_window hwp_epp hwp_pkg_req');
export const goldenCoveHwp = [
  ...skylakeHwp,
  ...names('turbo_boost_3_0 hwp_capabilities hwp_peci_override hwp_fast hwp_ctl'),
];
