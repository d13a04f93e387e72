// As much of vitest as the tests in `slices.mjs` need, to run them again and again in one process, each time with modules
// that have just been evaluated. `expect` is vitest's own.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(createRequire(import.meta.url).resolve('vitest/package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const chai = await load('chai');
const { ASYMMETRIC_MATCHERS_OBJECT, GLOBAL_EXPECT, JestAsymmetricMatchers, JestChaiExpect, JestExtend, setState } =
  await load('@vitest/expect');
for (const plugin of [JestExtend, JestChaiExpect, JestAsymmetricMatchers]) chai.use(plugin);
const { expect } = chai;
globalThis[GLOBAL_EXPECT] = expect;
Object.assign(expect, globalThis[ASYMMETRIC_MATCHERS_OBJECT]);
setState({ assertionCalls: 0, isExpectingAssertions: false, expectedAssertionsNumber: null }, expect);

/** What the tests that are collected now belong to. */
let suite;
let collected;

/** @returns the tests that `evaluate` declares, in order */
export function collect(evaluate) {
  collected = [];
  suite = { name: '', parent: null, beforeAll: [], beforeEach: [], afterEach: [], ready: false };
  evaluate();
  return collected;
}

const each = (declare) => (rows) => (name, body) => {
  for (const row of rows) declare(name, () => body(...(Array.isArray(row) ? row : [row])));
};
const skipped = Object.assign(() => {}, { each: () => () => {} });
const variants = (declare) =>
  Object.assign(declare, {
    each: each(declare),
    skipIf: (condition) => (condition ? skipped : declare),
    runIf: (condition) => (condition ? declare : skipped),
    skip: skipped,
  });

const describe = variants((name, body) => {
  const parent = suite;
  suite = { name: `${parent.name} ${name}`, parent, beforeAll: [], beforeEach: [], afterEach: [], ready: false };
  try {
    body();
  } finally {
    suite = parent;
  }
});
const test = variants((name, body) => {
  collected.push({ id: String(collected.length), name: `${suite.name} ${name}`.trim(), suite, body });
});
const hook = (kind) => (body) => suite[kind].push(body);

async function prepare(one) {
  if (one === null || one.ready) return;
  await prepare(one.parent);
  one.ready = true;
  for (const body of one.beforeAll) await body();
}

/** Runs one test with its hooks. Throws what the test throws. */
export async function run({ suite: own, body }) {
  await prepare(own);
  const suites = [];
  for (let one = own; one !== null; one = one.parent) suites.unshift(one);
  for (const one of suites) for (const before of one.beforeEach) await before();
  try {
    await body();
  } finally {
    for (const one of suites.toReversed()) for (const after of one.afterEach) await after();
  }
}

/** What `import … from 'vitest'` gives. */
export const vitest = {
  describe,
  test,
  it: test,
  expect,
  beforeAll: hook('beforeAll'),
  beforeEach: hook('beforeEach'),
  afterEach: hook('afterEach'),
  afterAll: () => {},
};
