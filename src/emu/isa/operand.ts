import { RIP } from './insn.js';
import { findRegister, type Register, type RegisterName } from './registers.js';

/** Operands as people write them, and as the encoder wants them. */

const SIZES = { byte: 1, word: 2, dword: 4, qword: 8, fword: 10, oword: 16 } as const;
export type MemorySize = keyof typeof SIZES;

/** A memory operand. The text `qword ptr fs:[rax+rcx*4+8]` says the same. */
export interface Memory {
  /** Only needed where no register says it. */
  readonly size?: MemorySize;
  readonly base?: RegisterName | 'rip' | 'eip';
  readonly index?: RegisterName;
  readonly scale?: 1 | 2 | 4 | 8;
  readonly disp?: number | bigint;
  readonly segment?: 'fs' | 'gs';
  /** A label, with base RIP. */
  readonly label?: string;
}

/**
 * An operand for the assembler: a register name, a number, a memory operand, or a label. Text may also be a number
 * (`10h`, `0x10`), memory in brackets, or `$+5`: five bytes behind the start of the instruction.
 */
export type Operand = RegisterName | Memory | number | bigint | (string & {});

export interface Address {
  /** Bytes, 0 where it is not said. */
  readonly size: number;
  /** 0–15, RIP or -1; index likewise; scale as a shift. */
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly disp: bigint;
  readonly segment: 'fs' | 'gs' | undefined;
  readonly label: string | undefined;
  /** Addresses are 32 bits wide. */
  readonly narrow: boolean;
}

export type ParsedOperand =
  | { readonly kind: 'register'; readonly register: Register }
  | { readonly kind: 'immediate'; readonly value: bigint }
  | { readonly kind: 'memory'; readonly address: Address }
  | { readonly kind: 'label'; readonly label: string }
  /** Counted from the start of the instruction. */
  | { readonly kind: 'here'; readonly offset: bigint };

/** What an author of code did wrong: the operation, the operands, and what would be right. */
export class AssemblyError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'AssemblyError';
  }
}

const NUMBER = /^(?:0x([0-9a-f]+)|([0-9][0-9a-f]*)h|([0-9]+))$/i;
const LABEL = /^[A-Za-z_.][\w.]*$/;
const MEMORY = /^(?:(byte|word|dword|qword|fword|oword) ptr )?\s*(?:(fs|gs):)?\s*\[(.*)\]$/;

export function isLabel(text: string): boolean {
  return LABEL.test(text) && findRegister(text) === undefined;
}

/** `16`, `0x10` and `10h`. */
function parseNumber(text: string): bigint | undefined {
  const match = NUMBER.exec(text);
  if (!match) return undefined;
  return match[3] === undefined ? BigInt(`0x${match[1] ?? match[2]}`) : BigInt(match[3]);
}

function parseSigned(text: string): bigint | undefined {
  const value = parseNumber(text.replace(/^[-+]/, ''));
  return value !== undefined && text.startsWith('-') ? -value : value;
}

export function parseOperand(operand: Operand): ParsedOperand {
  if (typeof operand === 'number' && !Number.isSafeInteger(operand)) {
    throw new AssemblyError(`${operand}: expected an integer, beyond 2^53 a bigint`);
  }
  if (typeof operand === 'number' || typeof operand === 'bigint') return { kind: 'immediate', value: BigInt(operand) };
  return typeof operand === 'string' ? parseText(operand) : { kind: 'memory', address: addressOf(operand) };
}

function parseText(text: string): ParsedOperand {
  const register = findRegister(text);
  if (register) return { kind: 'register', register };
  const value = parseSigned(text);
  if (value !== undefined) return { kind: 'immediate', value };
  if (text.includes('[')) return { kind: 'memory', address: addressOf(parseMemory(text)) };
  if (text.startsWith('$')) {
    const offset = text === '$' ? 0n : parseSigned(text.slice(1));
    if (offset !== undefined) return { kind: 'here', offset };
  }
  if (LABEL.test(text)) return { kind: 'label', label: text };
  throw new AssemblyError(`${text}: expected a register, a number, memory such as qword ptr [rax+8], or a label`);
}

/** `qword ptr fs:[rax+rcx*4-8]` as fields. */
function parseMemory(text: string): Memory {
  const match = MEMORY.exec(text);
  if (!match) throw new AssemblyError(`${text}: expected memory such as qword ptr fs:[rax+rcx*4+8]`);
  const fields: { -readonly [K in keyof Memory]: Memory[K] } = {};
  if (match[1]) fields.size = match[1] as MemorySize;
  if (match[2]) fields.segment = match[2] as 'fs' | 'gs';
  for (const term of match[3]!.replaceAll(' ', '').match(/[-+]?[^-+]+/g) ?? []) takeTerm(fields, term, text);
  return fields;
}

function takeTerm(fields: { -readonly [K in keyof Memory]: Memory[K] }, term: string, text: string): void {
  const value = parseSigned(term);
  const [name = '', scale] = term.replace(/^\+/, '').split('*');
  if (value !== undefined) fields.disp = BigInt(fields.disp ?? 0) + value;
  else if (name === 'rip' || name === 'eip') fields.base = name;
  else if (findRegister(name)) takeRegister(fields, name as RegisterName, scale, text);
  else if (isLabel(name) && !fields.label) fields.label = name;
  else throw new AssemblyError(`${text}: ${term}: expected a register, a register times 1, 2, 4 or 8, or a number`);
}

function takeRegister(
  fields: { -readonly [K in keyof Memory]: Memory[K] },
  name: RegisterName,
  scale: string | undefined,
  text: string,
): void {
  if (scale === undefined && !fields.base) fields.base = name;
  else if (!fields.index) {
    fields.index = name;
    fields.scale = Number(scale ?? 1) as 1 | 2 | 4 | 8;
  } else throw new AssemblyError(`${text}: expected at most a base and an index register`);
}

function addressOf(memory: Memory): Address {
  const base = addressRegister(memory.base);
  const index = addressRegister(memory.index);
  const scale = [1, 2, 4, 8].indexOf(memory.scale ?? 1);
  if (scale < 0) throw new AssemblyError(`${memory.index}*${memory.scale}: expected a scale of 1, 2, 4 or 8`);
  if (index?.number === 4) throw new AssemblyError(`${memory.index}: cannot be an index register`);
  if (base && index && base.size !== index.size) {
    throw new AssemblyError(`${memory.base}+${memory.index}: expected base and index of one width`);
  }
  if (memory.label && base?.number !== RIP) {
    throw new AssemblyError(`${memory.label}: a label in memory needs rip: [rip+${memory.label}]`);
  }
  return {
    size: memory.size ? SIZES[memory.size] : 0,
    base: base?.number ?? -1,
    index: index?.number ?? -1,
    scale,
    disp: BigInt(memory.disp ?? 0),
    segment: memory.segment,
    label: memory.label,
    narrow: base || index ? (base ?? index)?.size === 4 : needsNarrow(BigInt(memory.disp ?? 0)),
  };
}

/** Between 2 and 4 GiB, absolute addresses are those of 32-bit address size: the local APIC's, say. */
function needsNarrow(disp: bigint): boolean {
  return disp >= 0x8000_0000n && disp <= 0xffff_ffffn;
}

function addressRegister(name: string | undefined): { readonly number: number; readonly size: number } | undefined {
  if (name === undefined) return undefined;
  if (name === 'rip' || name === 'eip') return { number: RIP, size: name === 'rip' ? 8 : 4 };
  const register = findRegister(name);
  if (register?.kind === 'gpr' && register.size >= 4) return register;
  throw new AssemblyError(`[${name}]: expected a 64-bit or 32-bit general register`);
}
