// The thread of a VerifierWorker.
import { parentPort, workerData } from 'node:worker_threads';
import { ArenaVerifier } from '../kvm/paranoid/batch.js';
import { RuleLines } from '../kvm/paranoid/rule-lines.js';
import type { Request, Verdicts, WorkerStart } from './messages.js';

const { block, arena } = workerData as WorkerStart;
const verifier = new ArenaVerifier({ bytes: new Uint8Array(block.buffer, 0, arena), block });
const known = new Map<number, RuleLines>();

parentPort!.on('message', ({ rules, arrays, offsets }: Request) => {
  if (arrays) known.set(rules, new RuleLines(arrays));
  const refused = new Uint32Array(Math.ceil(offsets.length / 32));
  const count = verifier.verifyAll(known.get(rules)!, offsets, refused);
  parentPort!.postMessage({ refused, count } satisfies Verdicts);
});
