// A sweep: every host on every kernel, and the allowed values of each of its overlays. With the 60 dumps that lie beside
// the project where they are; else with the hosts that are built in.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import {
  bootKvm,
  builtInHosts,
  describeBuiltIn,
  describeDump,
  KERNEL_LINES,
  KvmNotLoaded,
  readHost,
  Vmm,
  withInputs,
} from '../dist/index.js';
import { quick } from './lib/measure.mjs';
import { figure, finish, say, table } from './lib/report.mjs';

const DUMPS = new URL('../../shared/dumps/', import.meta.url);
const OVERLAYS = ['DEFAULT', 'SVM', 'TDX'];
const dumps = existsSync(DUMPS) ? readdirSync(DUMPS).filter((file) => file.endsWith('.txt')) : [];

const hosts = () =>
  dumps.length > 0
    ? dumps.map((file) => describeDump(readHost(readFileSync(new URL(file, DUMPS)), file), file))
    : builtInHosts().map(describeBuiltIn);

/** Allowed values of all hosts, kernels and overlays, ready to be verified against. */
function sweep() {
  let tables = 0;
  let modules = 0;
  let count = 0;
  let sink = 0;
  for (const host of hosts()) {
    count++;
    for (const kernel of KERNEL_LINES) {
      let vmm;
      try {
        vmm = new Vmm(bootKvm(withInputs(host, { kernel }), { policy: 'paranoid' }), { arena: 1 << 16 });
      } catch (error) {
        if (error instanceof KvmNotLoaded) continue;
        throw error;
      }
      modules++;
      for (const overlay of OVERLAYS) {
        if (!vmm.module.vendor.overlays.includes(overlay)) continue;
        tables++;
        sink += vmm.module.allowed(overlay, vmm.process).screen.length;
      }
    }
  }
  if (sink === 0) throw new Error('nothing was made');
  return { count, modules, tables };
}

const times = [];
let made;
for (let n = 0; n < (quick ? 2 : 6); n++) {
  const start = process.cpuUsage();
  made = sweep();
  const { user, system } = process.cpuUsage(start);
  times.push((user + system) / 1e6);
}
const later = times.slice(1).sort((a, b) => a - b)[(times.length - 1) >> 1];
const what = `${made.count} hosts on ${KERNEL_LINES.length} kernels`;
table(
  [`${what}: ${made.modules} boots, ${made.tables} tables`, 'CPU time, s', 'ms a table'],
  [
    ['first', times[0]],
    ['later', later],
  ].map(([name, seconds]) => [name, seconds.toFixed(2), ((seconds * 1e3) / made.tables).toFixed(2)]),
);
say();
figure(`${what}, all overlays, first`, times[0], 's', dumps.length >= 60 ? ['<=', 1.5] : null);
figure(`${what}, all overlays, later`, later, 's');
figure('a table of the sweep, later', (later * 1e3) / made.tables, 'ms');
finish('sweep');
