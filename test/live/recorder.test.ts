import { describe, expect, test } from 'vitest';
import type { HostKernel } from '../../src/linux/host-kernel.js';
import { withKvm } from '../../src/live/device.js';
import { type RecordOptions, recordDocument } from '../../src/live/recorder.js';
import { replayCapture } from '../../src/report/replay.js';
import { bootCapture } from '../support/capture-host.js';
import { type Capture, loadCapture } from '../support/captures.js';
import { load } from '../support/simulator.js';
import { simulatedLibc } from './simulated-libc.js';

/** Two vendors, each kernel line, with and without XSAVE. */
const NAMES = [
  'tcg-6.1-Opteron_G1',
  'tcg-6.12-EPYC-Genoa',
  'tcg-6.18-qemu64',
  'tcg-7.3.4-max',
  'bochs-6.1-corei7_skylake_x',
  'bochs-6.18-arrow_lake',
  'bochs-7.3.4-tigerlake',
];

/** Sections that are the same whoever records. The simulator does not answer all that is asked about MSRs. */
const SAME = [
  'kvm',
  'api_version',
  'supported',
  'emulated',
  'xcomp_guest_supp',
  'create',
  'get_supported_sizes',
  'get_emulated_sizes',
  'fresh_vcpu',
  'sweep_80000008_eax',
  'get_cpuid2_sizes',
  'pointers',
  'legacy',
  'runtime',
  'flips',
  'flips_unknown_leaf',
  'run',
  'flips_after_run',
  'end',
];

/** Records the simulator's KVM as if it were this machine's. */
function recordSimulated(kernel: HostKernel, options?: RecordOptions): Capture {
  const process = kernel.spawn({ arena: 1 << 24 });
  const libc = simulatedLibc(process, kernel.machine.cpus[0]!.cpuid);
  return withKvm(libc, (kvm) => recordDocument(kvm, options));
}

/** The simulated silicon has no leaves of a hypervisor beneath it. */
const withoutHypervisor = (rows: readonly string[]): string[] => rows.filter((row) => !row.startsWith('400000'));

describe.each(NAMES)('the recorder on the simulated host of %s', (name) => {
  const capture = loadCapture(name);
  const kernel = bootCapture(capture);
  load(kernel);
  const recorded = recordSimulated(kernel);

  test.each(SAME)('%s is as the other recorder wrote it', (section) => {
    expect(recorded[section]).toEqual(capture[section]);
  });

  test('sets of the same name ask the same and have the same outcome', () => {
    const mine = new Map(recorded.set.map((row: Capture) => [row.id, row]));
    const shared = capture.set.filter(({ id }: Capture) => mine.has(id));
    expect(shared.length).toBeGreaterThan(capture.set.length * 0.9);
    for (const row of shared) expect(mine.get(row.id)).toEqual(row);
  });

  test('the rows of the host are all there', () => {
    expect(recorded.raw).toEqual(expect.arrayContaining(withoutHypervisor(capture.raw)));
    expect(withoutHypervisor(recorded.raw_out_of_range)).toEqual(withoutHypervisor(capture.raw_out_of_range));
  });

  test('its own recording replays without a difference', () => {
    const report = replayCapture({ ...recorded, host: capture.host });
    expect(report.mismatches).toEqual([]);
    expect(report.sections.set!.checked).toBe(recorded.set.length);
  });
});

describe('what the caller decides', () => {
  const kernel = bootCapture(loadCapture('tcg-7.3.4-EPYC'));
  load(kernel);

  test('no guest runs unless it may', () => {
    const recorded = recordSimulated(kernel, { mayRun: false, runs: 0 });
    expect(Object.keys(recorded)).not.toContain('run');
    expect(Object.keys(recorded)).not.toContain('flips_after_run');
    expect(recorded.flips).toBeDefined();
  });

  test('how many random tables, and which', () => {
    const random = (options: RecordOptions) =>
      recordSimulated(kernel, { mayRun: false, ...options }).set.filter(({ id }: Capture) => id.startsWith('random'));
    expect(random({ runs: 0 })).toEqual([]);
    expect(random({ runs: 20, seed: 3 })).toHaveLength(20);
    expect(random({ runs: 20, seed: 3 })).toEqual(random({ runs: 20, seed: 3 }));
    expect(random({ runs: 20, seed: 3 })).not.toEqual(random({ runs: 20, seed: 4 }));
  });

  test('who is told about progress', () => {
    const stages: string[] = [];
    recordSimulated(kernel, { runs: 0, progress: (stage) => stages.push(stage) });
    expect(stages.slice(0, 4)).toEqual(['host', 'system ioctls', 'sizes', 'sets']);
    expect(stages).toContainEqual(expect.stringMatching(/^flips 1\/\d+$/));
  });
});
