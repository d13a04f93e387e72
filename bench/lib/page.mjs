// Figures as people read them, and the page of the documentation that shows the recorded ones.
import { readFileSync, writeFileSync } from 'node:fs';

export const number = (value) => (value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3))));

/** Whether a figure is what it is meant to be; of several processes the worst counts. */
export function isMet({ value, least = value, most = value, bar }) {
  return bar[0] === '<=' ? most <= bar[1] : least >= bar[1];
}

export function verdict(figure) {
  if (!figure.bar) return '';
  return `${figure.bar[0]} ${figure.bar[1]}${isMet(figure) ? '' : '  NOT MET'}`;
}

const PAGE = new URL('../../docs/performance.md', import.meta.url);

function rowOf(figure) {
  const range = figure.least === undefined ? '' : ` (${number(figure.least)} … ${number(figure.most)})`;
  const bar = figure.bar ? `${figure.bar[0] === '<=' ? '≤' : '≥'} ${figure.bar[1]}` : '';
  const met = figure.bar ? (isMet(figure) ? 'yes' : '**no**') : '';
  return `| ${figure.name} | ${number(figure.value)} ${figure.unit}${range} | ${bar} | ${met} |`;
}

/** The figures of a run as Markdown: where and when, then a table for each subject. */
function section({ date, commit, machine, loadAfter, figures }) {
  const lines = [
    `Recorded ${date.replace('T', ' ')} UTC at commit ${commit} on ${machine.cpu}, ${machine.system}, Node ${machine.node};`,
    `load ${machine.load} before, ${loadAfter} after.`,
  ];
  for (const [subject, list] of Object.entries(figures)) {
    lines.push(
      '',
      `### ${subject}`,
      '',
      '| figure | value | meant to be | is |',
      '|---|---|---|---|',
      ...list.map(rowOf),
    );
  }
  return lines.join('\n');
}

/** Fills the page's section of recorded figures. */
export function writePage(document) {
  const page = readFileSync(PAGE, 'utf8');
  const pattern = /(<!-- recorded -->\n)[\s\S]*?(\n<!-- \/recorded -->)/;
  writeFileSync(
    PAGE,
    page.replace(pattern, (_, open, close) => `${open}${section(document)}${close}`),
  );
}
