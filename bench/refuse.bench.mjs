// What a verdict costs, by what the verdict is and by the order and the variety of what comes.
import { firstRefused } from '../dist/kvm/paranoid/verify.js';
import { measure } from './lib/measure.mjs';
import { figure, finish, measured } from './lib/report.mjs';
import { mixedTables, refusedTables, reportedTables, rulesOf } from './lib/tables.mjs';

const NENT = 60;
const COUNT = 64;
const rules = rulesOf('sapphire-rapids');
const tables = mixedTables(rules, NENT, COUNT);
const verify = (words) => firstRefused(rules.allowed, words, NENT);
const each = (list) => () => {
  let sum = 0;
  for (const words of list) sum += verify(words);
  return sum;
};

/** More tables than a branch predictor can know by heart, {@link COUNT} at a time. */
function inTurn(list) {
  let first = 0;
  return () => {
    let sum = 0;
    for (let n = 0; n < COUNT; n++) sum += verify(list[first + n]);
    first = (first + COUNT) % list.length;
    return sum;
  };
}

const result = measure(
  {
    accepted: each(tables),
    'refused at the first entry': each(refusedTables(tables, 0)),
    'refused at a random entry': each(refusedTables(tables)),
    'refused at the last entry': each(refusedTables(tables, NENT - 1)),
    'accepted, as KVM reports it': each(reportedTables(rules, NENT, COUNT)),
    'accepted, shuffled': each(mixedTables(rules, NENT, COUNT, true)),
    'accepted, 1024 tables': inTurn(mixedTables(rules, NENT, 1024)),
    'accepted, 1024 tables, shuffled': inTurn(mixedTables(rules, NENT, 1024, true)),
  },
  'accepted',
  COUNT,
);
measured('portable kernel', result, 'accepted');
for (const where of ['the first', 'a random', 'the last']) {
  figure(`refused at ${where} entry / accepted`, result[`refused at ${where} entry`].ratio, 'x', ['<=', 1.2]);
}
figure('as KVM reports it / every kind of rule', result['accepted, as KVM reports it'].ratio, 'x');
figure('shuffled / in order', result['accepted, shuffled'].ratio, 'x');
figure('1024 tables / 64 tables', result['accepted, 1024 tables'].ratio, 'x');
finish('refuse');
