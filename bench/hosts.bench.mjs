// Several hosts and overlays alive in one process: the same work, with rules that change from table to table.
import { firstRefused } from '../dist/kvm/paranoid/verify.js';
import { measure } from './lib/measure.mjs';
import { figure, finish, measured } from './lib/report.mjs';
import { mixedTables, rulesOf } from './lib/tables.mjs';

const NENT = 60;
const COUNT = 60;
const all = [
  ...['sapphire-rapids', 'genoa', 'milan', 'granite-rapids', 'skylake-sp', 'zhaoxin-kh40000'].map((name) =>
    rulesOf(name),
  ),
  ...['sapphire-rapids', 'granite-rapids', 'emerald-rapids', 'ice-lake-sp'].map((name) => rulesOf(name, 'TDX')),
  ...['rome', 'naples'].map((name) => rulesOf(name)),
];
const tables = all.map((rules) => mixedTables(rules, NENT, COUNT));

/** Tables of the first `hosts` rules, `run` of the same in a row. */
function work(hosts, run) {
  return () => {
    let sum = 0;
    for (let n = 0; n < COUNT; n++) {
      const host = Math.floor(n / run) % hosts;
      sum += firstRefused(all[host].allowed, tables[host][n], NENT);
    }
    return sum;
  };
}

const result = measure(
  {
    'one host': work(1, 1),
    '6 hosts, in turn': work(6, 1),
    '12 hosts, 10 tables each': work(12, 10),
    '12 hosts, in turn': work(12, 1),
  },
  'one host',
  COUNT,
);
measured('portable kernel', result, 'one host');
figure('6 hosts in turn / one host', result['6 hosts, in turn'].ratio, 'x', ['<=', 1.5]);
figure('12 hosts, 10 tables each / one host', result['12 hosts, 10 tables each'].ratio, 'x');
figure('12 hosts in turn / one host', result['12 hosts, in turn'].ratio, 'x');
finish('hosts');
