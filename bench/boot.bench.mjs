// From a dump to a KVM that can verify: read the dump, boot the host, load KVM, compile the allowed values.
import { bootKvm, builtInHost, describeBuiltIn, describeDump, readHost, Vmm, writeCpuidR } from '../dist/index.js';
import { quick } from './lib/measure.mjs';
import { figure, finish, say, table } from './lib/report.mjs';

const host = describeBuiltIn(builtInHost('sapphire-rapids'));
const dump = new TextEncoder().encode(writeCpuidR({ cpus: [{ label: 'CPU 0', rows: host.cpus[0] }] }));

const STEPS = {
  'read the dump': () => describeDump(readHost(dump, 'dump'), 'dump'),
  'boot the host, load KVM': (description) => bootKvm(description, { policy: 'paranoid' }),
  'allowed values': (module) => module.allowed(module.defaultOverlay, new Vmm(module).process),
  'their screen': (allowed) => allowed.screen,
};

/** Milliseconds of each step. */
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
const later = Array.from({ length: quick ? 15 : 60 }, once);
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const rows = Object.keys(STEPS).map((name) => [name, first[name], median(later.map((times) => times[name]))]);
const total = (column) => rows.reduce((sum, row) => sum + row[column], 0);
table(
  ['boot from a dump, CPU time', 'first, ms', 'later, ms'],
  [...rows, ['in all', total(1), total(2)]].map(([name, ...ms]) => [name, ...ms.map((value) => value.toFixed(2))]),
);
say();
figure('boot from a dump, first', total(1), 'ms');
figure('boot from a dump, later', total(2), 'ms');
finish('boot');
