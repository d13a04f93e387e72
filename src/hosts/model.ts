import type { FieldValues } from './fields.js';

/**
 * What a host is, as its maker describes it: features by name, sizes, counts, clocks. The leaf functions of this
 * folder compute every CPUID register from these facts, so that a model is read as a data sheet and not as hex.
 *
 * Where the values come from: what the makers publish about a part (features, cores, caches, clocks, errata), and what
 * CPUID says on such a part. Each model was held against a public CPUID record register by register, and what no manual
 * or data sheet lists (TLB geometry, sub C-states, RMID counts, leaf 2 descriptors) was taken from there as a fact, in
 * words. What could be checked neither way is marked as assumed.
 */
export interface HostModel {
  readonly name: string;
  readonly title: string;
  readonly vendor: Vendor;
  readonly technology: 'vmx' | 'svm';
  /** The platform can run TDs, and its firmware is set up for them. */
  readonly tdx: boolean;

  /** Display family and model (extended fields included) and stepping. */
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  readonly microcode: number | undefined;
  readonly brand: string;
  /** The highest function of each range. */
  readonly maxima: { readonly basic: number; readonly extended: number; readonly centaur?: number };

  /** Bits that are set, by name (`placeOf`). */
  readonly features: readonly string[];
  readonly topology: Topology;
  readonly addressBits: { readonly physical: number; readonly linear: number };
  readonly caches: readonly Cache[];
  /** Leaf 2 by position, 1 to 15. */
  readonly descriptors: Readonly<Record<number, Descriptor>>;
  /** Leaf 0x80000006 for software that knows nothing newer; the real L2 when not given. Intel only. */
  readonly legacyL2: { readonly sizeKiB: number; readonly ways: number } | undefined;
  /** TLBs as leaf 0x18 lists them. */
  readonly tlbs: readonly Tlb[];
  /** TLBs as leaves 0x80000005, 0x80000006 and 0x80000019 list them. */
  readonly pageTlbs: PageTlbs | undefined;
  readonly xsave: XsaveFacts;
  readonly clock: ClockFacts | undefined;
  readonly pmu: PmuFacts | undefined;
  readonly rdt: RdtFacts | undefined;
  /** SGX that the firmware has set up; without it leaf 0x12 is zero even where the feature bit is set. */
  readonly sgx: SgxFacts | undefined;
  /** Plain numbers that no rule produces, by `function.index` in hex and field name. */
  readonly fields: Readonly<Record<string, FieldValues>>;
  /** IA32_ARCH_CAPABILITIES by bit name, where the part has the MSR. */
  readonly archCapabilities: readonly string[] | undefined;
}

export type Vendor = 'intel' | 'amd' | 'centaur';

/** One package, and how its x2APIC IDs are cut up. Bit counts include those of the levels below. */
export interface Topology {
  readonly cores: number;
  readonly threadsPerCore: number;
  readonly threadBits: number;
  readonly packageBits: number;
  /** Cores that share an L3 cache where that is less than the package (AMD: core complex). */
  readonly complex?: { readonly cores: number; readonly bits: number };
  /** Dies as leaf 0x1F has them. */
  readonly die?: { readonly cores: number; readonly bits: number };
  /** NUMA nodes per package in leaf 0x8000001E; 1 when not given. */
  readonly nodes?: number;
}

export interface Cache {
  readonly level: 1 | 2 | 3;
  readonly type: 'data' | 'instruction' | 'unified';
  /** Of one instance. */
  readonly sizeKiB: number;
  readonly ways: number;
  readonly sharedBy: 'core' | 'complex' | 'package';
  readonly inclusive?: boolean;
  /** The set is not just a slice of the address. */
  readonly complexIndexing?: boolean;
  /** WBINVD of one thread need not write back the caches of the others. */
  readonly wbinvdNotShared?: boolean;
}

export type Descriptor =
  | 'dtlb-4k-64'
  | 'dtlb-2m-32'
  | 'dtlb-2m-32-1g-4'
  | 'itlb-2m-8'
  | 'itlb-4k-64'
  | 'stlb-1536'
  | 'prefetch-64'
  | 'tlbs-in-leaf-18'
  | 'caches-in-leaf-4';

export interface Tlb {
  readonly level: 1 | 2;
  readonly type: 'data' | 'instruction' | 'unified' | 'load' | 'store';
  readonly pages: readonly ('4k' | '2m' | '4m' | '1g')[];
  readonly ways: number;
  /** 1: fully associative. */
  readonly sets: number;
}

/** `[entries, ways]`; the ways of a fully associative TLB are `full`. */
export type TlbSize = readonly [entries: number, ways: number | 'full'];

/** The TLBs for one page size. */
export interface PageTlb {
  readonly l1Instruction?: TlbSize;
  readonly l1Data?: TlbSize;
  readonly l2Instruction?: TlbSize;
  readonly l2Data?: TlbSize;
}

export interface PageTlbs {
  readonly '4k': PageTlb;
  readonly '2m': PageTlb;
  readonly '1g': PageTlb;
}

export interface XsaveFacts {
  /** State components beyond x87 and SSE, by name. */
  readonly components: readonly Component[];
  /** Components that lie elsewhere than their vendor's layout says. */
  readonly exceptions?: Readonly<Partial<Record<Component, { readonly size: number; readonly offset: number }>>>;
}

export type Component =
  | 'YMM'
  | 'BNDREGS'
  | 'BNDCSR'
  | 'OPMASK'
  | 'ZMM_HI256'
  | 'HI16_ZMM'
  | 'PT'
  | 'PKRU'
  | 'PASID'
  | 'CET_U'
  | 'CET_S'
  | 'UINTR'
  | 'LBR'
  | 'HWP'
  | 'XTILE_CFG'
  | 'XTILE_DATA';

export interface ClockFacts {
  readonly baseMHz: number;
  readonly maxMHz: number;
  /** The part says how fast its crystal runs. */
  readonly crystalEnumerated: boolean;
}

export interface PmuFacts {
  readonly version: number;
  readonly counters: number;
  readonly fixedCounters: number;
  readonly counterBits: number;
  /** How many architectural events leaf 0xA speaks of; all of them are available. */
  readonly events: number;
  readonly anyThreadDeprecated: boolean;
}

/** Resource director technology (Intel) or platform quality of service (AMD). */
export interface RdtFacts {
  readonly rmids: number;
  readonly counterBits: number;
  /** Bytes that one count stands for. */
  readonly countedBytes: number;
  readonly l3: { readonly ways: number; readonly classes: number; readonly sharedWithDevices: number };
  readonly l2?: { readonly ways: number; readonly classes: number };
  readonly bandwidth?: { readonly maxDelay: number; readonly classes: number };
}

export interface SgxFacts {
  /** What leaf 0x12 says of leaf functions, attributes and MISCSELECT, by name. */
  readonly bits: readonly string[];
  /** One enclave page cache section. */
  readonly epc: { readonly base: bigint; readonly bytes: bigint };
}

/** Words separated by white space, for long lists of names. */
export function names(text: string): readonly string[] {
  return text.trim().split(/\s+/);
}

/** What a generation changes. Sections replace the base's, `fields` are merged by leaf, features come and go. */
export interface Changes extends Partial<Omit<HostModel, 'features'>> {
  readonly add?: readonly string[];
  readonly remove?: readonly string[];
}

/** A model that differs from `base` as `changes` say. Throws on a feature that is added twice or removed in vain. */
export function extend(base: HostModel, changes: Changes): HostModel {
  const { add = [], remove = [], fields = {}, ...sections } = changes;
  return {
    ...base,
    ...sections,
    features: changeFeatures(base, add, remove),
    fields: mergeFields(base.fields, fields),
  };
}

function changeFeatures(base: HostModel, add: readonly string[], remove: readonly string[]): readonly string[] {
  const features = new Set(base.features);
  for (const name of remove) if (!features.delete(name)) throw new Error(`${base.name} has no ${name} to remove`);
  for (const name of add) {
    if (features.has(name)) throw new Error(`${base.name} has ${name} already`);
    features.add(name);
  }
  return [...features];
}

function mergeFields(base: HostModel['fields'], changes: HostModel['fields']): HostModel['fields'] {
  const merged: Record<string, FieldValues> = { ...base };
  for (const [leaf, values] of Object.entries(changes)) merged[leaf] = { ...merged[leaf], ...values };
  return merged;
}
