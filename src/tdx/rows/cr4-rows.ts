/**
 * Bits of CR4 that a TD may not set although the CPU has them: `[bit, name, condition]`. The condition is what lets the
 * TD have it, `never` if nothing does (`is_guest_cr4_allowed_by_td_config()`; VMXE and SMXE raise #VE, the others #GP).
 * FRED is in no public module; that it cannot be set there is assumed.
 */
// biome-ignore format: one row per fact
export const CR4_ROWS: readonly (readonly [bit: number, name: string, condition: string])[] = [
  [13, 'VMXE', 'never'],
  [14, 'SMXE', 'never'],
  [19, 'KL', 'never'],
  [22, 'PKE', 'pku'],
  [23, 'CET', 'cet'],
  [24, 'PKS', 'pks'],
  [25, 'UINTR', 'uintr'],
  [27, 'LASS', 'lass'],
  [32, 'FRED', 'never'],
];
