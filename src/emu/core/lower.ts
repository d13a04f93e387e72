import { OP, OP_TRAITS, TRAIT } from '../isa/forms.js';
import { FLAG, INSN, INSN_WORDS, OPERAND, OUTCOME, RIP, SEGMENT } from '../isa/insn.js';
import type { Core } from './core.js';

/**
 * From a decoded instruction to a micro-operation: what the loop executes. The common instructions on whole registers get
 * one of their own, with operands as slots of the register file: immediates, RIP-relative addresses and branch targets are
 * constants there too. All others are executed from their decoded form.
 */

export const MICRO_WORDS = 8;
/** The words of a micro-operation. */
export const MICRO = {
  X: 0,
  /** Slots: destination (or the value of a store), source. Condition code of a branch. */
  A: 1,
  B: 2,
  /** Memory operands: slot of the index, displacement. B is the base then. */
  C: 3,
  D: 4,
  /** Number of the decoded instruction. */
  INSN: 5,
  /** What to execute when flags are looked at after every instruction: X is allowed to leave out those that nobody reads. */
  FULL: 6,
  /** Memory operands: shift of the index. Shifts: count. */
  SCALE: 7,
} as const;

/** Micro-operations. */
const NAMES = [
  'INTEGER',
  'SYSTEM',
  'UNDEFINED',
  'LIMIT',
  'TOO_LONG',
  'NOP',
  'MOV64',
  'MOV32',
  'LOAD64',
  'LOAD32',
  'STORE64',
  'STORE32',
  'LEA64',
  'ADD64',
  'OR64',
  'AND64',
  'SUB64',
  'XOR64',
  'CMP64',
  'TEST64',
  'ADD32',
  'OR32',
  'AND32',
  'SUB32',
  'XOR32',
  'CMP32',
  'TEST32',
  'INC64',
  'DEC64',
  'INC32',
  'DEC32',
  'SHL64',
  'SHR64',
  'SAR64',
  'SHL32',
  'SHR32',
  'SAR32',
  'ADD64_QUIET',
  'SUB64_QUIET',
  'AND64_QUIET',
  'OR64_QUIET',
  'XOR64_QUIET',
  'ADD32_QUIET',
  'SUB32_QUIET',
  'AND32_QUIET',
  'OR32_QUIET',
  'XOR32_QUIET',
  'INC64_QUIET',
  'DEC64_QUIET',
  'SHL64_QUIET',
  'SHR64_QUIET',
  'SHL32_QUIET',
  'SHR32_QUIET',
  'PUSH64',
  'POP64',
  'JE',
  'JNE',
  'JCC',
  'JMP',
  'CALL',
  'RET',
] as const;
export type MicroName = (typeof NAMES)[number];
export const MICRO_NAMES: readonly MicroName[] = NAMES;
export const X = Object.fromEntries(NAMES.map((name, number) => [name, number])) as {
  readonly [N in MicroName]: number;
};

/** What does the same without setting flags, where there is such a thing. */
const QUIET = new Int8Array(NAMES.length).fill(-1);
for (const name of NAMES) {
  const quiet = NAMES.indexOf(`${name}_QUIET` as MicroName);
  if (quiet >= 0) QUIET[X[name]] = quiet;
}
QUIET[X.CMP64] = X.NOP;
QUIET[X.CMP32] = X.NOP;
QUIET[X.TEST64] = X.NOP;
QUIET[X.TEST32] = X.NOP;

/** Whether nothing is left of the flags before: ALU operations and shifts, but INC and DEC, which keep CF. */
const OVERWRITES = new Uint8Array(NAMES.length);
/** Whether flags are neither read nor written, and nothing can happen that would show them. */
const PASSES = new Uint8Array(NAMES.length);
for (const name of NAMES) {
  if (/^(ADD|SUB|AND|OR|XOR|CMP|TEST|SHL|SHR|SAR)(64|32)$/.test(name)) OVERWRITES[X[name]] = 1;
  if (/^(NOP|MOV64|MOV32|LEA64)$/.test(name)) PASSES[X[name]] = 1;
}

/** Takes away flags that are overwritten before anybody can see them, from the last of a block's instructions to the first. */
export function dropDeadFlags(core: Core, first: number, count: number): void {
  const { micros } = core.blocks;
  let seen = true;
  for (let number = first + count - 1; number >= first; number--) {
    const at = number * MICRO_WORDS;
    const x = micros[at + MICRO.FULL]!;
    if (PASSES[x] === 1) continue;
    if (!seen && QUIET[x]! >= 0) micros[at] = QUIET[x]!;
    if (OVERWRITES[x] === 1) seen = false;
    else if (seen || QUIET[x]! < 0) seen = true;
  }
}

/** Slot that always holds zero. */
const ZERO = 17;
const COUNT_64 = 63;
const COUNT_32 = 31;

const ENDS = TRAIT.branch | TRAIT.ends;

/** Whether an operation ends its block. */
export function endsBlock(op: number): boolean {
  return (OP_TRAITS[op]! & ENDS) !== 0;
}

const ALU_64 = new Map<number, number>([
  [OP.ADD, X.ADD64],
  [OP.OR, X.OR64],
  [OP.AND, X.AND64],
  [OP.SUB, X.SUB64],
  [OP.XOR, X.XOR64],
  [OP.CMP, X.CMP64],
  [OP.TEST, X.TEST64],
  [OP.MOV, X.MOV64],
]);
const ALU_32 = new Map<number, number>([
  [OP.ADD, X.ADD32],
  [OP.OR, X.OR32],
  [OP.AND, X.AND32],
  [OP.SUB, X.SUB32],
  [OP.XOR, X.XOR32],
  [OP.CMP, X.CMP32],
  [OP.TEST, X.TEST32],
  [OP.MOV, X.MOV32],
]);
const SHIFTS = new Map<number, readonly [wide: number, narrow: number]>([
  [OP.SHL, [X.SHL64, X.SHL32]],
  [OP.SHR, [X.SHR64, X.SHR32]],
  [OP.SAR, [X.SAR64, X.SAR32]],
]);
const STEPS = new Map<number, readonly [wide: number, narrow: number]>([
  [OP.INC, [X.INC64, X.INC32]],
  [OP.DEC, [X.DEC64, X.DEC32]],
]);

/** What the integer part executes; every other operation is of the system. */
const INTEGER = new Set<number>(
  (
    [
      'MOV MOVZX MOVSX MOVSXD LEA XCHG CMPXCHG CMPXCHG8B CMPXCHG16B PUSH POP PUSHFQ ADD OR AND SUB XOR CMP TEST INC DEC',
      'SHL SHR SAR JMP CALL RET NOP ENDBR64 UD0 UD1 UD2 LFENCE MFENCE SFENCE',
    ] as const
  ).flatMap((names) => names.split(' ').map((name) => OP[name as keyof typeof OP])),
);

const LOADS_NOTHING = new Set<number>([OP.LEA, OP.NOP]);
const STORES_NOTHING = new Set<number>([OP.CMP, OP.TEST, OP.LEA, OP.NOP, OP.PUSH, OP.JMP, OP.CALL]);

/**
 * Writes the micro-operation of an instruction.
 *
 * @param number of the instruction
 * @param outcome how decoding ended
 * @param nextLo address of the instruction after it
 */
export function lower(core: Core, number: number, outcome: number, nextLo: number, nextHi: number): void {
  const { insns, micros, cyclesOf } = core.blocks;
  const insn = number * INSN_WORDS;
  const micro = number * MICRO_WORDS;
  micros.fill(0, micro, micro + MICRO_WORDS);
  micros[micro + MICRO.INSN] = number;
  cyclesOf[number] = 0;
  if (outcome !== OUTCOME.DECODED) {
    micros[micro] = outcome === OUTCOME.LIMIT ? X.LIMIT : outcome === OUTCOME.TOO_LONG ? X.TOO_LONG : X.UNDEFINED;
    micros[micro + MICRO.FULL] = micros[micro]!;
    return;
  }
  const op = insns[insn]!;
  cyclesOf[number] = costOf(core, insn);
  micros[micro] = INTEGER.has(op) ? X.INTEGER : X.SYSTEM;
  choose(core, insn, micro, nextLo, nextHi);
  micros[micro + MICRO.FULL] = micros[micro]!;
}

/** What is known before it runs: the operation, its memory operand, and what a branch that is always taken costs more. */
function costOf(core: Core, insn: number): number {
  const { insns } = core.blocks;
  const { costs } = core;
  const op = insns[insn]!;
  // Its leaf decides.
  if (op === OP.CPUID) return 0;
  if (op === OP.MOV_TO_CR) return costs.of(`mov_to_cr${insns[insn + INSN.DST]!}`);
  let cycles = costs.op[op]!;
  if (op === OP.JMP || op === OP.CALL || op === OP.RET) cycles += costs.branchTaken - costs.op[OP.JMP]!;
  if (insns[insn + INSN.MEMORY_SIZE] === 0) return cycles;
  const toMemory = insns[insn + INSN.DST] === OPERAND.MEMORY;
  if (op !== OP.MOV || !toMemory) cycles += LOADS_NOTHING.has(op) ? 0 : costs.load;
  if (toMemory && !STORES_NOTHING.has(op)) cycles += costs.store;
  return cycles;
}

function choose(core: Core, insn: number, micro: number, nextLo: number, nextHi: number): void {
  const { blocks } = core;
  const { insns, micros } = blocks;
  const op = insns[insn]!;
  const size = insns[insn + INSN.SIZE]!;
  const destination = insns[insn + INSN.DST]!;
  const source = insns[insn + INSN.SRC]!;
  if (op >= OP.JO && op <= OP.JG) {
    micros[micro] = op === OP.JE ? X.JE : op === OP.JNE ? X.JNE : X.JCC;
    micros[micro + MICRO.A] = op - OP.JO;
    micros[micro + MICRO.B] = target(core, insn, nextLo, nextHi);
    return;
  }
  if (op === OP.NOP || op === OP.ENDBR64) {
    micros[micro] = X.NOP;
    return;
  }
  if ((op === OP.JMP || op === OP.CALL) && destination === OPERAND.IMMEDIATE) {
    micros[micro] = op === OP.JMP ? X.JMP : X.CALL;
    micros[micro + MICRO.A] = blocks.constant(nextLo, nextHi);
    micros[micro + MICRO.B] = target(core, insn, nextLo, nextHi);
    return;
  }
  if (op === OP.CALL || op === OP.JMP) return;
  if (op === OP.RET && destination === OPERAND.NONE) {
    micros[micro] = X.RET;
    return;
  }
  if (size !== 8 && size !== 4) return;
  const wide = size === 8;
  if (op === OP.LEA) {
    if (wide && addresses(core, insn, micro, nextLo, nextHi)) {
      micros[micro] = X.LEA64;
      micros[micro + MICRO.A] = destination;
    }
    return;
  }
  if (op === OP.PUSH && wide && destination !== OPERAND.MEMORY) {
    micros[micro] = X.PUSH64;
    micros[micro + MICRO.A] = slotOf(core, insn, destination);
    return;
  }
  if (op === OP.POP && wide && destination >= 0) {
    micros[micro] = X.POP64;
    micros[micro + MICRO.A] = destination;
    return;
  }
  if (op === OP.MOV && source === OPERAND.MEMORY) {
    if (!addresses(core, insn, micro, nextLo, nextHi)) return;
    micros[micro] = wide ? X.LOAD64 : X.LOAD32;
    micros[micro + MICRO.A] = destination;
    return;
  }
  if (op === OP.MOV && destination === OPERAND.MEMORY) {
    if (!addresses(core, insn, micro, nextLo, nextHi)) return;
    micros[micro] = wide ? X.STORE64 : X.STORE32;
    micros[micro + MICRO.A] = slotOf(core, insn, source);
    return;
  }
  if (destination < 0 || source === OPERAND.MEMORY) return;
  const alu = (wide ? ALU_64 : ALU_32).get(op);
  if (alu !== undefined) {
    micros[micro] = alu;
    micros[micro + MICRO.A] = destination;
    micros[micro + MICRO.B] = slotOf(core, insn, source);
    return;
  }
  const step = STEPS.get(op);
  if (step) {
    micros[micro] = step[wide ? 0 : 1];
    micros[micro + MICRO.A] = destination;
    return;
  }
  const shift = SHIFTS.get(op);
  const count = insns[insn + INSN.IMM_LO]! & (wide ? COUNT_64 : COUNT_32);
  if (shift && source === OPERAND.IMMEDIATE && count !== 0) {
    micros[micro] = shift[wide ? 0 : 1];
    micros[micro + MICRO.A] = destination;
    micros[micro + MICRO.SCALE] = count;
  }
}

/** The slot of a register or an immediate. */
function slotOf(core: Core, insn: number, operand: number): number {
  const { insns } = core.blocks;
  if (operand >= 0) return operand;
  return core.blocks.constant(insns[insn + INSN.IMM_LO]!, insns[insn + INSN.IMM_HI]!);
}

/** The slot of a branch target. */
function target(core: Core, insn: number, nextLo: number, nextHi: number): number {
  const { insns } = core.blocks;
  const low = (nextLo >>> 0) + (insns[insn + INSN.IMM_LO]! >>> 0);
  const carry = low > 0xffff_ffff ? 1 : 0;
  return core.blocks.constant(low | 0, (nextHi + insns[insn + INSN.IMM_HI]! + carry) | 0);
}

/** Fills in a memory operand; `false` when it is not of the simple kind (FS, GS, 32-bit addresses). */
function addresses(core: Core, insn: number, micro: number, nextLo: number, nextHi: number): boolean {
  const { insns, micros } = core.blocks;
  const segment = insns[insn + INSN.SEGMENT]!;
  if (segment === SEGMENT.FS || segment === SEGMENT.GS) return false;
  if ((insns[insn + INSN.FLAGS]! & FLAG.ADDRESS_SIZE) !== 0) return false;
  const base = insns[insn + INSN.BASE]!;
  const index = insns[insn + INSN.INDEX]!;
  const displacement = insns[insn + INSN.DISP]!;
  if (base === RIP) {
    const low = (nextLo >>> 0) + (displacement >>> 0);
    const carry = low > 0xffff_ffff ? 1 : 0;
    micros[micro + MICRO.B] = core.blocks.constant(low | 0, (nextHi + (displacement >> 31) + carry) | 0);
    micros[micro + MICRO.D] = 0;
  } else {
    micros[micro + MICRO.B] = base < 0 ? ZERO : base;
    micros[micro + MICRO.D] = displacement;
  }
  micros[micro + MICRO.C] = index < 0 ? ZERO : index;
  micros[micro + MICRO.SCALE] = insns[insn + INSN.SCALE]!;
  return true;
}
