// Batches in worker threads, an arena for each: one worker against two, round by round.
import { VerifierPool } from '../dist/batch/pool.js';
import { quick } from './lib/measure.mjs';
import { figure, finish, say, table } from './lib/report.mjs';
import { layOut, mixedTables, rulesOf } from './lib/tables.mjs';

const NENT = 60;
const COUNT = 4096;
const TIMES = 16;
const ROUNDS = quick ? 9 : 31;
const { allowed, ...rules } = rulesOf('sapphire-rapids');
const tables = mixedTables({ allowed, ...rules }, NENT, 64);

const pool = new VerifierPool(COUNT * (8 + NENT * 40), 2);
const offsets = pool.workers.map(({ arena }) => {
  const once = layOut(arena, tables, COUNT);
  return Uint32Array.from({ length: COUNT * TIMES }, (_, n) => once[n % COUNT]);
});

/** Tables a second with so many workers, two requests under way at each. */
async function rate(workers) {
  const start = performance.now();
  let verified = 0;
  await Promise.all(
    pool.workers.slice(0, workers).flatMap((worker, n) =>
      [1, 2].map(async () => {
        const { count } = await worker.verify(allowed, offsets[n]);
        if (count !== 0) throw new Error('must be accepted');
        verified += offsets[n].length;
      }),
    ),
  );
  return (verified / (performance.now() - start)) * 1e3;
}

for (let n = 0; n < 6; n++) await rate(2);
const samples = [];
for (let n = 0; n < ROUNDS; n++) samples.push([await rate(1), await rate(2)]);
await pool.close();

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const one = median(samples.map(([rate]) => rate));
const two = median(samples.map(([, rate]) => rate));
const gain = median(samples.map(([alone, both]) => both / alone));
const best = Math.max(...samples.map(([alone, both]) => both / alone));
table(
  ['worker threads', 'tables'],
  [
    ['one', `${(one / 1e6).toFixed(2)} M/s`],
    ['two', `${(two / 1e6).toFixed(2)} M/s`],
  ],
);
say(`two are ${gain.toFixed(2)} x one (median of ${ROUNDS} rounds; the best round ${best.toFixed(2)} x)`);
figure('two workers / one', gain, 'x', ['>=', 1.8]);
figure('two workers', two / 1e6, 'M tables/s');
finish('workers');
