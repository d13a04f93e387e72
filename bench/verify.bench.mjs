// Verification of 60-entry tables with every kind of rule, in place, against what one could do instead.
import { ArenaVerifier } from '../dist/kvm/paranoid/batch.js';
import { simdMemory } from '../dist/kvm/paranoid/simd.js';
import { firstRefused } from '../dist/kvm/paranoid/verify.js';
import { UserMemory } from '../dist/linux/user-memory.js';
import * as baselines from './lib/baselines.mjs';
import { allocated, measure } from './lib/measure.mjs';
import { bennyRows, figure, finish, measured, say } from './lib/report.mjs';
import { layOut, mixedTables, refusedTables, rulesOf } from './lib/tables.mjs';

const NENT = 60;
const COUNT = 64;
const rules = rulesOf('sapphire-rapids');
const { allowed } = rules;
const tables = mixedTables(rules, NENT, COUNT);

const size = COUNT * (8 + NENT * 40);
const block = simdMemory(size);
const memory = new UserMemory(size, block);
const places = Array.from(layOut(memory.bytes, tables), (offset) => offset + 8);
const portable = new ArenaVerifier(memory, 'portable');
const simd = new ArenaVerifier(memory);
const readVectors = baselines.vectorRead(block);

const verify = (words) => firstRefused(allowed, words, NENT);
const byMap = baselines.stringMap(rules);
const bySearch = baselines.binarySearch(rules);
for (const words of [...tables, ...refusedTables(tables)]) {
  const expected = verify(words);
  if (byMap(words) !== expected || bySearch(words) !== expected) throw new Error('the competitors disagree');
}

const each = (list, work) => () => {
  let sum = 0;
  for (const item of list) sum += work(item);
  return sum;
};
const FLOOR = 'read every word';
const cases = {
  'portable kernel': each(tables, verify),
  'portable kernel, in an arena': each(places, (place) => portable.firstRefused(allowed, place, NENT)),
  'simd kernel, in an arena': each(places, (place) => simd.firstRefused(allowed, place, NENT)),
  'Map with string keys': each(tables, byMap),
  'sorted array, binary search': each(tables, bySearch),
  [FLOOR]: each(tables, baselines.readEveryWord),
  'read every word, unrolled': each(tables, baselines.readEveryEntry),
  'read all but padding, unrolled': each(tables, baselines.readUsedWords),
  memcpy: each(tables, baselines.memcpy),
  'read every byte, vectors': each(places, (place) => readVectors(place, place + NENT * 40)),
};

await bennyRows(`paranoid verification, ${NENT} entries`, cases, COUNT);
const result = measure(cases, FLOOR, COUNT);
measured(`${NENT} entries, every kind of rule`, result, FLOOR);

const ratio = (name, to) => result[name].ratio / result[to].ratio;
figure('portable / read every word', ratio('portable kernel', FLOOR), 'x', ['<=', 2]);
figure('portable / read every word, unrolled', ratio('portable kernel', 'read every word, unrolled'), 'x', ['<=', 2]);
figure('portable / read all but padding', ratio('portable kernel', 'read all but padding, unrolled'), 'x');
figure('portable / memcpy', ratio('portable kernel', 'memcpy'), 'x');
figure('portable in an arena / portable', ratio('portable kernel, in an arena', 'portable kernel'), 'x');
figure('Map with string keys / portable', ratio('Map with string keys', 'portable kernel'), 'x', ['>=', 13]);
figure('sorted array / portable', ratio('sorted array, binary search', 'portable kernel'), 'x');
figure('simd / read every word', ratio('simd kernel, in an arena', FLOOR), 'x', ['<=', 0.9]);
figure('simd / read all but padding', ratio('simd kernel, in an arena', 'read all but padding, unrolled'), 'x', [
  '<=',
  0.9,
]);
figure('simd / read every byte, vectors', ratio('simd kernel, in an arena', 'read every byte, vectors'), 'x');
for (const name of ['portable kernel', 'simd kernel, in an arena', FLOOR]) figure(name, result[name].ns, 'ns');

const kept = {
  'portable kernel': allocated(cases['portable kernel'], COUNT),
  'simd kernel': allocated(cases['simd kernel, in an arena'], COUNT),
};
for (const [name, bytes] of Object.entries(kept)) {
  say(`${name}: ${bytes.toFixed(3)} bytes allocated a table`);
  figure(`${name}, allocated a table`, bytes, 'bytes', ['<=', 0.5]);
}
finish('verify');
