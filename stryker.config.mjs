// Mutation testing of what decides about tables: `npm run mutation`, see docs/testing.md.
import { SLICES } from './scripts/mutation/slices.mjs';

const slice = process.env.MUTATION_SLICE;

export default {
  mutate: SLICES[slice].mutate,
  plugins: ['./scripts/mutation/test-runner.mjs'],
  testRunner: 'bundle',
  coverageAnalysis: 'perTest',
  concurrency: 1,
  timeoutMS: 3000,
  // Stryker would read it with a compiler that TypeScript 7 is not; nothing here is compiled.
  tsconfigFile: 'none',
  tempDirName: 'coverage/mutation/sandboxes',
  ignorePatterns: ['coverage', 'dist', 'docs', 'bench', 'examples'],
  reporters: ['json', 'clear-text', 'progress-append-only'],
  clearTextReporter: { allowColor: false, reportTests: false, reportMutants: false },
  jsonReporter: { fileName: `coverage/mutation/${slice}.json` },
};
