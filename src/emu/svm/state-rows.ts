import { MsrMoves } from '../msr-moves.js';
import { slotNamed } from '../msrs.js';
import { VMSA_ROWS, type VmcbField, wordOf } from './vmcb-rows.js';

/**
 * MSRs that world switches move: which field of the VMCB holds the guest's value, and who moves it (APM volume 2, 15.5.2,
 * 15.6, 15.23, 15.36.16; appendix B). What has no row is left as it is: what a guest writes there, the host has afterwards,
 * and the other way round.
 */
export interface StateRow {
  readonly field: VmcbField;
  readonly msr: string;
  /**
   * - `vmload`: by VMLOAD and VMSAVE only, the host's value is the hypervisor's business;
   * - {@link SWITCHES}: by VMRUN and #VMEXIT, when the VMCB asks for it or the CPU has it. Meanwhile the host's value is in
   *   the save area, at the same offset; real processors keep some of them (PAT, SPEC_CTRL) to themselves.
   */
  readonly by: 'vmload' | Switch;
}

/** When VMRUN and #VMEXIT move a row; each is a bit of an index into {@link SWITCHED_LISTS}. */
export const SWITCHES = ['nested-paging', 'lbr', 'cet', 'spec-ctrl'] as const;
export type Switch = (typeof SWITCHES)[number];

function row(field: VmcbField, msr: string, by: StateRow['by']): StateRow {
  return { field, msr, by };
}

// biome-ignore format: one row per fact
export const STATE_ROWS: readonly StateRow[] = [
  row('FS_BASE', 'IA32_FS_BASE', 'vmload'),
  row('GS_BASE', 'IA32_GS_BASE', 'vmload'),
  row('KERNEL_GS_BASE', 'IA32_KERNEL_GS_BASE', 'vmload'),
  row('STAR', 'IA32_STAR', 'vmload'),
  row('LSTAR', 'IA32_LSTAR', 'vmload'),
  row('CSTAR', 'IA32_CSTAR', 'vmload'),
  row('SFMASK', 'IA32_FMASK', 'vmload'),
  row('SYSENTER_CS', 'IA32_SYSENTER_CS', 'vmload'),
  row('SYSENTER_ESP', 'IA32_SYSENTER_ESP', 'vmload'),
  row('SYSENTER_EIP', 'IA32_SYSENTER_EIP', 'vmload'),
  // The guest has a PAT of its own beside the host's, which is not touched.
  row('G_PAT', 'IA32_PAT', 'nested-paging'),
  // Without LBR virtualization the guest runs with the host's DEBUGCTL, and the host with what the guest wrote.
  row('DBGCTL', 'IA32_DEBUGCTL', 'lbr'),
  row('BR_FROM', 'MSR_LASTBRANCHFROMIP', 'lbr'),
  row('BR_TO', 'MSR_LASTBRANCHTOIP', 'lbr'),
  row('LASTEXCPFROM', 'MSR_LASTINTFROMIP', 'lbr'),
  row('LASTEXCPTO', 'MSR_LASTINTTOIP', 'lbr'),
  row('S_CET', 'IA32_S_CET', 'cet'),
  row('ISST_ADDR', 'IA32_INTERRUPT_SSP_TABLE_ADDR', 'cet'),
  // CPUID.80000008AH:EDX[20]: the guest's value is in the VMCB, and the host's goes on to hold underneath.
  row('SPEC_CTRL', 'IA32_SPEC_CTRL', 'spec-ctrl'),
];

/** Some rows, as moves between a VMCB and the MSRs. */
function movesOf(counts: (by: StateRow['by']) => boolean): MsrMoves {
  const rows = STATE_ROWS.filter(({ by }) => counts(by));
  return new MsrMoves(
    'words',
    rows.flatMap(({ field, msr }) => [wordOf(field), slotNamed(msr)]),
  );
}

/** The rows of VMLOAD and VMSAVE. */
export const VMLOAD_LIST = movesOf((by) => by === 'vmload');

/** The rows of VMRUN and #VMEXIT, by the bits of {@link SWITCHES} that hold. */
export const SWITCHED_LISTS: readonly MsrMoves[] = Array.from({ length: 1 << SWITCHES.length }, (_, bits) =>
  movesOf((by) => by !== 'vmload' && ((bits >> SWITCHES.indexOf(by)) & 1) === 1),
);

/** Address masks of DR0–DR3, which DebugSwap moves between a VMSA and the MSRs. */
export const DEBUG_SWAP = new MsrMoves(
  'words',
  [0, 1, 2, 3].flatMap((n) => [vmsaWord(`DR${n}_ADDR_MASK`), slotNamed(`MSR_DR${n}_ADDR_MASK`)]),
);

/** The word of a VMSA that a field begins in. */
export function vmsaWord(name: string): number {
  return VMSA_ROWS.find((item) => item.name === name)!.offset >> 2;
}
