// The thread of a campaign.
import { parentPort, workerData } from 'node:worker_threads';
import { CONTROL, type FromWorker, type WorkerStart } from './messages.js';
import { Runner } from './runner.js';

const { plan, control, done, worker } = workerData as WorkerStart;
const runner = new Runner(plan);
const say = (message: FromWorker): void => parentPort!.postMessage(message);

/** Milliseconds between two reports of what was covered. */
const INTERVAL = 1000;
let reported = performance.now();

while (Atomics.load(control, CONTROL.stop) === 0) {
  const result = runner.run(Atomics.add(control, CONTROL.next, 1));
  if (result === null) break;
  if (result.hits.length > 0) say({ hits: result.hits });
  done[worker]! += result.cases;
  if (performance.now() - reported < INTERVAL) continue;
  say({ coverage: runner.coverage });
  reported = performance.now();
}
say({ coverage: runner.coverage });
runner.close();
