// What earlier runs found: the last recorded run in full, and of all recorded runs one line each.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { arch, cpus, loadavg, release, type } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { number } from './page.mjs';

const results = (name) => fileURLToPath(new URL(`../results/${name}`, import.meta.url));
const RECORDED = results('recorded.json');
const HISTORY = results('history.jsonl');

/** The commit that is checked out, as far as the files of git say. */
export function commit() {
  const git = fileURLToPath(new URL('../../.git', import.meta.url));
  try {
    const head = readFileSync(join(git, 'HEAD'), 'utf8').trim();
    const ref = head.replace(/^ref: /, '');
    return (ref === head ? head : readFileSync(join(git, ref), 'utf8').trim()).slice(0, 12);
  } catch {
    return 'unknown';
  }
}

/** The machine, and how busy it is. */
export function machine() {
  const [cpu] = cpus();
  const [load] = loadavg();
  return {
    cpu: `${cpus().length} x ${cpu.model.trim()}`,
    system: `${type()} ${release()} ${arch()}`,
    node: `${process.version}, V8 ${process.versions.v8}`,
    load: Number(load.toFixed(2)),
  };
}

/** The run that others are compared with; `null` before the first. */
export function lastRecorded() {
  return existsSync(RECORDED) ? JSON.parse(readFileSync(RECORDED, 'utf8')) : null;
}

/** Makes a run the one that others are compared with, and adds it to the history. Returns where it is. */
export function record(document) {
  writeFileSync(RECORDED, `${JSON.stringify(document, null, 1)}\n`);
  appendFileSync(HISTORY, `${JSON.stringify(document)}\n`);
  return 'bench/results/recorded.json and history.jsonl';
}

/** Leaves a run beside the others. Returns where it is. */
export function keep(document) {
  const name = `${document.date.replaceAll(':', '')}.json`;
  writeFileSync(results(name), `${JSON.stringify(document, null, 1)}\n`);
  return `bench/results/${name}`;
}

/** The ratios that are not what they were, as rows, the largest change first. Which way is better, the name says. */
export function moved(figures, recorded) {
  const rows = [];
  let compared = 0;
  for (const [subject, list] of Object.entries(figures)) {
    for (const { name, value, unit } of list) {
      const old = recorded?.figures[subject]?.find((candidate) => candidate.name === name);
      if (!old || unit !== 'x' || old.value === 0) continue;
      compared++;
      const change = value / old.value;
      if (change <= 1.15 && change >= 1 / 1.15) continue;
      const size = Math.abs(Math.log(change));
      rows.push({ size, row: [subject, name, `${number(old.value)} -> ${number(value)}`, `x ${change.toFixed(2)}`] });
    }
  }
  return { compared, moved: rows.sort((a, b) => b.size - a.size).map(({ row }) => row) };
}
