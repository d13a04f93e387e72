import { architectureFields, bitName } from '../../cpuid/architecture.js';
import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, REGISTERS, type Register } from '../../cpuid/entry.js';
import { type Feature, inOverlay, kvmClass, wordAt } from '../../cpuid/features.js';
import { ENTRY2_WORDS } from '../abi.js';
import type { OverlayCaps } from '../caps.js';
import { putEntry } from '../cpuid-table.js';
import { permittedXcr0 } from '../supported.js';
import type { AllowedOptions, AllowedTable, Resolved, ResolvedField } from './allowed-table.js';
import { isForeignSignatureLeaf } from './verify.js';

/** Why a bit is refused. */
export type Reason =
  | 'unknown'
  | 'unsupported-by-host'
  | 'unsupported-by-kvm'
  | 'not-in-overlay'
  | 'reserved'
  | 'field-too-large'
  | 'value-mismatch'
  | 'no-permission'
  | 'too-many-entries'
  | 'address-width';

/** One refused bit. */
export interface RefusedBit {
  readonly bit: number;
  /** The kernel's name, else the architecture's; `null` when nobody names it. */
  readonly name: string | null;
  readonly reason: Reason;
  /** Host state that a guest with this feature can change unless KVM saves and restores it. */
  readonly clobbers: readonly string[];
  /** What in particular took the bit away, where KVM's rules tell. */
  readonly because?: string;
}

/** One refused register of one entry. Numbers are u32. */
export interface Finding {
  /** Position in the table. */
  readonly entry: number;
  readonly function: number;
  readonly index: number;
  readonly register: Register | 'nent';
  readonly value: number;
  /** The allowed mask or value in hex, or the limits of the fields. */
  readonly allowed: string;
  /** The bits of `value` that are not allowed; for a fixed value the bits that differ. */
  readonly offending: number;
  readonly rule: Resolved['kind'] | 'nent' | 'kvm_check_cpuid';
  readonly bits: readonly RefusedBit[];
  /** Who says so: a mark of the rule table, or the kernel function. */
  readonly source: string;
  readonly why: string;
}

const hex = (value: number): string => (value >>> 0).toString(16);

const exceeds = (field: ResolvedField, value: number): boolean => {
  const part = (value & field.mask) >>> field.low;
  return field.values ? !field.values.includes(part) : part > field.limit;
};

/** The bits that a rule refuses; 0 when it accepts the value. */
export function offendingBits(rule: Resolved, value: number): number {
  if (rule.kind === 'ignored') return 0;
  if (rule.kind === 'fixed') return rule.orZero && value === 0 ? 0 : (value ^ rule.value) >>> 0;
  let offending = value & ~rule.mask;
  for (const field of rule.fields) {
    offending &= ~field.mask;
    if (exceeds(field, value)) offending |= value & field.mask;
  }
  return offending >>> 0;
}

/** What a rule allows, in a few characters: a hexadecimal mask or value, the limits of fields. */
export function describeRule(rule: Resolved): string {
  if (rule.kind === 'fixed') return rule.orZero ? `${hex(rule.value)} or 0` : hex(rule.value);
  const limits = rule.fields.map(
    ({ high, low, limit, values }) => `[${high}:${low}]${values ? ` in {${values.join(',')}}` : `<=${limit}`}`,
  );
  if (limits.length > 0 && rule.mask === 0) return limits.join(' ');
  return [hex(rule.mask), ...limits].join(' ');
}

/** Explains refusals and repairs tables: the cold side of {@link firstRefused}. */
export class Explainer {
  private readonly allowed: AllowedTable;
  private readonly caps: OverlayCaps;
  private readonly permitted: number;

  constructor(allowed: AllowedTable, options: AllowedOptions) {
    this.allowed = allowed;
    this.caps = options.caps;
    this.permitted = permittedXcr0(options.caps, options.guestPermissions);
  }

  /** Everything that paranoid mode refuses in a table: entry by entry, EAX to EDX. */
  findings(entries: readonly CpuidEntry2[]): Finding[] {
    return this.refused(entries).flatMap((position) => this.entryFindings(entries[position]!, position));
  }

  /** The positions of the entries that break a rule. */
  private refused(entries: readonly CpuidEntry2[]): number[] {
    const words = new Uint32Array(entries.length * ENTRY2_WORDS);
    for (const [position, entry] of entries.entries()) putEntry(words, position, entry);
    const positions: number[] = [];
    for (const [position, entry] of entries.entries()) {
      if (!this.allowed.refuses(words, position * ENTRY2_WORDS)) continue;
      if (!isForeignSignatureLeaf(entry.function, words, entries.length)) positions.push(position);
    }
    return positions;
  }

  private entryFindings(entry: CpuidEntry2, position: number): Finding[] {
    const sets = this.rulesOf(entry);
    const { function: fn, index } = entry;
    return REGISTERS.flatMap((register, number) => {
      const value = entry[register];
      const refusing = sets.map((set) => set[number]!).filter((rule) => offendingBits(rule, value) !== 0);
      const strictest = refusing[0];
      if (strictest === undefined) return [];
      const offending = refusing.reduce((all, rule) => all | offendingBits(rule, value), 0) >>> 0;
      const bits = this.explain(fn, register, offending, value, refusing);
      const subleaf =
        sets.length > 1 ? `; without a significant index the entry answers sub-leaf ${strictest.index} too` : '';
      return [
        {
          entry: position,
          function: fn,
          index,
          register,
          value,
          allowed: describeRule(strictest),
          offending,
          rule: strictest.kind,
          bits,
          source: strictest.row?.source ?? 'P',
          why: `${strictest.row?.why ?? 'a leaf that KVM does not know'}${subleaf}`,
        },
      ];
    });
  }

  private rulesOf(entry: CpuidEntry2): readonly (readonly Resolved[])[] {
    const significant = (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0;
    return this.allowed.rulesFor(entry.function, entry.index, significant);
  }

  private explain(
    fn: number,
    register: Register,
    offending: number,
    value: number,
    rules: readonly Resolved[],
  ): RefusedBit[] {
    const bits: RefusedBit[] = [];
    for (let bit = 0; bit < 32; bit++) {
      if ((offending & (1 << bit)) === 0) continue;
      const rule = rules.find((candidate) => (offendingBits(candidate, value) & (1 << bit)) !== 0)!;
      bits.push(this.explainBit(fn, register, bit, rule));
    }
    return bits;
  }

  private explainBit(fn: number, register: Register, bit: number, rule: Resolved): RefusedBit {
    const feature = wordAt(fn, rule.index, REGISTERS.indexOf(register))?.features.find((item) => item.bit === bit);
    const name = bitName(fn, rule.index, register, bit);
    const plain = (reason: Reason): RefusedBit => ({ bit, name, reason, clobbers: feature?.clobbers ?? [] });
    const field = rule.fields.find((candidate) => (candidate.mask & (1 << bit)) !== 0);
    if (field) return plain(field.values ? 'address-width' : 'field-too-large');
    if (rule.kind === 'fixed') return plain('value-mismatch');
    if (fn === 0xd) return plain(this.xsaveReason(register, bit, rule, name));
    if (feature) return { ...plain('unsupported-by-kvm'), ...this.featureReason(feature) };
    if (name !== null) return plain('unsupported-by-kvm');
    return plain(rule.kind === 'zero' && architectureFields(fn).length > 0 ? 'reserved' : 'unknown');
  }

  private featureReason(feature: Feature): Pick<RefusedBit, 'reason' | 'because'> {
    const { scope, overlay, words, clearings } = this.caps;
    const listed = kvmClass(feature, scope.line);
    if (listed === null) return { reason: 'unsupported-by-kvm' };
    const ownedByUser = listed === 'USER' || listed === 'PV' || listed === 'PV_SCHED';
    if (!ownedByUser && listed !== 'EMULATED' && listed !== 'SYNTHESIZED' && !this.hostHas(feature)) {
      return { reason: 'unsupported-by-host' };
    }
    if (!inOverlay(feature, overlay) || (words[feature.word.id]! & feature.mask) !== 0)
      return { reason: 'not-in-overlay' };
    const clearing = clearings.findLast((item) => item.feature === feature);
    if (clearing) return { reason: 'unsupported-by-kvm', because: clearing.step.when ?? 'always' };
    const inKernel = (scope.words[feature.word.id]! & feature.mask) !== 0;
    return { reason: inKernel || feature.word.kind !== 'kernel' ? 'unsupported-by-kvm' : 'unsupported-by-host' };
  }

  private hostHas(feature: Feature): boolean {
    const { cpuid } = this.caps.scope.cpu;
    const { function: fn, index, registerIndex } = feature.word;
    if (fn > cpuid.maximum(fn)) return false;
    cpuid.execute(fn, index, answer);
    return (answer[registerIndex]! & feature.mask) !== 0;
  }

  /** Leaf 0DH: components of XCR0 and IA32_XSS, and the instructions of sub-leaf 1. */
  private xsaveReason(register: Register, bit: number, rule: Resolved, name: string | null): Reason {
    const { supportedXcr0, supportedXss } = this.caps;
    const { index } = rule;
    if (index === 1 && register === 'eax') {
      const feature = wordAt(0xd, 1, 0)?.features.find((item) => item.bit === bit);
      return feature ? this.featureReason(feature).reason : name === null ? 'unknown' : 'unsupported-by-kvm';
    }
    const component = index >= 2 ? index : register === 'edx' ? bit + 32 : bit;
    if (index >= 2 && rule.kind !== 'zero') return 'reserved';
    if (component > 31) return name === null ? 'unknown' : 'unsupported-by-kvm';
    const mask = 1 << component;
    if ((supportedXcr0 & mask) !== 0 && (this.permitted & mask) === 0) return 'no-permission';
    if (((supportedXcr0 | supportedXss) & mask) !== 0) return 'reserved';
    return this.hostHasComponent(mask) ? 'unsupported-by-kvm' : 'unsupported-by-host';
  }

  private hostHasComponent(mask: number): boolean {
    const { cpuid } = this.caps.scope.cpu;
    if (cpuid.maximum(0xd) < 0xd) return false;
    cpuid.execute(0xd, 0, answer);
    const user = answer[0]!;
    cpuid.execute(0xd, 1, answer);
    return ((user | answer[2]!) & mask) !== 0;
  }

  /** The nearest table that paranoid mode accepts: each refused register changed as little as its rules ask. */
  nearest(entries: readonly CpuidEntry2[]): CpuidEntry2[] {
    const table = [...entries];
    for (const position of this.refused(entries)) {
      const entry = entries[position]!;
      const sets = this.rulesOf(entry);
      const repaired = REGISTERS.map((register, number) =>
        repair(
          entry[register],
          sets.map((set) => set[number]!),
        ),
      );
      const [eax = 0, ebx = 0, ecx = 0, edx = 0] = repaired;
      table[position] = { ...entry, eax, ebx, ecx, edx };
    }
    return table;
  }
}

const answer = new Uint32Array(4);

/** The value nearest to `value` that all rules accept. */
function repair(value: number, rules: readonly Resolved[]): number {
  const accepted = (candidate: number) => rules.every((rule) => offendingBits(rule, candidate) === 0);
  if (accepted(value)) return value;
  const repaired = rules.reduce(repairOne, value);
  return accepted(repaired) ? repaired : 0;
}

function repairOne(value: number, rule: Resolved): number {
  const offending = offendingBits(rule, value);
  if (offending === 0) return value;
  if (rule.kind === 'fixed') return rule.value;
  let repaired = value & ~offending;
  for (const field of rule.fields) {
    if (exceeds(field, value)) repaired |= (nearestFieldValue(field, value) << field.low) & field.mask;
  }
  return repaired >>> 0;
}

function nearestFieldValue(field: ResolvedField, value: number): number {
  if (!field.values) return field.limit;
  const part = (value & field.mask) >>> field.low;
  return field.values.reduce((best, item) => (Math.abs(item - part) < Math.abs(best - part) ? item : best));
}
