/** The register file: general registers 0–15, then these, then the constants of decoded code. */
export const SLOT = { RIP: 16, ZERO: 17 } as const;
export const FIRST_CONSTANT = SLOT.ZERO + 1;

/** Slots for constants of decoded code. */
export const CONSTANTS = 4096;

/** Slots of one half. Where both halves are in one array, the upper ones begin there. */
export const HIGH_HALVES = FIRST_CONSTANT + CONSTANTS;
