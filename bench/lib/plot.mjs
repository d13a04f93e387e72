/**
 * A cost as an SVG: points, the line through them where there is one, axes.
 *
 * @param points pairs of x and y
 * @param options `ticks` of the x axis, of which the last is its end; `xLabel`, `yLabel`; `note`; `line` with its slope
 *   and offset; `logarithmic`: the x axis is
 */
export function plot(points, { ticks, xLabel, yLabel, note, line = null, logarithmic = false }) {
  const [width, height, left, bottom, top, right] = [640, 360, 64, 48, 24, 24];
  const last = ticks.at(-1);
  const at = (value) => line.slope * value + line.offset;
  const highest = Math.max(...points.map(([, y]) => y), line ? at(last) : 0);
  const step = 10 ** Math.floor(Math.log10(highest)) / 2;
  const maxY = Math.ceil(highest / step) * step;
  const part = logarithmic
    ? (value) => Math.log(value / ticks[0]) / Math.log(last / ticks[0])
    : (value) => value / last;
  const x = (value) => (left + (width - left - right) * part(value)).toFixed(1);
  const y = (value) => (height - bottom - ((height - bottom - top) * value) / maxY).toFixed(1);
  const levels = Array.from({ length: Math.round(maxY / step) + 1 }, (_, n) => n * step);
  const start = logarithmic ? ticks[0] : 0;
  const shapes = [
    ...levels.map(
      (value) =>
        `<path d="M${x(start)} ${y(value)}H${x(last)}" stroke="#ddd"/>` +
        `<text x="${left - 8}" y="${y(value)}" dy="4" text-anchor="end">${value}</text>`,
    ),
    ...ticks.map((value) => `<text x="${x(value)}" y="${height - bottom + 18}" text-anchor="middle">${value}</text>`),
    ...(line ? [`<path d="M${x(0)} ${y(Math.max(0, line.offset))}L${x(last)} ${y(at(last))}" stroke="#888"/>`] : []),
    ...points.map(([px, py]) => `<circle cx="${x(px)}" cy="${y(py)}" r="4" fill="#06c"/>`),
    `<text x="${width / 2}" y="${height - 10}" text-anchor="middle">${xLabel}</text>`,
    `<text x="16" y="${height / 2}" text-anchor="middle" transform="rotate(-90 16 ${height / 2})">${yLabel}</text>`,
    `<text x="${left + 12}" y="${top + 16}">${note}</text>`,
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<title>${yLabel}, by ${xLabel}</title>
<rect width="${width}" height="${height}" fill="#fff"/>
${shapes.join('\n')}
</svg>
`;
}
