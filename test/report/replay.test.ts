import { describe, expect, test } from 'vitest';
import { replayCapture } from '../../src/report/replay.js';
import { captureNames, loadCapture } from '../support/captures.js';

/** Sections about the values and lists of MSRs, which are not modelled. */
const NOT_MODELLED = ['feature_msrs', 'msr_index_list'];

describe('recordings of real kernels', () => {
  test.each(captureNames)('%s: every experiment agrees, none is skipped', (name) => {
    const report = replayCapture(loadCapture(name), name);
    expect(report.mismatches).toEqual([]);
    for (const [section, { checked, agree, skipped }] of Object.entries(report.sections)) {
      if (NOT_MODELLED.includes(section)) continue;
      expect({ section, checked, agree, skipped }).toEqual({ section, checked, agree: checked, skipped: 0 });
      expect(checked, section).toBeGreaterThan(0);
    }
  });
});

describe('a recording that was tampered with is found out', () => {
  const name = captureNames.find((candidate) => loadCapture(candidate).guest_cpuid)!;

  /** The sections in which a changed recording differs. */
  // biome-ignore lint/suspicious/noExplicitAny: a recording is what the recorder wrote
  function differing(change: (capture: any) => void): string[] {
    const capture = loadCapture(name);
    change(capture);
    const { sections, mismatches } = replayCapture(capture, name);
    expect(mismatches.length).toBeGreaterThan(0);
    return Object.keys(sections).filter((section) => sections[section]!.agree < sections[section]!.checked);
  }

  test('in one bit of one supported entry', () => {
    const changed = differing((capture) => {
      const last = capture.supported.entries.length - 1;
      capture.supported.entries[last] = capture.supported.entries[last].replace(/01007efb/, '01007efa');
    });
    expect(changed).toContain('supported');
  });

  test('in the errno of one experiment', () => {
    const changed = differing((capture) => {
      const refused = capture.set.find((experiment: { set: string }) => experiment.set === 'E2BIG');
      refused.set = 'EINVAL';
    });
    expect(changed).toEqual(['set']);
  });

  test('in one value that a guest saw', () => {
    const changed = differing((capture) => {
      const { rows } = capture.guest_cpuid.with_supported_set;
      rows[0] = rows[0].replace(/.$/, (digit: string) => (digit === '0' ? '1' : '0'));
    });
    expect(changed).toEqual(['guest_cpuid']);
  });

  test('in one bad pointer', () => {
    const changed = differing((capture) => {
      capture.pointers[0][1] = 'OK';
    });
    expect(changed).toEqual(['pointers']);
  });
});
