// Fills the generated sections of the pages in this folder: npm run docs
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { fidelityTable, fidelityTotals } from '../dist/report/fidelity-doc.js';
import { fillHostInputs, fillSection } from '../dist/report/host-inputs-doc.js';
import { replayCapture } from '../dist/report/replay.js';
import { fillRfcReview } from '../dist/report/rfc-doc.js';
import { scenariosPage } from '../dist/report/scenarios-doc.js';
import { rerunConsole } from './console.mjs';

function rewrite(name, change) {
  const page = new URL(name, import.meta.url);
  writeFileSync(page, change(readFileSync(page, 'utf8')));
}

const captures = new URL('../test/fixtures/captures/', import.meta.url);
const reports = readdirSync(captures)
  .sort()
  .map((file) => replayCapture(JSON.parse(gunzipSync(readFileSync(new URL(file, captures))).toString())));

rewrite('host-inputs.md', fillHostInputs);
rewrite('fidelity.md', (page) =>
  fillSection(fillSection(page, 'totals', fidelityTotals(reports)), 'table', fidelityTable(reports)),
);
rewrite('rfc-review.md', (page) => rerunConsole(fillRfcReview(page)));

const { page, pictures } = scenariosPage();
writeFileSync(new URL('scenarios.md', import.meta.url), page);
mkdirSync(new URL('img/', import.meta.url), { recursive: true });
for (const [name, svg] of pictures) writeFileSync(new URL(`img/${name}`, import.meta.url), svg);
