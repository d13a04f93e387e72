/** What the format tests share: bytes, expected errors, and where real files are. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { FormatError } from '../../../src/cpuid/errors.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const SHARED = `${ROOT}/../shared`;
const FIXTURES = `${ROOT}/test/fixtures`;

/** Others' dumps may not be copied into the project; without them the tests that read them are skipped. */
export const noShared = !existsSync(`${SHARED}/dumps`);
/** A test title that says so. */
export const titled = (title: string) => (noShared ? `${title} (skipped: no ../shared here)` : title);

/** A file that a test reads. */
export interface TestFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export const sharedFiles = (folder: string, suffix: string) => filesIn(`${SHARED}/${folder}`, suffix);
export const fixtureFiles = (folder: string, suffix: string) => filesIn(`${FIXTURES}/${folder}`, suffix);
export const fixtureFile = (path: string) => readTestFile(`${FIXTURES}/${path}`, path);

/** Empty without the folder, so that test.each() has nothing to do. */
function filesIn(folder: string, suffix: string): TestFile[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith(suffix) && name !== 'README.md');
  return names.sort().map((name) => readTestFile(`${folder}/${name}`, name));
}

function readTestFile(path: string, name: string): TestFile {
  const bytes = readFileSync(path);
  return { name, bytes: name.endsWith('.gz') ? gunzipSync(bytes) : bytes };
}

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
export const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The FormatError that `read` raises; fails the test when it raises none, or anything else. */
export function formatError(read: () => unknown): FormatError {
  try {
    read();
  } catch (error) {
    if (error instanceof FormatError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** A small made-up host: two CPUs that differ only in their ids. */
export const TWO_CPUS = `CPU 0:
   0x00000000 0x00: eax=0x00000007 ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69
   0x00000001 0x00: eax=0x000306c3 ebx=0x00100800 ecx=0x7ffafbff edx=0xbfebfbff
   0x00000004 0x00: eax=0x1c004121 ebx=0x01c0003f ecx=0x0000003f edx=0x00000000
   0x00000004 0x01: eax=0x1c004122 ebx=0x01c0003f ecx=0x0000003f edx=0x00000000
   0x00000007 0x00: eax=0x00000000 ebx=0x000027ab ecx=0x00000000 edx=0x9c000400
   0x80000000 0x00: eax=0x80000001 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
   0x80000001 0x00: eax=0x00000000 ebx=0x00000000 ecx=0x00000021 edx=0x2c100800
CPU 1:
   0x00000000 0x00: eax=0x00000007 ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69
   0x00000001 0x00: eax=0x000306c3 ebx=0x01100800 ecx=0x7ffafbff edx=0xbfebfbff
   0x00000004 0x00: eax=0x1c004121 ebx=0x01c0003f ecx=0x0000003f edx=0x00000000
   0x00000004 0x01: eax=0x1c004122 ebx=0x01c0003f ecx=0x0000003f edx=0x00000000
   0x00000007 0x00: eax=0x00000000 ebx=0x000027ab ecx=0x00000000 edx=0x9c000400
   0x80000000 0x00: eax=0x80000001 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
   0x80000001 0x00: eax=0x00000000 ebx=0x00000000 ecx=0x00000021 edx=0x2c100800
`;

/** The first CPU of it alone. */
export const ONE_CPU = TWO_CPUS.slice(0, TWO_CPUS.indexOf('CPU 1:'));
