import type { RuleArrays } from '../kvm/paranoid/rule-arrays.js';
import type { MemoryBlock } from '../linux/user-memory.js';

/** What a worker is started with. */
export interface WorkerStart {
  readonly block: MemoryBlock;
  /** Bytes of the block that are its arena. */
  readonly arena: number;
}

/** Tables to verify. */
export interface Request {
  /** Names the rules; they come along when the worker sees them for the first time. */
  readonly rules: number;
  readonly arrays: RuleArrays | null;
  readonly offsets: Uint32Array;
}

/** The answer to a {@link Request}; answers come in the order of the requests. */
export interface Verdicts {
  /** A bit for each table, set if it is refused. */
  readonly refused: Uint32Array;
  /** How many are. */
  readonly count: number;
}
