// A test runner for Stryker. It bundles the tests of a slice with the instrumented sources once, and evaluates the bundle
// anew for each mutant: modules start from scratch, as they must where a mutant changes a table that is made when its
// module loads. What does not load is killed.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';
import { declareClassPlugin, PluginKind } from '@stryker-mutator/api/plugin';
import { DryRunStatus, MutantRunStatus, TestStatus } from '@stryker-mutator/api/test-runner';
import { rolldown } from 'rolldown';
import { collect, run, vitest } from './mini-vitest.mjs';
import { SLICES } from './slices.mjs';

globalThis.__stryker__ ??= {};
const stryker = globalThis.__stryker__;
const messageOf = (error) => String(error?.message ?? error);

/** One function out of all tests and what they import; `import.meta.url` stays that of the source. */
async function bundle(tests) {
  const entry = tests.map((test) => `import ${JSON.stringify(resolve(test))};`).join('\n');
  const built = await rolldown({
    input: 'slice',
    platform: 'node',
    external: ['koffi', 'iced-x86'],
    treeshake: false,
    logLevel: 'silent',
    plugins: [
      {
        name: 'slice',
        resolveId: (id) => (id === 'slice' ? '\0slice' : id === 'vitest' ? '\0vitest' : null),
        load(id) {
          if (id === '\0slice') return entry;
          if (id === '\0vitest') return `export const { ${Object.keys(vitest).join(', ')} } = globalThis.__vitest;`;
          if (!id.endsWith('.ts')) return null;
          const code = readFileSync(id, 'utf8');
          return code.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(id).href));
        },
      },
    ],
  });
  const { output } = await built.generate({ format: 'cjs', codeSplitting: false });
  await built.close();
  return new Script(`(function (require, exports, module) {${output[0].code}\n})`, { filename: 'slice.cjs' });
}

class BundleRunner {
  capabilities() {
    return { reloadEnvironment: true };
  }

  async init() {
    globalThis.__vitest = vitest;
    this.require = createRequire(resolve('package.json'));
    const { tests, without } = SLICES[process.env.MUTATION_SLICE];
    this.without = without;
    this.script = await bundle(tests);
  }

  collect() {
    const evaluate = this.script.runInThisContext();
    const tests = collect(() => evaluate(this.require, {}, {}));
    return this.without === undefined ? tests : tests.filter(({ name }) => !this.without.test(name));
  }

  async dryRun() {
    stryker.activeMutant = undefined;
    stryker.mutantCoverage = { static: {}, perTest: {} };
    const results = [];
    for (const one of this.collect()) {
      stryker.currentTestId = one.id;
      const start = performance.now();
      let failureMessage;
      try {
        await run(one);
      } catch (error) {
        failureMessage = messageOf(error);
      }
      results.push({
        id: one.id,
        name: one.name,
        timeSpentMs: performance.now() - start,
        ...(failureMessage === undefined
          ? { status: TestStatus.Success }
          : { status: TestStatus.Failed, failureMessage }),
      });
      stryker.currentTestId = undefined;
    }
    return { status: DryRunStatus.Complete, tests: results, mutantCoverage: stryker.mutantCoverage };
  }

  /**
   * First the tests that reach the mutant, then the others: what one test has computed and a cache keeps is in the answers
   * of later ones too.
   */
  async mutantRun({ activeMutant, testFilter = [], hitLimit }) {
    stryker.activeMutant = activeMutant.id;
    stryker.hitCount = hitLimit === undefined ? undefined : 0;
    stryker.hitLimit = hitLimit;
    let count = 0;
    let current = null;
    try {
      const tests = this.collect();
      const first = new Set(testFilter);
      for (current of [...tests.filter(({ id }) => first.has(id)), ...tests.filter(({ id }) => !first.has(id))]) {
        count++;
        await run(current);
      }
      return { status: MutantRunStatus.Survived, nrOfTests: count };
    } catch (error) {
      if (hitLimit !== undefined && stryker.hitCount > hitLimit) return { status: MutantRunStatus.Timeout };
      const killedBy = [current?.id ?? '0'];
      return { status: MutantRunStatus.Killed, killedBy, failureMessage: messageOf(error), nrOfTests: count };
    } finally {
      stryker.activeMutant = undefined;
    }
  }

  async dispose() {}
}

export const strykerPlugins = [declareClassPlugin(PluginKind.TestRunner, 'bundle', BundleRunner)];
