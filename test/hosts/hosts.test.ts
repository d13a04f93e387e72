import { describe, expect, test } from 'vitest';
import type { CpuidRow, Register } from '../../src/cpuid/entry.js';
import { REGISTERS } from '../../src/cpuid/entry.js';
import { placeOf } from '../../src/hosts/fields.js';
import { builtInHost, builtInHosts, HOST_MODELS } from '../../src/hosts/index.js';

const NAMES = [
  'granite-rapids',
  'emerald-rapids',
  'sapphire-rapids',
  'ice-lake-sp',
  'cascade-lake',
  'skylake-sp',
  'turin',
  'genoa',
  'milan',
  'rome',
  'naples',
  'zhaoxin-kh40000',
];

const zero = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

function find(rows: readonly CpuidRow[], fn: number, index = 0): Readonly<Record<Register, number>> {
  return rows.find((row) => row.function === fn && row.index === index) ?? zero;
}

function has(rows: readonly CpuidRow[], name: string): boolean {
  const { function: fn, index, register, mask } = placeOf(name);
  return (find(rows, fn, index)[register] & mask) !== 0;
}

test('the twelve hosts, newest first within a vendor', () => {
  expect(builtInHosts().map((host) => host.name)).toEqual(NAMES);
});

test('hosts are built once', () => {
  expect(builtInHost('genoa')).toBe(builtInHosts().find((host) => host.name === 'genoa'));
});

test('an unknown name is no host', () => {
  expect(builtInHost('pentium')).toBeUndefined();
});

test('three hosts can run TDs, and are set up for it', () => {
  const hosts = builtInHosts().filter((host) => host.tdx);
  expect(hosts.map((host) => host.name)).toEqual(['granite-rapids', 'emerald-rapids', 'sapphire-rapids']);
  for (const { rows } of hosts) {
    for (const name of ['tme', 'pconfig', 'SGX', 'SGX1', 'ARCH_CAPABILITIES']) expect(has(rows, name)).toBe(true);
    expect(find(rows, 0x8000_0008).eax & 0xff).toBe(52);
  }
});

describe.each(HOST_MODELS.map((model) => [model.name, model] as const))('%s', (name, model) => {
  const host = builtInHost(name)!;
  const { rows } = host;

  test('rows ascend without repetition, and all registers are u32', () => {
    const order = rows.map((row) => row.function * 0x1_0000 + row.index);
    expect(order).toEqual([...new Set(order)].sort((a, b) => a - b));
    for (const row of rows) for (const register of REGISTERS) expect(row[register]).toBe(row[register] >>> 0);
  });

  test('every function up to each maximum has a row, and none lies beyond', () => {
    const functions = new Set(rows.map((row) => row.function));
    const expected = [0, 0x8000_0000, ...(model.maxima.centaur === undefined ? [] : [0xc000_0000])].flatMap((base) =>
      Array.from({ length: find(rows, base).eax - base + 1 }, (_, offset) => base + offset),
    );
    expect([...functions]).toEqual(expected);
  });

  test('1.EAX decodes to family, model and stepping', () => {
    const { eax } = find(rows, 1);
    const base = (eax >>> 8) & 0xf;
    expect(base === 0xf ? base + ((eax >>> 20) & 0xff) : base).toBe(host.family);
    expect(((eax >>> 12) & 0xf0) | ((eax >>> 4) & 0xf)).toBe(host.model);
    expect(eax & 0xf).toBe(host.stepping);
  });

  test('the brand string reads back', () => {
    const words = [0x8000_0002, 0x8000_0003, 0x8000_0004].flatMap((fn) => {
      const row = find(rows, fn);
      return [row.eax, row.ebx, row.ecx, row.edx];
    });
    const bytes = new Uint8Array(new Uint32Array(words).buffer);
    expect(new TextDecoder().decode(bytes).replace(/\0+$/, '')).toBe(model.brand);
    expect(model.brand.length).toBeLessThan(48);
  });

  test('it is bare metal that can run guests', () => {
    expect(has(rows, 'HYPERVISOR')).toBe(false);
    expect(has(rows, 'VMX')).toBe(host.technology === 'vmx');
    expect(has(rows, 'SVM')).toBe(host.technology === 'svm');
  });

  test('every named feature is set', () => {
    expect(model.features.filter((feature) => !has(rows, feature))).toEqual([]);
    expect(new Set(model.features).size).toBe(model.features.length);
  });

  test('CR4 shows through as Linux leaves it', () => {
    expect(has(rows, 'OSXSAVE')).toBe(has(rows, 'XSAVE'));
    expect(has(rows, 'OSPKE')).toBe(has(rows, 'PKU'));
  });

  test('the XSAVE sub-leaves add up to the sizes and masks of the first two', () => {
    const leaf = find(rows, 0xd);
    const components = rows.filter((row) => row.function === 0xd && row.index > 1);
    const user = components.filter((row) => (row.ecx & 1) === 0);
    const mask = (list: readonly CpuidRow[]) => list.reduce((bits, row) => bits | (1 << row.index), 0);
    expect(leaf.eax).toBe(mask(user) | 3);
    expect(find(rows, 0xd, 1).ecx).toBe(mask(components.filter((row) => (row.ecx & 1) === 1)));
    expect(leaf.ecx).toBe(Math.max(...user.map((row) => row.eax + row.ebx)));
    expect(leaf.ebx).toBeLessThanOrEqual(leaf.ecx);
    const byOffset = user.toSorted((a, b) => a.ebx - b.ebx);
    byOffset.forEach((row, at) => {
      const before = byOffset[at - 1];
      expect(row.ebx).toBeGreaterThanOrEqual(before ? before.ebx + before.eax : 576);
    });
  });

  test('state components and the features that need them come together', () => {
    const component = (id: number) => find(rows, 0xd, id).eax !== 0;
    const pairs = { AVX: 2, MPX: 3, AVX512F: 5, ENQCMD: 10, SHSTK: 11, uintr: 14, arch_lbr: 15, AMX_TILE: 17 };
    for (const [feature, id] of Object.entries(pairs))
      expect([feature, component(id)]).toEqual([feature, has(rows, feature)]);
    // Zen 2 announces the PKRU component without protection keys.
    if (name !== 'rome') expect(component(9)).toBe(has(rows, 'PKU'));
  });

  test('the caches have the sizes of the model', () => {
    const fn = model.vendor === 'amd' ? 0x8000_001d : 4;
    const sizes = model.caches.map((_, index) => {
      const { ebx, ecx } = find(rows, fn, index);
      return (((ebx >>> 22) + 1) * ((ebx & 0xfff) + 1) * (ecx + 1)) / 1024;
    });
    expect(sizes).toEqual(model.caches.map((cache) => cache.sizeKiB));
  });

  test('the package has as many APIC IDs as logical CPUs need', () => {
    const { cores, threadsPerCore, packageBits, threadBits } = model.topology;
    expect(1 << packageBits).toBeGreaterThanOrEqual(cores * threadsPerCore);
    expect(1 << threadBits).toBeGreaterThanOrEqual(threadsPerCore);
  });

  test('IA32_ARCH_CAPABILITIES is there if CPUID says so', () => {
    expect(host.msrs.has(0x10a)).toBe(has(rows, 'ARCH_CAPABILITIES'));
  });
});

test('IA32_ARCH_CAPABILITIES follows the table of affected processors', () => {
  const bit = (name: string, position: bigint) => ((builtInHost(name)?.msrs.get(0x10a) ?? 0n) >> position) & 1n;
  // RDCL_NO, MDS_NO, IF_PSCHANGE_MC_NO, PBRSB_NO
  expect([0n, 5n, 6n, 24n].map((at) => bit('cascade-lake', at))).toEqual([1n, 1n, 0n, 0n]);
  expect([0n, 5n, 6n, 24n].map((at) => bit('sapphire-rapids', at))).toEqual([1n, 1n, 1n, 0n]);
  expect([0n, 5n, 6n, 24n].map((at) => bit('granite-rapids', at))).toEqual([1n, 1n, 1n, 1n]);
});
