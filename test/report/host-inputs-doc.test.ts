import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { fillHostInputs } from '../../src/report/host-inputs-doc.js';

test('docs/host-inputs.md shows the tables as they are (npm run docs writes them)', () => {
  const page = readFileSync(new URL('../../docs/host-inputs.md', import.meta.url), 'utf8');
  expect(fillHostInputs(page)).toBe(page);
});
