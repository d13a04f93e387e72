/**
 * The MSR permission map (MSRPM): two bits for each MSR of three ranges, the lower one for reads, the upper one for
 * writes; a bit that is set intercepts. All other MSRs always exit (APM volume 2, 15.11).
 */

/** Two pages, of which the last 2 KiB are not used. */
export const MSRPM_SIZE = 0x2000;

const RANGE_MASK = ~0x1fff;

/** The number of the read bit of an MSR, from the map's first bit on; -1 when it has none. */
export function permissionBit(index: number): number {
  const within = index & ~RANGE_MASK;
  switch (index & RANGE_MASK) {
    case 0:
      return within * 2;
    case 0xc000_0000 | 0:
      return 0x800 * 8 + within * 2;
    case 0xc001_0000 | 0:
      return 0x1000 * 8 + within * 2;
    default:
      return -1;
  }
}
