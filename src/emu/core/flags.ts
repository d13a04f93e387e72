/**
 * RFLAGS. The six status flags are kept as what they would be computed from: the kind of the last operation, its operands
 * and its result. Values narrower than 64 bits lie in the upper ends of the high words, so that signs, carries and zeros
 * are told the same way at every width.
 */

/** Words of the flag state. */
export const F = {
  KIND: 0,
  RES_LO: 1,
  RES_HI: 2,
  A_LO: 3,
  A_HI: 4,
  B_LO: 5,
  B_HI: 6,
  /** How far narrow values were shifted up: 0, 16, 24; -1 for 64 bits. */
  SHIFT: 7,
  /** INC, DEC: the carry from before. */
  CARRY: 8,
  /** Kind EAGER: the status flags as RFLAGS has them. */
  BITS: 9,
  /** All other flags. */
  REST: 10,
  WORDS: 11,
} as const;

export const KIND = { EAGER: 0, ADD: 1, SUB: 2, LOGIC: 3, INC: 4, DEC: 5 } as const;

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

const { EAGER, ADD, SUB, LOGIC, INC, DEC } = KIND;
const kindAt = F.KIND;
const resLo = F.RES_LO;
const resHi = F.RES_HI;
const aLo = F.A_LO;
const aHi = F.A_HI;
const bLo = F.B_LO;
const bHi = F.B_HI;
const shiftAt = F.SHIFT;
const carryAt = F.CARRY;
const bitsAt = F.BITS;

export function carry(f: Int32Array): boolean {
  switch (f[kindAt]) {
    case ADD:
      return isBelow(f[resLo]!, f[resHi]!, f[aLo]!, f[aHi]!);
    case SUB:
      return isBelow(f[aLo]!, f[aHi]!, f[bLo]!, f[bHi]!);
    case LOGIC:
      return false;
    case INC:
    case DEC:
      return f[carryAt] !== 0;
    default:
      return (f[bitsAt]! & CF) !== 0;
  }
}

export function zero(f: Int32Array): boolean {
  return f[kindAt] === EAGER ? (f[bitsAt]! & ZF) !== 0 : (f[resLo]! | f[resHi]!) === 0;
}

export function sign(f: Int32Array): boolean {
  return f[kindAt] === EAGER ? (f[bitsAt]! & SF) !== 0 : f[resHi]! < 0;
}

export function overflow(f: Int32Array): boolean {
  switch (f[kindAt]) {
    case ADD:
    case INC:
      return (~(f[aHi]! ^ f[bHi]!) & (f[aHi]! ^ f[resHi]!)) < 0;
    case SUB:
    case DEC:
      return ((f[aHi]! ^ f[bHi]!) & (f[aHi]! ^ f[resHi]!)) < 0;
    case LOGIC:
      return false;
    default:
      return (f[bitsAt]! & OF) !== 0;
  }
}

export function parity(f: Int32Array): boolean {
  if (f[kindAt] === EAGER) return (f[bitsAt]! & PF) !== 0;
  return isEven(f[shiftAt]! < 0 ? f[resLo]! : f[resHi]! >>> f[shiftAt]!);
}

function auxiliary(f: Int32Array): boolean {
  const kind = f[kindAt];
  if (kind === EAGER) return (f[bitsAt]! & AF) !== 0;
  if (kind === LOGIC) return false;
  const shift = f[shiftAt]!;
  const mixed = shift < 0 ? f[aLo]! ^ f[bLo]! ^ f[resLo]! : (f[aHi]! ^ f[bHi]! ^ f[resHi]!) >>> shift;
  return (mixed & 0x10) !== 0;
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
