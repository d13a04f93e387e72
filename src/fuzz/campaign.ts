import { Worker } from 'node:worker_threads';
import type { CoverageArrays } from './coverage.js';
import { CONTROL, type FromWorker, type WorkerStart } from './messages.js';
import { BLOCK, nthBlock, type Plan } from './plan.js';
import { type Hit, Runner } from './runner.js';

/** Hits that are kept: those with the lowest case numbers, one for each key. */
const MOST_HITS = 1024;

/** What a campaign has found, before anything is shrunk. */
export interface Outcome {
  /** Cases that were done. */
  readonly runs: number;
  /** Case at which a campaign continues that was stopped. */
  readonly next: number;
  /** In the order of their numbers. */
  readonly hits: readonly Hit[];
  /** By place. */
  readonly coverage: ReadonlyMap<number, CoverageArrays>;
}

/** What is known while a campaign runs. */
export interface Progress {
  readonly runs: number;
  readonly hits: number;
}

/** A campaign over worker threads. */
export class Campaign {
  private readonly plan: Plan;
  private readonly control = new Int32Array(new SharedArrayBuffer(8));
  private readonly done: Float64Array;
  private readonly hits = new HitList();
  private readonly covered = new CoverageMap();
  private readonly workers: number;

  /** @param workers how many threads; 0: do it all in this one */
  constructor(plan: Plan, workers: number) {
    this.plan = plan;
    this.done = new Float64Array(new SharedArrayBuffer(8 * Math.max(1, workers)));
    this.workers = workers;
  }

  get progress(): Progress {
    return { runs: this.done.reduce((sum, cases) => sum + cases, 0), hits: this.hits.size };
  }

  /** What has been covered so far, as far as workers have said. By place. */
  get coverage(): ReadonlyMap<number, CoverageArrays> {
    return this.covered.places;
  }

  /** Adds what an earlier part of the campaign has covered. */
  addCoverage(covered: ReadonlyMap<number, CoverageArrays>): void {
    this.covered.add(covered);
  }

  /** Ends the campaign after the blocks at hand: what was done then has no gaps. */
  stop(): void {
    Atomics.store(this.control, CONTROL.stop, 1);
  }

  /** @throws what ended a worker */
  async run(): Promise<Outcome> {
    if (this.workers === 0) this.runHere();
    else await Promise.all(Array.from({ length: this.workers }, (_, worker) => this.runWorker(worker)));
    return {
      runs: this.progress.runs,
      next: this.next,
      hits: this.hits.sorted,
      coverage: this.coverage,
    };
  }

  private get next(): number {
    const blocks = Atomics.load(this.control, CONTROL.next);
    return Math.min(this.plan.end, nthBlock(this.plan, blocks) * BLOCK);
  }

  private runHere(): void {
    const runner = new Runner(this.plan);
    while (Atomics.load(this.control, CONTROL.stop) === 0) {
      const result = runner.run(Atomics.add(this.control, CONTROL.next, 1));
      if (result === null) break;
      this.hits.add(result.hits);
      this.done[0]! += result.cases;
    }
    this.covered.add(runner.coverage);
    runner.close();
  }

  private runWorker(worker: number): Promise<void> {
    const { plan, control, done } = this;
    const start: WorkerStart = { plan, control, done, worker };
    const thread = new Worker(new URL('../fuzz/worker.js', import.meta.url), { workerData: start });
    return new Promise((resolve, reject) => {
      thread.on('message', (message: FromWorker) => {
        if ('hits' in message) this.hits.add(message.hits);
        else this.covered.add(message.coverage);
      });
      thread.on('error', (error) => {
        this.stop();
        reject(error);
      });
      thread.on('exit', () => resolve());
    });
  }
}

/** The first hit of each key. Whichever thread reports first, what is kept is the same. */
class HitList {
  private readonly byKey = new Map<string, Hit>();

  get size(): number {
    return this.byKey.size;
  }

  get sorted(): readonly Hit[] {
    return [...this.byKey.values()].sort((a, b) => a.number - b.number);
  }

  add(hits: readonly Hit[]): void {
    for (const hit of hits) {
      const known = this.byKey.get(hit.key);
      if (!known || hit.number < known.number) this.byKey.set(hit.key, hit);
    }
    for (const { key } of this.byKey.size > MOST_HITS ? this.sorted.slice(MOST_HITS) : []) this.byKey.delete(key);
  }
}

class CoverageMap {
  readonly places = new Map<number, CoverageArrays>();

  add(covered: ReadonlyMap<number, CoverageArrays>): void {
    for (const [place, arrays] of covered) {
      const known = this.places.get(place);
      if (known) mergeInto(known, arrays);
      else this.places.set(place, arrays);
    }
  }
}

function mergeInto(target: CoverageArrays, source: CoverageArrays): void {
  for (const name of ['accepted', 'refused', 'seen'] as const) {
    for (const [cell, bits] of source[name].entries()) target[name][cell]! |= bits;
  }
}
