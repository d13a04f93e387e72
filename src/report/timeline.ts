import type { Moment, Sample, ScenarioRun, Span } from '../scenarios/index.js';

/**
 * A scenario's run as a picture (SVG): cycles from left to right, a lane each for host, KVM and guest, what became of the
 * states that the scenario watches, and the moment from which on the host is harmed. Between two marks the axis is
 * compressed: a stretch is as wide as the logarithm of its length, so that a guest's thousand cycles can be seen beside ten
 * million of waiting.
 */

const WIDTH = 960;
const LEFT = 150;
const RIGHT = 30;
const LANE = 30;
const VALUE = 46;
const HEAD = 64;
const FOOT = 58;
/** Marks closer than this share one number. */
const NUMBER_ROOM = 74;
/** Cycles that are as wide as nothing. */
const SHORT = 40;

const LANES = ['host', 'kvm', 'guest'] as const;
const LANE_NAMES: Readonly<Record<Moment['lane'], string>> = { host: 'host', kvm: 'KVM', guest: 'guest' };
const COLOURS: Readonly<Record<Moment['lane'], string>> = { host: '#4c78a8', kvm: '#8f8f8f', guest: '#e8871e' };
const HARM = '#c62828';
const WHOLE = '#2e7d32';
const INK = '#222';
const PALE = '#d9d9d9';

/** What is drawn of a CPU: its lanes, then a line for each state that changes there. */
interface Rows {
  readonly cpu: number;
  readonly top: number;
  readonly values: readonly { readonly name: string; readonly top: number; readonly steps: readonly Sample[] }[];
  readonly bottom: number;
}

type Scale = (cycle: number) => number;

/** The picture of a run; the whole text of an SVG file. */
export function timelineSvg(run: ScenarioRun): string {
  const marks = marksOf(run);
  const x = scaleOf(marks);
  const rows = layOut(run);
  const bottom = rows.at(-1)!.bottom;
  const height = bottom + FOOT;
  const module = run.module === null ? '' : `, TDX module ${run.module}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" ` +
      'font-family="Helvetica, Arial, sans-serif" font-size="12">',
    `<title>${escaped(`${run.scenario}, kernel ${run.kernel}, policy ${run.policy}${module}: ${run.outcome}`)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    text(14, 24, run.scenario, { size: 16, weight: 'bold' }),
    text(14, 44, `kernel ${run.kernel}, policy ${run.policy}${module}: ${run.outcome}`),
    ...axis(marks, x, bottom),
    ...rows.flatMap((row) => drawCpu(run, row, x, rows.length > 1)),
    ...harm(run, x, bottom),
    '</svg>\n',
  ].join('\n');
}

/** The CPUs on which guests ran, or CPU 0; not more than four. */
function layOut(run: ScenarioRun): readonly Rows[] {
  const ids = [...new Set(run.spans.filter(({ lane }) => lane === 'guest').map(({ cpu }) => cpu))];
  let top = HEAD;
  return (ids.length > 0 ? ids : [0])
    .sort((a, b) => a - b)
    .slice(0, 4)
    .map((cpu) => {
      const own = run.samples.filter((sample) => sample.cpu === cpu);
      const names = [...new Set(own.map(({ name }) => name))];
      const first = top + LANES.length * LANE;
      const values = names
        .map((name) => ({ name, steps: own.filter((sample) => sample.name === name) }))
        .filter(({ steps }, at) => steps.length > 1 || at === 0)
        .map((value, at) => ({ ...value, top: first + at * VALUE }));
      const bottom = first + values.length * VALUE;
      const row = { cpu, top, values, bottom };
      top = bottom + 12;
      return row;
    });
}

/** Cycles at which something begins, ends or changes. */
function marksOf({ spans, samples, moments, cycle }: ScenarioRun): readonly number[] {
  const cycles = [
    0,
    ...spans.flatMap(({ from, to }) => [from, to]),
    ...samples.map((sample) => sample.cycle),
    ...moments.map((moment) => moment.cycle),
    ...(cycle === null ? [] : [cycle]),
  ];
  return [...new Set(cycles)].sort((a, b) => a - b);
}

function scaleOf(marks: readonly number[]): Scale {
  const room = WIDTH - LEFT - RIGHT;
  const widths = marks.slice(1).map((mark, at) => Math.log(1 + (mark - marks[at]!) / SHORT));
  const all = widths.reduce((sum, width) => sum + width, 0) || 1;
  const places = new Map<number, number>();
  let at = LEFT;
  marks.forEach((mark, number) => {
    if (number > 0) at += (widths[number - 1]! / all) * room;
    places.set(mark, at);
  });
  return (cycle) => places.get(cycle) ?? LEFT;
}

/** Numbers below; where marks are crowded, the last of them. */
function axis(marks: readonly number[], x: Scale, bottom: number): string[] {
  const parts = [line(LEFT, bottom + 8, WIDTH - RIGHT, bottom + 8, INK)];
  let free = WIDTH;
  for (const mark of [...marks].reverse()) {
    const at = x(mark);
    parts.push(line(at, HEAD - 6, at, bottom + 12, PALE));
    if (at > free - NUMBER_ROOM && mark !== marks.at(-1)) continue;
    free = at;
    const last = mark === marks.at(-1);
    parts.push(text(last ? WIDTH - 8 : at, bottom + 26, grouped(mark), { anchor: last ? 'end' : 'middle' }));
  }
  parts.push(
    text(14, bottom + 26, 'cycles'),
    text(LEFT, bottom + 46, 'Between two marks, a stretch is as wide as the logarithm of its length.', {
      size: 11,
      fill: '#666',
    }),
  );
  return parts;
}

function drawCpu(run: ScenarioRun, { cpu, top, values }: Rows, x: Scale, named: boolean): string[] {
  const prefix = named ? `CPU ${cpu} ` : '';
  const lanes = LANES.flatMap((lane, at) => {
    const y = top + at * LANE;
    const spans = run.spans.filter((span) => span.lane === lane && span.cpu === cpu && span.to > span.from);
    return [
      text(14, y + 19, prefix + LANE_NAMES[lane], { weight: 'bold', fill: COLOURS[lane] }),
      line(LEFT, y + LANE / 2, WIDTH - RIGHT, y + LANE / 2, PALE),
      ...spans.map((span) => bar(span, x, y)),
    ];
  });
  const calls = run.moments.filter(
    ({ lane, cpu: on, text: what }) => lane === 'kvm' && on === cpu && /: \w/.test(what),
  );
  const place = cpu === 0 ? '' : `CPU ${cpu}: `;
  const lines = values.flatMap((value) =>
    valueLine(
      value,
      x,
      run.changed.some(({ what }) => what === place + value.name),
    ),
  );
  return [...lanes, ...ioctls(calls, x, top + LANE), ...lines];
}

function bar({ lane, from, to, text: what }: Span, x: Scale, y: number): string {
  const left = x(from);
  const width = Math.max(2, x(to) - left);
  const tip = `${what}: cycles ${from} to ${to}`;
  const fits = Math.floor((width - 14) / 6.2);
  const label = what.length <= fits ? what : fits > 8 ? `${what.slice(0, fits - 1)}…` : '';
  return (
    `<g><title>${escaped(tip)}</title><rect x="${round(left)}" y="${y + 5}" width="${round(width)}" height="${LANE - 10}" ` +
    `rx="2" fill="${COLOURS[lane]}"/>${label === '' ? '' : text(left + 8, y + 19, label, { fill: '#fff', size: 11 })}</g>`
  );
}

/** Where ioctls were, as ticks; one that fails is named. */
function ioctls(calls: readonly Moment[], x: Scale, y: number): string[] {
  return [...new Set(calls.map(({ cycle }) => cycle))].flatMap((cycle) => {
    const here = calls.filter((call) => call.cycle === cycle);
    const failed = here.find(({ text: what }) => /: E[A-Z]+$/.test(what) && !what.startsWith('KVM_RUN'));
    const at = x(cycle);
    const tick =
      `<g><title>${escaped(here.map(({ text: what }) => what).join('\n'))}</title>` +
      `<circle cx="${round(at)}" cy="${y + LANE / 2}" r="4" fill="${failed ? HARM : '#fff'}" stroke="${INK}"/></g>`;
    const label = failed
      ? [text(at - 8, y + 19, failed.text, { fill: HARM, anchor: 'end', weight: 'bold', size: 11 })]
      : [];
    return [tick, ...label];
  });
}

/** The value as steps: a new level wherever it changes. */
function valueLine({ name, top, steps }: Rows['values'][number], x: Scale, harmed: boolean): string[] {
  const levels = [...new Set(steps.map(({ value }) => value))];
  const height = (value: string) => top + 14 + (levels.indexOf(value) % 3) * 13;
  const points = steps.flatMap((step, at) => {
    const before = steps[at - 1];
    const here = round(x(step.cycle));
    return [...(before ? [`${here},${height(before.value)}`] : []), `${here},${height(step.value)}`];
  });
  points.push(`${WIDTH - RIGHT},${height(steps.at(-1)!.value)}`);
  let free = 0;
  const labels = steps.flatMap((step) => {
    const at = x(step.cycle) + 4;
    if (at < free || at + step.value.length * 6.5 > WIDTH) return [];
    free = at + step.value.length * 6.5 + 6;
    return [text(at, height(step.value) - 4, step.value, { size: 11 })];
  });
  return [
    text(14, top + 28, name, { size: 11 }),
    `<polyline points="${points.join(' ')}" fill="none" stroke="${harmed ? HARM : WHOLE}" stroke-width="2"/>`,
    ...labels,
  ];
}

function harm({ cycle, changed }: ScenarioRun, x: Scale, bottom: number): string[] {
  if (cycle === null) return [];
  const at = x(cycle);
  const right = at > WIDTH / 2;
  const what = `from cycle ${grouped(cycle)} on: ${changed[0]!.what}`;
  return [
    `<line x1="${round(at)}" y1="${HEAD - 12}" x2="${round(at)}" y2="${bottom + 8}" stroke="${HARM}" stroke-width="2" stroke-dasharray="5 3"/>`,
    text(at + (right ? -6 : 6), HEAD - 6, what, { fill: HARM, weight: 'bold', anchor: right ? 'end' : 'start' }),
  ];
}

interface Style {
  readonly size?: number;
  readonly weight?: string;
  readonly fill?: string;
  readonly anchor?: string;
}

function text(x: number, y: number, content: string, { size, weight, fill = INK, anchor }: Style = {}): string {
  const extra = [
    size === undefined ? '' : ` font-size="${size}"`,
    weight === undefined ? '' : ` font-weight="${weight}"`,
    anchor === undefined ? '' : ` text-anchor="${anchor}"`,
  ].join('');
  return `<text x="${round(x)}" y="${round(y)}" fill="${fill}"${extra}>${escaped(content)}</text>`;
}

function line(x1: number, y1: number, x2: number, y2: number, stroke: string): string {
  return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" stroke="${stroke}"/>`;
}

/** 10110724 as 10,110,724. */
const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ',');
const round = (value: number): number => Math.round(value * 10) / 10;
const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (content: string): string => content.replace(/[&<>"]/g, (sign) => ENTITIES[sign]!);
