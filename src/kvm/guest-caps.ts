import { type Argument, compileExpression, type Dialect, type Expression } from '../cpuid/expression.js';
import { type Feature, featureNamed, WORD_COUNT, WORDS, type Word } from '../cpuid/features.js';
import { inRange, type KernelLine } from '../cpuid/kernel-line.js';
import { EAX, EBX, ECX, EDX } from './abi.js';
import { dialectOf, type OverlayCaps } from './caps.js';
import { ANY_INDEX, type CpuidTable } from './cpuid-table.js';
import { cr4ReservedBits } from './cr4.js';
import { COMMON_GUEST_ROWS } from './guest-cap-rows.js';
import { kvmSignatureBase } from './pv.js';
import { guestSupportedXcr0, guestSupportedXss } from './runtime.js';
import type { KvmScope } from './scope.js';
import { emulatedCpuid } from './supported.js';
import type { VendorModule } from './vendor.js';

/** Guest vendors that KVM treats as AMD (`guest_cpuid_is_amd_or_hygon()`): EBX, ECX, EDX of leaf 0. */
const AMD_COMPATIBLE: readonly (readonly [ebx: number, ecx: number, edx: number])[] = [
  [0x68747541, 0x444d4163, 0x69746e65], // AuthenticAMD
  [0x69444d41, 0x21726574, 0x74656273], // AMDisbetter!
  [0x6f677948, 0x656e6975, 0x6e65476e], // HygonGenuine
];

/** MAXPHYADDR of a guest whose table does not say. */
const DEFAULT_MAXPHYADDR = 36;

const EVERY_BIT = 0xffff_ffff;

/** What a vCPU may use, by its CPUID table (`kvm_vcpu_after_set_cpuid()`). A snapshot: a new table needs a new one. */
export class GuestCaps {
  /** `cpu_caps[]`, indexed by word id. Before 6.18 the guest's own words: most checks read its table directly. */
  readonly words = new Uint32Array(WORD_COUNT);
  readonly supportedXcr0: number;
  readonly supportedXss: number;
  /** `maxphyaddr`; userspace may set any value from 0 to 255. */
  readonly maxPhysicalAddressBits: number;
  /** Bits of a guest-physical address that must be zero (`reserved_gpa_bits`, without what memory encryption takes). */
  readonly reservedGpaBits: bigint;
  /** Bits that CR4 may not have, for want of KVM's capability or the guest's. */
  readonly cr4ReservedBits: bigint;
  /** The guest's vendor is AMD or a relative; without a leaf 0 it counts as Intel. */
  readonly isAmdCompatible: boolean;
  /** EAX of KVM's features leaf (`pv_cpuid.features`); 0 without one. */
  readonly pvFeatures: number;
  private readonly table: CpuidTable;

  constructor(table: CpuidTable, caps: OverlayCaps, vendor: VendorModule) {
    this.table = table;
    const masks = masksOf(caps);
    for (const word of WORDS)
      if (word && hasHardwareLeaf(word)) this.words[word.id] = masks[word.id]! & register(table, word);
    this.adjust(caps, vendor);
    this.supportedXcr0 = guestSupportedXcr0(table, caps);
    this.supportedXss = guestSupportedXss(table, caps);
    this.maxPhysicalAddressBits = maxPhysicalAddressBits(table);
    this.reservedGpaBits = reservedAbove(this.maxPhysicalAddressBits);
    this.cr4ReservedBits = cr4ReservedBits(caps.words, caps.scope.line) | cr4ReservedBits(this.words, caps.scope.line);
    this.isAmdCompatible = isAmdCompatible(table);
    this.pvFeatures = pvFeatures(table);
  }

  /** `guest_cpu_cap_has()`; before 6.18 `guest_cpuid_has()`. */
  has(feature: Feature): boolean {
    return (this.words[feature.word.id]! & feature.mask) !== 0;
  }

  /** `guest_cpuid_has()`: whether the guest's table has the bit, supported or not. */
  tableHas(feature: Feature): boolean {
    return (register(this.table, feature.word) & feature.mask) !== 0;
  }

  private adjust(caps: OverlayCaps, vendor: VendorModule): void {
    const scope: GuestScope = { ...caps.scope, caps: caps.words, guest: this };
    for (const { feature, value } of rowsOf(vendor, caps.scope.line)) {
      if (value.number(scope) !== 0) this.words[feature.word.id]! |= feature.mask;
      else this.words[feature.word.id]! &= ~feature.mask;
    }
  }
}

/** `guest_cpuid_is_amd_or_hygon()` */
export function isAmdCompatible(table: CpuidTable): boolean {
  const at = table.find(0, ANY_INDEX);
  if (at < 0) return false;
  const { words } = table;
  return AMD_COMPATIBLE.some(
    ([ebx, ecx, edx]) => words[at + EBX] === ebx && words[at + ECX] === ecx && words[at + EDX] === edx,
  );
}

/** `cpuid_query_maxphyaddr()` */
function maxPhysicalAddressBits(table: CpuidTable): number {
  const extended = table.find(0x8000_0000, ANY_INDEX);
  if (extended < 0 || table.words[extended + EAX]! < 0x8000_0008) return DEFAULT_MAXPHYADDR;
  const sizes = table.find(0x8000_0008, ANY_INDEX);
  return sizes < 0 ? DEFAULT_MAXPHYADDR : table.words[sizes + EAX]! & 0xff;
}

/** `rsvd_bits(bits, 63)` */
function reservedAbove(bits: number): bigint {
  return bits > 63 ? 0n : (1n << 64n) - (1n << BigInt(bits));
}

function pvFeatures(table: CpuidTable): number {
  const base = kvmSignatureBase(table.words, table.count);
  const at = base === 0 ? -1 : table.find((base | 0x4000_0001) >>> 0, ANY_INDEX);
  return at < 0 ? 0 : table.words[at + EAX]!;
}

/** Whether the word stands for a register that a CPU answers (`reverse_cpuid[]`). */
function hasHardwareLeaf(word: Word): boolean {
  return word.kind === 'kernel' || word.kind === 'kvm_only';
}

function register(table: CpuidTable, { function: fn, index, registerIndex }: Word): number {
  const at = table.find(fn, index);
  return at < 0 ? 0 : table.words[at + EAX + registerIndex]!;
}

const masks = new WeakMap<OverlayCaps, Uint32Array>();

/** Bits that follow the vCPU's state; the table has their current value, whatever KVM supports. */
const RUNTIME = ['OSXSAVE', 'OSPKE'].map(featureNamed);

/** What of each word a guest may have: KVM's capabilities, what KVM emulates even in part, runtime bits. */
function masksOf(caps: OverlayCaps): Uint32Array {
  const known = masks.get(caps);
  if (known) return known;
  const made = caps.scope.parameters.guestCapsArray
    ? supportedMasks(caps)
    : new Uint32Array(WORD_COUNT).fill(EVERY_BIT);
  masks.set(caps, made);
  return made;
}

function supportedMasks(caps: OverlayCaps): Uint32Array {
  const made = Uint32Array.from(caps.words);
  const emulated = emulatedCpuid(caps, true);
  for (const word of WORDS) {
    if (!word || !hasHardwareLeaf(word)) continue;
    const entry = emulated.find((candidate) => isEmulatedIn(candidate, word, caps));
    if (entry) made[word.id]! |= entry[word.register];
  }
  for (const { word, mask } of RUNTIME) made[word.id]! |= mask;
  return made;
}

/** `cpuid_func_emulated()`: by function alone before 7.3, so that RDPID of 7.0.ECX counts in 7.1.ECX too. */
function isEmulatedIn(entry: { function: number; index: number }, word: Word, caps: OverlayCaps): boolean {
  if (entry.function !== word.function) return false;
  return !caps.scope.parameters.emulatedLookupBySubleaf || entry.index === word.index;
}

interface GuestScope extends KvmScope {
  readonly guest: GuestCaps;
}

interface CompiledRow {
  readonly feature: Feature;
  readonly value: Expression<GuestScope>;
}

const compiled = new Map<string, readonly CompiledRow[]>();

function rowsOf(vendor: VendorModule, line: KernelLine): readonly CompiledRow[] {
  const key = `${vendor.name} ${line}`;
  const known = compiled.get(key);
  if (known) return known;
  const dialect = guestDialect(vendor);
  const rows = [...COMMON_GUEST_ROWS, ...vendor.guestRows]
    .filter((row) => inRange(line, row.since, row.until))
    .map((row) => ({ feature: featureNamed(row.feature), value: compileExpression(row.value, dialect) }));
  compiled.set(key, rows);
  return rows;
}

function guestDialect(vendor: VendorModule): Dialect<GuestScope> {
  const inner = dialectOf(vendor);
  return {
    variable: inner.variable,
    call(name, args) {
      // The other calls take a KvmScope, which a GuestScope is.
      if (name !== 'guest') return inner.call(name, args as readonly Argument<KvmScope>[]);
      const feature = featureNamed(args[0]!.text);
      return ({ guest }) => (guest.has(feature) ? 1 : 0);
    },
  };
}
