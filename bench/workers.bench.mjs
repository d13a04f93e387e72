// Batches in worker threads, an arena for each: one worker against two, round by round. Beside it what two threads reach
// that only read words of their own and share nothing: on this machine, at this time, more cannot be had.
import { Worker } from 'node:worker_threads';
import { VerifierPool } from '../dist/batch/pool.js';
import { quick } from './lib/measure.mjs';
import { figure, finish, say, table } from './lib/report.mjs';
import { layOut, mixedTables, rulesOf } from './lib/tables.mjs';

const NENT = 60;
const COUNT = 4096;
const TIMES = 16;
const ROUNDS = quick ? 9 : 41;
const rules = rulesOf('sapphire-rapids');
const tables = mixedTables(rules, NENT, 64);

const pool = new VerifierPool(COUNT * (8 + NENT * 40), 2);
const offsets = pool.workers.map(({ arena }) => {
  const once = layOut(arena, tables, COUNT);
  return Uint32Array.from({ length: COUNT * TIMES }, (_, n) => once[n % COUNT]);
});

const READER = `
  const { parentPort } = require('node:worker_threads');
  const words = Uint32Array.from({ length: 38_400 }, (_, n) => n);
  function read() {
    let all = 0;
    for (let at = 0; at < words.length; at += 8) {
      all |= words[at] | words[at + 1] | words[at + 2] | words[at + 3];
      all |= words[at + 4] | words[at + 5] | words[at + 6] | words[at + 7];
    }
    return all;
  }
  parentPort.on('message', (rounds) => {
    let all = 0;
    for (let n = 0; n < rounds; n++) all |= read();
    parentPort.postMessage(all);
  });`;
const readers = [1, 2].map(() => new Worker(READER, { eval: true }));
const answer = (reader) => new Promise((resolve) => reader.once('message', resolve));

/** What so many threads do in a millisecond, two requests under way at each. */
async function rate(threads, request) {
  const start = performance.now();
  const done = await Promise.all(
    Array.from({ length: threads }, async (_, n) => (await request(n)) + (await request(n))),
  );
  return done.reduce((a, b) => a + b) / (performance.now() - start);
}

async function verify(n) {
  const { count } = await pool.workers[n].verify(rules.allowed, offsets[n]);
  if (count !== 0) throw new Error('must be accepted');
  return offsets[n].length;
}

async function read(n) {
  readers[n].postMessage(1000);
  await answer(readers[n]);
  return 1000 * 38_400;
}

for (let n = 0; n < 6; n++) {
  await rate(2, verify);
  await rate(2, read);
}
const samples = [];
for (let n = 0; n < ROUNDS; n++) {
  samples.push([await rate(1, verify), await rate(2, verify), await rate(1, read), await rate(2, read)]);
}
await pool.close();
for (const reader of readers) await reader.terminate();

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const column = (n) => median(samples.map((sample) => sample[n]));
const gain = median(samples.map(([one, two]) => two / one));
const limit = median(samples.map(([, , one, two]) => two / one));
const million = (perMillisecond) => `${(perMillisecond / 1e3).toFixed(2)} M/s`;
table(
  ['worker threads', 'one', 'two', 'two x one'],
  [
    ['verify tables', million(column(0)), million(column(1)), gain.toFixed(2)],
    ['only read words', million(column(2)), million(column(3)), limit.toFixed(2)],
  ],
);
say();
figure('two workers / one', gain, 'x', ['>=', 1.8]);
figure('two threads that only read / one', limit, 'x');
figure('two workers', column(1) / 1e3, 'M tables/s');
finish('workers');
