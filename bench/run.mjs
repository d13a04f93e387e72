// Runs each subject in a process of its own: V8's type feedback of one would colour the next.
//
//   npm run bench                       all subjects, thoroughly
//   npm run bench:quick                 the same in less than a minute
//   npm run bench -- verify batch       some of them
//   npm run bench -- --repeat=10 verify ten processes in a row, and how far their ratios are apart
//   npm run bench -- --record           makes this run the one that others are compared with
//
// Every run leaves its figures in bench/results/.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { arch, cpus, loadavg, release, tmpdir, type } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const flags = process.argv.slice(2).filter((word) => word.startsWith('--'));
const wanted = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const quick = flags.includes('--quick');
const repeat = Number(flags.find((flag) => flag.startsWith('--repeat='))?.split('=')[1] ?? 1);
const RECORDED = here('results/recorded.json');

/** The subjects in the order of the documentation. */
const ORDER = ['verify', 'refuse', 'hosts', 'scaling', 'batch', 'workers', 'ioctl', 'boot'];
const subjects = readdirSync(here('.'))
  .filter((file) => file.endsWith('.bench.mjs'))
  .map((file) => file.replace('.bench.mjs', ''))
  .filter((subject) => wanted.length === 0 || wanted.includes(subject))
  .sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));

/** The commit that is checked out, as far as the files of git say. */
function commit() {
  const git = here('../.git');
  try {
    const head = readFileSync(join(git, 'HEAD'), 'utf8').trim();
    const ref = head.replace(/^ref: /, '');
    return (ref === head ? head : readFileSync(join(git, ref), 'utf8').trim()).slice(0, 12);
  } catch {
    return 'unknown';
  }
}

function machine() {
  const [cpu] = cpus();
  const [load] = loadavg();
  return {
    cpu: `${cpus().length} x ${cpu.model.trim()}`,
    system: `${type()} ${release()} ${arch()}`,
    node: `${process.version}, V8 ${process.versions.v8}`,
    load: Number(load.toFixed(2)),
  };
}

const scratch = mkdtempSync(join(tmpdir(), 'bench-'));
const before = machine();
const start = Date.now();
let failed = false;

/** The figures of one subject, from a process of its own. */
function run(subject) {
  const out = join(scratch, 'figures.json');
  rmSync(out, { force: true });
  const env = { ...process.env, BENCH_QUICK: quick ? '1' : '', BENCH_OUT: out };
  if (flags.includes('--record')) env.BENCH_PLOT = here('../docs/verification-cost.svg');
  console.log(`== ${subject}`);
  const { status } = spawnSync(process.execPath, ['--expose-gc', here(`${subject}.bench.mjs`)], {
    stdio: 'inherit',
    env,
  });
  if (status !== 0) failed = true;
  return existsSync(out) ? JSON.parse(readFileSync(out, 'utf8')).figures : [];
}

const results = Object.fromEntries(
  subjects.map((subject) => [subject, Array.from({ length: repeat }, () => run(subject))]),
);
rmSync(scratch, { recursive: true });

const recorded = existsSync(RECORDED) ? JSON.parse(readFileSync(RECORDED, 'utf8')) : null;
const number = (value) => (value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3))));

/** What a figure is meant to be, and whether it is. */
function verdict({ value, bar }) {
  if (!bar) return '';
  const met = bar[0] === '<=' ? value <= bar[1] : value >= bar[1];
  return `${bar[0]} ${bar[1]}${met ? '' : '  NOT MET'}`;
}

/** A ratio beside the recorded one. */
function comparison(subject, { name, value, unit }) {
  const old = recorded?.figures[subject]?.find((candidate) => candidate.name === name);
  if (!old || unit !== 'x') return '';
  const change = value / old.value;
  return `${number(old.value)} recorded, ${change.toFixed(2)} of it${change > 1.15 || change < 0.87 ? '  CHANGED' : ''}`;
}

console.log(`\n${before.cpu}, ${before.system}, Node ${before.node}, load ${before.load}, commit ${commit()}`);
const rows = [];
for (const [subject, runs] of Object.entries(results)) {
  for (const [n, first] of (runs[0] ?? []).entries()) {
    const values = runs.map((figures) => figures[n]?.value).filter((value) => value !== undefined);
    const range = repeat > 1 ? ` (${number(Math.min(...values))} … ${number(Math.max(...values))})` : '';
    const middle = [...values].sort((a, b) => a - b)[values.length >> 1];
    const shown = { ...first, value: middle };
    rows.push([
      subject,
      first.name,
      `${number(middle)} ${first.unit}${range}`,
      verdict(shown),
      comparison(subject, shown),
    ]);
  }
}
const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column].length)));
for (const row of rows)
  console.log(
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
console.log(`${((Date.now() - start) / 1000).toFixed(0)} s`);

if (!failed) {
  const date = new Date(start).toISOString().slice(0, 19);
  const figures = Object.fromEntries(Object.entries(results).map(([subject, runs]) => [subject, runs.at(-1)]));
  const document = { date, commit: commit(), quick, machine: before, figures };
  const name = flags.includes('--record') ? RECORDED : here(`results/${date.replaceAll(':', '')}.json`);
  writeFileSync(name, `${JSON.stringify(document, null, 1)}\n`);
  console.log(`figures in ${name.slice(here('..').length)}`);
}
process.exitCode = failed ? 1 : 0;
