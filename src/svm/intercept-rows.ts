import type { KernelLine } from '../cpuid/kernel-line.js';

/**
 * What KVM intercepts of an SVM guest (`init_vmcb()`, with `svm_set_cr0()` and `svm_recalc_instruction_intercepts()` for
 * a guest that needs nothing special), by the names of `emu/svm/exit-rows.ts`. Exits of things that this machine does not
 * do are left out. What has no row runs without KVM: RDTSC, RDTSCP, RDPID, IRET, INT n, CR3 with nested paging.
 */
export interface InterceptRow {
  readonly exit: string;
  /** Only when this holds; '' always. */
  readonly when: InterceptCondition;
  readonly since?: KernelLine;
}

export type InterceptCondition = '' | 'no-npt' | 'hlt-exits' | 'mwait-exits' | 'no-vgif';

const row = (exit: string, when: InterceptCondition = ''): InterceptRow => ({ exit, when });

// biome-ignore format: one row per fact
export const INTERCEPT_ROWS: readonly InterceptRow[] = [
  row('CR0_READ', 'no-npt'),
  row('CR0_WRITE', 'no-npt'),
  row('CR3_READ', 'no-npt'),
  row('CR3_WRITE', 'no-npt'),
  row('CR4_READ'),
  row('CR4_WRITE'),
  row('CR8_WRITE'),
  row('EXCP1'),
  row('EXCP6'),
  row('EXCP14', 'no-npt'),
  row('EXCP17'),
  row('EXCP18'),
  row('INTR'),
  row('NMI'),
  row('CR0_SEL_WRITE'),
  row('CPUID'),
  row('IOIO'),
  row('MSR'),
  row('SHUTDOWN'),
  row('HLT', 'hlt-exits'),
  row('VMRUN'),
  row('VMMCALL'),
  row('VMLOAD'),
  row('VMSAVE'),
  row('STGI', 'no-vgif'),
  row('CLGI', 'no-vgif'),
  row('MONITOR', 'mwait-exits'),
  row('MWAIT', 'mwait-exits'),
  row('XSETBV'),
];
