import { FORMS, type FormOperand } from './forms.js';
import { FLAG, INSN, OPERAND, RIP, SEGMENT } from './insn.js';
import { gprName } from './registers.js';

/** Intel syntax for decoded instructions, for traces. Off the hot path. */

const SIZE_NAMES: Readonly<Record<number, string>> = {
  1: 'byte ptr ',
  2: 'word ptr ',
  4: 'dword ptr ',
  8: 'qword ptr ',
  10: 'fword ptr ',
  16: 'oword ptr ',
};

/** A number as this syntax has it: decimal up to 9, else `10h`, with a zero before a letter. */
export function hexNumber(value: bigint): string {
  if (value < 10n) return `${value}`;
  const digits = value.toString(16).toUpperCase();
  return `${/^[A-F]/.test(digits) ? '0' : ''}${digits}h`;
}

/** The text of the record at `insn[at]`. With the instruction's address, branches name their targets, else `$+5`. */
export function disassemble(insn: Int32Array, at = 0, address?: bigint): string {
  const form = FORMS[insn[at + INSN.FORM]!]!;
  const operands = form.operands.map((operand, i) => operandText(operand, i, insn, at, address));
  const lock = insn[at + INSN.FLAGS]! & FLAG.LOCK ? 'lock ' : '';
  return `${lock}${form.mnemonic} ${operands.join(', ')}`.trimEnd();
}

function operandText(operand: FormOperand, i: number, insn: Int32Array, at: number, address?: bigint): string {
  const value = insn[at + (i === 0 ? INSN.DST : INSN.SRC)]!;
  const size = insn[at + (i === 0 ? INSN.SIZE : INSN.SOURCE_SIZE)]!;
  if (operand.place === 'C') return `cr${value}`;
  if (operand.place === 'J') return target(insn, at, address);
  if (value === OPERAND.MEMORY) return memoryText(insn, at);
  if (value === OPERAND.IMMEDIATE) return hexNumber(BigInt.asUintN(size * 8, immediateOf(insn, at)));
  return gprName(value, size);
}

/** The immediate as the record has it, signed. */
export function immediateOf(insn: Int32Array, at = 0): bigint {
  return (BigInt(insn[at + INSN.IMM_HI]!) << 32n) | BigInt(insn[at + INSN.IMM_LO]! >>> 0);
}

function target(insn: Int32Array, at: number, address?: bigint): string {
  const fromStart = immediateOf(insn, at) + BigInt(insn[at + INSN.LENGTH]!);
  if (address !== undefined) return hexNumber(BigInt.asUintN(64, address + fromStart));
  return fromStart < 0n ? `$-${hexNumber(-fromStart)}` : `$+${hexNumber(fromStart)}`;
}

function memoryText(insn: Int32Array, at: number): string {
  const segment = insn[at + INSN.SEGMENT]!;
  const override = segment === SEGMENT.FS ? 'fs:' : segment === SEGMENT.GS ? 'gs:' : '';
  const size = SIZE_NAMES[insn[at + INSN.MEMORY_SIZE]!] ?? '';
  return `${size}${override}[${addressText(insn, at)}]`;
}

function addressText(insn: Int32Array, at: number): string {
  const width = insn[at + INSN.FLAGS]! & FLAG.ADDRESS_SIZE ? 4 : 8;
  const base = insn[at + INSN.BASE]!;
  const index = insn[at + INSN.INDEX]!;
  const disp = BigInt(insn[at + INSN.DISP]!);
  const terms: string[] = [];
  if (base === RIP) terms.push(width === 4 ? 'eip' : 'rip');
  else if (base >= 0) terms.push(gprName(base, width));
  const scale = 1 << insn[at + INSN.SCALE]!;
  if (index >= 0) terms.push(`${gprName(index, width)}${scale > 1 || base < 0 ? `*${scale}` : ''}`);
  if (terms.length === 0) return hexNumber(BigInt.asUintN(width * 8, disp));
  const sum = terms.join('+');
  if (disp === 0n) return sum;
  return disp < 0n ? `${sum}-${hexNumber(-disp)}` : `${sum}+${hexNumber(disp)}`;
}
