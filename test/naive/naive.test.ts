import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { parseAllRules, parseRule } from '../../src/fuzz/naive/rules.js';
import type { Capture } from './capture.js';
import { evaluate } from './expression.js';
import { inputsFromCapture, type NaiveHost, naiveEmulated, naiveHost, naiveSupported } from './host.js';
import { paranoidRows } from './reference.js';
import { type CpuidEntry, naiveBaseErrno, naiveVerify, type Overlay, type VerifyOptions } from './verify.js';

interface Table {
  errno: string;
  entries: string[];
}

interface Experiment {
  id: string;
  nent: number;
  edits: [number, string][];
  set: string;
}

interface Recording extends Capture {
  supported?: Table;
  emulated?: Table;
  set?: Experiment[];
  xcr0?: string;
}

const FOLDER = new URL('../fixtures/captures/', import.meta.url);
const recordings = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.json.gz'))
  .map((name) => JSON.parse(gunzipSync(readFileSync(new URL(name, FOLDER))).toString()) as Recording);
const named = recordings
  .filter((recording) => recording.supported !== undefined)
  .map((recording) => [recording.name, recording] as const);
const newest = named.filter(([, recording]) => recording.host.release.startsWith('7.3.'));

function entry(text: string): CpuidEntry {
  const [fn, index, flags, eax, ebx, ecx, edx] = text.split(' ').map((field) => Number.parseInt(field, 16)) as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return { function: fn, index, flags, eax, ebx, ecx, edx };
}

function hostOf(name: string): NaiveHost {
  const recording = named.find(([candidate]) => candidate === name)?.[1];
  if (recording === undefined) throw new Error(`no recording '${name}'`);
  return naiveHost(inputsFromCapture(recording));
}

function overlayOf(host: NaiveHost): Overlay {
  return host.vendorModule === 'svm' ? 'svm' : 'vmx';
}

/** `entry register bits` of every finding, in hex, to keep the expectations readable. */
function findings(host: NaiveHost, overlay: Overlay, table: string[], options: VerifyOptions = {}): string[] {
  return naiveVerify(host, overlay, table.map(entry), options).map(
    (finding) => `${finding.entry} ${finding.register} ${finding.offending.toString(16)}`,
  );
}

describe('expressions', () => {
  const scope = {
    variable: (name: string) => (name === 'vendor' ? 'amd' : 0xf0f0f0f0),
    call: (_name: string, args: (number | string)[]) => args.join('/'),
  };
  it.each([
    ['1 | 2 == 2 && 0', 0],
    ['~0', 0xffffffff],
    ['raw & ~0x1800 | 1', 0xf0f0e0f1],
    ['1 ? 2 : 3 ? 4 : 5', 2],
    ['!(raw >> 28 == 0xf) || vendor == "amd"', 1],
    ['kernel(3DNOW)', '3DNOW'],
    ['min(raw & 0xff, 2)', '240/2'],
  ])('%s', (text, value) => expect(evaluate(text, scope)).toBe(value));

  it.each(['1 +', '1 $ 2', 'raw raw', '(1', '3x'])('refuses %s', (text) => {
    expect(() => evaluate(text, scope)).toThrow();
  });
});

describe('naive host against the recordings', () => {
  it.each(named)('%s: supported and emulated entries', (_name, recording) => {
    const host = naiveHost(inputsFromCapture(recording));
    expect(naiveSupported(host)).toEqual(recording.supported?.entries);
    expect(naiveEmulated(host)).toEqual(recording.emulated?.entries);
  });

  it.each(named)('%s: kernel flags, XCR0 and bugs', (_name, recording) => {
    const options = inputsFromCapture(recording);
    const host = naiveHost(options);
    const shown = recording.host.flags.split(' ');
    const wrong = Object.entries(host.boot.cpuinfo())
      .filter(([name, value]) => shown.includes(name) !== value)
      // Boot code clears it by the microcode revision, which these emulated CPUs do not have.
      .filter(([name]) => name !== 'tsc_deadline_timer');
    expect(wrong).toEqual([]);
    if (host.boot.has('XSAVE')) expect(host.xcr0.toString(16)).toBe(recording.xcr0);
    // Only the ARCH_CAPABILITIES of the host are missing for these, and AMD hosts have none.
    if (host.vendorModule === 'svm') {
      expect(naiveHost({ ...options, bugs: {} }).bugs).toEqual(host.bugs);
    }
  });

  it.each(named)('%s: errno of every recorded set', (_name, recording) => {
    const host = naiveHost(inputsFromCapture(recording));
    for (const experiment of recording.set ?? []) {
      const texts = (recording.supported?.entries ?? []).slice(0, experiment.nent);
      for (const [position, text] of experiment.edits) texts[position] = text;
      const blank = '0 0 0 0 0 0 0';
      const table = Array.from({ length: experiment.nent }, (_unused, position) => entry(texts[position] ?? blank));
      expect([experiment.id, naiveBaseErrno(host, table)]).toEqual([experiment.id, experiment.set]);
    }
  });
});

describe('paranoid rules', () => {
  it('can all be read', () => {
    expect(parseAllRules()).toBe(3 * paranoidRows.length);
  });

  it.each(['', 'mask', 'mask raw & x', 'zero or so', 'mask caps:A (no B)', 'field [7:0] < 2', 'fixed'])(
    'refuses to guess at "%s"',
    (text) => expect(() => parseRule(text)).toThrow(),
  );

  it.each(newest)('%s: what KVM reports is accepted', (_name, recording) => {
    const host = naiveHost(inputsFromCapture(recording));
    expect(findings(host, overlayOf(host), recording.supported?.entries ?? [])).toEqual([]);
    expect(findings(host, overlayOf(host), recording.emulated?.entries ?? [])).toEqual([]);
  });
});

describe('naive verification', () => {
  const intel = hostOf('bochs-7.3.4-sapphire_rapids');
  const amd = hostOf('tcg-7.3.4-EPYC-Genoa');

  it('names the bits of a mask, a zero and a fixed rule', () => {
    const table = [
      '00000007 00000000 1 00000003 00000000 00000000 00000000',
      '00000003 00000000 0 00000000 80000001 00000000 00000000',
      '00000007 00000001 1 00020000 00000000 00400000 00000000',
      '0000000d 00000002 1 00000101 00000000 00000008 00000000',
    ];
    expect(findings(intel, 'vmx', table)).toEqual([
      '0 eax 3',
      '1 ebx 80000001',
      '2 eax 20000',
      '2 ecx 400000',
      '3 eax 1',
      '3 ecx 8',
    ]);
  });

  it('checks every field of a register by itself', () => {
    const table = ['80000008 00000000 0 01343435 00000000 00000000 00000000'];
    expect(findings(intel, 'vmx', table)).toEqual(['0 eax 1003435']);
  });

  it('holds a flag-less entry to the rules of every sub-leaf', () => {
    const table = ['00000007 00000000 0 00000000 00000001 00000000 00000000'];
    expect(findings(intel, 'vmx', table)).toEqual(['0 ebx 1']);
    expect(findings(intel, 'vmx', table, { defects: ['flagless-first-row'] })).toEqual([]);
    expect(findings(intel, 'vmx', ['00000004 00000000 0 ffffffff ffffffff ffffffff ffffffff'])).toEqual([]);
  });

  it('keeps the emulated RDPID out of 7.1 unless told to be blind', () => {
    const table = ['00000007 00000001 1 00000000 00000000 00400000 00000000'];
    expect(findings(intel, 'vmx', table)).toEqual(['0 ecx 400000']);
    expect(findings(intel, 'vmx', table, { defects: ['emulated-index-blind'] })).toEqual([]);
  });

  it('ignores reserved registers on request, but not those with a reason', () => {
    const table = [
      '00000008 00000000 0 00000001 00000000 00000000 00000000',
      '00000009 00000000 0 00000001 00000000 00000000 00000000',
    ];
    expect(findings(intel, 'vmx', table, { reserved: 'ignore' })).toEqual(['1 eax 1']);
  });

  it('wants zero where the table has no row', () => {
    expect(findings(intel, 'vmx', ['0000000d 00000040 1 00000002 0 0 0'])).toEqual(['0 eax 2']);
  });

  it('checks the paravirtual leaves only where KVM is the first hypervisor', () => {
    const kvm = '40000000 00000000 0 40000001 4b4d564b 564b4d56 0000004d';
    const hyperv = '40000000 00000000 0 40000001 7263694d 666f736f 76482074';
    const features = '40000001 00000000 0 80000000 00000001 00000000 00000000';
    expect(findings(intel, 'vmx', [kvm, features])).toEqual(['1 eax 80000000', '1 ebx 1']);
    expect(findings(intel, 'vmx', [hyperv, features, kvm])).toEqual([]);
    expect(findings(intel, 'vmx', [kvm, hyperv])).toEqual(['1 ebx 392e3f06', '1 ecx 30243e39', '1 edx 76482039']);
    expect(findings(intel, 'vmx', [features])).toEqual([]);
  });

  it('gives each overlay its own capabilities', () => {
    const cet = ['00000007 00000000 1 00000000 00000000 00000020 00100000'];
    expect(findings(intel, 'vmx', cet)).toEqual([]);
    expect(findings(intel, 'svm', cet)).toEqual(['0 edx 100000']);
    expect(findings(intel, 'tdx', cet)).toEqual(['0 ecx 20']);
    const svm = ['8000000a 00000000 0 00000003 ffffffff 00000000 00000000'];
    expect(findings(amd, 'svm', svm)).toEqual(['0 eax 2']);
    expect(findings(amd, 'vmx', svm)).toEqual(['0 eax 3', '0 ebx ffffffff']);
  });

  it('lets runtime bits come back only with their feature', () => {
    const table = ['00000001 00000000 0 00000000 00000000 08000008 00000000'];
    const none = naiveHost({ ...inputsFromCapture(named[0]?.[1] as Recording), kernel: '7.3', flagsClear: ['XSAVE'] });
    expect(findings(intel, 'vmx', table)).toEqual([]);
    expect(findings(none, 'vmx', table)).toEqual(['0 ecx 8000000']);
  });

  it('lets XTILEDATA in only with the permission of the process', () => {
    const recording = named.find(([name]) => name === 'bochs-7.3.4-sapphire_rapids')?.[1] as Recording;
    const amx = naiveHost({
      ...inputsFromCapture(recording),
      cmdline: '',
      flagsSet: ['XFD', 'AMX_TILE'],
      vars: { ...inputsFromCapture(recording).vars, host_xcr0: 0x602e7 },
    });
    const table = ['0000000d 00000000 1 00060007 00000000 00000000 00000000'];
    expect(findings(amx, 'vmx', table)).toEqual(['0 eax 60000']);
    expect(findings(amx, 'vmx', table, { guestPermAmx: true })).toEqual([]);
    expect(naiveBaseErrno(amx, table.map(entry))).toBe('EPERM');
    expect(naiveBaseErrno(amx, table.map(entry), { guestPermAmx: true })).toBe('OK');
  });

  it('refuses unknown defects', () => {
    expect(() => naiveVerify(intel, 'vmx', [], { defects: ['no-such'] })).toThrow();
  });

  it('is fast enough to be run a million times', () => {
    const table = naiveSupported(intel).map(entry);
    naiveVerify(intel, 'vmx', table);
    const start = performance.now();
    for (let round = 0; round < 1000; round++) naiveVerify(intel, 'vmx', table);
    // 0.2 ms a table, with room for a busy machine.
    expect((performance.now() - start) / 1000).toBeLessThan(1);
  });
});
