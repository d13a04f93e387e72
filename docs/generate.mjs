// Fills the generated sections of the pages in this folder: npm run docs
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { fidelityTable, fidelityTotals } from '../dist/report/fidelity-doc.js';
import { fillHostInputs, fillSection } from '../dist/report/host-inputs-doc.js';
import { replayCapture } from '../dist/report/replay.js';
import { fillRfcReview } from '../dist/report/rfc-doc.js';
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
