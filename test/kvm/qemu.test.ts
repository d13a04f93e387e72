import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Checker, type CpuidEntry2, type Reason, readPayload } from '../../src/index.js';
import { Guest, PERMISSIONS, setOnce } from '../support/guest.js';
import { hostNamed, platformsOf } from '../support/platforms.js';

/**
 * The tables that a real QEMU builds for its CPU models when the host seems to have everything, and what a real Linux
 * 6.18 said to each of them.
 */

const FILE = new URL('../fixtures/vmm/qemu-11.1.3-models.json', import.meta.url);
const bytes = readFileSync(FILE);

interface Model {
  readonly name: string;
  /** Of the kernel that was asked: `ok`, or `errno N`. */
  readonly real: string;
  readonly entries: readonly CpuidEntry2[];
}

const document = JSON.parse(bytes.toString()) as { models: Record<string, { real_kvm_result: string }> };
const models: readonly Model[] = Object.entries(document.models).map(([name, { real_kvm_result: real }]) => ({
  name,
  real,
  entries: readPayload(bytes, 'qemu-11.1.3-models.json', `models.${name}`).tables[0]!.entries,
}));

const HOSTS = ['sapphire-rapids', 'genoa'] as const;
const [withoutPermission, withPermission] = PERMISSIONS.map(([, options]) => options);

const moduleOn = (host: string, policy: 'off' | 'paranoid', line = '7.3') =>
  platformsOf(hostNamed(host))
    .find((platform) => platform.line === line && platform.vmType === 'default')!
    .kvm(policy);

test('there are tables of both vendors, accepted and refused by the real kernel', () => {
  expect(models.length).toBeGreaterThan(90);
  expect(new Set(models.map(({ real }) => real))).toEqual(new Set(['ok', 'errno 1']));
});

describe.each(HOSTS)('on %s', (host) => {
  test.each(['6.1', '6.12', '6.18', '7.1', '7.3'])(
    'Linux %s without the policy answers as the real kernel did',
    (line) => {
      const module = moduleOn(host, 'off', line);
      const wrong = models
        .map(
          ({ name, real, entries }) => [name, real, setOnce(module, 'default', withoutPermission!, entries)] as const,
        )
        .filter(([, real, errno]) => errno !== (real === 'ok' ? 'OK' : 'EPERM'));
      expect(wrong).toEqual([]);
    },
  );

  test('with permission for AMX, Linux without the policy takes them all', () => {
    const module = moduleOn(host, 'off');
    const refused = models.filter(({ entries }) => setOnce(module, 'default', withPermission!, entries) !== 'OK');
    expect(refused.map(({ name }) => name)).toEqual([]);
  });

  test('paranoid refuses with EINVAL, or leaves the verdict as it was', () => {
    const [off, paranoid] = [moduleOn(host, 'off'), moduleOn(host, 'paranoid')];
    for (const { name, entries } of models) {
      const verdict = setOnce(paranoid, 'default', withoutPermission!, entries);
      if (verdict !== 'EINVAL')
        expect([name, verdict]).toEqual([name, setOnce(off, 'default', withoutPermission!, entries)]);
    }
  });

  test('the nearest accepted table of each is accepted', () => {
    const checker = new Checker(hostNamed(host));
    for (const { name, entries } of models) {
      const { acceptedTable } = checker.check(entries);
      expect([name, setOnce(moduleOn(host, 'paranoid'), 'default', withoutPermission!, acceptedTable)]).toEqual([
        name,
        'OK',
      ]);
    }
  });

  test('cut to what KVM reports, as QEMU does on a real host, each of them is accepted', () => {
    const { vmm, vm } = new Guest(moduleOn(host, 'paranoid'));
    const supported = vmm.supported(vm).entries;
    for (const { name, entries } of models) {
      const cut = entries.map((entry) => cutTo(entry, supported));
      expect([name, setOnce(moduleOn(host, 'paranoid'), 'default', withoutPermission!, cut)]).toEqual([name, 'OK']);
    }
  });
});

/** Functions that tell of features; the others are numbers that QEMU makes up itself. */
const FEATURE_FUNCTIONS = new Set([
  1, 6, 7, 0xa, 0xd, 0x12, 0x14, 0x1d, 0x1e, 0x24, 0x29, 0x4000_0001, 0x8000_0001, 0x8000_0007, 0x8000_0008,
  0x8000_000a, 0x8000_001f, 0x8000_0021, 0x8000_0022, 0xc000_0000, 0xc000_0001,
]);

function cutTo(entry: CpuidEntry2, supported: readonly CpuidEntry2[]): CpuidEntry2 {
  if (!FEATURE_FUNCTIONS.has(entry.function)) return entry;
  const here = supported.find((item) => item.function === entry.function && item.index === entry.index);
  return here ? { ...here, flags: entry.flags } : { ...entry, eax: 0, ebx: 0, ecx: 0, edx: 0 };
}

/** Why paranoid mode refuses models, over all of them. */
function reasonsOn(host: string): Reason[] {
  const checker = new Checker(hostNamed(host));
  const reasons = models.flatMap(({ entries }) =>
    checker.check(entries).findings.flatMap(({ bits }) => bits.map(({ reason }) => reason)),
  );
  return [...new Set(reasons)].sort();
}

describe('the reasons for which paranoid mode refuses models', () => {
  test('on sapphire-rapids', () => {
    expect(reasonsOn('sapphire-rapids')).toMatchInlineSnapshot(`
      [
        "field-too-large",
        "no-permission",
        "reserved",
        "unknown",
        "unsupported-by-host",
        "unsupported-by-kvm",
        "value-mismatch",
      ]
    `);
  });

  test('on genoa', () => {
    expect(reasonsOn('genoa')).toMatchInlineSnapshot(`
      [
        "reserved",
        "unknown",
        "unsupported-by-host",
        "unsupported-by-kvm",
        "value-mismatch",
      ]
    `);
  });
});
