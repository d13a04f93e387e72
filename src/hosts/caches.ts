import type { CpuidRow } from '../cpuid/entry.js';
import { type FieldValues, fieldRow } from './fields.js';
import type { Cache, Descriptor, HostModel, Topology } from './model.js';

/**
 * Caches: leaves 2, 4 and 0x8000001D, and the sizes in 0x80000005 and 0x80000006.
 * Intel SDM volume 2A, CPUID, "Input EAX = 02H", "04H" and table 3-12; AMD APM volume 3, appendix E, functions
 * 8000_0005, 8000_0006 and 8000_001D.
 */

const LINE_SIZE = 64;
const CACHE_TYPE = { data: 1, instruction: 2, unified: 3 } as const;

/** The codes of leaf 2, SDM table 3-12, "Encoding of CPUID Leaf 2 Descriptors". */
const DESCRIPTOR: Readonly<Record<Descriptor, number>> = {
  'dtlb-4k-64': 0x03,
  'dtlb-2m-32': 0x5a,
  'dtlb-2m-32-1g-4': 0x63,
  'itlb-2m-8': 0x76,
  'itlb-4k-64': 0xb5,
  'stlb-1536': 0xc3,
  'prefetch-64': 0xf0,
  'tlbs-in-leaf-18': 0xfe,
  'caches-in-leaf-4': 0xff,
};

/** Ways as 0x80000006 encodes them (APM, "L2/L3 Cache and TLB Associativity Field Encoding"). */
const WAYS_CODE: readonly (readonly [ways: number, code: number])[] = [
  [1, 0x1],
  [2, 0x2],
  [3, 0x3],
  [4, 0x4],
  [6, 0x5],
  [8, 0x6],
  [16, 0x8],
  [32, 0xa],
  [48, 0xb],
  [64, 0xc],
  [96, 0xd],
  [128, 0xe],
];
/** "See leaf 4" (Intel), "see leaf 0x8000001D" (AMD). */
const SEE_LEAF_4 = 0x7;
const SEE_LEAF_8000_001D = 0x9;
const L3_UNIT_KIB = 512;

export function waysCode(ways: number): number {
  const found = WAYS_CODE.find(([count]) => count === ways);
  if (!found) throw new Error(`0x80000006 has no code for ${ways} ways`);
  return found[1];
}

/** How many logical CPUs share the cache. */
function sharers(cache: Cache, topology: Topology): number {
  const { cores, threadsPerCore, complex } = topology;
  const sharing = { core: 1, complex: complex?.cores ?? cores, package: cores }[cache.sharedBy];
  return sharing * threadsPerCore;
}

/** How many APIC IDs the sharers of the cache take up: what leaf 4 counts. */
function sharedIds(cache: Cache, topology: Topology): number {
  const { threadBits, packageBits, complex } = topology;
  return 1 << { core: threadBits, complex: complex?.bits ?? packageBits, package: packageBits }[cache.sharedBy];
}

function geometry(cache: Cache): FieldValues {
  return {
    cache_type: CACHE_TYPE[cache.type],
    cache_level: cache.level,
    cache_self_init: 1,
    cache_linesize: LINE_SIZE - 1,
    cache_npartitions: 0,
    cache_nways: cache.ways - 1,
    cache_nsets: (cache.sizeKiB * 1024) / (cache.ways * LINE_SIZE) - 1,
    wbinvd_rll_no_guarantee: cache.wbinvdNotShared ? 1 : 0,
    ll_inclusive: cache.inclusive ? 1 : 0,
  };
}

function leaf4({ caches, topology }: HostModel): readonly CpuidRow[] {
  const coreIds = 1 << (topology.packageBits - topology.threadBits);
  return caches.map((cache, index) =>
    fieldRow(4, index, {
      ...geometry(cache),
      complex_indexing: cache.complexIndexing ? 1 : 0,
      num_threads_sharing: sharedIds(cache, topology) - 1,
      num_cores_on_die: Math.min(coreIds, 64) - 1,
    }),
  );
}

function leaf8000001d({ caches, topology }: HostModel): readonly CpuidRow[] {
  return caches.map((cache, index) =>
    fieldRow(0x8000_001d, index, { ...geometry(cache), num_threads_sharing: sharers(cache, topology) - 1 }),
  );
}

function leaf2({ descriptors }: HostModel): readonly CpuidRow[] {
  const entries = Object.entries(descriptors);
  if (entries.length === 0) return [];
  const values = entries.map(([position, descriptor]) => [`desc${position}`, DESCRIPTOR[descriptor]] as const);
  return [fieldRow(2, 0, { iteration_count: 1, ...Object.fromEntries(values) })];
}

function find(caches: readonly Cache[], level: number, type: Cache['type']): Cache {
  const found = caches.find((cache) => cache.level === level && cache.type === type);
  if (!found) throw new Error(`no ${type} cache of level ${level}`);
  return found;
}

/** Intel has nothing but the L2 here. */
function intelSizes({ caches, legacyL2 }: HostModel): readonly CpuidRow[] {
  const { sizeKiB } = legacyL2 ?? find(caches, 2, 'unified');
  const l2_assoc = legacyL2 ? waysCode(legacyL2.ways) : SEE_LEAF_4;
  return [fieldRow(0x8000_0006, 0, { l2_line_size: LINE_SIZE, l2_assoc, l2_size_kb: sizeKiB })];
}

function amdStyleSizes({ caches }: HostModel): readonly CpuidRow[] {
  const [l1d, l1i] = [find(caches, 1, 'data'), find(caches, 1, 'instruction')];
  const l2 = find(caches, 2, 'unified');
  return [
    fieldRow(0x8000_0005, 0, {
      l1_dcache_line_size: LINE_SIZE,
      l1_dcache_nlines: 1,
      l1_dcache_assoc: l1d.ways,
      l1_dcache_size_kb: l1d.sizeKiB,
      l1_icache_line_size: LINE_SIZE,
      l1_icache_nlines: 1,
      l1_icache_assoc: l1i.ways,
      l1_icache_size_kb: l1i.sizeKiB,
    }),
    fieldRow(0x8000_0006, 0, {
      l2_line_size: LINE_SIZE,
      l2_nlines: 1,
      l2_assoc: waysCode(l2.ways),
      l2_size_kb: l2.sizeKiB,
    }),
  ];
}

/** The L3 caches of the package together. Zen 1 adds their ways up too; its successors point to the newer leaf. */
function amdL3({ caches, topology, family, model }: HostModel): readonly CpuidRow[] {
  const l3 = find(caches, 3, 'unified');
  const instances = topology.cores / (topology.complex?.cores ?? topology.cores);
  const nodes = topology.nodes ?? 1;
  const zen1 = family === 0x17 && model < 0x30;
  return [
    fieldRow(0x8000_0006, 0, {
      l3_line_size: LINE_SIZE,
      l3_nlines: 1,
      l3_assoc: zen1 ? waysCode(l3.ways * nodes) : SEE_LEAF_8000_001D,
      l3_size_range: (l3.sizeKiB * instances) / L3_UNIT_KIB,
    }),
  ];
}

export function cacheRows(model: HostModel): readonly CpuidRow[] {
  switch (model.vendor) {
    case 'intel':
      return [...leaf2(model), ...leaf4(model), ...intelSizes(model)];
    case 'amd':
      return [...leaf8000001d(model), ...amdStyleSizes(model), ...amdL3(model)];
    case 'centaur':
      return [...leaf2(model), ...leaf4(model), ...amdStyleSizes(model)];
  }
}
