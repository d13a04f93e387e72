import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { addLive } from '../../src/cli/commands/live.js';
import { UsageError } from '../../src/cli/failure.js';
import { readHost } from '../../src/index.js';
import { probeMachine } from './machine.js';

const { libc, reason } = probeMachine();

/** Runs the command in this process. */
function live(...words: string[]): { readonly status: unknown; readonly out: string; readonly err: string } {
  const written = { out: '', err: '' };
  const capture = (to: 'out' | 'err') => (text: unknown) => {
    written[to] += String(text);
    return true;
  };
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation(capture('out')),
    vi.spyOn(process.stderr, 'write').mockImplementation(capture('err')),
  ];
  const before = process.exitCode;
  try {
    const program = new Command('kvm-cpuid').exitOverride();
    addLive(program);
    program.parse(['live', ...words], { from: 'user' });
    return { status: process.exitCode, ...written };
  } finally {
    process.exitCode = before;
    for (const spy of spies) spy.mockRestore();
  }
}

describe('usage', () => {
  test.each([
    [['--runs', '-1'], '--runs -1: expected a number from 0 to 100000'],
    [['--runs', 'many'], '--runs many: expected a number from 0 to 100000'],
    [['--runs', '100001'], '--runs 100001: expected a number from 0 to 100000'],
    [['--seed', '0x1'], '--seed 0x1: expected a number from 0 to 4294967295'],
  ])('%j', (words, message) => {
    expect(() => live(...words)).toThrow(new UsageError(message));
  });
});

test.skipIf(libc !== null)('without a KVM to ask, one line says why', () => {
  expect(() => live()).toThrow(new UsageError(reason));
  expect(reason).not.toContain('\n');
});

describe.skipIf(libc === null)(`with this machine's KVM${reason === '' ? '' : ` (skipped: ${reason})`}`, () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'live-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('--json prints the comparison and nothing else', () => {
    const { status, out, err } = live('--json', '--runs', '10');
    const report = JSON.parse(out);
    expect(out.trimEnd().split('\n')).toHaveLength(1);
    expect(err).toBe('');
    expect(report.sections.pointers).toMatchObject({ checked: 39, agree: 39 });
    expect(status).toBe(report.mismatches.length === 0 ? 0 : 1);
  });

  test('--record writes a capture, compressed by its name', () => {
    for (const [name, unpack] of [
      ['a.json', (bytes: Buffer) => bytes],
      ['a.json.gz', (bytes: Buffer) => gunzipSync(bytes)],
    ] as const) {
      const file = join(folder, name);
      const { out } = live('--record', file, '--runs', '0', '--no-guest');
      expect(out).toContain(`recorded to ${file}`);
      const bytes = unpack(readFileSync(file));
      expect(JSON.parse(bytes.toString())).not.toHaveProperty('run');
      expect(readHost(bytes, file).format).toBe('capture');
    }
  });

  test('a file that cannot be written', () => {
    const file = join(folder, 'nowhere', 'a.json');
    expect(() => live('--record', file, '--runs', '0', '--no-guest')).toThrow(`--record ${file}: cannot be written`);
  });

  test('the table has a line for every section', () => {
    const { out } = live('--runs', '0', '--no-guest');
    for (const section of ['supported', 'set', 'pointers', 'legacy', 'flips'])
      expect(out).toMatch(RegExp(`^  ${section} `, 'm'));
  });
});
