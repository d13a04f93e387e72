import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { captureFile, loadCapture } from '../support/captures.js';

/** The built program, as a shell runs it: exit status, standard output, standard error. */

const path = (relative: string): string => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
const MAIN = path('dist/cli/main.js');
const QEMU = path('test/fixtures/vmm/qemu-11.1.3-models.json');
const CAPTURE = captureFile('bochs-7.3.4-sapphire_rapids');

interface Run {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function run(args: readonly string[], input: string | Uint8Array = ''): Promise<Run> {
  // Somebody who forces colours in general gets none in a pipe all the same.
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, FORCE_COLOR: '1' } });
  const chunks = { out: [] as Uint8Array[], err: [] as Uint8Array[] };
  child.stdout.on('data', (chunk) => chunks.out.push(chunk));
  child.stderr.on('data', (chunk) => chunks.err.push(chunk));
  child.stdin.on('error', () => {}); // a program that does not read its input closes it
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => {
      resolve({ status, out: Buffer.concat(chunks.out).toString(), err: Buffer.concat(chunks.err).toString() });
    });
  });
}

// biome-ignore lint/suspicious/noExplicitAny: a document is whatever the program printed
type Document = any;

/** The one document that `--json` prints. */
function documentOf({ out }: Run): Document {
  expect(out.endsWith('\n')).toBe(true);
  return JSON.parse(out);
}

const folder = mkdtempSync(join(tmpdir(), 'kvm-cpuid-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const full = join(folder, name);
  writeFileSync(full, content);
  return full;
}

const LEAF_7 = '00000007 00000000 1 00000000 00000000 00000000 00000000';
/** WAITPKG and two bits that nobody has. */
const REFUSED = '00000007 00000000 1 00000000 00000000 00000020 00000003';

const table = (...entries: readonly string[]): string => JSON.stringify({ entries });

if (!existsSync(MAIN)) test.skip('the program is not built: npm run build', () => {});

/** What is wrong, the arguments, and what the line must say. */
type Wrong = readonly [what: string, args: readonly string[], says: RegExp];

describe.runIf(existsSync(MAIN)).concurrent('kvm-cpuid', () => {
  describe('what is wrong is said in one line, with status 2', () => {
    const good = file('good.json', table(LEAF_7));
    const gzip = gzipSync(readFileSync(QEMU));
    const rows: readonly Wrong[] = [
      ['an unknown command', ['suported', '--host', 'genoa'], /unknown command 'suported'/],
      ['an unknown host', ['supported', '--host', 'nosuch'], /nosuch.*genoa/],
      ['a payload that is not there', ['check', '/nosuch.json', '--host', 'genoa'], /\/nosuch\.json.*ENOENT/],
      ['malformed JSON', ['check', file('bad.json', '{"entries": ['), '--host', 'genoa'], /bad\.json/],
      ['truncated gzip', ['check', file('cut.gz', gzip.subarray(0, 500)), '--host', 'genoa'], /cut\.gz.*gzip/],
      [
        'a truncated struct',
        ['check', file('cut.bin', Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0)), '--host', 'genoa'],
        /cut\.bin.*368 bytes/,
      ],
      ['a path that leads nowhere', ['check', `${QEMU}#models.nosuch`, '--host', 'genoa'], /#models.*"nosuch"/],
      ['a bad --leaf', ['allowed', '--host', 'genoa', '--leaf', '7.x'], /--leaf 7\.x.*7\.1/],
      ['an unknown parameter', ['supported', '--host', 'genoa', '--param', 'kvm_amd.nosuch=1'], /kvm_amd\.nosuch/],
      ['a CPU out of range', ['supported', '--host', 'genoa', '--cpu', '1'], /--cpu 1.*0/],
      ['an unknown policy', ['check', good, '--host', 'genoa', '--policy', 'strict'], /strict.*paranoid/],
      ['a host file with an unknown key', ['supported', '--host', 'genoa', '--host-file', good], /"entries"/],
    ];

    test.each(rows)('%s', async (_, args, says) => {
      const { status, out, err } = await run(args);
      expect(err).toMatch(says);
      expect(err).toMatch(/^kvm-cpuid: [^\n]+\n$/);
      expect([status, out]).toEqual([2, '']);
    });
  });

  describe('hosts', () => {
    test('a table, and a document', async () => {
      const text = await run(['hosts']);
      expect([text.status, text.err]).toEqual([0, '']);
      expect(text.out).toMatch(/^name +vendor/);
      const hosts = documentOf(await run(['hosts', '--json']));
      expect(hosts.length).toBe(text.out.trim().split('\n').length - 1);
      for (const host of hosts) {
        expect(Object.keys(host).sort()).toEqual(
          ['family', 'model', 'name', 'stepping', 'tdx', 'technology', 'title', 'vendor'].sort(),
        );
        expect(text.out).toContain(host.name);
      }
    });
  });

  describe('supported and emulated', () => {
    test('of a capture: what was recorded', async () => {
      const result = await run(['supported', '--host', CAPTURE, '--json']);
      expect(result.status).toBe(0);
      expect(documentOf(result)).toEqual(loadCapture('bochs-7.3.4-sapphire_rapids').supported);
    });

    test('of a capture from standard input', async () => {
      const result = await run(['emulated', '--host', '-', '--json'], readFileSync(CAPTURE));
      expect(result.status).toBe(0);
      expect(documentOf(result)).toEqual(loadCapture('bochs-7.3.4-sapphire_rapids').emulated);
    });

    test('options about the host count', async () => {
      const leaf = async (args: readonly string[]) =>
        documentOf(await run(['supported', '--host', 'genoa', '--json', ...args])).entries.find((entry: string) =>
          entry.startsWith('00000007 00000000'),
        );
      const bits = (entry: string) => Number.parseInt(entry.split(' ')[4]!, 16);
      const avx2 = async (args: readonly string[]) => (bits(await leaf(args)) >>> 5) & 1;
      expect(await avx2(['--cmdline', 'ro clearcpuid=avx2'])).toBe(0);
      expect(await avx2(['--host-file', file('host.json', '{"flags":{"clear":["avx2"]},"kernel":"6.18"}')])).toBe(0);
    });

    test('an ioctl that fails has status 1, its errno in the document and a remark', async () => {
      const result = await run(['supported', '--host', 'genoa', '--scope', 'vm', '--json']);
      expect(result.status).toBe(1);
      expect(documentOf(result)).toEqual({ errno: 'ENOTTY', nent: 0, entries: [] });
      expect(result.err).toMatch(/^note: .*ENOTTY.*\n$/);
    });

    test('a host on which KVM does not load has status 1', async () => {
      const { status, out, err } = await run(['supported', '--host', captureFile('tcg-7.3.4-few-nonx'), '--json']);
      expect([status, out]).toEqual([1, '']);
      expect(err).toMatch(/ENOENT.*NX/);
    });

    test('for people: a line for each entry, and no colours in a pipe', async () => {
      const { out } = await run(['supported', '--host', 'milan', '--names']);
      expect(out).not.toContain('\u001b');
      expect(out).toMatch(/^ +00000007 +00000000 +1 .*\bAVX2\b/m);
    });
  });

  describe('allowed', () => {
    test('one leaf', async () => {
      const result = await run(['allowed', '--host', 'sapphire-rapids', '--leaf', '7.1', '--json']);
      expect(result.status).toBe(0);
      const { overlay, rows } = documentOf(result);
      expect(overlay).toBe('DEFAULT');
      expect(rows.map((row: Document) => [row.function, row.index, row.register])).toEqual([
        ['7', 1, 'eax'],
        ['7', 1, 'ebx'],
        ['7', 1, 'ecx'],
        ['7', 1, 'edx'],
      ]);
      for (const row of rows) {
        expect(['ignored', 'mask', 'field', 'fixed', 'zero']).toContain(row.rule);
        expect(row.source).toMatch(/^(S|P)/);
        expect(typeof row.why).toBe('string');
      }
    });
  });

  const REASONS = [
    ...['unknown', 'unsupported-by-host', 'unsupported-by-kvm', 'not-in-overlay', 'reserved', 'field-too-large'],
    ...['value-mismatch', 'no-permission', 'too-many-entries', 'address-width'],
  ];

  describe('check', () => {
    /** The shape that the contract promises. */
    function expectVerdict(document: Document): void {
      expect(document).toEqual({
        accepted: expect.any(Boolean),
        errno: expect.stringMatching(/^(OK|E[A-Z0-9]+)$/),
        policy: expect.stringMatching(/^(off|denylist|paranoid|allowlist)$/),
        overlay: expect.stringMatching(/^(DEFAULT|SVM|TDX)$/),
        off: { accepted: expect.any(Boolean), errno: expect.any(String) },
        findings: expect.any(Array),
        accepted_table: expect.any(Array),
      });
      expect(document.accepted).toBe(document.errno === 'OK');
      expect(document.findings.length > 0).toBe(!document.accepted);
      for (const entry of document.accepted_table)
        expect(entry).toMatch(/^([0-9a-f]{8} ){2}[0-9a-f]+( [0-9a-f]{8}){4}/);
      for (const finding of document.findings) expectFinding(finding);
    }

    function expectFinding(finding: Document): void {
      expect(finding).toMatchObject({
        entry: expect.any(Number),
        function: expect.stringMatching(/^[0-9a-f]+$/),
        index: expect.stringMatching(/^[0-9a-f]+$/),
        register: expect.stringMatching(/^(eax|ebx|ecx|edx|nent)$/),
        value: expect.any(String),
        allowed: expect.any(String),
        offending: expect.stringMatching(/^[0-9a-f]+$/),
        rule: expect.any(String),
        bits: expect.any(Array),
        source: expect.any(String),
      });
      expect(finding.bits.length).toBeGreaterThan(0);
      for (const bit of finding.bits) {
        expect(bit).toMatchObject({ bit: expect.any(Number), clobbers: expect.any(Array) });
        expect(REASONS).toContain(bit.reason);
        expect(bit.name === null || typeof bit.name === 'string').toBe(true);
      }
    }

    test('an accepted table has status 0', async () => {
      const result = await run(['check', '-', '--host', 'sapphire-rapids', '--json'], table(LEAF_7));
      expect([result.status, result.err]).toEqual([0, '']);
      const document = documentOf(result);
      expectVerdict(document);
      expect(document).toMatchObject({ accepted: true, policy: 'paranoid', accepted_table: [LEAF_7] });
    });

    test('a refused table has status 1, every finding and the nearest accepted table', async () => {
      const args = ['check', '-', '--host', 'sapphire-rapids', '--vm-type', 'tdx', '--json'];
      const result = await run(args, table(LEAF_7, REFUSED));
      expect(result.status).toBe(1);
      const document = documentOf(result);
      expectVerdict(document);
      expect(document).toMatchObject({
        ...{ accepted: false, errno: 'EINVAL', overlay: 'TDX', off: { accepted: true, errno: 'OK' } },
        accepted_table: [LEAF_7, LEAF_7],
      });
      expect(document.findings).toHaveLength(2);
      expect(document.findings[0]).toMatchObject({
        ...{ entry: 1, function: '7', index: '0', register: 'ecx', value: '00000020', offending: '20', rule: 'mask' },
        bits: [{ bit: 5, name: 'WAITPKG', reason: 'not-in-overlay', clobbers: ['IA32_UMWAIT_CONTROL'] }],
      });
    });

    test.each([
      ['more than 256 entries', Array(257).fill(LEAF_7), 'E2BIG', 'too-many-entries'],
      [
        'an address width of 49',
        ['80000008 00000000 0 00003134 00000000 00000000 00000000'],
        'EINVAL',
        'address-width',
      ],
      ['AMX without permission', ['0000000d 00000000 1 00060007 00000000 00000000 00000000'], 'EPERM', 'no-permission'],
    ])('%s: refused by mainline too', async (_, entries, errno, reason) => {
      const result = await run(
        ['check', '-', '--host', 'sapphire-rapids', '--policy', 'off', '--json'],
        table(...entries),
      );
      const document = documentOf(result);
      expectVerdict(document);
      expect([result.status, document.errno, document.off.errno]).toEqual([1, errno, errno]);
      expect(document.findings[0].bits[0].reason).toBe(reason);
    });

    test('a model of QEMU, by its path into a collection', async () => {
      const result = await run(['check', `${QEMU}#models.EPYC-Genoa-v2`, '--host', 'genoa', '--json']);
      const document = documentOf(result);
      expectVerdict(document);
      expect(result.status).toBe(document.accepted ? 0 : 1);
    });

    test('several vCPUs are one document', async () => {
      const vcpus = [[LEAF_7], [REFUSED], [LEAF_7]].map((entries) => ({ entries }));
      const result = await run(['check', '-', '--host', 'genoa', '--json'], JSON.stringify({ vcpus }));
      const document = documentOf(result);
      expect([result.status, document.accepted]).toEqual([1, false]);
      expect(Object.keys(document)).toEqual(['accepted', 'vcpus']);
      for (const vcpu of document.vcpus) expectVerdict(vcpu);
      expect(document.vcpus.map((vcpu: Document) => vcpu.accepted)).toEqual([true, false, true]);
    });

    test('for people: the verdict, every bit by its place and name, no colours in a pipe', async () => {
      const { status, out } = await run(
        ['check', '-', '--host', 'sapphire-rapids', '--vm-type', 'tdx'],
        table(REFUSED),
      );
      expect(status).toBe(1);
      expect(out).not.toContain('\u001b');
      expect(out).toMatch(/paranoid +REFUSED +EINVAL/);
      expect(out).toMatch(/CPUID\.\(EAX=7,ECX=0\):ECX\[5\] +WAITPKG .*IA32_UMWAIT_CONTROL/);
    });

    test('--save-accepted writes a table that is accepted', async () => {
      const saved = join(folder, 'saved.json');
      const args = ['--host', 'sapphire-rapids', '--json'];
      expect((await run(['check', '-', ...args, '--save-accepted', saved], table(REFUSED))).status).toBe(1);
      expect((await run(['check', saved, ...args])).status).toBe(0);
    });
  });

  describe('matrix', () => {
    const variants = path('test/fixtures/vmm/qemu-11.1.3-variants.json');

    test('all accepted has status 0', async () => {
      const { status, out, err } = await run(['matrix', '--payloads', `${QEMU}#models.qemu64-v1`]);
      expect([status, err]).toEqual([0, '']);
      expect(out).toMatch(/^qemu64-v1 +ok +ok/m);
    });

    test('a collection on some hosts: cells, bits, changes', async () => {
      const result = await run(['matrix', '--payloads', QEMU, '--hosts', 'genoa,skylake-sp', '--json']);
      expect([result.status, result.err]).toEqual([1, '']);
      const { totals, columns, cells, bits, changes } = documentOf(result);
      expect(columns.map((column: Document) => [column.host, column.overlay])).toEqual([
        ['genoa', 'SVM'],
        ['skylake-sp', 'DEFAULT'],
      ]);
      expect(totals).toMatchObject({ models: 93, pairs: 186 });
      expect(cells).toHaveLength(186);
      expect(totals.accepted + totals.refused).toBe(186);
      for (const { name, reason, place, pairs } of bits) {
        expect(name === null || typeof name === 'string').toBe(true);
        expect(REASONS).toContain(reason);
        expect(place).toMatch(/^CPUID\./);
        expect(pairs).toBeGreaterThan(0);
      }
      expect(changes.length).toBeLessThan(bits.length);
    });

    test('without --hosts a table is asked of hosts of its vendor only', async () => {
      const args = ['--payloads', `${QEMU}#models.EPYC-Turin-v1`, `${QEMU}#models.YongFeng-v1`, '--json'];
      const { columns, cells } = documentOf(await run(['matrix', ...args]));
      const asked = cells.map((cell: Document) => cell.column);
      expect(new Set(asked).size).toBe(asked.length);
      expect(columns.map((column: Document) => column.name)).toEqual(asked);
    });

    test('--hosts all is every built-in host, whatever its vendor', async () => {
      const args = ['--payloads', `${QEMU}#models.EPYC-Turin-v1`, '--hosts', 'all', '--json'];
      const [{ columns }, hosts] = (await Promise.all([run(['matrix', ...args]), run(['hosts', '--json'])])).map(
        documentOf,
      );
      expect(columns.map((column: Document) => column.host)).toEqual(hosts.map(({ name }: Document) => name));
    });

    test('several VM types; a host that does not offer one is no error', async () => {
      const args = ['--payloads', variants, '--hosts', 'genoa,sapphire-rapids', '--vm-types', 'default,tdx'];
      const result = await run(['matrix', ...args, '--policy', 'off', '--json']);
      expect(result.err).toMatch(/^note: VM type tdx: KVM_CREATE_VM\(5\) failed with EINVAL on genoa$/m);
      const { columns, unavailable } = documentOf(result);
      const names = ['genoa', 'sapphire-rapids', 'sapphire-rapids tdx'];
      expect(columns.map((column: Document) => column.name)).toEqual(names);
      expect(columns.map((column: Document) => column.counterfactual)).toEqual([false, false, true]);
      expect(unavailable).toMatchObject([{ host: 'genoa', vm_type: 'tdx' }]);
    });

    test.each(['bit', 'model', 'host'])('for people, by %s: no colours in a pipe', async (by) => {
      const args = ['--payloads', QEMU, '--hosts', 'turin', '--filter', 'qemu', '--by', by, '--only-refused'];
      const { status, out, err } = await run(['matrix', ...args]);
      expect([status, err]).toEqual([1, '']);
      expect(out).not.toContain('\u001b');
      expect(out).toMatch(/CPUID\.80000007H:EBX\[1\] +succor +KVM does not support it/);
      expect(out).toMatch(/^Smallest set of changes: \d+/m);
      expect(out).not.toMatch(/^qemu64-v1 /m);
    });

    const wrong: readonly Wrong[] = [
      ['no payloads', ['matrix', '--hosts', 'genoa'], /--payloads/],
      ['a payload that is not there', ['matrix', '--payloads', '/nosuch.json'], /nosuch\.json.*ENOENT/],
      ['an unknown host', ['matrix', '--payloads', QEMU, '--hosts', 'genoa,nosuch'], /nosuch.*genoa/],
      ['an unknown VM type', ['matrix', '--payloads', QEMU, '--vm-types', 'tdx,td'], /--vm-types td:.*tdx/],
      [
        "QEMU's filter for a TD",
        ['matrix', '--payloads', QEMU, '--filter', 'qemu', '--vm-types', 'tdx'],
        /not modelled/,
      ],
    ];
    test.each(wrong)('%s has status 2', async (_, args, says) => {
      const { status, out, err } = await run(args);
      expect(err).toMatch(says);
      expect(err).toMatch(/^kvm-cpuid: [^\n]+\n$/);
      expect([status, out]).toEqual([2, '']);
    });
  });

  describe('replay', () => {
    test('a recording of a kernel agrees, section by section', async () => {
      const result = await run(['replay', captureFile('tcg-6.1-Opteron_G1'), '--json']);
      expect([result.status, result.err]).toEqual([0, '']);
      const { capture, sections, mismatches } = documentOf(result);
      expect([capture, mismatches]).toEqual(['tcg-6.1-Opteron_G1', []]);
      expect(sections).toMatchObject({ supported: { checked: 1, agree: 1, skipped: 0 }, set: {}, flips: {} });
      for (const section of Object.values<Document>(sections)) {
        expect(section.agree).toBe(section.checked);
        if (section.skipped > 0) expect(section.reason).toEqual(expect.any(String));
      }
    });

    test('a recording that was tampered with does not', async () => {
      const capture = loadCapture('tcg-6.1-Opteron_G1');
      capture.set[0].set = 'EINVAL';
      const result = await run(['replay', file('tampered.json', JSON.stringify(capture)), '--json']);
      expect(result.status).toBe(1);
      const { sections, mismatches } = documentOf(result);
      expect(sections.set.agree).toBe(sections.set.checked - 1);
      expect(mismatches).toHaveLength(1);
    });
  });

  describe('diff', () => {
    test('of a host with itself: none', async () => {
      expect(await run(['diff', 'genoa', 'genoa'])).toMatchObject({ status: 0, err: '' });
    });

    test('of two tables: by the name of the bit', async () => {
      const [one, two] = [file('one.json', table(LEAF_7)), file('two.json', table(REFUSED))];
      const { status, out } = await run(['diff', one, two]);
      expect([status, out.includes('WAITPKG'), out.includes('\u001b')]).toEqual([1, true, false]);
    });
  });

  describe('convert', () => {
    test('a capture to cpuid -r and on to entries', async () => {
      const text = await run(['convert', CAPTURE]);
      expect(text.status).toBe(0);
      expect(text.out).toMatch(/^CPU/);
      const json = await run(['convert', '-', '--to', 'json'], text.out);
      expect(json.status).toBe(0);
      expect(JSON.parse(json.out).entries.length).toBe(loadCapture('bochs-7.3.4-sapphire_rapids').raw.length);
    });

    test('a struct kvm_cpuid2 is bytes', async () => {
      const target = join(folder, 'table.bin');
      expect((await run(['convert', '-', '--to', 'kvm_cpuid2', '-o', target], table(LEAF_7))).status).toBe(0);
      expect(readFileSync(target)).toHaveLength(48);
      expect((await run(['check', target, '--host', 'genoa'])).status).toBe(0);
    });
  });

  test('--version has status 0', async () => {
    const { version } = JSON.parse(readFileSync(path('package.json'), 'utf8'));
    expect(await run(['--version'])).toEqual({ status: 0, out: `${version}\n`, err: '' });
  });
});
