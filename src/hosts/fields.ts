import { type ArchitectureField, architectureFields } from '../cpuid/architecture.js';
import { type CpuidRow, REGISTERS, type Register } from '../cpuid/entry.js';
import { findFeature } from '../cpuid/features.js';

/** Values by the architecture's field names, for one function and index. */
export type FieldValues = Readonly<Record<string, number>>;

/** Registers by name, for what is a mask by nature. */
export type RegisterValues = Readonly<Partial<Record<Register, number>>>;

/** One bit of one CPUID register. */
export interface BitPlace {
  readonly function: number;
  readonly index: number;
  readonly register: Register;
  readonly mask: number;
}

/** The functions that have named fields: `[first, last]` of each range. */
const NAMED_RANGES = [
  [0x0, 0x28],
  [0x8000_0000, 0x8000_0028],
  [0xc000_0000, 0xc000_0006],
] as const;

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** Builds a row from values by field name. Throws on an unknown name and on a value that its field cannot hold. */
export function fieldRow(fn: number, index: number, values: FieldValues): CpuidRow {
  const registers = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const fields = architectureFields(fn).filter((field) => field.firstIndex <= index && index <= field.lastIndex);
  for (const [name, value] of Object.entries(values)) {
    const field = fields.find((item) => item.name === name);
    if (!field) throw new Error(`CPUID ${hex(fn)}.${index} has no field ${name}`);
    const { register, high, low } = field;
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (high - low + 1))
      throw new Error(`${value} does not fit into ${name} of CPUID ${hex(fn)}.${index}`);
    registers[register] = (registers[register] | (value << low)) >>> 0;
  }
  return { function: fn, index, ...registers };
}

/** Builds a row from whole registers; those that are not given are zero. */
export function registerRow(fn: number, index: number, registers: RegisterValues): CpuidRow {
  const { eax = 0, ebx = 0, ecx = 0, edx = 0 } = registers;
  return { function: fn, index, eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 };
}

/** Both rows' bits in one row. */
export function mergeRows(a: CpuidRow, b: CpuidRow): CpuidRow {
  const { function: fn, index } = a;
  return registerRow(fn, index, {
    eax: a.eax | b.eax,
    ebx: a.ebx | b.ebx,
    ecx: a.ecx | b.ecx,
    edx: a.edx | b.edx,
  });
}

let singleBits: readonly ArchitectureField[] | undefined;

/** The single-bit fields of that name; a name that several functions use has several. */
function bitsNamed(name: string): readonly ArchitectureField[] {
  singleBits ??= NAMED_RANGES.flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, offset) => architectureFields(first + offset)).flat(),
  ).filter((field) => field.high === field.low);
  return singleBits.filter((field) => field.name === name);
}

/**
 * Where a feature's bit lies. Names are the kernel's (`AVX512F`), else the architecture's (`tm2`); `name@leaf`
 * (`mba@80000008`) picks one of several fields that share a name. Throws unless exactly one bit fits.
 */
export function placeOf(text: string): BitPlace {
  const [name = '', leaf] = text.split('@');
  const feature = leaf === undefined ? findFeature(name) : undefined;
  if (feature && feature.word.kind !== 'linux' && feature.word.kind !== 'pv') {
    const { function: fn, index, registerIndex } = feature.word;
    return { function: fn, index, register: REGISTERS[registerIndex] as Register, mask: feature.mask };
  }
  const fields = bitsNamed(name).filter((field) => leaf === undefined || field.function === Number.parseInt(leaf, 16));
  const [field] = fields;
  if (!field) throw new Error(`no CPUID bit is called ${text}`);
  if (fields.length > 1)
    throw new Error(`${text} is in the functions ${fields.map((item) => hex(item.function)).join(', ')}`);
  return { function: field.function, index: field.firstIndex, register: field.register, mask: (1 << field.low) >>> 0 };
}

/** The rows that have the named bits set and nothing else. */
export function bitRows(names: readonly string[]): readonly CpuidRow[] {
  return names.map((name) => {
    const { function: fn, index, register, mask } = placeOf(name);
    return registerRow(fn, index, { [register]: mask });
  });
}
