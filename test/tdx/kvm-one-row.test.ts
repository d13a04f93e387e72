import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { WordRows } from '../../src/cpuid/feature-rows.js';
import type { CpuidEntry2, Policy } from '../../src/index.js';

/**
 * A feature enters the TDX overlay by a change of its row in the feature table, and of nothing else. The program is loaded
 * once as it is and once with that row changed; everything that is asked follows.
 */

type Row = WordRows['rows'][number];
type Program = typeof import('../../src/index.js');

/** Loads the program with one row changed; `null`: as it is. */
async function load(name: string, change: ((row: Row) => Row) | null): Promise<Program> {
  vi.resetModules();
  vi.doUnmock('../../src/cpuid/feature-rows.js');
  if (change) {
    vi.doMock('../../src/cpuid/feature-rows.js', async (original) => {
      const module = (await original()) as { readonly FEATURE_ROWS: readonly WordRows[] };
      const changed = module.FEATURE_ROWS.map((word) => ({
        ...word,
        rows: word.rows.map((row) => (row[1] === name ? change(row) : row)),
      }));
      return { ...module, FEATURE_ROWS: changed };
    });
  }
  return import('../../src/index.js');
}

afterEach(() => {
  vi.doUnmock('../../src/cpuid/feature-rows.js');
  vi.resetModules();
});

interface Case {
  readonly name: string;
  readonly leaf: readonly [fn: number, index: number, register: 'eax' | 'ecx', bit: number];
  readonly module: string;
  readonly change: (row: Row) => Row;
  /** Why the overlay refuses it as it is. */
  readonly reason: string;
}

const cases: readonly Case[] = [
  {
    name: 'WAITPKG',
    leaf: [7, 0, 'ecx', 5],
    module: '2.0.8',
    change: ([bit, name, kvm, { notIn: _, ...options } = {}]) => [bit, name, kvm, options],
    reason: 'not-in-overlay',
  },
  {
    name: 'FRED',
    leaf: [7, 1, 'eax', 17],
    module: 'fred-a',
    change: ([bit, name, _, options]) => [bit, name, 'X86_64', options ?? {}],
    reason: 'unsupported-by-kvm',
  },
];

/** Everything that is said about the feature on one host. */
function ask(program: Program, policy: Policy, { leaf, module: tdxModule }: Case) {
  const { bootKvm, builtInHost, Checker, describeBuiltIn, impliedByVmType, VM_TYPES, Vmm, withInputs } = program;
  const [fn, index, register, bit] = leaf;
  const mask = (1 << bit) >>> 0;
  // Without the word Linux keeps FRED off, and KVM offers nothing that its host does not use.
  const host = withInputs(describeBuiltIn(builtInHost('granite-rapids')!), { cmdline: 'fred=on' });
  const implied = impliedByVmType(host, 'tdx', tdxModule);
  const module = bootKvm(implied.host, { ...implied.options, policy, tdxModule });
  const vmm = new Vmm(module);
  const vm = vmm.createVm(VM_TYPES.tdx);
  const has = (entries: readonly CpuidEntry2[]) =>
    entries.some((item) => item.function === fn && item.index === index && (item[register] & mask) !== 0);
  const blank = { index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const wanted = { ...blank, function: fn, index, flags: 1, [register]: mask };
  const width = { ...blank, function: 0x8000_0008, eax: 48 << 16 };
  const verdict = new Checker(host, { policy, vmType: 'tdx', tdxModule }).check([wanted]);
  return {
    supported: has(vmm.supported(vm).entries),
    allowed: vmm.setCpuid2(vmm.createVcpu(vmm.prepareVm(VM_TYPES.tdx)), [wanted]),
    capabilities: has(vmm.tdxCapabilities(vm).entries),
    initVm: vmm.tdxInitVm(vm, { cpuid: [width, wanted] }).errno,
    refusal: vmm.tdRefusal(vm)?.findings[0]?.bits[0]?.reason ?? null,
    message: verdict.findings[0]?.bits[0]?.reason ?? null,
  };
}

describe.each(cases)('$name', (item) => {
  test('its row is one line of the source', () => {
    const source = readFileSync(new URL('../../src/cpuid/feature-rows.ts', import.meta.url), 'utf8');
    const rows = source.split('\n').filter((line) => line.includes(`'${item.name}',`));
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatch(/^ +\[\d+, .*\],$/);
  });

  test('is refused everywhere as the table is', async () => {
    expect(ask(await load(item.name, null), 'paranoid', item)).toEqual({
      ...{ supported: false, allowed: 'EINVAL', capabilities: false, initVm: 'EINVAL' },
      ...{ refusal: item.reason, message: item.reason },
    });
  });

  test('with its row changed it is there everywhere', async () => {
    expect(ask(await load(item.name, item.change), 'paranoid', item)).toEqual({
      ...{ supported: true, allowed: 'OK', capabilities: true, initVm: 'OK', refusal: null, message: null },
    });
  });

  test('the list of RFC v2 follows the same row; a deny list is code, and does not', async () => {
    const initVm = async (policy: Policy, change: Case['change'] | null) =>
      ask(await load(item.name, change), policy, item).initVm;
    expect([await initVm('allowlist', null), await initVm('allowlist', item.change)]).toEqual(['EINVAL', 'OK']);
    const denied = item.name === 'WAITPKG' ? 'EINVAL' : 'OK';
    expect([await initVm('denylist', null), await initVm('denylist', item.change)]).toEqual([denied, denied]);
  });
});
