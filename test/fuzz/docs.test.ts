import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { LAWS } from '../../src/fuzz/laws/index.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const text = readFileSync(`${ROOT}/docs/fuzzing.md`, 'utf8');
const examples = [...text.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code!);

test('every law is in the documentation', () => {
  const listed = [...text.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, name]) => name);
  expect(listed.filter((name) => LAWS.some((law) => law.name === name))).toEqual(LAWS.map(({ name }) => name));
});

// The package imports itself by name: what is published is what was built.
describe.runIf(existsSync(`${ROOT}/dist/fuzz/index.js`))('the examples of the documentation', () => {
  const run = (code: string): string => {
    try {
      return execFileSync(process.execPath, ['--input-type=module', '-e', code], {
        cwd: ROOT,
        encoding: 'utf8',
        stdio: 'pipe',
      });
    } catch (error) {
      return String((error as { stderr: string }).stderr);
    }
  };

  test('there are five', () => {
    expect(examples).toHaveLength(5);
  });

  test('a bug in a VMM shrinks to one entry and one bit', () => {
    expect(run(examples[0]!)).toMatch(
      /Counterexample: \[\[\{"function":7,"index":0,"flags":0,"eax":0,"ebx":0,"ecx":32,"edx":0\}\]\]/,
    );
  });

  test.each([1, 2])('number %i holds', (n) => {
    expect(run(examples[n]!)).toBe('');
  });

  test('what a VMM has forgotten about TDs shrinks to one feature', () => {
    expect(run(examples[3]!)).toMatch(
      /Counterexample: \[\{"features":\["RTM"\],"attributes":0n,"xfam":3n,"addressWidth":48\}\]/,
    );
  });

  test('a program shrinks to one instruction', () => {
    expect(run(examples[4]!)).toMatch(/"listing":\["wrmsr 0xe1 0x0"\]/);
  });
});
