// Cost against the number of entries, and against the number of rules.
import { writeFileSync } from 'node:fs';
import { RuleLines } from '../dist/kvm/paranoid/rule-lines.js';
import { firstRefused } from '../dist/kvm/paranoid/verify.js';
import { measure, quick } from './lib/measure.mjs';
import { plot } from './lib/plot.mjs';
import { random } from './lib/random.mjs';
import { figure, finish, measured, say } from './lib/report.mjs';
import { mixedTables, rulesOf, STRIDE } from './lib/tables.mjs';

const COUNT = 32;

// Entries ---------------------------------------------------------------------------------------------------------------

const rules = rulesOf('sapphire-rapids');
const SIZES = quick ? [8, 32, 64, 128, 256] : [8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256];
const bySize = Object.fromEntries(
  SIZES.map((nent) => {
    const tables = mixedTables(rules, nent, COUNT);
    return [
      `${nent} entries`,
      () => {
        let sum = 0;
        for (const words of tables) sum += firstRefused(rules.allowed, words, nent);
        return sum;
      },
    ];
  }),
);
const reference = `${SIZES.find((nent) => nent >= 60)} entries`;
const sizes = measure(bySize, reference, COUNT);
measured('portable kernel', sizes, reference);

/** Draws a plot for the documentation, if this run is one that is recorded. */
function draw(name, shown, options) {
  if (process.env.BENCH_PLOTS) writeFileSync(`${process.env.BENCH_PLOTS}${name}`, plot(shown, options));
}

/** Least squares: y = slope * x + offset, and how much of y that explains. */
function leastSquares(points) {
  const mean = (values) => values.reduce((a, b) => a + b) / values.length;
  const [mx, my] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))];
  const slope =
    points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0) / points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
  const offset = my - slope * mx;
  const rest = points.reduce((sum, [x, y]) => sum + (y - slope * x - offset) ** 2, 0);
  return { slope, offset, r2: 1 - rest / points.reduce((sum, [, y]) => sum + (y - my) ** 2, 0) };
}

// In units of the reference, which does not drift, and back to time by its median.
const points = SIZES.map((nent) => [nent, sizes[`${nent} entries`].ratio * sizes[reference].ns]);
const line = leastSquares(points);
say(`${line.slope.toFixed(2)} ns an entry and ${line.offset.toFixed(0)} ns a table, R² = ${line.r2.toFixed(5)}`);
say();
figure('R² of cost against entries', line.r2, 'R²', ['>=', 0.99]);
figure('an entry', line.slope, 'ns');
draw('verification-by-entries.svg', points, {
  ticks: [0, 32, 64, 96, 128, 160, 192, 224, 256],
  xLabel: 'entries of a table',
  yLabel: 'ns to verify it',
  note: `${line.slope.toFixed(2)} ns an entry, R² = ${line.r2.toFixed(5)}`,
  line,
});

// Rules -----------------------------------------------------------------------------------------------------------------

/** So many rules (registers of functions and sub-leaves), all of them masks; a quarter of the functions is indexed. */
function masks(count) {
  const below = random(count);
  const lines = count / 4;
  const functions = Math.ceil(lines / 2);
  const indexed = Math.ceil(functions / 4);
  const base = new Int32Array(256);
  const subleaves = new Int32Array(256);
  const reject = [-1, -1, -1, -1];
  const checkStart = [0, 0];
  const add = () => {
    for (let register = 0; register < 4; register++) reject.push(below(2 ** 32) | 0);
    checkStart.push(0);
    return checkStart.length - 2;
  };
  const known = [];
  for (let fn = 0; fn < functions; fn++) {
    const slot = ((fn & 3) << 6) | (fn >> 2);
    base[slot] = add();
    if (fn < indexed) subleaves[slot] = Math.round((lines - functions) / indexed);
    for (let n = 0; n < subleaves[slot]; n++) add();
    known.push({ function: (((fn & 3) << 30) | (fn >> 2)) >>> 0, subleaves: subleaves[slot], line: base[slot] });
  }
  const arrays = {
    ...{ base, subleaves, reject: Int32Array.from(reject), checkStart: Int32Array.from(checkStart) },
    ...{ checks: new Int32Array(0), values: new Int32Array(0), ranges: new Uint32Array(0), unknownLine: 0 },
  };
  return { rules: new RuleLines(arrays), known, below };
}

function tablesFor({ rules: { reject }, known, below }) {
  return Array.from({ length: 64 }, () => {
    const words = new Uint32Array(60 * STRIDE);
    for (let at = 0; at < words.length; at += STRIDE) {
      const { function: fn, subleaves, line } = known[below(known.length)];
      const index = subleaves === 0 ? 0 : below(subleaves);
      const own = subleaves === 0 ? line : line + 1 + index;
      const values = [0, 1, 2, 3].map((register) => below(2 ** 32) & ~reject[own * 4 + register]);
      words.set([fn, index, subleaves === 0 ? 0 : 1, ...values], at);
    }
    return words;
  });
}

const NUMBERS = quick ? [50, 500, 2000] : [50, 100, 200, 500, 1000, 2000];
const byNumber = Object.fromEntries(
  NUMBERS.map((count) => {
    const made = masks(count);
    const tables = tablesFor(made);
    if (tables.some((words) => firstRefused(made.rules, words, 60) !== -1)) throw new Error('must be accepted');
    return [
      `${count} rules`,
      () => {
        let sum = 0;
        for (const words of tables) sum += firstRefused(made.rules, words, 60);
        return sum;
      },
    ];
  }),
);
const numbers = measure(byNumber, '500 rules', 64);
measured('60 entries, any order', numbers, '500 rules');
const ratios = [50, 500, 2000].map((count) => numbers[`${count} rules`].ratio);
draw(
  'verification-by-rules.svg',
  NUMBERS.map((count) => [count, numbers[`${count} rules`].ratio * numbers['500 rules'].ns]),
  {
    ticks: NUMBERS,
    xLabel: 'rules, one for each register of a function or sub-leaf',
    yLabel: 'ns to verify 60 entries',
    note: `most / least of 50, 500, 2000: ${(Math.max(...ratios) / Math.min(...ratios)).toFixed(2)}`,
    logarithmic: true,
  },
);
figure('50, 500, 2000 rules: most / least', Math.max(...ratios) / Math.min(...ratios), 'x', ['<=', 1.3]);
finish('scaling');
