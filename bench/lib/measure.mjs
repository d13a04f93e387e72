// A small precise harness. Every sample of a case lies between two samples of the reference, and the ratio of such
// neighbours is what counts: the clock of the machine and what else runs on it may drift, their ratio hardly does.
// A sample is a batch of a few milliseconds, in CPU time of the process: what waits for its turn costs nothing. Of samples
// and of ratios the median is taken.

export const quick = process.env.BENCH_QUICK === '1';

/** Whatever is computed ends here, so that nothing can be left out. */
let sink = 0;
export const consume = (value) => {
  sink = (sink + Number(value)) | 0;
};

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
};

const quartiles = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  return [sorted[sorted.length >> 2], sorted[(sorted.length * 3) >> 2]];
};

/** Nanoseconds of CPU time for one run. */
function time(run, times) {
  const start = process.cpuUsage();
  for (let n = 0; n < times; n++) consume(run());
  const { user, system } = process.cpuUsage(start);
  return ((user + system) * 1e3) / times;
}

/** Runs for so long; returns how often. */
function runFor(run, milliseconds) {
  const start = performance.now();
  let runs = 0;
  while (performance.now() - start < milliseconds) {
    consume(run());
    runs++;
  }
  return runs;
}

/**
 * Runs until V8 has compiled it for good; returns how many runs make a sample. They are counted in the end only: a case
 * with shorter samples than the others would look slower, as processors learn its branches anew in each.
 */
function warmUp(run, milliseconds, sample) {
  runFor(run, milliseconds);
  return Math.max(1, Math.round(runFor(run, 10 * sample) / 10));
}

/**
 * @param cases by name, functions that do their work once and return something of it
 * @param reference the name of the case with which the others are compared
 * @param per how many things (tables) one run is about
 * @returns by name: `ns` for each thing, `ratio` to the reference, `spread` (quartiles) of that ratio
 */
export function measure(
  cases,
  reference,
  per = 1,
  { rounds = quick ? 11 : 41, sample = 2, warm = quick ? 120 : 400 } = {},
) {
  const names = Object.keys(cases);
  for (const name of names) runFor(cases[name], warm / 2);
  const times = Object.fromEntries(names.map((name) => [name, warmUp(cases[name], warm / 2, sample)]));
  const samples = Object.fromEntries(names.map((name) => [name, { ns: [], ratio: [] }]));
  const referenceSample = () => time(cases[reference], times[reference]);
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const before = referenceSample();
      const own = time(cases[name], times[name]);
      const after = referenceSample();
      samples[name].ns.push(own / per);
      samples[name].ratio.push((2 * own) / (before + after));
    }
  }
  return Object.fromEntries(
    names.map((name) => {
      const { ns, ratio } = samples[name];
      return [name, { ns: median(ns), ratio: median(ratio), spread: quartiles(ratio) }];
    }),
  );
}

/**
 * Bytes that one run leaves on the heap: what many runs leave more than few. The least of several attempts, since V8's
 * compiler uses the heap too.
 */
export function allocated(run, per = 1) {
  const runs = Math.ceil(20_000 / per);
  const after = (times) => {
    globalThis.gc();
    const before = process.memoryUsage().heapUsed;
    for (let n = 0; n < times; n++) consume(run());
    return process.memoryUsage().heapUsed - before;
  };
  const attempts = Array.from({ length: 7 }, () => (after(11 * runs) - after(runs)) / (10 * runs * per));
  return Math.max(0, Math.min(...attempts));
}
