// From a dump to a KVM that can verify: read the dump, boot the host, load KVM, compile the allowed values.
import { bootKvm, builtInHost, describeBuiltIn, describeDump, readHost, Vmm, writeCpuidR } from '../dist/index.js';
import { quick } from './lib/measure.mjs';
import { figure, finish, say, table } from './lib/report.mjs';

const host = describeBuiltIn(builtInHost('sapphire-rapids'));
const dump = new TextEncoder().encode(writeCpuidR({ cpus: [{ label: 'CPU 0', rows: host.cpus[0] }] }));

const READ = 'read the dump';
const PROCESS = 'start a process';
/** Each step takes what the step before has made. */
const STEPS = {
  [READ]: () => describeDump(readHost(dump, 'dump'), 'dump'),
  'boot the host, load KVM': (description) => bootKvm(description, { policy: 'paranoid' }),
  [PROCESS]: (module) => ({ module, process: new Vmm(module).process }),
  'what KVM reports': (one) => {
    one.module.supported(one.module.defaultOverlay, one.process);
    return one;
  },
  'allowed values': ({ module, process }) => module.allowed(module.defaultOverlay, process),
  'their screen': (allowed) => allowed.screen,
};

/** Milliseconds of CPU time of each step. */
function once() {
  const times = {};
  let value;
  for (const [name, step] of Object.entries(STEPS)) {
    const start = process.cpuUsage();
    value = step(value);
    const { user, system } = process.cpuUsage(start);
    times[name] = (user + system) / 1e3;
  }
  return times;
}

const first = once();
for (let n = 0; n < 100; n++) once();
const later = Array.from({ length: quick ? 60 : 300 }, once);
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const rows = Object.keys(STEPS).map((name) => [name, first[name], median(later.map((times) => times[name]))]);
const total = (column, without) =>
  rows.filter(([name]) => !without.includes(name)).reduce((sum, row) => sum + row[column], 0);
table(
  ['boot from a dump, CPU time', 'first, ms', 'later, ms'],
  [...rows, ['in all', total(1, []), total(2, [])]].map(([name, ...ms]) => [name, ...ms.map((ms) => ms.toFixed(2))]),
);
say();
figure('boot, capabilities, allowed values, once warm', total(2, [READ, PROCESS]), 'ms', ['<=', 1]);
figure('from the dump on, once warm', total(2, []), 'ms');
figure('from the dump on, first in a process', total(1, []), 'ms');
finish('boot');
