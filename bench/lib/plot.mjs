/** Cost against entries as an SVG: points, the line through them, axes. */
export function plot(points, { slope, offset, r2 }) {
  const [width, height, left, bottom, top, right] = [640, 360, 64, 48, 24, 16];
  const maxX = 256;
  const highest = Math.max(...points.map(([, y]) => y), slope * maxX + offset);
  const step = 10 ** Math.floor(Math.log10(highest)) / 2;
  const maxY = Math.ceil(highest / step) * step;
  const x = (value) => (left + ((width - left - right) * value) / maxX).toFixed(1);
  const y = (value) => (height - bottom - ((height - bottom - top) * value) / maxY).toFixed(1);
  const xs = [0, 32, 64, 96, 128, 160, 192, 224, 256];
  const ys = Array.from({ length: Math.round(maxY / step) + 1 }, (_, n) => n * step);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<rect width="${width}" height="${height}" fill="#fff"/>
${ys.map((value) => `<path d="M${x(0)} ${y(value)}H${x(maxX)}" stroke="#ddd"/><text x="${left - 8}" y="${y(value)}" dy="4" text-anchor="end">${value}</text>`).join('\n')}
${xs.map((value) => `<text x="${x(value)}" y="${height - bottom + 18}" text-anchor="middle">${value}</text>`).join('\n')}
<path d="M${x(0)} ${y(Math.max(0, offset))}L${x(maxX)} ${y(slope * maxX + offset)}" stroke="#888"/>
${points.map(([px, py]) => `<circle cx="${x(px)}" cy="${y(py)}" r="4" fill="#06c"/>`).join('\n')}
<text x="${width / 2}" y="${height - 10}" text-anchor="middle">entries of a table</text>
<text x="16" y="${height / 2}" text-anchor="middle" transform="rotate(-90 16 ${height / 2})">ns to verify it</text>
<text x="${left + 12}" y="${top + 16}">${slope.toFixed(2)} ns an entry, R² = ${r2.toFixed(5)}</text>
</svg>
`;
}
