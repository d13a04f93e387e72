/**
 * RFLAGS. The six status flags are kept as what they would be computed from: the kind of the last operation, its operands
 * and its result. Values narrower than 64 bits lie in the upper ends of the high words, so that signs, carries and zeros
 * are told the same way at every width.
 */

/** Words of the flag state. */
export const F = {
  /** `KIND` and, from bit 3 on, `WIDTH`. */
  KIND: 0,
  RES_LO: 1,
  RES_HI: 2,
  /** The first operand; the second follows from it and the result. */
  A_LO: 3,
  A_HI: 4,
  /** INC, DEC: the carry from before. */
  CARRY: 5,
  /** Kind EAGER: the status flags as RFLAGS has them. */
  BITS: 6,
  /** All other flags. */
  REST: 7,
  WORDS: 8,
} as const;

export const KIND = { EAGER: 0, ADD: 1, SUB: 2, LOGIC: 3, INC: 4, DEC: 5 } as const;
/** How wide the operation was, to be added to the kind: 64, 32, 16, 8 bits. */
export const WIDTH = { QWORD: 0 << 3, DWORD: 1 << 3, WORD: 2 << 3, BYTE: 3 << 3 } as const;

export const CF = 1 << 0;
export const PF = 1 << 2;
export const AF = 1 << 4;
export const ZF = 1 << 6;
export const SF = 1 << 7;
export const TF = 1 << 8;
export const IF = 1 << 9;
export const DF = 1 << 10;
export const OF = 1 << 11;
export const IOPL = 3 << 12;
export const NT = 1 << 14;
export const RF = 1 << 16;
export const VM = 1 << 17;
export const AC = 1 << 18;
export const STATUS_FLAGS = CF | PF | AF | ZF | SF | OF;

// V8 compiles the constants of a module into its code, but reads those of objects from memory: hence these copies.
const { EAGER, ADD, SUB, LOGIC, INC } = KIND;
const kindMask = 7;
const kindAt = F.KIND;
const resLo = F.RES_LO;
const resHi = F.RES_HI;
const aLo = F.A_LO;
const aHi = F.A_HI;
const carryAt = F.CARRY;
const bitsAt = F.BITS;

export function carry(f: Int32Array): boolean {
  const kind = f[kindAt]! & kindMask;
  // Unsigned, a sum that has carried is below its operands, a difference that has borrowed above its first.
  if (kind === SUB) return isBelow(f[aLo]!, f[aHi]!, f[resLo]!, f[resHi]!);
  if (kind === ADD) return isBelow(f[resLo]!, f[resHi]!, f[aLo]!, f[aHi]!);
  if (kind === LOGIC) return false;
  return kind === EAGER ? (f[bitsAt]! & CF) !== 0 : f[carryAt] !== 0;
}

export function zero(f: Int32Array): boolean {
  return f[kindAt] === EAGER ? (f[bitsAt]! & ZF) !== 0 : (f[resLo]! | f[resHi]!) === 0;
}

export function sign(f: Int32Array): boolean {
  return f[kindAt] === EAGER ? (f[bitsAt]! & SF) !== 0 : f[resHi]! < 0;
}

export function overflow(f: Int32Array): boolean {
  const kind = f[kindAt]! & kindMask;
  if (kind === EAGER) return (f[bitsAt]! & OF) !== 0;
  if (kind === LOGIC) return false;
  const a = f[aHi]!;
  const result = f[resHi]!;
  if (kind === ADD || kind === INC) {
    const b = result - a - (f[resLo]! >>> 0 < f[aLo]! >>> 0 ? 1 : 0);
    return (~(a ^ b) & (a ^ result)) < 0;
  }
  const b = a - result - (f[aLo]! >>> 0 < f[resLo]! >>> 0 ? 1 : 0);
  return ((a ^ b) & (a ^ result)) < 0;
}

/** The low byte of the result. */
function lowByte(f: Int32Array, lo: number, hi: number): number {
  const width = f[kindAt]! >> 3;
  return width === 0 ? lo : hi >>> ((width - 1) * 16 - (width === 3 ? 8 : 0));
}

export function parity(f: Int32Array): boolean {
  if (f[kindAt] === EAGER) return (f[bitsAt]! & PF) !== 0;
  return isEven(lowByte(f, f[resLo]!, f[resHi]!));
}

function auxiliary(f: Int32Array): boolean {
  const kind = f[kindAt]! & kindMask;
  if (kind === EAGER) return (f[bitsAt]! & AF) !== 0;
  if (kind === LOGIC) return false;
  const a = lowByte(f, f[aLo]!, f[aHi]!) & 15;
  const result = lowByte(f, f[resLo]!, f[resHi]!) & 15;
  return kind === ADD || kind === INC ? result < a : result > a;
}

/** Whether an even number of the low eight bits is set. */
export function isEven(value: number): boolean {
  let bits = value & 0xff;
  bits ^= bits >> 4;
  return ((0x9669 >> (bits & 0xf)) & 1) === 1;
}

/** Whether one unsigned 64-bit number is below another. */
export function isBelow(lo: number, hi: number, otherLo: number, otherHi: number): boolean {
  return hi === otherHi ? lo >>> 0 < otherLo >>> 0 : hi >>> 0 < otherHi >>> 0;
}

/** The six status flags as RFLAGS has them. */
export function statusFlags(f: Int32Array): number {
  if (f[kindAt] === EAGER) return f[bitsAt]!;
  return (
    (carry(f) ? CF : 0) |
    (parity(f) ? PF : 0) |
    (auxiliary(f) ? AF : 0) |
    (zero(f) ? ZF : 0) |
    (sign(f) ? SF : 0) |
    (overflow(f) ? OF : 0)
  );
}

/** Sets the six status flags; other bits of `bits` are ignored. */
export function setStatusFlags(f: Int32Array, bits: number): void {
  f[kindAt] = EAGER;
  f[bitsAt] = bits & STATUS_FLAGS;
}

/** The flags after a shift: result, the last bit that went out, OF. AF is 0. */
export function shifted(f: Int32Array, l: number, h: number, last: number, overflow: number): void {
  f[kindAt] = EAGER;
  f[bitsAt] =
    (last !== 0 ? CF : 0) |
    (isEven(l) ? PF : 0) |
    ((l | h) === 0 ? ZF : 0) |
    (h < 0 ? SF : 0) |
    (overflow !== 0 ? OF : 0);
}

/** As {@link shifted}, of 32 bits. */
export function shifted32(f: Int32Array, l: number, last: number, overflow: number): void {
  f[kindAt] = EAGER;
  f[bitsAt] =
    (last !== 0 ? CF : 0) | (isEven(l) ? PF : 0) | (l === 0 ? ZF : 0) | (l < 0 ? SF : 0) | (overflow !== 0 ? OF : 0);
}

/** Condition code 0–15 (SDM volume 1, appendix B). */
export function condition(f: Int32Array, code: number): boolean {
  const negated = (code & 1) !== 0;
  switch (code >> 1) {
    case 0:
      return overflow(f) !== negated;
    case 1:
      return carry(f) !== negated;
    case 2:
      return zero(f) !== negated;
    case 3:
      return (carry(f) || zero(f)) !== negated;
    case 4:
      return sign(f) !== negated;
    case 5:
      return parity(f) !== negated;
    case 6:
      return (sign(f) !== overflow(f)) !== negated;
    default:
      return (zero(f) || sign(f) !== overflow(f)) !== negated;
  }
}
