import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CONSUMER = join(ROOT, 'test/consumer');

const folder = mkdtempSync(join(tmpdir(), 'kvm-cpuid-consumer-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** The package as npm would publish it, and everything else from here. */
function install(): void {
  cpSync(CONSUMER, folder, { recursive: true });
  execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: ROOT, stdio: 'pipe' });
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))!;
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, 'kvm-cpuid'), { recursive: true });
  execFileSync('tar', ['xzf', join(folder, tarball), '--strip-components=1', '-C', join(modules, 'kvm-cpuid')]);
  const theirs = join(ROOT, 'node_modules');
  for (const name of readdirSync(theirs)) {
    if (!name.startsWith('.') && name !== 'kvm-cpuid') symlinkSync(join(theirs, name), join(modules, name));
  }
}

/** Runs a tool of the project in the consumer's folder. Returns its output; throws with it when it fails. */
function run(tool: string, ...args: readonly string[]): string {
  try {
    return execFileSync(process.execPath, [join(ROOT, 'node_modules', tool), ...args], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, VITEST: undefined, NO_COLOR: '1' },
    });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${stdout}\n${stderr}`);
  }
}

// What is published is what was built.
test.runIf(existsSync(join(ROOT, 'dist/fuzz/index.js')))('a package that imports the tarball: types and tests', () => {
  install();
  expect(run('typescript/bin/tsc', '--noEmit')).toBe('');
  expect(run('vitest/vitest.mjs', 'run')).toContain('7 passed');
});
