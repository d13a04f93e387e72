/**
 * Facts about control registers: SDM volume 3, 2.5 (CR0, CR4), 13.3 (XCR0); APM volume 2, 3.1. The gates are those of
 * `silicon.ts`.
 */

export interface ControlBit {
  readonly bit: number;
  readonly name: string;
  /** What brings the bit to life; '' always. */
  readonly gate: string;
}

function row(bit: number, name: string, gate = ''): ControlBit {
  return { bit, name, gate };
}

/** CR0. Its other low bits ignore what is written to them; a bit of the upper half faults. */
// biome-ignore format: one row per fact
export const CR0_ROWS: readonly ControlBit[] = [
  row(0, 'PE'),
  row(1, 'MP'),
  row(2, 'EM'),
  row(3, 'TS'),
  row(5, 'NE'),
  row(16, 'WP'),
  row(18, 'AM'),
  row(29, 'NW'),
  row(30, 'CD'),
  row(31, 'PG'),
];

/** CR4. A bit without its feature faults. */
// biome-ignore format: one row per fact
export const CR4_ROWS: readonly ControlBit[] = [
  row(0, 'VME', 'VME'),
  row(1, 'PVI', 'VME'),
  row(2, 'TSD', 'TSC'),
  row(3, 'DE', 'DE'),
  row(4, 'PSE', 'PSE'),
  row(5, 'PAE', 'PAE'),
  row(6, 'MCE', 'MCE'),
  row(7, 'PGE', 'PGE'),
  row(8, 'PCE'),
  row(9, 'OSFXSR', 'FXSR'),
  row(10, 'OSXMMEXCPT', 'XMM'),
  row(11, 'UMIP', 'UMIP'),
  row(12, 'LA57', 'LA57'),
  row(13, 'VMXE', 'VMX'),
  row(14, 'SMXE', 'SMX'),
  row(16, 'FSGSBASE', 'FSGSBASE'),
  row(17, 'PCIDE', 'PCID'),
  row(18, 'OSXSAVE', 'XSAVE'),
  row(19, 'KL', 'KEY_LOCKER'),
  row(20, 'SMEP', 'SMEP'),
  row(21, 'SMAP', 'SMAP'),
  row(22, 'PKE', 'PKU'),
  row(23, 'CET', 'SHSTK|IBT'),
  row(24, 'PKS', 'PKS'),
  row(25, 'UINTR', 'UINTR'),
  row(27, 'LASS', 'LASS'),
  row(28, 'LAM_SUP', 'LAM'),
  row(32, 'FRED', 'FRED'),
];

/** A rule of XCR0: if one of the bits `any` is set, all of `needs` must be (SDM volume 1, 13.3; XSETBV). */
export interface Xcr0Rule {
  readonly name: string;
  readonly any: readonly number[];
  readonly needs: readonly number[];
}

// biome-ignore format: one row per fact
export const XCR0_RULES: readonly Xcr0Rule[] = [
  { name: 'AVX needs SSE', any: [2], needs: [1] },
  { name: 'MPX comes in two', any: [3, 4], needs: [3, 4] },
  { name: 'AVX-512 comes in three, with AVX', any: [5, 6, 7], needs: [2, 5, 6, 7] },
  { name: 'AMX comes in two', any: [17, 18], needs: [17, 18] },
];

/** RFLAGS: bits that programs see; bit 1 is always set, all others are always clear (SDM volume 1, 3.4.3). */
// biome-ignore format: one row per fact
export const RFLAGS_ROWS: readonly ControlBit[] = [
  row(0, 'CF'),
  row(2, 'PF'),
  row(4, 'AF'),
  row(6, 'ZF'),
  row(7, 'SF'),
  row(8, 'TF'),
  row(9, 'IF'),
  row(10, 'DF'),
  row(11, 'OF'),
  row(12, 'IOPL0'),
  row(13, 'IOPL1'),
  row(14, 'NT'),
  row(16, 'RF'),
  row(17, 'VM'),
  row(18, 'AC'),
  row(19, 'VIF'),
  row(20, 'VIP'),
  row(21, 'ID'),
];

/** The masks of rows, by name. Bits of the upper half are left out. */
export function lowMasks(rows: readonly ControlBit[]): Readonly<Record<string, number>> {
  return Object.fromEntries(rows.filter(({ bit }) => bit < 32).map(({ bit, name }) => [name, 1 << bit]));
}
