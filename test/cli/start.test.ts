import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

/** The start of the built program: what V8 has compiled before is a help, never a condition. */

const built = (name: string): string => fileURLToPath(new URL(`../../dist/cli/${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'kvm-cpuid-start-'));
afterAll(() => rmSync(folder, { recursive: true }));

const PACKAGE = JSON.stringify({ version: '1.2.3' });

/** A package with the program and nothing else, and with this cache. */
function packageWith(name: string, cache: Uint8Array | null): string {
  const cli = join(folder, name, 'dist/cli');
  mkdirSync(cli, { recursive: true });
  for (const file of ['main.js', 'start.js', 'program.js', 'package.json']) cpSync(built(file), join(cli, file));
  writeFileSync(join(folder, name, 'package.json'), PACKAGE);
  if (cache !== null) writeFileSync(join(cli, 'program.cache'), cache);
  return join(cli, 'main.js');
}

const cache = readFileSync(built('program.cache'));

test.each([
  ['its own', cache],
  ['none', null],
  ['an empty one', new Uint8Array(0)],
  ['half of it', cache.subarray(0, cache.length >> 1)],
  ['something else', new TextEncoder().encode('no cache at all')],
])('the program answers with a cache that is %s', (name, content) => {
  const main = packageWith(name, content);
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, '--version'], { encoding: 'utf8' });
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '1.2.3\n', stderr: '' });
});

test('the program is ASCII, as it is read', () => {
  const bytes = readFileSync(built('program.js'));
  expect(bytes.findIndex((byte) => byte > 0x7f)).toBe(-1);
  // What is not stands there as an escape, and comes out as it was.
  const { stdout } = spawnSync(process.execPath, [built('main.js'), 'hosts'], { encoding: 'utf8' });
  expect(stdout).not.toContain('\\u');
});
