import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { RuleLines } from '../kvm/paranoid/rule-lines.js';
import { simdMemory } from '../kvm/paranoid/simd.js';
import type { MemoryBlock } from '../linux/user-memory.js';
import type { Request, Verdicts, WorkerStart } from './messages.js';

export type { Verdicts } from './messages.js';

interface Waiting {
  readonly resolve: (verdicts: Verdicts) => void;
  readonly reject: (reason: unknown) => void;
}

/** A thread that verifies the tables in an arena of its own, which is shared with this one. */
export class VerifierWorker {
  /** Write tables here, each a `struct kvm_cpuid2`, while no answer is awaited that depends on them. */
  readonly arena: Uint8Array;
  private readonly thread: Worker;
  private readonly waiting: Waiting[] = [];
  private readonly known = new Map<RuleLines, number>();
  private failure: unknown = null;

  /** @param arena bytes of the arena */
  constructor(arena: number) {
    const block: MemoryBlock = simdMemory(arena, true) ?? { buffer: new SharedArrayBuffer(arena) };
    this.arena = new Uint8Array(block.buffer, 0, arena);
    const start: WorkerStart = { block, arena };
    this.thread = new Worker(new URL('../batch/worker.js', import.meta.url), { workerData: start });
    this.thread.on('message', (verdicts: Verdicts) => this.waiting.shift()!.resolve(verdicts));
    this.thread.on('error', (error) => this.fail(error));
    this.thread.on('exit', () => this.fail(new Error('the worker has ended')));
  }

  /**
   * Verifies the tables at these offsets of the arena, as `ArenaVerifier.verifyAll()` does.
   *
   * @throws what ended the worker
   */
  verify(rules: RuleLines, offsets: Uint32Array): Promise<Verdicts> {
    return new Promise((resolve, reject) => {
      if (this.failure !== null) {
        reject(this.failure);
        return;
      }
      this.waiting.push({ resolve, reject });
      this.thread.postMessage(this.request(rules, offsets));
    });
  }

  /** Ends the thread. */
  async close(): Promise<void> {
    await this.thread.terminate();
  }

  private request(rules: RuleLines, offsets: Uint32Array): Request {
    const known = this.known.get(rules);
    if (known !== undefined) return { rules: known, arrays: null, offsets };
    const number = this.known.size;
    this.known.set(rules, number);
    return { rules: number, arrays: rules.arrays, offsets };
  }

  private fail(reason: unknown): void {
    this.failure ??= reason;
    for (const { reject } of this.waiting.splice(0)) reject(this.failure);
  }
}

/** Several {@link VerifierWorker}s. */
export class VerifierPool {
  readonly workers: readonly VerifierWorker[];

  /**
   * @param arena bytes of each worker's arena
   * @param count how many; default: one for each CPU
   */
  constructor(arena: number, count = availableParallelism()) {
    this.workers = Array.from({ length: count }, () => new VerifierWorker(arena));
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.close()));
  }
}
