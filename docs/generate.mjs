// Fills the generated sections of the pages in this folder from the tables in src/: npm run docs
import { readFileSync, writeFileSync } from 'node:fs';
import { fillHostInputs } from '../dist/report/host-inputs-doc.js';

const page = new URL('host-inputs.md', import.meta.url);
writeFileSync(page, fillHostInputs(readFileSync(page, 'utf8')));
