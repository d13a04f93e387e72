// Runs each subject in a process of its own: V8's type feedback of one would colour the next.
//
//   npm run bench                       all subjects, thoroughly; records the figures, draws the plots, fills
//                                       docs/performance.md: for a machine that does nothing else
//   npm run bench:quick                 the same in less than a minute; records nothing
//   npm run bench -- verify batch       some of them; records nothing
//   npm run bench -- --repeat=10 verify ten processes in a row, and how far their ratios are apart
//   npm run bench -- --no-record        all, without recording
//
// Every run says which ratios have moved since the last recorded run, and leaves its figures in bench/results/.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commit, keep, lastRecorded, machine, moved, record } from './lib/history.mjs';
import { number, verdict, writePage } from './lib/page.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const flags = process.argv.slice(2).filter((word) => word.startsWith('--'));
const wanted = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const quick = flags.includes('--quick');
const repeat = Number(flags.find((flag) => flag.startsWith('--repeat='))?.split('=')[1] ?? 0);
const recording = !quick && wanted.length === 0 && !flags.includes('--no-record');

/** The subjects in the order of the documentation. */
const ORDER = [
  ...['verify', 'refuse', 'hosts', 'scaling', 'batch', 'workers'],
  ...['ioctl', 'placement', 'boot', 'sweep', 'startup', 'emulator', 'exits-vmx', 'exits-svm', 'story', 'profile'],
];
const subjects = readdirSync(here('.'))
  .filter((file) => file.endsWith('.bench.mjs'))
  .map((file) => file.replace('.bench.mjs', ''))
  .filter((subject) => wanted.length === 0 || wanted.includes(subject))
  .sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));

/** How many processes in a row: what V8 makes of the kernels must not depend on luck. */
const processes = (subject) => repeat || (recording && subject === 'verify' ? 10 : 1);

const scratch = mkdtempSync(join(tmpdir(), 'bench-'));
const before = machine();
const start = Date.now();
let failed = false;

/** The figures of one subject, from a process of its own. */
function run(subject) {
  const out = join(scratch, 'figures.json');
  rmSync(out, { force: true });
  const env = { ...process.env, BENCH_QUICK: quick ? '1' : '', BENCH_OUT: out };
  if (recording) env.BENCH_PLOTS = here('../docs/');
  console.log(`== ${subject}`);
  const { status } = spawnSync(process.execPath, ['--expose-gc', here(`${subject}.bench.mjs`)], {
    stdio: 'inherit',
    env,
  });
  if (status !== 0) {
    failed = true;
    console.log(`${subject} failed`);
  }
  return existsSync(out) ? JSON.parse(readFileSync(out, 'utf8')).figures : [];
}

/** The figures of several processes as one list: medians, with what was least and most. */
function together(runs) {
  return runs[0].map((first) => {
    const values = runs
      .flatMap((figures) => figures.filter(({ name }) => name === first.name).map(({ value }) => value))
      .sort((a, b) => a - b);
    const value = values[values.length >> 1];
    return values.length > 1 ? { ...first, value, least: values[0], most: values.at(-1) } : first;
  });
}

const figures = {};
for (const subject of subjects)
  figures[subject] = together(Array.from({ length: processes(subject) }, () => run(subject)));
rmSync(scratch, { recursive: true });

const date = new Date(start).toISOString().slice(0, 19);
const document = { date, commit: commit(), quick, machine: before, loadAfter: machine().load, figures };
const recorded = lastRecorded();

/** Rows side by side. */
function print(rows) {
  const widths = rows.reduce((all, row) => row.map((cell, i) => Math.max(all[i] ?? 0, cell.length)), []);
  for (const row of rows) {
    const cells = row.map((cell, i) => cell.padEnd(widths[i]));
    console.log(cells.join('  ').trimEnd());
  }
}

const rowsOf = (wantedUnit) =>
  Object.entries(figures).flatMap(([subject, list]) =>
    list
      .filter(({ unit }) => (unit === 'x') === wantedUnit)
      .map((figure) => {
        const range = figure.least === undefined ? '' : ` (${number(figure.least)} … ${number(figure.most)})`;
        return [subject, figure.name, `${number(figure.value)} ${figure.unit}${range}`, verdict(figure)];
      }),
  );

console.log(`\n${before.cpu}, ${before.system}, Node ${before.node}, load ${before.load}, commit ${document.commit}`);
console.log('\nFigures of this machine, at this time:');
print(rowsOf(false));
console.log('\nRatios:');
print(rowsOf(true));

const changes = moved(figures, recorded);
if (!recorded) console.log('\nNo run has been recorded yet to compare with.');
else {
  console.log(`\nMoved by more than 15 % since ${recorded.date} (${recorded.commit}), of ${changes.compared} ratios:`);
  print(changes.moved.length > 0 ? changes.moved : [['none']]);
}
console.log(`\n${((Date.now() - start) / 1000).toFixed(0)} s`);

if (!failed) {
  console.log(`figures in ${recording ? record(document) : keep(document)}`);
  if (recording) writePage(document);
}
process.exitCode = failed ? 1 : 0;
