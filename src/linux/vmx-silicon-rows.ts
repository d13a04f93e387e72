import type { CpuRow } from './cpu-rows.js';

/**
 * What the capability MSRs of VMX must say for the facts about a host to be true (SDM volume 3, appendix A). The table of
 * MSRs has the values of a server of 2017; later controls come on top where the host has them. Allowed-1 bits are the
 * upper halves.
 */

function row(register: string, high: string, when: string, note: string): CpuRow {
  return { register, also: '0', high, when, from: 'firmware', note };
}

const CONTROL = (bit: number): string => `1 << ${bit}`;
const FRED = 'kernel(FRED)';

// biome-ignore format: one row per fact
export const VMX_SILICON_ROWS: readonly CpuRow[] = [
  row('IA32_VMX_PROCBASED_CTLS2', CONTROL(20), 'vmx_xsaves', 'enable XSAVES/XRSTORS'),
  row('IA32_VMX_PROCBASED_CTLS2', CONTROL(25), 'vmx_tsc_scaling', 'use TSC scaling'),
  row('IA32_VMX_PROCBASED_CTLS2', CONTROL(26), 'vmx_waitpkg', 'enable user wait and pause'),
  row('IA32_VMX_EXIT_CTLS', CONTROL(28), 'vmx_load_cet', 'load CET state'),
  row('IA32_VMX_TRUE_EXIT_CTLS', CONTROL(28), 'vmx_load_cet', 'load CET state'),
  row('IA32_VMX_ENTRY_CTLS', CONTROL(20), 'vmx_load_cet', 'load CET state'),
  row('IA32_VMX_TRUE_ENTRY_CTLS', CONTROL(20), 'vmx_load_cet', 'load CET state'),
  row('IA32_VMX_BASIC', CONTROL(24), 'vmx_basic_no_hw_errcode', 'error codes are for software to decide'),
  row('IA32_VMX_EXIT_CTLS', '0x80000000', FRED, 'activate secondary controls'),
  row('IA32_VMX_TRUE_EXIT_CTLS', '0x80000000', FRED, 'activate secondary controls'),
  row('IA32_VMX_ENTRY_CTLS', CONTROL(23), FRED, 'load IA32_FRED'),
  row('IA32_VMX_TRUE_ENTRY_CTLS', CONTROL(23), FRED, 'load IA32_FRED'),
  { register: 'IA32_VMX_EXIT_CTLS2', also: '3', when: FRED, from: 'firmware', note: 'save and load IA32_FRED' },
];
