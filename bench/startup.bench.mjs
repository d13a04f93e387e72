// From the start of the command line to the answer of `check`, beside a Node that does nothing.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { quick } from './lib/measure.mjs';
import { figure, finish, say, table } from './lib/report.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const MAIN = here('../dist/cli/main.js');
const TABLE = here('../examples/qemu-11.1.3-GraniteRapids-fred.json');
const CASES = {
  'bare Node': ['-e', '0'],
  '--version': [MAIN, '--version'],
  'check, accepted': [MAIN, 'check', TABLE, '--host', 'granite-rapids'],
  'check, refused': [MAIN, 'check', TABLE, '--host', 'sapphire-rapids'],
};

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const samples = Object.fromEntries(Object.keys(CASES).map((name) => [name, []]));
for (let n = 0; n < (quick ? 3 : 21); n++) {
  for (const [name, words] of Object.entries(CASES)) {
    const start = performance.now();
    const { status } = spawnSync(process.execPath, words, { stdio: 'ignore' });
    if (status === null || status > 1) throw new Error(`${name} ends with ${status}`);
    samples[name].push(performance.now() - start);
  }
}
const rows = Object.entries(samples).map(([name, times]) => [name, median(times), Math.min(...times)]);
table(
  ['from start to end', 'median, ms', 'least, ms'],
  rows.map(([name, ...ms]) => [name, ...ms.map((value) => value.toFixed(0))]),
);
say();
const of = (name) => median(samples[name]);
figure('check answers after', Math.max(of('check, accepted'), of('check, refused')), 'ms', ['<=', 250]);
figure('bare Node', of('bare Node'), 'ms');
figure('check / bare Node', of('check, refused') / of('bare Node'), 'x');
finish('startup');
