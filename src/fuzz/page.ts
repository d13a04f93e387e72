import { bitName } from '../cpuid/architecture.js';
import { sdmName } from '../cpuid/entry.js';
import { type CoverageRow, isComplete, summarize } from './coverage.js';
import type { FuzzFinding } from './finding.js';

/** What the page says about the campaign. */
export interface PageInputs {
  readonly title: string;
  readonly rows: readonly CoverageRow[];
  readonly findings: readonly FuzzFinding[];
}

/** Width of a bit in the grid, and height of a row, in pixels. */
const CELL = 12;
const ROW = 14;
const LABEL = 190;
const HEADER = 20;

const COLOURS = { both: '#7b61a8', accepted: '#3f8f5f', refused: '#c2573f', never: '#e6e6e6' } as const;

type Hit = keyof typeof COLOURS;

/**
 * A page that shows, bit by bit, what was seen accepted and refused: one SVG grid with a row for each leaf, sub-leaf and
 * register, bit 31 on the left. It needs nothing beside itself.
 */
export function coveragePage({ title, rows, findings }: PageInputs): string {
  const { complete, acceptedBits, refusedBits } = summarize(rows);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>${escaped(title)}</title>
<style>
  body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }
  svg text { font: 11px ui-monospace, monospace; }
  .key span { display: inline-block; width: 1em; height: 1em; margin: 0 .4em 0 1em; vertical-align: -2px; }
  pre { background: #f6f6f6; padding: .6em; overflow-x: auto; }
</style>
<h1>${escaped(title)}</h1>
<p>${complete} of ${rows.length} rows of the rule table were hit with every verdict that they allow;
${acceptedBits} bits were seen accepted, ${refusedBits} refused. A row in bold was not hit in full.</p>
<p class="key">${Object.entries(COLOURS)
    .map(([name, colour]) => `<span style="background:${colour}"></span>${name}`)
    .join('')}</p>
${findings.length === 0 ? '<p>No findings.</p>' : findings.map(findingHtml).join('\n')}
${grid(rows)}
</html>
`;
}

function grid(rows: readonly CoverageRow[]): string {
  const width = LABEL + 32 * CELL;
  const height = HEADER + rows.length * ROW;
  const numbers = [31, 24, 16, 8, 0].map(
    (bit) => `<text x="${LABEL + (31 - bit) * CELL}" y="${HEADER - 6}">${bit}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" role="img" aria-label="coverage">
${numbers.join('')}
${rows.map(rowSvg).join('\n')}
</svg>`;
}

function rowSvg(row: CoverageRow, at: number): string {
  const y = HEADER + at * ROW;
  const weight = isComplete(row) ? '' : ' font-weight="bold"';
  return `<text x="0" y="${y + 11}"${weight}>${escaped(label(row))}</text>${runsOf(row)
    .map(
      ({ hit, high, low }) =>
        `<rect x="${LABEL + (31 - high) * CELL}" y="${y}" width="${(high - low + 1) * CELL - 1}" height="${ROW - 1}" fill="${COLOURS[hit]}"><title>${escaped(bitsTitle(row, high, low, hit))}</title></rect>`,
    )
    .join('')}`;
}

interface Run {
  readonly hit: Hit;
  readonly high: number;
  readonly low: number;
}

/** Bits that were hit each by itself; those never hit together. */
function runsOf(row: CoverageRow): Run[] {
  const runs: Run[] = [];
  for (let bit = 31; bit >= 0; bit--) {
    const hit = hitOf(row, bit);
    const last = runs.at(-1);
    if (last && hit === 'never' && last.hit === 'never') runs[runs.length - 1] = { ...last, low: bit };
    else runs.push({ hit, high: bit, low: bit });
  }
  return runs;
}

function hitOf({ accepted, refused }: CoverageRow, bit: number): Hit {
  const was = (mask: number) => ((mask >>> bit) & 1) === 1;
  if (was(accepted)) return was(refused) ? 'both' : 'accepted';
  return was(refused) ? 'refused' : 'never';
}

const hex = (value: number): string => value.toString(16).toUpperCase();

function label({ function: fn, last, index, beyond, register }: CoverageRow): string {
  if (fn !== last) return `${hex(fn)}H-${hex(last)}H ${register.toUpperCase()}`;
  const subleaf = index === null ? '' : index === 'any' ? '.*' : `.${index}${beyond ? '+' : ''}`;
  return `${hex(fn)}H${subleaf} ${register.toUpperCase()}`;
}

function bitsTitle(row: CoverageRow, high: number, low: number, hit: Hit): string {
  const index = typeof row.index === 'number' ? row.index : null;
  const name = high === low ? bitName(row.function, index ?? 0, row.register, high) : null;
  return `${sdmName(row.function, index, row.register, high, low)}${name === null ? '' : ` ${name}`}: ${hit}`;
}

const findingHtml = ({ property, cell, host, vm_type, entries, replay }: FuzzFinding): string =>
  `<h2>${escaped(property)}: ${escaped(cell)}</h2>
<p>on ${escaped(host)}, ${escaped(vm_type)}</p>
<pre>${escaped([...entries, replay].join('\n'))}</pre>`;

const escaped = (text: string): string => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
