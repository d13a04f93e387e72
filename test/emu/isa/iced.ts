import {
  Code,
  Formatter,
  FormatterSyntax,
  Decoder as IcedDecoder,
  type Instruction,
  MemorySizeOptions,
} from 'iced-x86';
import { Decoder } from '../../../src/emu/isa/decode.js';
import { disassemble, hexNumber } from '../../../src/emu/isa/disasm.js';
import { OP_NAMES } from '../../../src/emu/isa/forms.js';
import { INSN, INSN_WORDS, OUTCOME, type Outcome } from '../../../src/emu/isa/insn.js';
import { mnemonicOf } from '../../../src/emu/isa/op-rows.js';

/** The other decoder: iced-x86, and what its answers have to be read with. */

/** Where both decoders believe the code to be. */
export const ADDRESS = 0x1000n;

export interface IcedAnswer {
  readonly valid: boolean;
  readonly code: string;
  readonly length: number;
  /** In the notation of `disassemble`; `''` when invalid. */
  readonly text: string;
}

const formatter = new Formatter(FormatterSyntax.Intel);
formatter.spaceAfterOperandSeparator = true;
formatter.ripRelativeAddresses = true;
formatter.showBranchSize = false;
formatter.branchLeadingZeros = false;
formatter.memorySizeOptions = MemorySizeOptions.Always;

/** Prefixes without a word in our text: hints, BND, HLE, NOTRACK; 67, REP and segments where no operand shows them. */
const IDLE_PREFIXES =
  /^(?:(?:bnd|hint-taken|hint-not-taken|notrack|xacquire|xrelease|addr32|rep|repe|repne|[c-g]s|ss) )+/;

/** Where the notations differ, by iced's name of the encoding. */
const NOTATION: Readonly<Record<string, (text: string) => string>> = {
  // APM vol. 3 writes their rAX out; the SDM's opcode table, and ours, has no operand.
  ...Object.fromEntries(
    ['Vmrun', 'Vmload', 'Vmsave'].flatMap((name) => [`${name}d`, `${name}q`].map((code) => [code, dropOperands])),
  ),
  // LKGS r/m16 (FRED specification, chapter 8): iced names the register by operand size.
  Lkgs_r32m16: (text) => text.replace(/ e(\w\w)$/, ' $1').replace(/ (r\d+)d$/, ' $1w'),
  Lkgs_r64m16: (text) => text.replace(/ r([a-z]\w)$/, ' $1').replace(/ (r\d+)$/, ' $1w'),
  // 66 90 and 48 90 are NOP (SDM vol. 2B, NOP).
  Nopw: () => 'nop',
  Nopq: () => 'nop',
  Cmpxchg16b_m128: (text) => text.replace('xmmword', 'oword'),
};

function dropOperands(text: string): string {
  return text.split(' ')[0]!;
}

export function iced(bytes: Uint8Array): IcedAnswer {
  const decoder = new IcedDecoder(64, bytes, 0);
  decoder.ip = ADDRESS;
  const instruction = decoder.decode();
  const code = Code[instruction.code]!;
  const valid = instruction.code !== Code.INVALID;
  const answer = {
    valid,
    code,
    length: instruction.length,
    text: valid ? textOf(code, instruction) : '',
  };
  instruction.free();
  decoder.free();
  return answer;
}

function textOf(code: string, instruction: Instruction): string {
  const text = formatter.format(instruction);
  // The formatter of 1.21.0 prints `mov rax, 1` for 8000000000000001h; the instruction itself has the right number.
  if (code === 'Mov_r64_imm64')
    return text.replace(/, .*$/, `, ${hexNumber(BigInt.asUintN(64, instruction.immediate64))}`);
  const lock = text.includes('lock ') ? 'lock ' : '';
  const plain = text.replace('lock ', '').replace(IDLE_PREFIXES, '');
  return lock + (NOTATION[code]?.(plain) ?? plain);
}

export const hex = (bytes: Iterable<number>): string =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
export const unhex = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(text.split(' '), (byte) => Number.parseInt(byte, 16));

const decoder = new Decoder();
const insn = new Int32Array(INSN_WORDS);

export interface OurAnswer {
  readonly outcome: Outcome;
  readonly length: number;
  readonly op: number;
  readonly text: string;
}

export function ours(bytes: Uint8Array): OurAnswer {
  const outcome = decoder.decode(bytes, 0, bytes.length, insn);
  const text = outcome === OUTCOME.DECODED ? disassemble(insn, 0, ADDRESS) : '';
  return { outcome, length: insn[INSN.LENGTH]!, op: insn[INSN.OP]!, text };
}

/** Behind prefixes: what comes first that is no prefix. */
function stripped(bytes: Uint8Array): number[] {
  const prefixes = [0xf0, 0xf2, 0xf3, 0x66, 0x67, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
  let i = 0;
  while (prefixes.includes(bytes[i]!) || (bytes[i]! & 0xf0) === 0x40) i++;
  return [...bytes.slice(i)];
}

/**
 * Where we may say more than iced does.
 *
 * - MSR_IMM and USER_MSR: newer than iced 1.21, which has no VEX map 7 and no register form of F2/F3 0F 38 F8. ISE,
 *   chapters on RDMSR/WRMSRNS with immediate and on USER_MSR.
 */
function isNewerThanIced(bytes: Uint8Array): boolean {
  const [b0, b1, b2] = stripped(bytes);
  return (b0 === 0xc4 && (b1! & 0x1f) === 7) || (b0 === 0x0f && b1 === 0x38 && b2 === 0xf8);
}

/**
 * Where we say "limit" and iced INVALID. The opcode map is exact for the legacy maps; VEX, EVEX, XOP and 3DNow! it knows
 * by the opcode or not at all, and then a limit is the careful answer.
 */
function isCoarse(bytes: Uint8Array): boolean {
  const [b0, b1] = stripped(bytes);
  return b0 === 0xc4 || b0 === 0xc5 || b0 === 0x62 || b0 === 0x8f || (b0 === 0x0f && b1 === 0x0f);
}

/** VIA's PadLock MONTMUL, which iced knows with 67 only: no Intel or AMD CPU has it (SDM vol. 2D table A-3: empty). */
function isPadlock(code: string): boolean {
  return code.startsWith('Montmul');
}

/**
 * Operations of the table in forms that the machine does not have: MOV of segment and debug registers and of `moffs`,
 * far branches, PUSH and POP of FS and GS, PUSH of a 16-bit immediate, TEST as F6 /1 and SHL as /6 (APM only),
 * other NOPs.
 */
const OTHER_FORMS = /^(?:mov|push|pop|data16 push|test|nop|shl|jmp far|call far|ret far)\b/;

const MNEMONICS: ReadonlySet<string> = new Set(OP_NAMES.map(mnemonicOf));

/** Whether a limit is the right answer to what iced decodes: no operation of the table, or none in this form. */
function isOutside({ text }: IcedAnswer): boolean {
  const mnemonic = text.replace(/^lock /, '').split(' ')[0]!;
  return OTHER_FORMS.test(text) || !MNEMONICS.has(mnemonic);
}

/** What the two decoders do not agree about, in a sentence; `null` when they do. The bytes should be 15 or more. */
export function disagreement(bytes: Uint8Array): string | null {
  const we = ours(bytes);
  const they = iced(bytes);
  const cutByLength = !they.valid && they.length === 15;
  switch (we.outcome) {
    case OUTCOME.DECODED:
      if (!they.valid) return isNewerThanIced(bytes) ? null : `${hex(bytes)}: ${we.text}, but iced says INVALID`;
      if (we.length !== they.length) return `${hex(bytes)}: ${we.text}: ${we.length} bytes, iced: ${they.length}`;
      return we.text === they.text ? null : `${hex(bytes)}: ${we.text}, iced: ${they.text} (${they.code})`;
    case OUTCOME.UNDEFINED:
      return they.valid && !isPadlock(they.code) ? `${hex(bytes)}: #UD, iced: ${they.text} (${they.code})` : null;
    case OUTCOME.LIMIT:
      if (they.valid && !isOutside(they)) return `${hex(bytes)}: limit, but ${they.text} is in the table`;
      return they.valid || cutByLength || isCoarse(bytes) ? null : `${hex(bytes)}: limit, but iced says INVALID`;
    case OUTCOME.TOO_LONG:
      return they.valid ? `${hex(bytes)}: too long, iced: ${they.text}` : null;
    default:
      return `${hex(bytes)}: wants more than ${bytes.length} bytes`;
  }
}
