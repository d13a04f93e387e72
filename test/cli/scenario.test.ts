import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'kvm-cpuid-'));
afterAll(() => rmSync(folder, { recursive: true }));

function scenario(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'scenario', ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

describe('kvm-cpuid scenario', () => {
  test.each([
    [['run', 'waitpkg-td', '--policy', 'off'], 1],
    [['run', 'waitpkg-td', '--policy', 'paranoid'], 0],
    [['run', 'syscall-msrs'], 0],
    [['run', 'waitpkg'], 2],
    [['run', 'waitpkg-td', '--module', '3.0'], 2],
    [['search', '--module', '3.0'], 2],
    [['search', '--host', 'nowhere'], 2],
    [['search', '--tries', 'many'], 2],
    [['search', '--policy', 'paranoid', '--tries', '2'], 0],
  ])('%j ends with status %i', (args, expected) => {
    const { status, stderr } = scenario(...args);
    expect(status).toBe(expected);
    expect(stderr === '').toBe(expected !== 2);
  });

  test('prints the same document twice', () => {
    const args = ['run', 'fred-future-module', '--json'];
    const { status, stdout } = scenario(...args);
    expect(status).toBe(1);
    expect(scenario(...args).stdout).toBe(stdout);
    expect(JSON.parse(stdout)).toMatchObject({ scenario: 'fred-future-module', policy: 'denylist', module: 'fred-a' });
  });

  test('writes a trace and a timeline, and the run is the same with them', () => {
    const [trace, svg] = [join(folder, 'trace.jsonl'), join(folder, 'timeline.svg')];
    const args = ['run', 'tsx-td', '--policy', 'off', '--json'];
    const { stdout } = scenario(...args, '--trace', trace, '--svg', svg);
    expect(stdout).toBe(scenario(...args).stdout);
    expect(readFileSync(svg, 'utf8')).toMatch(/^<svg .*<\/svg>\n$/s);
    const lines = readFileSync(trace, 'utf8').trimEnd().split('\n');
    expect(lines.length).toBeGreaterThan(100);
  });

  test('without the defect that a scenario is about', () => {
    const run = (...more: string[]) =>
      JSON.parse(scenario('run', 'emulated-wrong-subleaf', '--policy', 'paranoid', '--json', ...more).stdout);
    expect(run()).toMatchObject({ outcome: 'harmless', defects: ['emulated-index-blind'] });
    expect(run('--fixed')).toMatchObject({ outcome: 'prevented', defects: [], ioctl: 'KVM_SET_CPUID2' });
  });

  test('search names the bits, and what they take', () => {
    const { status, stdout } = scenario('search', '--policy', 'off', '--tries', '5', '--json');
    expect(status).toBe(1);
    const { found } = JSON.parse(stdout);
    expect(found).toContainEqual({
      bits: ['CPUID.(EAX=7,ECX=0):ECX[5] WAITPKG'],
      changed: [{ what: 'IA32_UMWAIT_CONTROL', before: '0x186a0', after: expect.stringMatching(/^0x/) }],
    });
  });
});
