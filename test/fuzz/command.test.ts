import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';

/** The built program, as a shell runs it. */
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

interface Run {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function fuzz(...args: readonly string[]): Promise<Run> & { readonly interrupt: () => void } {
  const child = spawn(process.execPath, [MAIN, 'fuzz', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks = { out: '', err: '' };
  child.stdout.on('data', (chunk) => {
    chunks.out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    chunks.err += chunk;
  });
  const ended = new Promise<Run>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, ...chunks }));
  });
  return Object.assign(ended, { interrupt: () => void child.kill('SIGINT') });
}

const folder = mkdtempSync(join(tmpdir(), 'kvm-cpuid-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true }));

const SMALL = ['--hosts', 'sapphire-rapids', '--guest-perm', 'none', '--runs', '20000', '--seed', '7'];
const BROKEN = [...SMALL, '--property', 'verdict-naive', '--defect', 'flagless-first-row'];

describe('kvm-cpuid fuzz', () => {
  test('lists the laws', async () => {
    const { status, out } = await fuzz('--list');
    expect(status).toBe(0);
    expect(out).toContain('verdict-naive');
  });

  test('prints the same document with any number of workers, and nothing else', async () => {
    const [one, two] = await Promise.all(['1', '2'].map((workers) => fuzz(...SMALL, '--json', '--workers', workers)));
    expect(one!.out).toBe(two!.out);
    expect(JSON.parse(one!.out)).toEqual({ runs: 20_000, seed: 7, findings: [] });
    expect([one!.status, one!.err]).toEqual([0, '']);
  });

  test('writes findings that replay, and a page', async () => {
    const corpus = join(folder, 'corpus');
    const { status, out } = await fuzz(...BROKEN, '--corpus', corpus, '--report', join(folder, 'report'), '--json');
    expect(status).toBe(1);
    const { findings } = JSON.parse(out);
    const files = readdirSync(corpus).filter((name) => name !== 'state.json');
    expect(files).toHaveLength(findings.length);
    expect(readFileSync(join(folder, 'report', 'index.html'), 'utf8')).toContain(findings[0].replay);

    const file = join(corpus, files[0]!);
    const again = await fuzz('--replay', file);
    expect(again).toMatchObject({ status: 1, out: expect.stringContaining('does not hold') });
    expect(JSON.parse((await fuzz('--replay', file, '--json')).out).holds).toBe(false);

    const line = findings[0].replay.replace('kvm-cpuid fuzz ', '').split(' ');
    const alone = JSON.parse((await fuzz(...line, '--json')).out);
    expect(alone.runs).toBe(1);
    expect(alone.findings[0]).toMatchObject({ cell: findings[0].cell, entries: findings[0].entries });
  });

  test('stops at Ctrl-C, and goes on', async () => {
    const corpus = join(folder, 'interrupted');
    const options = ['--property', 'verdict-kernels', '--hosts', 'genoa', '--corpus', corpus];
    const running = fuzz(...options, '--for', '1h', '--seed', '3');
    const isRunning = setInterval(() => existsSync(corpus) && running.interrupt(), 3000);
    const stopped = await running;
    clearInterval(isRunning);
    expect(stopped.status).toBe(0);
    expect(stopped.out).toContain('stopped at case');
    const { next } = JSON.parse(readFileSync(join(corpus, 'state.json'), 'utf8'));
    expect(next % 1024).toBe(0);
    const further = await fuzz(...options, '--resume', '--runs', '2000', '--json');
    expect(JSON.parse(further.out)).toEqual({ runs: 2000, seed: 3, findings: [] });
    expect(JSON.parse(readFileSync(join(corpus, 'state.json'), 'utf8')).next).toBe(next + 2000);
    const other = await fuzz(...options, '--resume', '--runs', '2000', '--policy', 'off');
    expect([other.status, other.out]).toEqual([2, '']);
    expect(other.err).toContain(
      'the campaign that stopped was another one: it had genoa, default, kernel 7.3, policy paranoid',
    );
  });

  test('runs guests, and replays one that changes the host', async () => {
    const corpus = join(folder, 'guests');
    const options = ['--property', 'host-state', '--policy', 'off', '--vm-types', 'tdx', '--hosts', 'emerald-rapids'];
    const campaign = [...options, '--guest-perm', 'none', '--runs', '24', '--seed', '1'];
    const [one, two] = await Promise.all(
      ['1', '2'].map((workers) => fuzz(...campaign, '--workers', workers, '--json', '--corpus', join(corpus, workers))),
    );
    expect(one!.out).toBe(two!.out);
    const { findings } = JSON.parse(one!.out);
    expect(findings.map(({ aspect }: { aspect: string }) => aspect)).toContain('IA32_UMWAIT_CONTROL');
    const file = join(corpus, '1', readdirSync(join(corpus, '1')).find((name) => name.includes('umwait'))!);
    expect(await fuzz('--replay', file)).toMatchObject({ status: 1, out: expect.stringContaining('does not hold') });
    expect(await fuzz('--replay', file, '--policy', 'paranoid')).toMatchObject({
      out: expect.stringContaining('hold'),
    });
    writeFileSync(
      file,
      JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), guest: { program: ['nonsense'] } }),
    );
    expect(await fuzz('--replay', file)).toMatchObject({ status: 2, err: expect.stringContaining('nonsense') });
  });

  test.each([
    [['--property', 'nonsense'], '--property nonsense: expected one of accept-what-you-advertise'],
    [['--hosts', 'nowhere'], '--host nowhere: neither a file nor a built-in host'],
    [['--vm-types', 'micro'], '--vm-types micro: expected one of default'],
    [['--guest-perm', 'sse'], '--guest-perm sse: expected amx or none'],
    [['--for', '10'], '--for 10: expected a time such as 90s, 10m or 2h'],
    [['--shard', '3/2'], '--shard 3/2: expected i/n'],
    [['--runs', '-1'], '--runs -1: expected a number'],
    [['--resume'], '--resume: expected --corpus'],
    [['--replay', '/nonexistent'], '/nonexistent: cannot be read'],
    [['--hosts', 'genoa', '--property', 'overlay-containment'], 'says nothing about any of these VMs'],
    [['--hosts', 'genoa', '--vm-types', 'tdx'], 'none of these hosts offers VMs of these types'],
  ])('%j ends with one line', async (args, complaint) => {
    const { status, out, err } = await fuzz(...args);
    expect([status, out]).toEqual([2, '']);
    expect(err).toContain(complaint);
    expect(err.trim()).not.toContain('\n');
  });
});
