/** Leaves 0 to 3Fh of the four ranges of functions have a slot each. */
export const SLOT_COUNT = 256;
/** Bits that are set in functions without a slot. */
export const NO_SLOT = 0x3fff_ffc0;
export const hasSlot = (fn: number): boolean => (fn & NO_SLOT) === 0;
export const slotOf = (fn: number): number => ((fn >>> 30) << 6) | (fn & 63);
export const functionOf = (slot: number): number => (((slot >>> 6) << 30) | (slot & 63)) >>> 0;

/** Kinds of checks: what of a rule is no mask. */
export const CHECK_FIELD = 0;
export const CHECK_FIXED = 1;
export const CHECK_FIXED_OR_ZERO = 2;
export const CHECK_VALUES = 3;

/** The words of a check. */
export const CHECK = {
  kind: 0,
  register: 1,
  shift: 2,
  mask: 3,
  /** The limit of a field, the fixed value, or where in `values` a list starts. */
  operand: 4,
  /** How many values the list has. */
  length: 5,
  /** What KVM reports there. */
  likely: 6,
} as const;
export const CHECK_WORDS = 7;

/**
 * The rules of one overlay as flat arrays: all that verification needs, and all that another thread must be sent.
 *
 * Each (function, sub-leaf) has a line: `reject` holds, for each register, the bits that must not be set; what is no
 * mask (fields, fixed values) is a list of checks behind it.
 */
export interface RuleArrays {
  /** By slot: the line of entries without a significant index (or of the function, if it has no sub-leaves). */
  readonly base: Int32Array;
  /** By slot: how many sub-leaves have lines of their own, the last of which serves all others; 0: index ignored. */
  readonly subleaves: Int32Array;
  /** By line and register: bits that must be zero. */
  readonly reject: Int32Array;
  /** By line: where its checks start, and one more element for the end. */
  readonly checkStart: Int32Array;
  /** {@link CHECK_WORDS} words each. */
  readonly checks: Int32Array;
  /** The lists of {@link CHECK_VALUES}. */
  readonly values: Int32Array;
  /** Functions without a slot: first, last and their line, three words each. */
  readonly ranges: Uint32Array;
  /** The line of everything else. */
  readonly unknownLine: number;
}
