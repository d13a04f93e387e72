import { ARCHITECTURE_ADDITIONS } from './architecture-additions.js';
import { ARCHITECTURE_ROWS } from './architecture-rows.js';
import { REGISTERS, type Register } from './entry.js';
import { wordAt } from './features.js';

/** One field of the architecture: a bit or a range of bits in one CPUID register. */
export interface ArchitectureField {
  readonly function: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly register: Register;
  readonly high: number;
  readonly low: number;
  readonly name: string;
  readonly description: string;
}

function range(text: string): [high: number, low: number] {
  const [high = '', low = high] = text.split(':');
  return [Number(high), Number(low)];
}

function parseRow(line: string): ArchitectureField {
  const [leaf = '', subleaves = '', register = '', bits = '', name = '', ...description] = line.split(' ');
  const [lastIndex, firstIndex] = range(subleaves);
  const [high, low] = range(bits);
  return {
    function: Number.parseInt(leaf, 16),
    firstIndex,
    lastIndex,
    register: register as Register,
    high,
    low,
    name,
    description: description.join(' '),
  };
}

let parsed: Map<number, ArchitectureField[]> | undefined;

/** The fields of one function, in manual order; parsed on first use. */
export function architectureFields(fn: number): readonly ArchitectureField[] {
  if (!parsed) {
    parsed = new Map();
    for (const line of [ARCHITECTURE_ROWS, ARCHITECTURE_ADDITIONS].flatMap((rows) => rows.trim().split('\n'))) {
      const field = parseRow(line);
      const list = parsed.get(field.function) ?? [];
      list.push(field);
      parsed.set(field.function, list);
    }
  }
  return parsed.get(fn) ?? [];
}

/** The field that covers a bit, or `undefined` when the architecture gives it no name. */
export function architectureFieldAt(
  fn: number,
  index: number,
  register: Register,
  bit: number,
): ArchitectureField | undefined {
  return architectureFields(fn).find(
    (field) =>
      field.register === register &&
      field.firstIndex <= index &&
      index <= field.lastIndex &&
      field.low <= bit &&
      bit <= field.high,
  );
}

/** What a bit is called: the kernel's name where it has one, else the architecture's; `null` when nobody names it. */
export function bitName(fn: number, index: number, register: Register, bit: number): string | null {
  const feature = wordAt(fn, index, REGISTERS.indexOf(register))?.features.find((item) => item.bit === bit);
  if (feature) return feature.name;
  return architectureFieldAt(fn, index, register, bit)?.name ?? null;
}
