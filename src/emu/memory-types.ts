/**
 * Memory types as PAT and MTRRs have them, one to a byte (SDM volume 3, 12.11.2.1, 12.12.2): UC 0, WC 1, WT 4, WP 5, WB 6,
 * UC- 7. 2 and 3 are reserved, and so are the upper five bits.
 */

const UPPER = 0xf8f8_f8f8 | 0;
const LOWEST = 0x0101_0101;

/** Whether four bytes are types. Reserved is bit 1 without bit 2. */
function areTypes(word: number): boolean {
  return (word & UPPER) === 0 && ((word >>> 1) & ~(word >>> 2) & LOWEST) === 0;
}

/** Whether both halves of a value are types that PAT may have. */
export function isPat(lo: number, hi: number): boolean {
  return areTypes(lo) && areTypes(hi);
}

/** Whether four bytes are types that MTRRs may have: those of PAT without UC-. */
export function areMtrrTypes(word: number): boolean {
  return areTypes(word) && (word & (word >>> 1) & (word >>> 2) & LOWEST) === 0;
}
