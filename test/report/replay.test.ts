import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { FormatError } from '../../src/index.js';
import { type ReplayReport, replayCapture } from '../../src/report/replay.js';
import { type Capture, captureNames, loadCapture } from '../support/captures.js';

/** Sections of which the simulator has no answer yet; nothing else of a stock kernel is skipped. */
const SKIPPED = ['feature_msrs', 'msr_index_list'];

/** What is in a recording, counted apart from the replay. */
function experimentsOf(capture: Capture): Record<string, number> {
  const counts: Record<string, number> = {
    set: capture.set.length,
    legacy: capture.legacy.length,
    pointers: capture.pointers.length,
    runtime: capture.runtime.length,
    flips: capture.flips.flips,
    flips_unknown_leaf: capture.flips_unknown_leaf.flips,
    flips_after_run: capture.flips_after_run.flips,
    get_supported_sizes: capture.get_supported_sizes.length,
    get_emulated_sizes: capture.get_emulated_sizes.length,
    get_cpuid2_sizes: capture.get_cpuid2_sizes.length,
    caps: 2 * 261,
    ioctl_by_fd: 9,
    supported: 1,
    emulated: 1,
    hv_supported: 1,
    fresh_vcpu: 1,
    kvm: 1,
    api_version: 1,
    create: 2,
    xcomp_guest_supp: 1,
    run: 32,
  };
  if (capture.sweep_80000008_eax) counts.sweep_80000008_eax = 4 * 256;
  if (capture.guest_cpuid) {
    const variants: Capture[] = Object.values(capture.guest_cpuid);
    counts.guest_cpuid = variants.reduce((sum, { rows }) => sum + rows.length + 2, 0);
  }
  return counts;
}

const loaded = captureNames.filter((name) => loadCapture(name).supported);
const refused = captureNames.filter((name) => !loadCapture(name).supported);

describe('recordings of stock kernels', () => {
  test.each(loaded)('%s: every answer agrees', (name) => {
    const capture = loadCapture(name);
    const { capture: called, sections, mismatches } = replayCapture(capture);
    expect(mismatches).toEqual([]);
    expect(called).toBe(capture.name);
    const skipped = Object.entries(sections).filter(([, section]) => section.skipped > 0);
    expect(skipped.map(([section]) => section)).toEqual(SKIPPED.filter((section) => section in capture));
    for (const [, section] of skipped) expect(section.reason).toBeTruthy();
    const checked = Object.entries(sections).filter(([section]) => !SKIPPED.includes(section));
    expect(Object.fromEntries(checked.map(([section, result]) => [section, result]))).toEqual(
      Object.fromEntries(
        Object.entries(experimentsOf(capture)).map(([section, count]) => [
          section,
          { checked: count, agree: count, skipped: 0 },
        ]),
      ),
    );
  });

  test.each(refused)('%s: the module refuses, and there is no /dev/kvm', (name) => {
    const { sections, mismatches } = replayCapture(loadCapture(name));
    expect({ sections, mismatches }).toEqual({
      sections: { kvm: { checked: 1, agree: 1, skipped: 0 } },
      mismatches: [],
    });
  });
});

const THIRD_VENDOR = new URL('../../../shared/captures/third-vendor-6.18-epyc-guest.json.gz', import.meta.url);

describe.skipIf(!existsSync(THIRD_VENDOR))('a recording of a vendor module that is not modelled', () => {
  const capture = () => JSON.parse(gunzipSync(readFileSync(THIRD_VENDOR)).toString());

  test('verdicts, sizes and pointers agree, masks are skipped with a reason', () => {
    const { sections, mismatches } = replayCapture(capture());
    expect(mismatches).toEqual([]);
    const skipped = Object.keys(sections).filter((name) => sections[name]!.skipped > 0);
    expect(skipped.sort()).toEqual(
      ['supported', 'emulated', 'hv_supported', 'caps', 'ioctl_by_fd', 'runtime', ...SKIPPED].sort(),
    );
    for (const name of skipped) expect(sections[name]!.reason).toBeTruthy();
    for (const name of ['set', 'pointers', 'legacy', 'flips', 'flips_after_run', 'run', 'get_supported_sizes'])
      expect(sections[name]).toMatchObject({ skipped: 0 });
  });

  test('its verdicts are compared', () => {
    const changed = capture();
    changed.flips_after_run.rows[0].ok = '0';
    changed.flips_after_run.rows[0].EINVAL = 'ffffffff';
    changed.set[3].set = 'EINVAL';
    const { mismatches } = replayCapture(changed);
    expect(mismatches.map(({ section, what }) => [section, what])).toEqual([
      ['set', changed.set[3].id],
      ['flips_after_run', 'entry 1 ecx[27]'],
    ]);
  });
});

/** Changes of one recorded answer, and where it must show. */
const CHANGES: readonly (readonly [section: string, what: string, change: (capture: Capture) => void])[] = [
  ['kvm', 'open("/dev/kvm")', (c) => Object.assign(c, { kvm: 'EACCES' })],
  ['api_version', 'KVM_GET_API_VERSION', (c) => Object.assign(c, { api_version: 11 })],
  ['emulated', 'entry 2', (c) => c.emulated.entries.splice(2, 1, '00000007 00000000 1 00000000 00000000 0 0')],
  ['emulated', 'entry 3', (c) => c.emulated.entries.push(c.emulated.entries[0])],
  ['hv_supported', 'nent', (c) => Object.assign(c.hv_supported, { nent: 11 })],
  ['xcomp_guest_supp', 'KVM_X86_XCOMP_GUEST_SUPP', (c) => Object.assign(c, { xcomp_guest_supp: '1' })],
  ['create', 'vcpu', (c) => Object.assign(c.create, { vcpu: 'ENOMEM' })],
  ['caps', 'vm 66', (c) => Object.assign(c.caps.vm, { 66: 1 })],
  ['caps', 'system 5', (c) => Object.assign(c.caps.system, { 5: 1 })], // was left out: zero
  ['ioctl_by_fd', 'GET_SUPPORTED_CPUID vcpu', (c) => Object.assign(c.ioctl_by_fd.GET_SUPPORTED_CPUID, { vcpu: 'OK' })],
  ['get_supported_sizes', 'nent 255', (c) => Object.assign(c.get_supported_sizes[5], { wrote: 99 })],
  ['get_emulated_sizes', 'nent 3', (c) => Object.assign(c.get_emulated_sizes[3], { errno: 'OK' })],
  [
    'get_emulated_sizes',
    'garbage in padding[2] of all',
    (c) => Object.assign(c.get_emulated_sizes[12], { errno: 'OK' }),
  ],
  ['get_cpuid2_sizes', 'nent 0', (c) => Object.assign(c.get_cpuid2_sizes[0], { nent_out: 7 })],
  ['fresh_vcpu', 'KVM_GET_CPUID2', (c) => Object.assign(c.fresh_vcpu, { nent: 1 })],
  ['set', 'nent 0', (c) => Object.assign(c.set[2], { set: 'EINVAL' })],
  ['set', 'supported', (c) => Object.assign(c.set[0], { diff: [] })],
  ['set', 'nent 257 (filled with unknown leaves)', (c) => Object.assign(c.set[7], { kept: [[0, 'eax', '1']] })],
  ['sweep_80000008_eax', 'byte1 = 48', (c) => c.sweep_80000008_eax.byte1.ok.splice(1, 1)],
  ['sweep_80000008_eax', 'byte1 = 49', (c) => c.sweep_80000008_eax.byte1.ok.push(49)],
  ['pointers', 'SET_CPUID2 odd address', (c) => c.pointers[12].splice(1, 1, 'EFAULT')],
  ['legacy', 'vaddr width 57', (c) => Object.assign(c.legacy[6], { set: 'EINVAL', kept: 1 })],
  ['runtime', 'SREGS cr4 OSXSAVE', (c) => Object.assign(c.runtime[1], { errno: 'EINVAL' })],
  ['runtime', 'XCRS xcr0=7', (c) => Object.assign(c.runtime[12], { diff: [] })],
  ['runtime', 'another step', (c) => Object.assign(c.runtime[12], { step: 'another step' })],
  ['flips', 'entry 0 eax[3]', (c) => c.flips.rows.push({ i: 0, r: 'eax', ok: 'fffffff7', EPERM: '8' })],
  ['flips', 'entry 0 edx[31]', (c) => flipRow(c, 31, [[0, 'edx', '80000000']])],
  ['flips', 'without a flip', (c) => Object.assign(c.flips, { unflipped_diff: [] })],
  ['flips_unknown_leaf', 'entry 0 ecx[0]', (c) => c.flips_unknown_leaf.rows.push({ i: 0, r: 'ecx', EINVAL: '1' })],
  ['flips_after_run', 'entry 1 ecx[27]', (c) => Object.assign(c.flips_after_run.rows[0], { special: [] })],
  ['run', 'never_set: set_empty_after', (c) => Object.assign(c.run.never_set, { set_empty_after: 'EINVAL' })],
  ['run', 'immediate_exit: run', (c) => Object.assign(c.run.immediate_exit, { run: 'OK' })],
  ['run', 'hlt: exit_reason', (c) => Object.assign(c.run.hlt, { exit_reason: 17 })],
  ['run', 'entries 0 and 1 swapped', (c) => Object.assign(c.run.after[9], { set: 'OK' })],
  ['run', 'legacy_after', (c) => Object.assign(c.run, { legacy_after: 'OK' })],
  [
    'run',
    'after_sregs_osxsave: diff_from_old_readback',
    (c) => Object.assign(c.run.after_sregs_osxsave, { diff_from_old_readback: [] }),
  ],
  [
    'guest_cpuid',
    'with_supported_set: CPUID 7fffffff.1',
    (c) => {
      const { rows } = c.guest_cpuid.with_supported_set;
      const at = rows.findIndex((row: string) => row.startsWith('7fffffff 00000001'));
      rows[at] = '7fffffff 00000001 00000001 00000000 00000000 00000000';
    },
  ],
];

function flipRow(capture: Capture, bit: number, deltas: unknown): void {
  capture.flips.rows.push({ i: 0, r: 'edx', ok: 'ffffffff', special: [[bit, deltas]] });
}

describe('a recording with one answer changed', () => {
  const NAME = 'tcg-7.3.4-max';

  /** Sections that disagree. */
  const differing = ({ sections }: ReplayReport) =>
    Object.keys(sections).filter((name) => sections[name]!.agree < sections[name]!.checked);

  test.each(CHANGES)('%s: %s', (section, what, change) => {
    const capture = loadCapture(NAME);
    change(capture);
    const report = replayCapture(capture);
    expect(differing(report)).toEqual([section]);
    expect(report.mismatches.map((mismatch) => [mismatch.section, mismatch.what])).toContainEqual([section, what]);
    for (const { expected, got } of report.mismatches) expect(expected).not.toBe(got);
  });

  test('a changed host shows in what KVM supports', () => {
    const capture = loadCapture(NAME);
    capture.raw = capture.raw.map((row: string) => row.replace(/^(00000001 \S+ \S+ \S+) \S+/, '$1 00000000'));
    expect(differing(replayCapture(capture))).toContain('supported');
  });

  test('one row of flips says how many bits differ, and which', () => {
    const capture = loadCapture(NAME);
    capture.flips.rows.push({ i: 3, r: 'ebx', ok: 'ffff0000', EINVAL: 'ffff' });
    const { sections, mismatches } = replayCapture(capture);
    expect(sections.flips!.checked - sections.flips!.agree).toBe(16);
    expect(mismatches).toHaveLength(16);
    expect(mismatches[0]).toMatchObject({ what: 'entry 3 ebx[0]', expected: 'EINVAL' });
  });

  test('experiments that the replay does not know are skipped, and said to be', () => {
    const capture = loadCapture(NAME);
    capture.pointers.push(['SET_CPUID2 from another planet', 'EFAULT']);
    capture.tea = { errno: 'OK' };
    const { sections } = replayCapture(capture);
    expect(sections.pointers).toMatchObject({ checked: 39, agree: 39, skipped: 1 });
    expect(sections.pointers!.reason).toContain('another planet');
    expect(sections.tea).toMatchObject({ checked: 0, skipped: 1 });
  });
});

describe('the number of online CPUs', () => {
  const withCpus = (system: number) => {
    const capture = loadCapture('tcg-7.3.4-max');
    capture.caps.system[9] = system;
    capture.caps.vm[9] = system;
    return replayCapture(capture).sections.caps;
  };

  test("is that of the package; several packages are the host's affair", () => {
    expect(withCpus(1)).toEqual({ checked: 522, agree: 522, skipped: 0 });
    expect(withCpus(2)).toMatchObject({ checked: 520, agree: 520, skipped: 2 });
  });

  test('two threads a core make core sharing possible', () => {
    const capture = loadCapture('tcg-7.3.4-max');
    const levels: Record<string, string> = {
      '0000000b 00000000': '0000000b 00000000 00000001 00000002 00000100 00000000',
      '0000000b 00000001': '0000000b 00000001 00000002 00000004 00000201 00000000',
    };
    capture.raw = capture.raw.map((row: string) => levels[row.slice(0, 17)] ?? row);
    capture.caps.system[9] = 4;
    capture.caps.vm[9] = 4;
    capture.hv_supported.entries[4] = '40000004 00000000 0 00000e2c 00000fff 00000000 00000000';
    const { sections, mismatches } = replayCapture(capture);
    expect(mismatches).toEqual([]);
    expect(sections.caps).toEqual({ checked: 522, agree: 522, skipped: 0 });
  });
});

describe('what is no recording', () => {
  const NAME = 'tcg-7.3.4-qemu64';
  const broken = (change: (capture: Capture) => unknown) => {
    const capture = loadCapture(NAME);
    change(capture);
    return () => replayCapture(capture, 'x.json');
  };

  test.each([null, 7, [], {}, { schema: 'kvm-cpuid-oracle/9' }])('%j', (document) => {
    expect(() => replayCapture(document, 'x.json')).toThrow(FormatError);
  });

  const rows: readonly (readonly [where: string, change: (capture: Capture) => unknown])[] = [
    ['x.json#raw', (c) => delete c.raw],
    ['x.json#raw.0', (c) => Object.assign(c, { raw: ['zz'] })],
    ['x.json#supported.entries.0', (c) => c.supported.entries.splice(0, 1, 'zz')],
    ['x.json#set', (c) => Object.assign(c, { set: 7 })],
    ['x.json#set.0.nent', (c) => delete c.set[0].nent],
    ['x.json#set.4.edits.0.0', (c) => Object.assign(c.set[4], { edits: [['x', '']] })],
    ['x.json#set.4.edits.0', (c) => Object.assign(c.set[4], { edits: [[9999, '']] })],
    ['x.json#pointers.0.0', (c) => c.pointers.splice(0, 1, [])],
    ['x.json#flips.rows', (c) => delete c.flips.rows],
    ['x.json#flips.rows.0.r', (c) => Object.assign(c.flips.rows[0], { r: 'esi' })],
    ['x.json#flips.unflipped_diff.0.2', (c) => Object.assign(c.flips, { unflipped_diff: [[0, 'eax', 'zz']] })],
    ['x.json#guest_cpuid.with_supported_set.rows.0', (c) => c.guest_cpuid.with_supported_set.rows.splice(0, 1, 7)],
  ];

  test.each(rows)('%s', (where, change) => {
    expect(broken(change)).toThrow(expect.objectContaining({ name: 'FormatError', where }));
  });

  test('a recording without experiments is a short one', () => {
    const capture = loadCapture(NAME);
    const short = ['schema', 'name', 'host', 'raw', 'kvm', 'api_version', 'supported', 'emulated'];
    const { sections } = replayCapture(Object.fromEntries(short.map((key) => [key, capture[key]])));
    expect(Object.keys(sections)).toEqual(['kvm', 'api_version', 'supported', 'emulated']);
  });
});
