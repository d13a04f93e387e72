import type { Cache } from '../model.js';

/**
 * What the EPYC models have in common beside their features. Names and layouts are those of the APM (volumes 2 and 3,
 * appendix E) and of AMD's processor programming references; see `model.ts` for where the values come from.
 */

type SizeAndWays = readonly [sizeKiB: number, ways: number];

/** Three private caches per core, one shared by a core complex. */
export function epycCaches(sizes: {
  readonly l1Data: SizeAndWays;
  readonly l1Instruction: SizeAndWays;
  readonly l2: SizeAndWays;
  readonly l3: SizeAndWays;
}): readonly Cache[] {
  const { l1Data, l1Instruction, l2, l3 } = sizes;
  const geometry = ([sizeKiB, ways]: SizeAndWays) => ({ sizeKiB, ways });
  return [
    { level: 1, type: 'data', ...geometry(l1Data), sharedBy: 'core' },
    { level: 1, type: 'instruction', ...geometry(l1Instruction), sharedBy: 'core' },
    { level: 2, type: 'unified', ...geometry(l2), sharedBy: 'core', inclusive: true },
    { level: 3, type: 'unified', ...geometry(l3), sharedBy: 'complex', wbinvdNotShared: true },
  ];
}
