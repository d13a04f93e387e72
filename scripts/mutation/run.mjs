// npm run mutation [SLICE …]: mutates the slices of `slices.mjs`, one after the other, and writes what came of it to
// docs/mutation.json and into the table of docs/testing.md. `npm run mutation -- --report` only writes the table anew.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { scoreTable, summaryOf } from './report.mjs';
import { RUNS, SLICES } from './slices.mjs';

const root = new URL('../../', import.meta.url);
const at = (path) => fileURLToPath(new URL(path, root));
const readJson = (path) => JSON.parse(readFileSync(at(path), 'utf8'));

/** Mutates one slice and adds its figures to those of the others. */
function mutate(slice) {
  const runs = process.env.KVM_CPUID_RUNS ?? SLICES[slice].runs ?? RUNS;
  const start = performance.now();
  const { status } = spawnSync('npx', ['stryker', 'run'], {
    cwd: at('.'),
    stdio: 'inherit',
    env: { ...process.env, MUTATION_SLICE: slice, KVM_CPUID_RUNS: runs },
  });
  if (status !== 0) throw new Error(`stryker ended with ${status} on ${slice}`);
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: at('.'), encoding: 'utf8' }).trim();
  const date = new Date().toISOString().slice(0, 10);
  const seconds = Math.round((performance.now() - start) / 1000);
  const results = readJson('docs/mutation.json');
  results[slice] = { date, commit, runs, seconds, files: summaryOf(readJson(`coverage/mutation/${slice}.json`)) };
  const ordered = Object.fromEntries(
    Object.keys(SLICES).flatMap((name) => (results[name] ? [[name, results[name]]] : [])),
  );
  writeFileSync(at('docs/mutation.json'), `${JSON.stringify(ordered, null, 2)}\n`);
  execFileSync('npx', ['biome', 'format', '--write', 'docs/mutation.json'], { cwd: at('.'), stdio: 'ignore' });
}

function writeTable() {
  const page = readFileSync(at('docs/testing.md'), 'utf8');
  const table = scoreTable(readJson('docs/mutation.json'));
  const filled = page.replace(
    /(<!-- scores -->\n)[\s\S]*?(<!-- \/scores -->)/,
    (_, head, foot) => `${head}\n${table}\n\n${foot}`,
  );
  writeFileSync(at('docs/testing.md'), filled);
}

const asked = process.argv.slice(2).filter((argument) => argument !== '--report');
const unknown = asked.filter((slice) => !(slice in SLICES));
if (unknown.length > 0) throw new Error(`no slice ${unknown.join(', ')}; there are ${Object.keys(SLICES).join(', ')}`);
const slices = process.argv.includes('--report') ? [] : asked.length > 0 ? asked : Object.keys(SLICES);
for (const slice of slices) {
  mutate(slice);
  writeTable();
}
writeTable();
