import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readHost, readPayload } from '../../src/index.js';
import { Mapping } from '../../src/live/buffers.js';
import { PROT_EXEC, PROT_READ } from '../../src/live/ffi.js';
import { withInstructions } from '../../src/live/instruction.js';
import { describeMachine, recordLive } from '../../src/live/live.js';
import { rawRows } from '../../src/live/raw.js';
import { replayCapture } from '../../src/report/replay.js';
import { probeMachine } from './machine.js';

const { libc, reason } = probeMachine();
const why = reason === '' ? '' : ` (skipped: ${reason})`;

/** Sections that say what is accepted and refused, and how errors come. */
const VERDICTS = [
  'get_supported_sizes',
  'get_emulated_sizes',
  'get_cpuid2_sizes',
  'set',
  'sweep_80000008_eax',
  'pointers',
  'legacy',
  'flips',
  'flips_unknown_leaf',
  'run',
  'flips_after_run',
];

const descriptors = () => readdirSync('/proc/self/fd').length;
const mappings = () =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('kvm')).length;
const affinity = () => /^Cpus_allowed:.*$/m.exec(readFileSync('/proc/thread-self/status', 'utf8'))?.[0];

describe.skipIf(libc === null)(`the /dev/kvm of this machine${why}`, () => {
  test('is recorded and compared', () => {
    const before = [descriptors(), mappings(), affinity()];
    const document = recordLive({ runs: 200, seed: 1 });
    expect([descriptors(), mappings(), affinity()]).toEqual(before);

    expect(document).toMatchObject({ schema: 'kvm-cpuid-oracle/1', kvm: 'OK', api_version: 12, end: 'complete' });
    expect(document).toHaveProperty('host.release');
    expect(document).toHaveProperty('host.vendor_id');
    expect(document).toHaveProperty('host.kvm_params');
    expect(document).toHaveProperty('run.hlt', { run: 'OK', exit_reason: 5 });
    expect(describeMachine(document).cpu).toContain('(');

    const bytes = Buffer.from(JSON.stringify(document));
    expect(readHost(bytes, 'recording').cpus[0]!.rows.length).toBeGreaterThan(10);
    expect(readPayload(bytes, 'recording').tables[0]!.entries.length).toBeGreaterThan(10);

    const { sections, mismatches } = replayCapture(JSON.parse(bytes.toString()));
    for (const section of VERDICTS) expect(sections[section]?.checked, section).toBeGreaterThan(0);
    expect(mismatches.filter(({ section }) => VERDICTS.includes(section))).toEqual([]);
  });

  test('CPUID is executed on one CPU and agrees with what the kernel read', () => {
    const vendor = withInstructions(libc!, ({ cpuid }) => {
      const [, ebx, ecx, edx] = cpuid(0, 0);
      return Buffer.from(Uint32Array.of(ebx, edx, ecx).buffer).toString('latin1');
    });
    expect(readFileSync('/proc/cpuinfo', 'utf8')).toContain(`: ${vendor}`);
  });

  test('where machine code may not run, the cpuid driver answers the same or one line says so', () => {
    const confined = {
      ...libc!,
      mprotect: (address: number, length: number, protection: number) =>
        protection & PROT_EXEC ? -13 : libc!.mprotect(address, length, protection),
    };
    let rows: string[];
    try {
      rows = withInstructions(confined, ({ cpuid }) => rawRows(cpuid));
    } catch (error) {
      expect((error as Error).message).toMatch(/^CPUID can be neither executed \(executable memory: EACCES\) nor read/);
      return;
    }
    expect(rows).toEqual(withInstructions(libc!, ({ cpuid }) => rawRows(cpuid)));
  });

  test('a mapping cannot be used once it is closed', () => {
    const mapping = new Mapping(libc!, 1);
    mapping.bytes[4095] = 1;
    expect(mapping.protect(PROT_READ)).toBe(0);
    mapping.close();
    mapping.close();
    expect(() => mapping.bytes).toThrow('closed');
  });
});
