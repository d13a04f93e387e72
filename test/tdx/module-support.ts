import fc from 'fast-check';
import type { CpuidRow } from '../../src/cpuid/entry.js';
import { RawCpuid } from '../../src/emu/raw-cpuid.js';
import { builtInHost } from '../../src/hosts/index.js';
import {
  type ConfigurableLeaf,
  type CpuidValues,
  type FutureModule,
  type GuestCpuidState,
  type Td,
  type TdParams,
  TdxModule,
  type TdxModuleVersion,
} from '../../src/tdx/module.js';

/** The built-in hosts that can run TDs. */
export const TDX_HOSTS = ['sapphire-rapids', 'emerald-rapids', 'granite-rapids'] as const;
export type TdxHostName = (typeof TDX_HOSTS)[number];

export function rowsOfHost(name: string): readonly CpuidRow[] {
  return builtInHost(name)!.rows;
}

/** TDH.SYS.INIT on a host with other CPUID rows or MSRs. */
export function initOn(
  host: string,
  model: TdxModuleVersion | FutureModule,
  change: { readonly rows?: readonly CpuidRow[]; readonly msrs?: ReadonlyMap<number, bigint> } = {},
) {
  const { rows, msrs } = builtInHost(host)!;
  const values = change.msrs ?? msrs;
  return TdxModule.init(new RawCpuid(change.rows ?? rows, 'basic'), (index) => values.get(index), model);
}

/** TDH.SYS.INIT that must succeed. */
export function moduleOn(
  host: string,
  model: TdxModuleVersion | FutureModule,
  change: Parameters<typeof initOn>[2] = {},
): TdxModule {
  const result = initOn(host, model, change);
  if (!result.ok) throw new Error(`${host}: ${result.error.name} ${result.error.rule}`);
  return result.value;
}

/** The least that TDH.MNG.INIT accepts. */
export const PLAIN: TdParams = {
  attributes: 0n,
  xfam: 3n,
  cpuidConfig: [],
  eptLevels: 4,
  gpaw52: false,
  tscFrequency: 80,
};

export const GUEST: GuestCpuidState = {
  vcpuIndex: 0,
  cr4: { osxsave: false, pke: false },
  tsxCpuidClear: false,
  xcr0: 1n,
  xss: 0n,
  longMode: true,
};

/** TDH.MNG.INIT that must succeed. */
export function tdOf(module: TdxModule, change: Partial<TdParams> = {}): Td {
  const result = module.createTd({ ...PLAIN, ...change });
  if (!result.ok) throw new Error(`${result.error.name} ${result.error.rule}`);
  return result.value;
}

/** CPUID_CONFIG with some registers of some leaves set; leaves as `7.0`, `1`. */
export function configOf(
  module: TdxModule,
  wanted: Readonly<Record<string, Partial<CpuidValues>>>,
): readonly CpuidValues[] {
  return module.configurable.map((row) => ({ eax: 0, ebx: 0, ecx: 0, edx: 0, ...wanted[nameOf(row)] }));
}

export function nameOf({ leaf, subleaf }: Pick<ConfigurableLeaf, 'leaf' | 'subleaf'>): string {
  return `${leaf.toString(16)}${subleaf === null ? '' : `.${subleaf}`}`;
}

const word = () => fc.integer({ min: 0, max: 0xffff_ffff });

const HLE_RTM = 0x810;

/** CPUID_CONFIG that the module accepts: a subset of what is allowed, no model of its own, HLE with RTM. */
export function acceptedConfig(module: TdxModule): fc.Arbitrary<readonly CpuidValues[]> {
  const leaf = ({ leaf: fn, subleaf, direct, allowed }: ConfigurableLeaf) =>
    fc.tuple(word(), word(), word(), word()).map(([eax, ebx, ecx, edx]) => ({
      eax: fn === 1 ? 0 : (eax & (direct.eax | allowed.eax)) >>> 0,
      ebx: togetherIf(fn === 7 && subleaf === 0, (ebx & (direct.ebx | allowed.ebx)) >>> 0),
      ecx: (ecx & (direct.ecx | allowed.ecx)) >>> 0,
      edx: (edx & (direct.edx | allowed.edx)) >>> 0,
    }));
  return fc.tuple(...module.configurable.map(leaf));
}

function togetherIf(isTsx: boolean, ebx: number): number {
  if (!isTsx) return ebx;
  return ((ebx & 0x10) !== 0 ? ebx | HLE_RTM : ebx & ~HLE_RTM) >>> 0;
}

/** Groups of XFAM that go together. */
const GROUPS = [0x4n, 0x4n | 0xe0n, 0x100n, 0x200n, 0x1800n, 0x4000n, 0x8000n, 0x6_0000n];
const FREE_ATTRIBUTES = [0n, 27n, 28n, 30n, 63n];

/** TD_PARAMS that the module accepts. */
export function acceptedParams(module: TdxModule): fc.Arbitrary<TdParams> {
  const bits = FREE_ATTRIBUTES.map((bit) => 1n << bit).filter((bit) => (bit & ~module.attributesFixed0) === 0n);
  return fc.record({
    attributes: fc.subarray(bits).map((chosen) => chosen.reduce((mask, bit) => mask | bit, 0n)),
    xfam: fc.subarray(GROUPS).map((chosen) => chosen.reduce((mask, group) => mask | group, 3n) & module.xfamFixed0),
    cpuidConfig: acceptedConfig(module),
    eptLevels: fc.constant<4 | 5>(5),
    gpaw52: fc.boolean(),
    tscFrequency: fc.integer({ min: 4, max: 400 }),
  });
}

/** A state of the guest, within XFAM. */
export function guestState(xfam: bigint): fc.Arbitrary<GuestCpuidState> {
  return fc.record({
    vcpuIndex: fc.integer({ min: 0, max: 255 }),
    cr4: fc.record({ osxsave: fc.boolean(), pke: fc.boolean() }),
    tsxCpuidClear: fc.boolean(),
    xcr0: fc.bigInt({ min: 0n, max: 0x7_ffffn }).map((bits) => (bits & xfam & 0x6_02ffn) | 1n),
    xss: fc.bigInt({ min: 0n, max: 0x7_ffffn }).map((bits) => bits & xfam & 0x1_fd00n),
    longMode: fc.boolean(),
  });
}
