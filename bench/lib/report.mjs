// What a subject says: rows for people, figures for the record.
import { writeFileSync } from 'node:fs';
import benny from 'benny';
import { consume, quick } from './measure.mjs';

const figures = [];
/**
 * Records a figure. Ratios (unit `x`) are what runs are compared by; the rest depends on the machine and its mood.
 *
 * @param bar `['<=', 2]` or `['>=', 13]`: what it is meant to be
 */
export function figure(name, value, unit, bar = null) {
  figures.push({ name, value: Number(value.toPrecision(5)), unit, ...(bar && { bar }) });
}

export function say(line = '') {
  console.log(line);
}

/** A table: the first column to the left, numbers to the right. */
export function table(head, rows) {
  const all = [head, ...rows.map((row) => row.map(String))];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const pad = (row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  say(pad(head));
  say(widths.map((width) => '-'.repeat(width)).join('  '));
  for (const row of all.slice(1)) say(pad(row));
}

export const perSecond = (ns) => `${(1e3 / ns).toFixed(2)} M/s`;

/** What `measure()` found. */
export function measured(title, result, reference, things = 'tables') {
  table(
    [title, 'ns', things, `x ${reference}`, 'quartiles'],
    Object.entries(result).map(([name, { ns, ratio, spread }]) => [
      ...[name, ns < 20 ? ns.toFixed(1) : ns.toFixed(0), perSecond(ns), ratio.toFixed(2)],
      spread.map((value) => value.toFixed(2)).join(' … '),
    ]),
  );
  say();
}

/** The same cases by benny: operations per second, as people know them. */
export async function bennyRows(title, cases, per, things = 'tables') {
  const options = quick ? { minSamples: 3, maxTime: 0.15 } : { minSamples: 10, maxTime: 1 };
  const { results } = await benny.suite(
    title,
    ...Object.entries(cases).map(([name, run]) => benny.add(name, () => consume(run()), options)),
    benny.complete(),
  );
  const rows = results.map(({ name, ops, margin }) => [name, perSecond(1e9 / ops / per), `± ${margin} %`]);
  table(['by benny', things, 'margin'], rows);
  say();
}

/** Hands over to bench/run.mjs. */
export function finish(subject) {
  if (process.env.BENCH_OUT) writeFileSync(process.env.BENCH_OUT, JSON.stringify({ subject, figures }));
}
