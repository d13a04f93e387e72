import { type CpuidRow, REGISTERS, type Register } from '../../src/cpuid/entry.js';
import { WORDS } from '../../src/cpuid/features.js';
import { msrNamed } from '../../src/emu/msr-rows.js';
import { RawCpuid } from '../../src/emu/raw-cpuid.js';
import { SILICON_BITS, Silicon } from '../../src/emu/silicon.js';

/** A part that has everything that its vendor's manual knows, less what a test takes away. */
export interface Part {
  readonly vendor?: 'intel' | 'amd';
  /** Names of CPUID bits that are not there. */
  readonly without?: readonly string[];
  /** Names of CPUID bits that are there although they stand for the lack of something. */
  readonly and?: readonly string[];
  readonly physicalBits?: number;
  /** Registers that differ: `'a.0.eax': 0`. */
  readonly registers?: Readonly<Record<string, number>>;
  /** Values of MSRs by name. */
  readonly msrs?: Readonly<Record<string, bigint>>;
}

/** Bits that say that something is not there; they are left out. */
const LACKS = new Set(['EFER_LMSLE_MBZ', 'ANYTHREAD_DEPRECATED']);

const MAKERS = { intel: [0x756e6547, 0x6c65746e, 0x49656e69], amd: [0x68747541, 0x444d4163, 0x69746e65] };

const ONES = (1n << 64n) - 1n;

const MSRS: Readonly<Record<string, bigint>> = {
  IA32_ARCH_CAPABILITIES: ONES,
  IA32_CORE_CAPABILITIES: 0xffn,
  IA32_PERF_CAPABILITIES: ONES,
  IA32_MCG_CAP: 0x0fff_ff20n,
  IA32_MTRRCAP: 0x50an,
  MSR_PLATFORM_INFO: ONES,
  IA32_VMX_PROCBASED_CTLS: ONES,
  IA32_VMX_PROCBASED_CTLS2: ONES,
  IA32_VMX_EXIT_CTLS: ONES,
};

/** The bit of every name that a gate can use. */
export const BITS: ReadonlyMap<string, readonly [fn: number, index: number, register: Register, bit: number]> = new Map(
  [
    ...WORDS.flatMap((word) => {
      if (!word || word.kind === 'linux' || word.kind === 'pv') return [];
      return word.features
        .filter(({ kvm }) => kvm !== 'ALIASED_1_EDX')
        .map(({ name, bit }) => [name, [word.function, word.index, word.register, bit] as const] as const);
    }),
    ...SILICON_BITS.map(([name, ...place]) => [name, place] as const),
  ],
);

/** One of each kind: working out what a CPU has takes longer than using it. */
const known = new Map<string, Silicon>();

export function silicon(part: Part = {}): Silicon {
  const key = JSON.stringify(part, (_, value) => (typeof value === 'bigint' ? String(value) : value));
  const found = known.get(key) ?? build(part);
  known.set(key, found);
  return found;
}

function build(part: Part): Silicon {
  const { vendor = 'intel', without = [], and = [], physicalBits = 46, registers = {}, msrs = {} } = part;
  const rows = new Map<string, { -readonly [K in keyof CpuidRow]: number }>();
  const at = (fn: number, index: number) => {
    const key = `${fn}.${index}`;
    const row = rows.get(key) ?? { function: fn, index, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    rows.set(key, row);
    return row;
  };
  const [ebx = 0, edx = 0, ecx = 0] = MAKERS[vendor];
  Object.assign(at(0, 0), { eax: 0x24, ebx, ecx, edx });
  at(0x8000_0000, 0).eax = 0x8000_0026;
  at(0x8000_0008, 0).eax = 0x3900 | physicalBits;
  Object.assign(at(0xa, 0), { eax: 0x0730_0805, edx: 0x604 });
  Object.assign(at(0xd, 0), { eax: 0x600e7 | 0x18 | 0x200 });
  Object.assign(at(0xd, 1), { ecx: 0x1d900 });
  at(0xd, 18).ecx = 4;
  at(0x14, 1).eax = 4;
  at(0x1c, 0).eax = 0xff;
  at(0x8000_0022, 0).ebx = 6;
  for (const [name, [fn, index, register, bit]] of BITS) {
    const present = LACKS.has(name) ? and.includes(name) : !without.includes(name);
    if (present) at(fn, index)[register] = (at(fn, index)[register] | (1 << bit)) >>> 0;
  }
  for (const [place, value] of Object.entries(registers)) {
    const [fn = '', index = '', register = ''] = place.split('.');
    const row = at(Number.parseInt(fn, 16), Number(index));
    row[REGISTERS.find((name) => name === register)!] = value;
  }
  const values = new Map(Object.entries({ ...MSRS, ...msrs }).map(([name, value]) => [msrNamed(name).index, value]));
  const cpuid = new RawCpuid(rows.values(), vendor === 'intel' ? 'basic' : 'zero');
  const made = new Silicon(cpuid, values);
  tables.set(made, cpuid);
  return made;
}

const tables = new WeakMap<Silicon, RawCpuid>();

/** The CPUID table of a part that {@link silicon} has made. */
export function cpuidOf(part: Silicon): RawCpuid {
  return tables.get(part)!;
}

/** A 64-bit value as two halves. */
export function halves(value: bigint): readonly [lo: number, hi: number] {
  return [Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))];
}

export function joined(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}
