// Verification of 60-entry tables in place, against two baselines of the same run: a Map with string keys (how one
// would write it first) and reading every word once (what no verifier can beat in plain JavaScript).
import benny from 'benny';
import { firstRefused } from '../dist/kvm/paranoid/verify.js';
import { STRIDE, setUp } from './lib/tables.mjs';

const { allowed, tables, nent } = setUp();
const quick = process.env.BENCH_QUICK === '1';
let sink = 0;

/** The rules by "function.index": masks only, which is less than the verifier does. */
const byKey = new Map();
for (const words of tables) {
  for (let at = 0; at < words.length; at += STRIDE) {
    const line = allowed.lineOf(words[at], words[at + 1], (words[at + 2] & 1) !== 0);
    byKey.set(`${words[at]}.${words[at + 1]}`, allowed.reject.slice(line * 4, line * 4 + 4));
  }
}

function verifyByKey(words) {
  for (let at = 0; at < words.length; at += STRIDE) {
    const reject = byKey.get(`${words[at]}.${words[at + 1]}`);
    if (reject === undefined) return at;
    for (let register = 0; register < 4; register++) if (words[at + 3 + register] & reject[register]) return at;
  }
  return -1;
}

function readEveryWord(words) {
  let all = 0;
  for (let at = 0; at < words.length; at++) all |= words[at];
  return all;
}

const each = (work) => () => {
  for (const words of tables) sink += work(words);
};

/** Bytes that one verification leaves on the heap. */
function allocation() {
  const rounds = 200_000;
  for (let i = 0; i < 20_000; i++) sink += firstRefused(allowed, tables[i % tables.length], nent);
  globalThis.gc();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < rounds; i++) sink += firstRefused(allowed, tables[i % tables.length], nent);
  return (process.memoryUsage().heapUsed - before) / rounds;
}

const options = quick ? { minSamples: 5, maxTime: 1 } : {};
const summary = await benny.suite(
  `paranoid verification, ${nent} entries`,
  benny.add(
    'verify in place',
    each((words) => firstRefused(allowed, words, nent)),
    options,
  ),
  benny.add('Map with string keys', each(verifyByKey), options),
  benny.add('read every word once', each(readEveryWord), options),
  benny.complete(),
);

const nanoseconds = Object.fromEntries(summary.results.map(({ name, ops }) => [name, 1e9 / ops / tables.length]));
const mine = nanoseconds['verify in place'];
console.log(`verify in place: ${mine.toFixed(0)} ns a table, ${(1e3 / mine).toFixed(2)} M tables/s`);
console.log(`  x ${(nanoseconds['Map with string keys'] / mine).toFixed(1)} faster than a Map with string keys`);
console.log(`  x ${(mine / nanoseconds['read every word once']).toFixed(2)} of reading every word once`);
console.log(`  ${allocation().toFixed(3)} bytes allocated a table`);
if (sink === 42) console.log(sink);
