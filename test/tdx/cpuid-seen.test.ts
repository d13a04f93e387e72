import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CpuidRow, REGISTERS, type Register } from '../../src/cpuid/entry.js';
import {
  type CpuidValues,
  type GuestCpuidState,
  TDX_MODULE_VERSIONS,
  type TdParams,
  type TdxModuleVersion,
} from '../../src/tdx/module.js';
import { runs } from '../support/runs.js';
import { acceptedParams, guestState, moduleOn, nameOf, rowsOfHost, TDX_HOSTS, tdOf } from './module-support.js';

/**
 * CPUID in a TD, computed a second time: bit by bit from what the reference says of each bit in words, apart from the
 * module's masks and algorithm.
 */

const REFERENCE = new URL('../../../shared/reference/tdx/tdx-cpuid.json', import.meta.url);
const present = existsSync(REFERENCE);
const reference = present ? JSON.parse(readFileSync(REFERENCE, 'utf8')) : null;

interface BitClass {
  readonly leaf: string;
  readonly subleaf: number | null;
  readonly reg: Register;
  readonly bits: readonly [high: number, low: number];
  readonly type: string;
}

interface Situation {
  readonly host: readonly CpuidRow[];
  readonly order: readonly string[];
  readonly params: TdParams;
  readonly guest: GuestCpuidState;
}

const bitOf = (value: number, bit: number) => (value >>> bit) & 1;
const hasAll = (value: bigint, bits: readonly number[]) => bits.every((bit) => (value >> BigInt(bit)) & 1n);

function nativeRegister({ host }: Situation, fn: number, index: number, register: Register): number {
  const maximum = host.find((row) => row.function === (fn < 0x8000_0000 ? 0 : 0x8000_0000))!.eax;
  if (fn > maximum) return 0;
  return host.find((row) => row.function === fn && row.index === index)?.[register] ?? 0;
}

function configured({ order, params }: Situation, name: string, register: Register): number {
  return params.cpuidConfig[order.indexOf(name)]?.[register] ?? 0;
}

/** The configured and native value of one bit. */
function offered(situation: Situation, fn: number, index: number, register: Register, bit: number): number {
  const name = fn === 7 ? `7.${index}` : fn.toString(16);
  return bitOf(configured(situation, name, register), bit) & bitOf(nativeRegister(situation, fn, index, register), bit);
}

/** Size of the XSAVE area, SDM volume 1, 13.4.3. */
function areaSize(situation: Situation, components: bigint, compacted: boolean): number {
  let end = 576;
  for (let id = 2; id < 19; id++) {
    if (((components >> BigInt(id)) & 1n) === 0n) continue;
    const size = nativeRegister(situation, 0xd, id, 'eax');
    const isAligned = bitOf(nativeRegister(situation, 0xd, id, 'ecx'), 1) === 1;
    const compactOffset = isAligned ? Math.ceil(end / 64) * 64 : end;
    const offset = compacted ? compactOffset : nativeRegister(situation, 0xd, id, 'ebx');
    end = Math.max(end, offset + size);
  }
  return end;
}

const XCR0_BITS = 0x6_02ffn;

/** What the words of the reference say about one bit. */
function expectedBit(situation: Situation, item: BitClass, bit: number): number {
  const { params, guest } = situation;
  const fn = Number(item.leaf);
  const index = item.subleaf ?? 0;
  const native = bitOf(nativeRegister(situation, fn, index, item.reg), bit);
  const { type } = item;

  if (type.startsWith('dynamic: virtual APIC ID')) return bitOf(guest.vcpuIndex, bit - 24);
  if (type === 'dynamic: guest CR4.OSXSAVE') return Number(guest.cr4.osxsave);
  if (type === 'dynamic: guest CR4.PKE') return Number(guest.cr4.pke);
  if (type === 'dynamic: 1 only in 64-bit mode') return Number(guest.longMode);
  if (type.endsWith('with guest XCR0')) return bitOf(areaSize(situation, guest.xcr0, false), bit);
  if (type.endsWith('with guest XCR0|XSS')) return bitOf(areaSize(situation, guest.xcr0 | guest.xss, true), bit);
  if (type === 'calculated from XFAM') return bitOf(areaSize(situation, params.xfam & XCR0_BITS, false), bit);
  if (type.startsWith('calculated: XFD')) {
    const isDisabled = (id: number) => bitOf(nativeRegister(situation, 0xd, id, 'ecx'), 2) === 1;
    const ids = Array.from({ length: 17 }, (_, at) => at + 2).filter((id) => hasAll(params.xfam, [id]));
    return native & Number(ids.some(isDisabled));
  }
  if (type.startsWith('calculated: TD_PARAMS.TSC_FREQUENCY')) return bitOf(params.tscFrequency, bit);
  if (type.startsWith('calculated: 57')) return bitOf(offered(situation, 7, 0, 'ecx', 16) ? 57 : 48, bit - 8);
  if (type.startsWith('ATTRIBUTES.KL')) return 0;

  let value = 1;
  for (const term of type.split(' & ')) {
    const xfam = /^XFAM\[([\d,:]+)\]$/.exec(term);
    if (xfam) value &= Number(hasAll(params.xfam, xfam[1]!.split(/[,:]/).map(Number)));
    else if (term === 'native' || term.startsWith('native, init requires')) value &= native;
    else if (term === 'configured') value &= bitOf(configured(situation, nameOf({ ...item, leaf: fn }), item.reg), bit);
    else if (term === 'fixed1') value &= 1;
    else if (term === 'fixed0') value = 0;
    else if (term === 'CPUID(1).ECX.MONITOR') value &= offered(situation, 1, 0, 'ecx', 3);
    else if (term === 'ATTRIBUTES.PERFMON') value &= Number(hasAll(params.attributes, [63]));
    else if (term === 'ATTRIBUTES.PKS') value &= Number(hasAll(params.attributes, [30]));
    else if (term === 'ATTRIBUTES.LASS') value &= Number(hasAll(params.attributes, [27]));
    else throw new Error(`the reference has a new word: ${term}`);
  }
  return value;
}

/** Where the algorithm says more than the words about a single bit. */
function afterwards(situation: Situation, leaf: string, values: Record<Register, number>): void {
  if (leaf === '1' && configured(situation, '1', 'eax') === 0) values.eax = nativeRegister(situation, 1, 0, 'eax');
  if (leaf === '7.0' && situation.guest.tsxCpuidClear) values.ebx = (values.ebx & ~0x810) >>> 0;
}

const classes = (version: TdxModuleVersion): readonly BitClass[] => reference.versions[version].bits;

function leavesOf(version: TdxModuleVersion): ReadonlyMap<string, readonly BitClass[]> {
  const leaves = new Map<string, BitClass[]>();
  for (const item of classes(version)) {
    const name = nameOf({ leaf: Number(item.leaf), subleaf: item.subleaf });
    leaves.set(name, [...(leaves.get(name) ?? []), item]);
  }
  return leaves;
}

function expectedLeaf(situation: Situation, name: string, items: readonly BitClass[]): CpuidValues | '#VE' {
  if (items.some(({ type }) => type === '#VE')) return '#VE';
  const values = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  for (const item of items) {
    const [high, low] = item.bits;
    for (let bit = low; bit <= high; bit++)
      values[item.reg] = (values[item.reg] | (expectedBit(situation, item, bit) << bit)) >>> 0;
  }
  afterwards(situation, name, values);
  return values;
}

describe.runIf(present)('the reference', () => {
  test.each(TDX_MODULE_VERSIONS)('says something about every bit of every leaf of %s', (version) => {
    for (const [name, items] of leavesOf(version)) {
      for (const register of REGISTERS) {
        const covered = items
          .filter(({ reg }) => reg === register)
          .reduce((sum, { bits: [high, low] }) => sum + high - low + 1, 0);
        expect([name, register, covered]).toEqual([name, register, 32]);
      }
    }
  });
});

const cases = TDX_MODULE_VERSIONS.flatMap((version) => TDX_HOSTS.map((host) => [version, host] as const));

describe.runIf(present).each(cases)('CPUID in a TD of module %s on %s', (version, name) => {
  test('is what the reference says, bit by bit', () => {
    const module = moduleOn(name, version);
    const host = rowsOfHost(name);
    const order = module.configurable.map(nameOf);
    const leaves = leavesOf(version);
    const scene = acceptedParams(module).chain((params) =>
      guestState(params.xfam).map((guest) => ({ host, order, params, guest })),
    );
    fc.assert(
      fc.property(scene, (situation) => {
        const td = tdOf(module, situation.params);
        for (const [leaf, items] of leaves) {
          const { subleaf } = items[0]!;
          const seen = td.cpuid(Number(items[0]!.leaf), subleaf ?? 7, situation.guest);
          expect([leaf, seen]).toEqual([leaf, expectedLeaf(situation, leaf, items)]);
        }
      }),
      runs(40),
    );
  });

  test('every other leaf raises #VE', () => {
    const td = tdOf(moduleOn(name, version));
    const known = new Set(classes(version).map(({ leaf }) => Number(leaf)));
    const guest = { vcpuIndex: 0, cr4: { osxsave: false, pke: false }, tsxCpuidClear: false } as const;
    const state = { ...guest, xcr0: 1n, xss: 0n, longMode: true };
    const ranges = [
      [0, 0x23],
      [0x4000_0000, 0x4000_0010],
      [0x4fff_fff0, 0x4fff_ffff],
      [0x8000_0000, 0x8000_0008],
    ] as const;
    for (const [first, last] of ranges)
      for (let leaf = first; leaf <= last; leaf++)
        if (!known.has(leaf)) expect([leaf, td.cpuid(leaf, 0, state)]).toEqual([leaf, '#VE']);
  });
});

describe.runIf(present)('the figures of a real module 1.5.08 on an Emerald Rapids', () => {
  /** Bits in which a version differs from 1.5.08: leaf, register, mask. */
  type Difference = readonly [leaf: string, register: Register, mask: number];
  const differences: Readonly<Record<TdxModuleVersion, readonly Difference[]>> = {
    // MAXPHYADDR is not yet configurable: TDH.SYS.INIT insists on 52.
    '1.5.01': [['80000008', 'eax', 0xff]],
    // MCE, MTRR, MCA and CORE_CAPABILITIES became configurable: the guest may turn them off to have fewer #VE.
    '1.5.28': [
      ['1', 'edx', 0x5080],
      ['7.0', 'edx', 0x4000_0000],
    ],
    '2.0.8': [
      ['1', 'edx', 0x5080],
      ['7.0', 'edx', 0x4000_0000],
    ],
  };

  test.each(TDX_MODULE_VERSIONS)('%s reports the same but for the bits that are explained', (version) => {
    const module = moduleOn('emerald-rapids', version);
    const found: Difference[] = [];
    for (const row of reference.emr_reported_by_module_1_5_08) {
      const leaf = nameOf({ leaf: Number(row.leaf), subleaf: row.subleaf });
      const { reported } = module.configurable.find((item) => nameOf(item) === leaf)!;
      for (const register of REGISTERS) {
        const difference = (reported[register] ^ Number(row[register] ?? 0)) >>> 0;
        if (difference !== 0) found.push([leaf, register, difference]);
      }
    }
    expect(found).toEqual(differences[version]);
  });
});
