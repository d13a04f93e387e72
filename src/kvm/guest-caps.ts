import { type Argument, compileExpression, type Dialect, type Expression } from '../cpuid/expression.js';
import { type Feature, featureNamed, WORD_COUNT, WORDS, type Word } from '../cpuid/features.js';
import { inRange, type KernelLine } from '../cpuid/kernel-line.js';
import { EAX, EBX, ECX, EDX } from './abi.js';
import { dialectOf, type OverlayCaps } from './caps.js';
import { ANY_INDEX, type CpuidTable } from './cpuid-table.js';
import { cr4ReservedBits } from './cr4.js';
import { COMMON_GUEST_ROWS } from './guest-cap-rows.js';
import type { Defect } from './policy.js';
import { isKvmSignature, KVM_CPUID_SIGNATURE, kvmSignatureBase } from './pv.js';
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
  /** All of the table that counts here, see {@link INPUT}. */
  private readonly inputs: Uint32Array;

  /**
   * What a table gives; `latest` itself if that says so of this table too: the vCPUs of a VM hardly differ in what
   * counts here.
   *
   * @param defects those of the VM's kernel
   */
  static of(
    table: CpuidTable,
    caps: OverlayCaps,
    vendor: VendorModule,
    latest: GuestCaps | null,
    defects: ReadonlySet<Defect>,
  ): GuestCaps {
    readInputs(table, caps, scratch);
    return latest?.isOf(scratch) ? latest : new GuestCaps(scratch.slice(), caps, vendor, defects);
  }

  private constructor(inputs: Uint32Array, caps: OverlayCaps, vendor: VendorModule, defects: ReadonlySet<Defect>) {
    this.inputs = inputs;
    const masks = masksOf(caps);
    for (const { id } of HARDWARE_WORDS) this.words[id] = masks[id]! & inputs[id]!;
    this.adjust(caps, vendor);
    this.supportedXcr0 = inputs[INPUT.xcr0]!;
    this.supportedXss = inputs[INPUT.xss]!;
    this.maxPhysicalAddressBits = inputs[INPUT.maxPhysicalAddressBits]!;
    this.reservedGpaBits = reservedAbove(this.maxPhysicalAddressBits);
    const { line } = caps.scope;
    this.cr4ReservedBits = defects.has('cr4-guest-cpuid-only')
      ? cr4ReservedBits(inputs, line)
      : cr4ReservedBits(caps.words, line) | cr4ReservedBits(this.words, line);
    this.isAmdCompatible = inputs[INPUT.isAmdCompatible] !== 0;
    this.pvFeatures = inputs[INPUT.pvFeatures]!;
  }

  /** `guest_cpu_cap_has()`; before 6.18 `guest_cpuid_has()`. */
  has(feature: Feature): boolean {
    return (this.words[feature.word.id]! & feature.mask) !== 0;
  }

  /** `guest_cpuid_has()`: whether the guest's table has the bit, supported or not. */
  tableHas(feature: Feature): boolean {
    return (this.inputs[feature.word.id]! & feature.mask) !== 0;
  }

  private isOf(inputs: Uint32Array): boolean {
    for (let i = 0; i < INPUT_COUNT; i++) if (inputs[i] !== this.inputs[i]) return false;
    return true;
  }

  private adjust(caps: OverlayCaps, vendor: VendorModule): void {
    const scope: GuestScope = { ...caps.scope, caps: caps.words, guest: this };
    for (const { feature, value } of rowsOf(vendor, caps.scope.line)) {
      if (value.number(scope) !== 0) this.words[feature.word.id]! |= feature.mask;
      else this.words[feature.word.id]! &= ~feature.mask;
    }
  }
}

/** Whether the word stands for a register that a CPU answers (`reverse_cpuid[]`). */
const HARDWARE_WORDS = WORDS.filter((word) => word?.kind === 'kernel' || word?.kind === 'kvm_only') as Word[];

/**
 * The same by leaf, for a loop: function, index, how many words the leaf has, and of each of them the register and the id.
 */
const PLAN = Int32Array.from(
  HARDWARE_WORDS.flatMap((first, at) => {
    const leaf = HARDWARE_WORDS.filter((word) => word.function === first.function && word.index === first.index);
    if (HARDWARE_WORDS.indexOf(leaf[0]!) !== at) return [];
    return [first.function, first.index, leaf.length, ...leaf.flatMap((word) => [EAX + word.registerIndex, word.id])];
  }),
);

/** What of a table decides: the registers of the hardware words by their ids, behind them these. */
const INPUT = {
  xcr0: WORD_COUNT,
  xss: WORD_COUNT + 1,
  maxPhysicalAddressBits: WORD_COUNT + 2,
  isAmdCompatible: WORD_COUNT + 3,
  pvFeatures: WORD_COUNT + 4,
} as const;
const INPUT_COUNT = WORD_COUNT + 5;

const scratch = new Uint32Array(INPUT_COUNT);

function readInputs(table: CpuidTable, caps: OverlayCaps, out: Uint32Array): void {
  const { words } = table;
  for (let i = 0; i < PLAN.length; ) {
    const at = table.findSigned(PLAN[i]!, PLAN[i + 1]!);
    const end = i + 3 + 2 * PLAN[i + 2]!;
    for (i += 3; i < end; i += 2) out[PLAN[i + 1]!] = at < 0 ? 0 : words[at + PLAN[i]!]!;
  }
  out[INPUT.xcr0] = guestSupportedXcr0(table, caps);
  out[INPUT.xss] = guestSupportedXss(table, caps);
  out[INPUT.maxPhysicalAddressBits] = maxPhysicalAddressBits(table);
  out[INPUT.isAmdCompatible] = isAmdCompatible(table) ? 1 : 0;
  out[INPUT.pvFeatures] = pvFeatures(table);
}

/** `guest_cpuid_is_amd_or_hygon()` */
export function isAmdCompatible(table: CpuidTable): boolean {
  const at = table.find(0, ANY_INDEX);
  if (at < 0) return false;
  const { words } = table;
  for (let i = 0; i < AMD_COMPATIBLE.length; i++) {
    const [ebx, ecx, edx] = AMD_COMPATIBLE[i]!;
    if (words[at + EBX] === ebx && words[at + ECX] === ecx && words[at + EDX] === edx) return true;
  }
  return false;
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

/** {@link kvmSignatureBase}, which is nearly always where it is by default. */
function signatureBaseOf(table: CpuidTable): number {
  const at = table.find(KVM_CPUID_SIGNATURE, ANY_INDEX);
  return at >= 0 && isKvmSignature(table.words, at) ? KVM_CPUID_SIGNATURE : kvmSignatureBase(table.words, table.count);
}

function pvFeatures(table: CpuidTable): number {
  const base = signatureBaseOf(table);
  const at = base === 0 ? -1 : table.find((base | 0x4000_0001) >>> 0, ANY_INDEX);
  return at < 0 ? 0 : table.words[at + EAX]!;
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
  for (const word of HARDWARE_WORDS) {
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
