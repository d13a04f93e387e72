import { slotNamed } from '../msrs.js';
import { VMSA_ROWS, type VmcbField, wordOf } from './vmcb-rows.js';

/**
 * MSRs that world switches move: which field of the VMCB holds the guest's value, who moves it and where the host's value
 * is meanwhile (APM volume 2, 15.5.2, 15.6, 15.23, 15.36.16; appendix B). What has no row is left as it is: what a guest
 * writes there, the host has afterwards, and the other way round.
 */
export interface StateRow {
  readonly field: VmcbField;
  readonly msr: string;
  /**
   * - `vmload`: by VMLOAD and VMSAVE only, the host's value is the hypervisor's business;
   * - `nested-paging`, `lbr`, `cet`, `spec-ctrl`: by VMRUN and #VMEXIT, when the VMCB asks for it or the CPU has it.
   */
  readonly by: 'vmload' | 'nested-paging' | 'lbr' | 'cet' | 'spec-ctrl';
  /** Where VMRUN puts the host's value. */
  readonly host: 'save-area' | 'processor' | 'nowhere';
}

function row(field: VmcbField, msr: string, by: StateRow['by'], host: StateRow['host']): StateRow {
  return { field, msr, by, host };
}

// biome-ignore format: one row per fact
export const STATE_ROWS: readonly StateRow[] = [
  row('FS_BASE', 'IA32_FS_BASE', 'vmload', 'nowhere'),
  row('GS_BASE', 'IA32_GS_BASE', 'vmload', 'nowhere'),
  row('KERNEL_GS_BASE', 'IA32_KERNEL_GS_BASE', 'vmload', 'nowhere'),
  row('STAR', 'IA32_STAR', 'vmload', 'nowhere'),
  row('LSTAR', 'IA32_LSTAR', 'vmload', 'nowhere'),
  row('CSTAR', 'IA32_CSTAR', 'vmload', 'nowhere'),
  row('SFMASK', 'IA32_FMASK', 'vmload', 'nowhere'),
  row('SYSENTER_CS', 'IA32_SYSENTER_CS', 'vmload', 'nowhere'),
  row('SYSENTER_ESP', 'IA32_SYSENTER_ESP', 'vmload', 'nowhere'),
  row('SYSENTER_EIP', 'IA32_SYSENTER_EIP', 'vmload', 'nowhere'),
  // The guest has a PAT of its own beside the host's, which is not touched.
  row('G_PAT', 'IA32_PAT', 'nested-paging', 'processor'),
  // Without LBR virtualization the guest runs with the host's DEBUGCTL, and the host with what the guest wrote.
  row('DBGCTL', 'IA32_DEBUGCTL', 'lbr', 'save-area'),
  row('BR_FROM', 'MSR_LASTBRANCHFROMIP', 'lbr', 'save-area'),
  row('BR_TO', 'MSR_LASTBRANCHTOIP', 'lbr', 'save-area'),
  row('LASTEXCPFROM', 'MSR_LASTINTFROMIP', 'lbr', 'save-area'),
  row('LASTEXCPTO', 'MSR_LASTINTTOIP', 'lbr', 'save-area'),
  row('S_CET', 'IA32_S_CET', 'cet', 'save-area'),
  row('ISST_ADDR', 'IA32_INTERRUPT_SSP_TABLE_ADDR', 'cet', 'save-area'),
  // CPUID.80000008AH:EDX[20]: the guest's value is in the VMCB, and the host's goes on to hold underneath.
  row('SPEC_CTRL', 'IA32_SPEC_CTRL', 'spec-ctrl', 'processor'),
];

/** Some rows, for loops: fields as words of a VMCB, MSRs as slots. */
export interface StateList {
  readonly words: Int32Array;
  readonly slots: Int32Array;
}

export function stateList(by: StateRow['by']): StateList {
  const rows = STATE_ROWS.filter((item) => item.by === by);
  return {
    words: Int32Array.from(rows, ({ field }) => wordOf(field)),
    slots: Int32Array.from(rows, ({ msr }) => slotNamed(msr)),
  };
}

/** Address masks of DR0–DR3, which DebugSwap moves: words of a VMSA, and slots. */
export const DEBUG_SWAP: StateList = {
  words: Int32Array.from([0, 1, 2, 3], (n) => vmsaWord(`DR${n}_ADDR_MASK`)),
  slots: Int32Array.from([0, 1, 2, 3], (n) => slotNamed(`MSR_DR${n}_ADDR_MASK`)),
};

/** The word of a VMSA that a field begins in. */
export function vmsaWord(name: string): number {
  return VMSA_ROWS.find((item) => item.name === name)!.offset >> 2;
}
