import { EFER_LMA, EFER_LME } from '../emu/control.js';

/** Bits of EFER and what a guest must have for them. */
export type EferRow = readonly [bits: number, feature: string];

/** Those of every vendor (`__kvm_valid_efer()`). What has no row is reserved. */
const COMMON: readonly EferRow[] = [
  [1 << 0, 'SYSCALL'],
  [EFER_LME | EFER_LMA, 'LM'],
  [1 << 11, 'NX'],
];

/**
 * `set_efer()`: what a guest's WRMSR makes of EFER. LMA is not the guest's, and LME cannot change while it pages.
 *
 * @param old the value so far; no bit above 31 is known
 * @param pages CR0.PG
 * @param has whether the guest has a feature
 * @param more the vendor's own rows
 * @returns the new value; -1: #GP
 */
export function nextEfer(
  lo: number,
  hi: number,
  old: number,
  pages: boolean,
  has: (feature: string) => boolean,
  more: readonly EferRow[] = [],
): number {
  if (hi !== 0) return -1;
  let reserved = -1;
  for (const rows of [COMMON, more]) {
    for (const [bits, feature] of rows) if (has(feature)) reserved &= ~bits;
  }
  if ((lo & reserved) !== 0) return -1;
  if (pages && ((lo ^ old) & EFER_LME) !== 0) return -1;
  return (lo & ~EFER_LMA) | (old & EFER_LMA);
}
