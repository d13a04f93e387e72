import { bytesOf, encode, fits, sizesOf, type Value } from './encode.js';
import { FORMS, type Form, type FormOperand } from './forms.js';
import type { Mnemonic } from './op-rows.js';
import { AssemblyError, isLabel, type Operand, type ParsedOperand, parseOperand } from './operand.js';
import { CONTROL_REGISTERS } from './registers.js';

/**
 * A small assembler over the operation table, for probes and tests:
 *
 * ```ts
 * asm((a) => {
 *   a.mov('rax', 5);
 *   a.label('again');
 *   a.dec('rax');
 *   a.jne('again');
 *   a.umwait('ecx');
 * });
 * ```
 *
 * Of the encodings that fit it takes the shortest; branches to labels grow from rel8 to rel32 when they must.
 */

/** Second names of the conditions (SDM vol. 2A, Jcc) and of SHL. */
const ALIASES = {
  jc: 'jb',
  jna: 'jbe',
  jnae: 'jb',
  jnb: 'jae',
  jnbe: 'ja',
  jnc: 'jae',
  jng: 'jle',
  jnge: 'jl',
  jnl: 'jge',
  jnle: 'jg',
  jnz: 'jne',
  jpe: 'jp',
  jpo: 'jnp',
  jz: 'je',
  sal: 'shl',
} as const satisfies Readonly<Record<string, Mnemonic>>;

/** Code under construction: one method per mnemonic, and labels, data and LOCK. */
export type Assembler = AssemblerCore & {
  readonly [M in Mnemonic | keyof typeof ALIASES]: (...operands: Operand[]) => void;
};

/** Bytes, and where the labels are in them. */
export interface Assembly {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly labels: ReadonlyMap<string, number>;
}

const FORMS_OF = new Map<string, Form[]>();
for (const form of FORMS) FORMS_OF.set(form.mnemonic, [...(FORMS_OF.get(form.mnemonic) ?? []), form]);

/** The bytes of the code that `build` writes. */
export function asm(build: (a: Assembler) => void): Uint8Array<ArrayBuffer> {
  return assemble(build).bytes;
}

/** Likewise, with the offsets of the labels. */
export function assemble(build: (a: Assembler) => void): Assembly {
  const assembler = new AssemblerCore();
  build(assembler as Assembler);
  return assembler.finish();
}

/** A form and an operand size that the operands fit. */
interface Candidate {
  readonly form: Form;
  readonly size: number;
  readonly length: number;
}

interface Instruction {
  readonly text: string;
  readonly operands: readonly ParsedOperand[];
  readonly lock: boolean;
  /** From the shortest to the longest; those before `chosen` do not reach their label. */
  readonly candidates: readonly Candidate[];
  chosen: number;
}

type Item = { readonly bytes: readonly number[] } | { readonly label: string } | Instruction;

export class AssemblerCore {
  private readonly items: Item[] = [];
  private readonly labels = new Map<string, number>();
  private locked = false;

  /** Names this place. */
  label(name: string): void {
    if (!isLabel(name)) throw new AssemblyError(`label ${name}: expected a name that is no register`);
    if (this.labels.has(name)) throw new AssemblyError(`label ${name}: it is there already`);
    this.labels.set(name, 0);
    this.items.push({ label: name });
  }

  /** Bytes as they are. */
  db(...bytes: (number | Iterable<number>)[]): void {
    const flat = bytes.flatMap((part) => (typeof part === 'number' ? [part] : [...part]));
    const bad = flat.find((byte) => !Number.isInteger(byte) || byte < 0 || byte > 0xff);
    if (bad !== undefined) throw new AssemblyError(`db ${bad}: expected bytes from 0 to 0xff`);
    this.items.push({ bytes: flat });
  }

  /** The next instruction gets a LOCK prefix: `a.lock().inc('dword ptr [rbx]')`. */
  lock(): this {
    this.locked = true;
    return this;
  }

  /** An instruction by its name; what the methods are made of. */
  emit(mnemonic: Mnemonic, operands: readonly Operand[]): void {
    const lock = this.locked;
    this.locked = false;
    const text = `${lock ? 'lock ' : ''}${mnemonic} ${operands.map(show).join(', ')}`.trimEnd();
    const parsed = operands.map((operand) => parseFor(text, operand));
    this.items.push({
      text,
      operands: parsed,
      lock,
      candidates: candidatesFor(mnemonic, text, parsed, lock),
      chosen: 0,
    });
  }

  /** Resolves the labels. */
  finish(): Assembly {
    for (const item of this.items) if ('text' in item) this.checkLabels(item);
    do this.placeLabels();
    while (this.grow());
    const bytes = this.items.flatMap((item, i) => this.encodeItem(item, this.offsets[i]!));
    return { bytes: Uint8Array.from(bytes), labels: this.labels };
  }

  private offsets: number[] = [];

  private checkLabels({ text, operands }: Instruction): void {
    for (const operand of operands) {
      const label =
        operand.kind === 'label' ? operand.label : operand.kind === 'memory' ? operand.address.label : undefined;
      if (label !== undefined && !this.labels.has(label)) throw new AssemblyError(`${text}: no label ${label}`);
    }
  }

  private placeLabels(): void {
    let offset = 0;
    this.offsets = this.items.map((item) => {
      const here = offset;
      if ('label' in item) this.labels.set(item.label, here);
      else offset += 'bytes' in item ? item.bytes.length : item.candidates[item.chosen]!.length;
      return here;
    });
  }

  /** Lengthens the branches that do not reach. Nothing ever gets shorter, so this comes to an end. */
  private grow(): boolean {
    let grown = false;
    this.items.forEach((item, i) => {
      if (!('text' in item)) return;
      const { form, size } = item.candidates[item.chosen]!;
      const values = this.resolve(item, this.offsets[i]!);
      if (form.operands.every((operand, n) => fits(operand, values[n]!, size))) return;
      if (++item.chosen === item.candidates.length) throw new AssemblyError(`${item.text}: the target is out of reach`);
      grown = true;
    });
    return grown;
  }

  private encodeItem(item: Item, offset: number): readonly number[] {
    if ('label' in item) return [];
    if ('bytes' in item) return item.bytes;
    const { form, size } = item.candidates[item.chosen]!;
    return encode(form, size, this.resolve(item, offset), item.lock);
  }

  /** Operands with every label as a distance from the next instruction. */
  private resolve(item: Instruction, offset: number): Value[] {
    const { length } = item.candidates[item.chosen]!;
    const distance = (label: string): bigint => BigInt(this.labels.get(label)! - offset - length);
    return item.operands.map((operand): Value => {
      if (operand.kind === 'label') return { kind: 'relative', value: distance(operand.label) };
      if (operand.kind === 'here') return { kind: 'relative', value: operand.offset - BigInt(length) };
      if (operand.kind !== 'memory' || operand.address.label === undefined) return operand;
      const disp = operand.address.disp + distance(operand.address.label);
      return { kind: 'memory', address: { ...operand.address, disp } };
    });
  }
}

for (const mnemonic of FORMS_OF.keys()) define(mnemonic, mnemonic);
for (const [alias, mnemonic] of Object.entries(ALIASES)) define(alias, mnemonic);

function define(name: string, mnemonic: string): void {
  const method = function (this: AssemblerCore, ...operands: Operand[]): void {
    this.emit(mnemonic as Mnemonic, operands);
  };
  Object.defineProperty(AssemblerCore.prototype, name, { value: method });
}

function show(operand: Operand): string {
  if (typeof operand !== 'object') return `${operand}`;
  const { size, base, index, scale = 1, disp, segment, label } = operand;
  const sum = [base, index && `${index}*${scale}`, label, disp].filter((term) => term !== undefined).join('+');
  return `${size ? `${size} ptr ` : ''}${segment ? `${segment}:` : ''}[${sum}]`;
}

function parseFor(text: string, operand: Operand): ParsedOperand {
  try {
    return parseOperand(operand);
  } catch (error) {
    throw error instanceof AssemblyError ? new AssemblyError(`${text}: ${error.message}`) : error;
  }
}

function candidatesFor(
  mnemonic: Mnemonic,
  text: string,
  operands: readonly ParsedOperand[],
  lock: boolean,
): Candidate[] {
  const forms = FORMS_OF.get(mnemonic)!;
  const fitting = forms.flatMap((form) => sizesFor(form, operands).map((size) => ({ form, size })));
  if (fitting.length === 0) throw new AssemblyError(`${text}: expected ${shapes(mnemonic, forms)}`);
  checkMemorySize(text, fitting, operands);
  if (lock && !(fitting[0]!.form.lock && operands[0]?.kind === 'memory')) {
    throw new AssemblyError(`${text}: LOCK wants a memory destination, and an operation that writes it`);
  }
  return fitting
    .map(({ form, size }) => ({ form, size, length: lengthOf(text, form, size, operands, lock) }))
    .sort((a, b) => a.length - b.length);
}

/** The sizes in which the operands fit the form. */
function sizesFor(form: Form, operands: readonly ParsedOperand[]): number[] {
  if (form.operands.length !== operands.length) return [];
  return sizesOf(form).filter((size) => form.operands.every((operand, i) => fits(operand, operands[i]!, size)));
}

/** Memory without a size must have one that follows from the other operands. */
function checkMemorySize(
  text: string,
  fitting: readonly { readonly form: Form; readonly size: number }[],
  operands: readonly ParsedOperand[],
): void {
  const at = operands.findIndex((operand) => operand.kind === 'memory' && operand.address.size === 0);
  if (at < 0) return;
  const sizes = new Set(fitting.map(({ form, size }) => bytesOf(form.operands[at]!, size)));
  if (sizes.size > 1) throw new AssemblyError(`${text}: expected a size before the bracket, such as qword ptr`);
}

/** Labels do not change the length of a form. */
function lengthOf(text: string, form: Form, size: number, operands: readonly ParsedOperand[], lock: boolean): number {
  const values = operands.map(
    (operand): Value =>
      operand.kind === 'label' || operand.kind === 'here' ? { kind: 'relative', value: 0n } : operand,
  );
  try {
    return encode(form, size, values, lock).length;
  } catch (error) {
    throw error instanceof RangeError ? new AssemblyError(`${text}: ${error.message}`) : error;
  }
}

const BITS: Readonly<Record<string, string>> = {
  b: '8',
  w: '16',
  d: '32',
  q: '64',
  o: '128',
  s: '80',
  v: '16/32/64',
  y: '32/64',
  z: '16/32',
  a: '32/64',
  '': '',
};

/** What the operation takes, in the manual's words: `umwait r32`. */
function shapes(mnemonic: string, forms: readonly Form[]): string {
  const texts = forms.map(({ operands }) => `${mnemonic} ${operands.map(shape).join(', ')}`.trimEnd());
  return [...new Set(texts)].join(' or ');
}

function shape({ place, width, text }: FormOperand): string {
  const bits = BITS[width] ?? '8';
  if (place === 'E') return `r/m${bits}`;
  if (place === 'M') return `m${bits}`;
  if (place === 'R' || place === 'G' || place === 'Z') return `r${bits}`;
  if (place === 'C') return CONTROL_REGISTERS.map((number) => `cr${number}`).join('/');
  if (place === 'I') return `imm${bits}`;
  return place === 'J' ? 'a label' : text.toLowerCase();
}
