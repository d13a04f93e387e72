import { describe, expect, test } from 'vitest';
import { FEATURES, linuxPlace } from '../../src/cpuid/features.js';
import { bootCapture } from '../support/capture-host.js';
import { captureNames, loadCapture } from '../support/captures.js';

/** Flags that /proc/cpuinfo shows and the boot words do not decide: see the notes on inputs in the capture reader. */
const NOT_DERIVED = new Set(['tsc_deadline_timer']);

describe('boot capability words', () => {
  test.each(captureNames)('%s: flags, XCR0 and bugs as the recorded kernel showed them', (name) => {
    const capture = loadCapture(name);
    const { state } = bootCapture(capture);
    const shown = new Set<string>(capture.host.flags.split(' '));
    const wrong: string[] = [];
    for (const feature of FEATURES) {
      if (feature.cpuinfo === null || linuxPlace(feature, state.line) === null || NOT_DERIVED.has(feature.cpuinfo))
        continue;
      const has = (state.words[feature.word.id]! & feature.mask) !== 0;
      if (has !== shown.has(feature.cpuinfo)) wrong.push(`${feature.cpuinfo} is ${has}`);
    }
    expect(wrong).toEqual([]);
    if (capture.xcr0) expect(state.xcr0.toString(16)).toBe(capture.xcr0);
  });

  test.each(captureNames)('%s: bugs follow from the CPU without being told', (name) => {
    const capture = loadCapture(name);
    const told = bootCapture(capture).state.bugs;
    const derived = bootCapture(capture, { bugs: new Map() }).state.bugs;
    expect([...derived].sort()).toEqual([...told].sort());
  });
});
