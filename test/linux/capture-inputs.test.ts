import { describe, expect, test } from 'vitest';
import { bootKvm, describeDump, formatEntry, readHost, Vmm } from '../../src/index.js';
import { KVM_CHECK_EXTENSION } from '../../src/kvm/abi.js';
import { inputsOfCapture, msrsOfCapture, outOfRangeOfCapture } from '../../src/linux/capture-inputs.js';
import { rowsOf } from '../support/capture-host.js';
import { type Capture, captureNames, loadCapture } from '../support/captures.js';
import { readSources, withoutComments } from '../support/sources.js';

/** What describes the host of a capture. Everything else in it is an answer. */
const INPUT_SECTIONS = ['schema', 'name', 'host', 'raw', 'raw_out_of_range', 'xcr0', 'feature_msrs'];

const recorded = captureNames.filter((name) => loadCapture(name).supported);

function withoutAnswers(capture: Capture): Capture {
  return Object.fromEntries(Object.entries(capture).filter(([section]) => INPUT_SECTIONS.includes(section)));
}

/** What the simulated KVM of a capture's host says. */
function answersOf(capture: Capture) {
  const bytes = new TextEncoder().encode(JSON.stringify(capture));
  const vmm = new Vmm(bootKvm(describeDump(readHost(bytes, 'capture'), 'capture')));
  return {
    supported: vmm.supported().entries.map(formatEntry),
    emulated: vmm.emulated().entries.map(formatEntry),
    extensions: Array.from({ length: 261 }, (_, cap) => vmm.process.ioctl(vmm.kvm, KVM_CHECK_EXTENSION, cap)),
  };
}

describe('the inputs of a capture', () => {
  test.each(recorded)('%s: without its answers, KVM says the same', (name) => {
    const capture = loadCapture(name);
    const bare = withoutAnswers(capture);
    expect(Object.keys(bare)).not.toContain('supported');
    const answers = answersOf(bare);
    expect(answers).toEqual(answersOf(capture));
    expect(answers.emulated).toEqual(capture.emulated.entries);
  });

  test.each(captureNames)('%s: no answer is even looked at', (name) => {
    const capture = loadCapture(name);
    const read = new Set<string | symbol>();
    const watched = new Proxy(capture, {
      get: (target, section) => {
        read.add(section);
        return target[section];
      },
      ownKeys: () => {
        throw new Error('sections are read by name');
      },
    });
    inputsOfCapture(watched);
    msrsOfCapture(watched);
    outOfRangeOfCapture(watched, rowsOf(capture));
    expect([...read].filter((section) => !INPUT_SECTIONS.includes(String(section)))).toEqual([]);
  });

  test('what is missing takes its default, and a release that is too old is named', () => {
    const minimal = inputsOfCapture({ host: { release: '6.18.0' } });
    expect(minimal).toMatchObject({ kernel: '6.18', cmdline: '' });
    expect([minimal.parameters.size, minimal.facts.size, minimal.bugs.size]).toEqual([0, 0, 0]);
    expect(() => inputsOfCapture({ host: { release: '5.10.0' } })).toThrow(
      'host.release: release "5.10.0"; expected a Linux release of 6.1 or newer',
    );
    expect(() => inputsOfCapture({})).toThrow('host.release');
  });

  test.each([
    [
      'kvm_params',
      { host: { release: '7.3', kvm_params: { 'kvm_amd.npt': 'N', 'kvm_amd.nested': '0', 'kvm.x': 'Y' } } },
      { 'kvm_amd.npt': 0, 'kvm_amd.nested': 0 },
    ],
    [
      'a value that is none',
      { host: { release: '7.3', kvm_params: { 'kvm_amd.npt': '(null)', 'kvm_amd.vgif': 'Y' } } },
      { 'kvm_amd.vgif': 1 },
    ],
    ['no object', { host: { release: '7.3', kvm_params: 'N' } }, {}],
  ])('%s', (_, document, parameters) => {
    expect(Object.fromEntries(inputsOfCapture(document).parameters)).toEqual(parameters);
  });
});

describe('src/ knows no recorded host', () => {
  // A comment may name a source; what the program does comes from code.
  const sources = Object.entries(readSources()).map(([path, text]) => [path, withoutComments(text)] as const);

  const captures = captureNames.map(loadCapture);
  /** `bochs-7.3.4-corei7_haswell_4770` is recorded on what Bochs calls `corei7_haswell_4770`. */
  const bochsModels = captureNames.flatMap((name) => /^bochs[0-9]*-[0-9.]+-(\w+)/.exec(name)?.[1] ?? []);
  const needles = new Set([
    ...captureNames,
    ...captures.map((capture) => capture.host.model_name as string),
    ...bochsModels.filter((model) => model.includes('_')),
    ...['tcg-', 'bochs', 'TCG CPU', 'Skylake-as-AMD', 'few-nonx', 'deb13'],
  ]);

  test('there is something to look for', () => {
    expect(needles.size).toBeGreaterThan(captureNames.length + 20);
    expect(needles).toContain('corei7_haswell_4770');
    expect(needles).toContain('QEMU TCG CPU version 2.5+');
  });

  test('no name of a capture, of its CPU or of its emulator is in the sources', () => {
    const mentions = sources.flatMap(([path, code]) =>
      [...needles]
        .filter((needle) => code.toLowerCase().includes(needle.toLowerCase()))
        .map((needle) => `${path}: ${needle}`),
    );
    expect(mentions).toEqual([]);
  });
});
