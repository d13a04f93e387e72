// Thousands of tables in one call, over one arena.
import { ArenaVerifier } from '../dist/kvm/paranoid/batch.js';
import { simdMemory } from '../dist/kvm/paranoid/simd.js';
import { UserMemory } from '../dist/linux/user-memory.js';
import { readUsedWords } from './lib/baselines.mjs';
import { allocated, measure } from './lib/measure.mjs';
import { figure, finish, measured, say } from './lib/report.mjs';
import { layOut, mixedTables, refusedTables, reportedTables, rulesOf } from './lib/tables.mjs';

const NENT = 60;
const COUNT = 4096;
const rules = rulesOf('sapphire-rapids');
const size = COUNT * (8 + NENT * 40);

/** An arena full of tables, and a call that verifies all of them. */
function batch(tables, kernel) {
  const memory = new UserMemory(size, simdMemory(size));
  const offsets = layOut(memory.bytes, tables, COUNT);
  const refused = new Uint32Array(COUNT / 32);
  const verifier = new ArenaVerifier(memory, kernel);
  return () => verifier.verifyAll(rules.allowed, offsets, refused);
}

const reported = reportedTables(rules, NENT, 64);
const mixed = mixedTables(rules, NENT, 64);
const halfRefused = [...mixed.slice(32), ...refusedTables(mixed.slice(0, 32))];
const FLOOR = 'read all but padding, unrolled';
const floorTables = Array.from({ length: COUNT }, (_, n) => mixed[n % mixed.length].slice());
const cases = {
  'portable, as KVM reports them': batch(reported, 'portable'),
  'simd, as KVM reports them': batch(reported, 'simd'),
  'portable, every kind of rule': batch(mixed, 'portable'),
  'simd, every kind of rule': batch(mixed, 'simd'),
  'portable, half of them refused': batch(halfRefused, 'portable'),
  'simd, half of them refused': batch(halfRefused, 'simd'),
  [FLOOR]: () => {
    let sum = 0;
    for (const words of floorTables) sum += readUsedWords(words);
    return sum;
  },
};
const result = measure(cases, FLOOR, COUNT, { sample: 6 });
measured(`${COUNT} tables of ${NENT} entries a call`, result, FLOOR);
const rate = (name) => 1e3 / result[name].ns;
figure('portable, as KVM reports them', rate('portable, as KVM reports them'), 'M tables/s', ['>=', 2.2]);
figure('portable, every kind of rule', rate('portable, every kind of rule'), 'M tables/s', ['>=', 2.2]);
figure('simd, as KVM reports them', rate('simd, as KVM reports them'), 'M tables/s', ['>=', 5]);
figure('simd, every kind of rule', rate('simd, every kind of rule'), 'M tables/s', ['>=', 5]);
figure('portable batch / read all but padding', result['portable, every kind of rule'].ratio, 'x');
figure('simd batch / read all but padding', result['simd, every kind of rule'].ratio, 'x');
for (const name of ['portable, every kind of rule', 'simd, every kind of rule']) {
  const bytes = allocated(cases[name], COUNT);
  say(`${name}: ${bytes.toFixed(3)} bytes allocated a table`);
  figure(`${name}, allocated a table`, bytes, 'bytes', ['<=', 0.5]);
}
finish('batch');
