import { REGISTERS, type Register } from '../cpuid/entry.js';
import { findFeature } from '../cpuid/features.js';
import { CR4_ROWS } from './control-rows.js';
import { MSR_ROWS, type MsrRow } from './msr-rows.js';
import type { RawCpuid } from './raw-cpuid.js';

/**
 * What a CPU is able to do, in silicon: the conditions ("gates") that bring MSRs and bits of control registers to life.
 * A guest's CPUID table has no say in this.
 *
 * A gate is alternatives (`|`) of conjunctions (`&`) of terms, each of which may be negated (`!`). A term is
 *
 * - a feature by its kernel name (`WAITPKG`), or one of {@link SILICON_BITS};
 * - `INTEL` or `AMD`, the vendor's line of MSRs;
 * - a bit of a capability MSR: `IA32_ARCH_CAPABILITIES[7]`;
 * - how many there are of something, from {@link COUNTS}: `PMC>3`.
 */

type BitRow = readonly [name: string, fn: number, index: number, register: Register, bit: number];

/** Bits of CPUID that gates need and that have no row in the feature table, in manual order. */
// biome-ignore format: one row per fact
export const SILICON_BITS: readonly BitRow[] = [
  ['SMX', 1, 0, 'ecx', 6],
  ['EST', 1, 0, 'ecx', 7],
  ['XTPR', 1, 0, 'ecx', 14],
  ['ACPI', 1, 0, 'edx', 22],
  ['HWP', 6, 0, 'eax', 7],
  ['EPB', 6, 0, 'ecx', 3],
  ['CQM', 7, 0, 'ebx', 12],
  ['RDT_A', 7, 0, 'ebx', 15],
  ['KEY_LOCKER', 7, 0, 'ecx', 23],
  ['PKS', 7, 0, 'ecx', 31],
  ['UINTR', 7, 0, 'edx', 5],
  ['SRBDS_CTRL', 7, 0, 'edx', 9],
  ['TSX_FORCE_ABORT', 7, 0, 'edx', 13],
  ['ARCH_LBR', 7, 0, 'edx', 19],
  ['HRESET', 7, 1, 'eax', 22],
  // Reserved: stands for a feature that nobody knows.
  ['UNKNOWN', 7, 1, 'edx', 20],
  ['ANYTHREAD_DEPRECATED', 0xa, 0, 'edx', 15],
  ['PT_CR3', 0x14, 0, 'ebx', 0],
  ['PT_PSB', 0x14, 0, 'ebx', 1],
  ['PT_MTC', 0x14, 0, 'ebx', 3],
  ['PT_PTW', 0x14, 0, 'ebx', 4],
  ['PT_POWER', 0x14, 0, 'ebx', 5],
  ['PT_PSB_PMI', 0x14, 0, 'ebx', 6],
  ['PT_EVENT', 0x14, 0, 'ebx', 7],
  ['PT_DISTNT', 0x14, 0, 'ebx', 8],
  ['PT_TOPA', 0x14, 0, 'ecx', 0],
  ['PT_FABRIC', 0x14, 0, 'ecx', 3],
  ['LBR_CPL', 0x1c, 0, 'ebx', 0],
  ['LBR_FILTER', 0x1c, 0, 'ebx', 1],
  ['LBR_STACK', 0x1c, 0, 'ebx', 2],
  ['TCE', 0x80000001, 0, 'ecx', 17],
  ['BPEXT', 0x80000001, 0, 'ecx', 26],
  ['HW_PSTATE', 0x80000007, 0, 'edx', 7],
  ['MCOMMIT', 0x80000008, 0, 'ebx', 8],
  ['WBINVD_INT', 0x80000008, 0, 'ebx', 13],
  ['AVIC', 0x8000000a, 0, 'edx', 13],
  ['UPPER_ADDR_IGNORE', 0x80000021, 0, 'eax', 7],
  ['LBR_V2', 0x80000022, 0, 'eax', 1],
];

/** Countable things, by what a gate calls them. */
const COUNTS: Readonly<Record<string, (silicon: Silicon) => number>> = {
  /** Version of architectural performance monitoring. */
  PMCVER: (silicon) => (silicon.vendor === 'intel' ? silicon.field(0xa, 0, 'eax', 7, 0) : 0),
  /** General-purpose counters, Intel's. */
  PMC: (silicon) => (silicon.vendor === 'intel' ? silicon.field(0xa, 0, 'eax', 15, 8) : 0),
  /** Fixed-function counters. */
  FIXED: (silicon) => (silicon.allows('PMCVER>1') ? silicon.field(0xa, 0, 'edx', 4, 0) : 0),
  /** Core counters, AMD's (APM volume 2, 13.2.1). */
  AMDPMC: (silicon) => {
    if (silicon.vendor !== 'amd') return 0;
    return silicon.field(0x8000_0022, 0, 'ebx', 3, 0) || (silicon.has('PERFCTR_CORE') ? 6 : 4);
  },
  /** Machine-check banks. */
  MC: (silicon) => Number(silicon.msr('IA32_MCG_CAP') & 0xffn),
  /** Variable-range MTRRs. */
  MTRR: (silicon) => Number(silicon.msr('IA32_MTRRCAP') & 0xffn),
  /** Last branch records at the largest depth. */
  LBR: (silicon) => 8 * (32 - Math.clz32(silicon.field(0x1c, 0, 'eax', 7, 0))),
  /** Address ranges of processor trace. */
  PTADDR: (silicon) => (silicon.has('INTEL_PT') ? silicon.field(0x14, 1, 'eax', 2, 0) : 0),
};

/** A set of bits: `63:12 3 1:0`, each optionally with a gate, as in `2?SPEC_CTRL_SSBD|AMD_SSBD`; or a {@link WordName}. */
export type BitsText = string;

/** Masks that are read from CPUID as a whole. `PHYS:12`: the physical address bits from bit 12 on. */
type WordName = 'PHYS' | 'XCR0' | 'XSS' | 'XFD' | 'CR4';

const ALL = (1n << 64n) - 1n;
const places = new Map(SILICON_BITS.map((row) => [row[0], row]));
const rowsByName = new Map<string, MsrRow>(MSR_ROWS.map((row) => [row.name, row]));

export class Silicon {
  /** Whose line of MSRs it is: all but AMD and Hygon follow Intel. */
  readonly vendor: 'intel' | 'amd';
  /** MAXPHYADDR. */
  readonly physicalBits: number;
  /** Of a canonical address that is loaded into an MSR, whatever the paging mode is: 48 or 57. */
  readonly linearBits: number;
  /** What XCR0 may hold. */
  readonly xcr0: bigint;
  /** What IA32_XSS may hold. */
  readonly xss: bigint;

  private readonly cpuid: RawCpuid;
  private readonly values: ReadonlyMap<number, bigint>;
  private readonly out = new Uint32Array(4);
  private readonly answers = new Map<string, boolean>();
  private readonly masks = new Map<string, bigint>();

  /** @param values the MSRs of this part, by index: above all those that describe it */
  constructor(cpuid: RawCpuid, values: ReadonlyMap<number, bigint> = new Map()) {
    this.cpuid = cpuid;
    this.values = values;
    const maker = this.register(0, 0, 'ebx');
    // "Auth"enticAMD, "Hygo"nGenuine
    this.vendor = maker === 0x6874_7541 || maker === 0x6f67_7948 ? 'amd' : 'intel';
    this.physicalBits = this.field(0x8000_0008, 0, 'eax', 7, 0) || 36;
    this.linearBits = this.has('LA57') ? 57 : 48;
    this.xcr0 = this.has('XSAVE') ? pair(this.register(0xd, 0, 'eax'), this.register(0xd, 0, 'edx')) : 0n;
    this.xss = this.has('XSAVES') ? pair(this.register(0xd, 1, 'ecx'), this.register(0xd, 1, 'edx')) : 0n;
  }

  /** One register of the CPUID instruction; 0 for functions beyond the maximum. */
  register(fn: number, index: number, register: Register): number {
    if (fn !== 0 && fn > this.cpuid.maximum(fn)) return 0;
    this.cpuid.execute(fn, index, this.out);
    return this.out[REGISTERS.indexOf(register)]!;
  }

  /** Some bits of one register. */
  field(fn: number, index: number, register: Register, high: number, low: number): number {
    return (this.register(fn, index, register) >>> low) & (2 ** (high - low + 1) - 1);
  }

  /** Whether CPUID has the bit. Throws on a name that nobody has given to a bit. */
  has(name: string): boolean {
    const feature = findFeature(name);
    if (feature && feature.word.kind !== 'linux' && feature.word.kind !== 'pv') {
      const { word, mask } = feature;
      return (this.register(word.function, word.index, word.register) & mask) !== 0;
    }
    const place = places.get(name);
    if (!place) throw new Error(`no CPUID bit is called ${name}`);
    return this.field(place[1], place[2], place[3], place[4], place[4]) === 1;
  }

  /** The value of a capability MSR by name; 0 when this CPU has no such MSR. */
  msr(name: string): bigint {
    const row = rowsByName.get(name);
    if (!row) throw new Error(`no MSR is called ${name}`);
    return this.allows(row.gate) ? (this.values.get(row.index) ?? this.reset(row)) : 0n;
  }

  /** The value of an MSR at reset. */
  reset(row: MsrRow): bigint {
    const own = this.values.get(row.index);
    if (own !== undefined) return BigInt.asUintN(64, own);
    return typeof row.reset === 'bigint' ? row.reset : this.word(row.reset);
  }

  /** Whether the gate is open. Throws on a gate that makes no sense. */
  allows(gate: string): boolean {
    if (gate === '') return true;
    const known = this.answers.get(gate);
    if (known !== undefined) return known;
    const open = this.evaluate(gate);
    this.answers.set(gate, open);
    return open;
  }

  /** The set of bits as a mask, without those whose gate is shut. */
  mask(bits: BitsText): bigint {
    const known = this.masks.get(bits);
    if (known !== undefined) return known;
    let mask = 0n;
    for (const part of bits.split(' ').filter(Boolean)) {
      const [what = '', gate = ''] = part.split('?');
      if (this.allows(gate)) mask |= this.range(what);
    }
    this.masks.set(bits, mask);
    return mask;
  }

  private evaluate(gate: string): boolean {
    if (gate.includes('|')) return gate.split('|').some((terms) => this.allows(terms));
    return gate.includes('&') ? gate.split('&').every((term) => this.allows(term)) : this.term(gate);
  }

  private range(text: string): bigint {
    const [high = '', low = ''] = text.split(':');
    if (/^\d/.test(high)) return bitRange(Number(high), Number(low === '' ? high : low));
    return this.word(high as WordName) & (low === '' ? ALL : ALL << BigInt(low));
  }

  private word(name: WordName): bigint {
    switch (name) {
      case 'PHYS':
        return bitRange(this.physicalBits - 1, 0);
      case 'XCR0':
        return this.xcr0;
      case 'XSS':
        return this.xss;
      case 'XFD':
        return this.xfd();
      case 'CR4':
        return CR4_ROWS.reduce((mask, { bit, gate }) => mask | (this.allows(gate) ? 1n << BigInt(bit) : 0n), 0n);
      default:
        throw new Error(`no mask is called ${name}`);
    }
  }

  /** Components that IA32_XFD can disable: CPUID.(EAX=0DH,ECX=n):ECX[2]. */
  private xfd(): bigint {
    let mask = 0n;
    for (let component = 2; component < 63; component++) {
      const bit = 1n << BigInt(component);
      if ((this.xcr0 & bit) !== 0n && this.field(0xd, component, 'ecx', 2, 2) === 1) mask |= bit;
    }
    return mask;
  }

  private term(text: string): boolean {
    if (text.startsWith('!')) return !this.term(text.slice(1));
    if (text === 'INTEL') return this.vendor === 'intel';
    if (text === 'AMD') return this.vendor === 'amd';
    const bit = /^(\w+)\[(\d+)\]$/.exec(text);
    if (bit) return ((this.msr(bit[1]!) >> BigInt(bit[2]!)) & 1n) === 1n;
    const count = /^(\w+)>(\d+)$/.exec(text);
    if (!count) return this.has(text);
    const counter = COUNTS[count[1]!];
    if (!counter) throw new Error(`nothing is counted as ${count[1]}`);
    return counter(this) > Number(count[2]);
  }
}

function pair(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}

function bitRange(high: number, low: number): bigint {
  return (2n << BigInt(high)) - (1n << BigInt(low));
}
