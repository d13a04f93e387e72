import { type CpuidEntry2, type CpuidRow, REGISTERS, type Register } from '../cpuid/entry.js';
import { type Feature, featureNamed } from '../cpuid/features.js';
import { isIndexed } from '../cpuid/indexed.js';
import { vendorString } from '../linux/scope.js';

/**
 * How QEMU (11.1, `target/i386`) makes the table that it passes to KVM_SET_CPUID2: what follows from what, and what it
 * takes away on a real host. Recorded tables were made with an all-ones KVM, so nothing was taken away from them.
 */

/** One bit of CPUID. */
export interface Bit {
  readonly function: number;
  readonly index: number;
  readonly register: Register;
  readonly bit: number;
}

const named = (name: string): Bit => bitOf(featureNamed(name));
const bitOf = ({ word, bit }: Feature): Bit => ({
  function: word.function,
  index: word.index,
  register: word.register,
  bit,
});
const XSAVE = named('XSAVE');
/** No kernel that is modelled has a flag for it in a word of KVM. */
const ARCH_LBR: Bit = { function: 7, index: 0, register: 'edx', bit: 19 };

/** Leaves that `cpu_x86_cpuid()` leaves empty unless one of these bits is set. */
const LEAF_ROWS: readonly (readonly [fn: number, roots: readonly Bit[]])[] = [
  [0xd, [XSAVE]],
  [0x12, [named('SGX')]],
  [0x14, [named('INTEL_PT')]],
  [0x1c, [ARCH_LBR]],
  [0x1d, [named('AMX_TILE')]],
  [0x1e, [named('AMX_TILE')]],
  [0x24, [named('AVX10')]],
  [0x29, [named('APX')]],
  [0x8000_000a, [named('SVM')]],
];

/** XSAVE components (`x86_ext_save_areas[]`) and the features that bring each of them. */
const COMPONENT_ROWS: readonly (readonly [component: number, roots: readonly Bit[]])[] = [
  [2, [named('AVX')]],
  [3, [named('MPX')]],
  [4, [named('MPX')]],
  [5, [named('AVX512F')]],
  [6, [named('AVX512F')]],
  [7, [named('AVX512F')]],
  [9, [named('PKU')]],
  [11, [named('SHSTK'), named('IBT')]],
  [12, [named('SHSTK')]],
  [15, [ARCH_LBR]],
  [17, [named('AMX_TILE')]],
  [18, [named('AMX_TILE')]],
  [19, [named('APX')]],
];

const XTILE_DATA = 18;

/** Bits that `kvm_arch_get_supported_cpuid()` adds to KVM's answer. */
const ADDED: readonly Feature[] = ['HYPERVISOR', 'TSC_DEADLINE_TIMER', 'HTT', 'ARAT', 'TOPOEXT'].map(featureNamed);

/** The copies of 1.EDX in 0x80000001.EDX, which KVM reports on AMD only. */
const ALIASES = 'FPU VME DE PSE TSC MSR PAE MCE CX8 APIC MTRR PGE MCA CMOV PAT PSE36 MMX FXSR'
  .split(' ')
  .map(featureNamed);

const ALIAS_MASK = ALIASES.reduce((mask, { mask: bit }) => mask | bit, 0);

/** Registers that are feature words of QEMU, and with it what it adds beyond {@link ADDED}. */
interface WordRow {
  readonly function: number;
  readonly index: number;
  readonly register: Register;
  readonly added: number;
}

const OVERFLOW_RECOV_AND_SUCCOR = 0b11;
const MSI_EXT_DEST_ID = featureNamed('MSI_EXT_DEST_ID').mask;
const HINTS_REALTIME = 1;

const word = (fn: number, index: number, register: Register, added = 0): WordRow => ({
  function: fn,
  index,
  register,
  added: ADDED.reduce(
    (mask, { word: at, mask: bit }) =>
      at.function === fn && at.index === index && at.register === register ? mask | bit : mask,
    added,
  ),
});

// biome-ignore format: one row per fact
const WORD_ROWS: readonly WordRow[] = [
  word(1, 0, 'ecx'), word(1, 0, 'edx'), word(6, 0, 'eax'), word(7, 0, 'ebx'), word(7, 0, 'ecx'), word(7, 0, 'edx'),
  word(7, 1, 'eax'), word(7, 1, 'ecx'), word(7, 1, 'edx'), word(7, 2, 'edx'),
  word(0xd, 0, 'eax'), word(0xd, 0, 'edx'), word(0xd, 1, 'eax'), word(0xd, 1, 'ecx'), word(0xd, 1, 'edx'),
  word(0x12, 0, 'eax'), word(0x12, 0, 'ebx'), word(0x12, 1, 'eax'), word(0x1e, 1, 'eax'), word(0x24, 1, 'ecx'),
  word(0x29, 0, 'ebx'),
  word(0x4000_0001, 0, 'eax', MSI_EXT_DEST_ID), word(0x4000_0001, 0, 'edx', HINTS_REALTIME),
  word(0x8000_0001, 0, 'ecx'), word(0x8000_0001, 0, 'edx'),
  word(0x8000_0007, 0, 'ebx', OVERFLOW_RECOV_AND_SUCCOR), word(0x8000_0007, 0, 'edx'), word(0x8000_0008, 0, 'ebx'),
  word(0x8000_000a, 0, 'edx'), word(0x8000_001f, 0, 'eax'), word(0x8000_0021, 0, 'eax'), word(0x8000_0021, 0, 'ecx'),
  word(0x8000_0022, 0, 'eax'), word(0xc000_0001, 0, 'edx'),
];

/** Leaves that QEMU copies from KVM_GET_SUPPORTED_CPUID when it fills them at all. */
const COPIED_LEAVES: readonly number[] = [0xa, 0x14, 0x1c];

/** The bits that must be set for an XSAVE component to be in a table. */
export const rootsOfComponent = (component: number): readonly Bit[] =>
  COMPONENT_ROWS.find(([number]) => number === component)?.[1] ?? [];

/** The bits without which QEMU leaves a leaf empty; none for most leaves. */
export const rootsOfLeaf = (fn: number): readonly Bit[] => LEAF_ROWS.find(([leaf]) => leaf === fn)?.[1] ?? [];

/** A table by function and index, as QEMU writes it: no duplicates. */
export class TableView {
  private readonly entries = new Map<string, CpuidRow>();

  constructor(entries: readonly CpuidRow[]) {
    for (const entry of entries) {
      const key = keyOf(entry.function, entry.index);
      if (!this.entries.has(key)) this.entries.set(key, entry);
    }
  }

  /** One register; 0 where the table has no such entry. */
  register(fn: number, index: number, register: Register): number {
    return this.entries.get(keyOf(fn, index))?.[register] ?? 0;
  }

  has({ function: fn, index, register, bit }: Bit): boolean {
    return ((this.register(fn, index, register) >>> bit) & 1) === 1;
  }

  /** Whether XCR0 or IA32_XSS of the table has the component. */
  hasComponent(component: number): boolean {
    return bitsOfComponent(component).some((bit) => this.has(bit));
  }
}

const keyOf = (fn: number, index: number): string => `${fn}.${isIndexed(fn) ? index : 0}`;

/** Where a component can be switched on: 0xD.0 (XCR0) and 0xD.1 (IA32_XSS). */
export const bitsOfComponent = (component: number): readonly Bit[] =>
  component < 32
    ? [
        { function: 0xd, index: 0, register: 'eax', bit: component },
        { function: 0xd, index: 1, register: 'ecx', bit: component },
      ]
    : [
        { function: 0xd, index: 0, register: 'edx', bit: component - 32 },
        { function: 0xd, index: 1, register: 'edx', bit: component - 32 },
      ];

/** What QEMU asks its host. */
export interface QemuHost {
  /** KVM_GET_SUPPORTED_CPUID of a process that may use AMX. */
  readonly supported: readonly CpuidEntry2[];
  /** The CPUID instruction. */
  readonly raw: readonly CpuidRow[];
}

/** The table that QEMU would really pass on a host. */
export interface FilteredTable {
  readonly entries: readonly CpuidEntry2[];
  /** It has asked for XTILEDATA (ARCH_REQ_XCOMP_GUEST_PERM) before. */
  readonly mayUseAmx: boolean;
}

/**
 * Takes from a recorded table what QEMU takes away on a real host: bits of feature words that KVM does not report
 * (`x86_cpu_filter_features()`, `mark_unavailable_features()`), then the leaves that hang on them; leaves that are
 * copied come from this KVM. XSAVE sub-leaves are QEMU's `x86_ext_save_areas[]`: every component that KVM supports,
 * whether the model has it or not. Under KVM a named model gets the host's vendor, and with it AMD's copies of 1.EDX or
 * not. Caches and topology stay as recorded.
 */
export function filterAsQemu(entries: readonly CpuidEntry2[], host: QemuHost): FilteredTable {
  const kvm = new TableView(host.supported);
  const raw = new TableView(host.raw);
  const cut = withHostVendor(
    entries.map((entry) => cutWords(entry, kvm)),
    raw,
  );
  const table = new TableView(cut);
  const filtered = cut.map((entry) => fillLeaf(entry, table, kvm, raw));
  return { entries: filtered, mayUseAmx: new TableView(filtered).hasComponent(XTILE_DATA) };
}

function cutWords(entry: CpuidEntry2, kvm: TableView): CpuidEntry2 {
  const { function: fn, index } = entry;
  const result = { ...entry };
  for (const row of WORD_ROWS) {
    if (row.function !== fn || (row.index !== index && isIndexed(fn))) continue;
    const { register, added } = row;
    const allowed = kvm.register(fn, index, register) | added | aliases(fn, register, kvm);
    result[register] = (entry[register] & allowed) >>> 0;
  }
  return result;
}

const aliases = (fn: number, register: Register, kvm: TableView): number =>
  fn === 0x8000_0001 && register === 'edx'
    ? ALIASES.reduce((mask, feature) => (kvm.has(bitOf(feature)) ? mask | feature.mask : mask), 0)
    : 0;

const AMD_VENDORS: readonly string[] = ['AuthenticAMD', 'HygonGenuine'];

/** The table with the host's vendor (`host_cpu_instance_init()`), and what `x86_cpu_realizefn()` makes of it. */
function withHostVendor(entries: readonly CpuidEntry2[], raw: TableView): readonly CpuidEntry2[] {
  const vendor = registersOf(raw, 0, 0);
  const table = new TableView(entries);
  const isAmd = AMD_VENDORS.includes(vendorString(vendor.ebx, vendor.ecx, vendor.edx));
  const copies = isAmd ? ALIASES.reduce((mask, item) => (table.has(bitOf(item)) ? mask | item.mask : mask), 0) : 0;
  return entries.map((entry) => {
    if (entry.function === 0) return { ...entry, ebx: vendor.ebx, ecx: vendor.ecx, edx: vendor.edx };
    if (entry.function !== 0x8000_0001) return entry;
    return { ...entry, edx: ((entry.edx & ~ALIAS_MASK) | copies) >>> 0 };
  });
}

const AVX10_VERSION = 0xff;

function fillLeaf(entry: CpuidEntry2, table: TableView, kvm: TableView, raw: TableView): CpuidEntry2 {
  const { function: fn, index } = entry;
  const roots = rootsOfLeaf(fn);
  if (roots.length > 0 && !roots.some((root) => table.has(root))) return { ...entry, ...EMPTY };
  const isEmpty = REGISTERS.every((register) => entry[register] === 0);
  if (COPIED_LEAVES.includes(fn)) return isEmpty ? entry : { ...entry, ...registersOf(kvm, fn, index) };
  if (fn === 0xd && index >= 2) {
    const isThere = rootsOfComponent(index).length > 0 && kvm.hasComponent(index);
    return { ...entry, ...(isThere ? registersOf(raw, fn, index) : EMPTY) };
  }
  if (fn === 0x24 && index === 0) {
    const supported = kvm.register(fn, 0, 'ebx');
    const version = Math.min(entry.ebx & AVX10_VERSION, supported & AVX10_VERSION);
    return { ...entry, ebx: ((entry.ebx & supported & ~AVX10_VERSION) | version) >>> 0 };
  }
  return entry;
}

const EMPTY = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

const registersOf = (table: TableView, fn: number, index: number) => ({
  eax: table.register(fn, index, 'eax'),
  ebx: table.register(fn, index, 'ebx'),
  ecx: table.register(fn, index, 'ecx'),
  edx: table.register(fn, index, 'edx'),
});
