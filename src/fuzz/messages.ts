import type { CoverageArrays } from './coverage.js';
import type { Plan } from './plan.js';
import type { Hit } from './runner.js';

/** What a worker is started with. */
export interface WorkerStart {
  readonly plan: Plan;
  /** Shared, see {@link CONTROL}. */
  readonly control: Int32Array;
  /** Shared: cases that each worker has done. */
  readonly done: Float64Array;
  readonly worker: number;
}

/** Elements of the shared control words: the next block to do, and whether to stop after the one at hand. */
export const CONTROL = { next: 0, stop: 1 } as const;

/** What a worker says: what a block has brought to light; now and then, and at its end, all that it has covered. */
export type FromWorker = { readonly hits: readonly Hit[] } | { readonly coverage: ReadonlyMap<number, CoverageArrays> };
