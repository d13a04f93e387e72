/**
 * A decoded instruction is a record of 16 int32 words, one cache line, at any offset of an Int32Array: a cache of
 * decoded code is one array.
 */

/** Words of a record. */
export const INSN_WORDS = 16;

/** The words. */
export const INSN = {
  /** Operation id, see `OP`. */
  OP: 0,
  /** Index of the encoding in `FORMS`. */
  FORM: 1,
  /** Bytes, 1–15. When decoding fails: the bytes read up to there. */
  LENGTH: 2,
  /** Bytes of the first operand: 1, 2, 4, 8, … ; of the operand size where there is none. */
  SIZE: 3,
  /** Bytes of the second operand, 0 without one. Differs from SIZE in MOVZX and its like. */
  SOURCE_SIZE: 4,
  /** Bits of `FLAG`. */
  FLAGS: 5,
  /** First and second operand: a register number, or a negative `OPERAND`. */
  DST: 6,
  SRC: 7,
  /** Base register of the memory operand: 0–15, `RIP`, or -1. */
  BASE: 8,
  /** Index register 0–15 except 4, or -1. */
  INDEX: 9,
  /** Shift of the index: 0–3. */
  SCALE: 10,
  /** Displacement, to be sign-extended to 64 bits. With base RIP it counts from the next instruction. */
  DISP: 11,
  /** `SEGMENT.FS`, `SEGMENT.GS`, or -1 where the base is zero in 64-bit mode. */
  SEGMENT: 12,
  /** Immediate or branch displacement, sign-extended to 64 bits unless it is Ib, Iw or Id. */
  IMM_LO: 13,
  IMM_HI: 14,
  /** Bytes that the memory operand spans; 0 when there is none or when it is only an address. */
  MEMORY_SIZE: 15,
} as const;

/** What DST and SRC say when they are no register. */
export const OPERAND = { NONE: -1, MEMORY: -2, IMMEDIATE: -3 } as const;

/** Bits of the word FLAGS: prefixes that were there, and what the encoding brought. */
export const FLAG = {
  LOCK: 1,
  /** F3 was the last of F2 and F3. */
  REP: 2,
  /** F2 was. */
  REPNE: 4,
  /** 66 was there. */
  OPERAND_SIZE: 8,
  /** 67: addresses are 32 bits wide. */
  ADDRESS_SIZE: 16,
  REX_W: 32,
  /** One operand is memory. */
  MEMORY: 64,
  VEX: 128,
} as const;

/** Base register number of RIP-relative addresses. */
export const RIP = 16;

export const SEGMENT = { FS: 4, GS: 5 } as const;

/** Register numbers of AH, CH, DH, BH; 0–15 are the low bytes. */
export const HIGH_BYTE = 16;

/** How decoding ends. */
export const OUTCOME = {
  DECODED: 0,
  /** #UD: a hole of the architecture's opcode map. Gates come later, at execution. */
  UNDEFINED: 1,
  /** Valid on some x86, but not an instruction of this machine: throw `EmulatorLimit`, never #UD. */
  LIMIT: 2,
  /** #GP(0): more than 15 bytes. */
  TOO_LONG: 3,
  /** The instruction goes on behind the available bytes: fetch on, or #PF on the next page. */
  NEEDS_MORE: 4,
} as const;
export type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

/** The longest instruction, SDM vol. 2A 2.3.11. */
export const MAX_LENGTH = 15;

const hex = (byte: number): string => byte.toString(16).padStart(2, '0');

/** Code ran into valid x86 that this machine does not have: a failed precondition of the run, no event of the guest. */
export class EmulatorLimit extends Error {
  readonly bytes: readonly number[];

  constructor(bytes: Iterable<number>, where: string) {
    const copy = [...bytes];
    super(`${where}: ${copy.map(hex).join(' ')}: valid x86, but not in the instruction set of this machine (op-rows)`);
    this.name = 'EmulatorLimit';
    this.bytes = copy;
  }
}
