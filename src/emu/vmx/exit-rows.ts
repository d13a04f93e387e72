import { EXIT, INTERCEPT } from '../core/guest-world.js';
import type { OpName } from '../isa/op-rows.js';

/** Basic exit reasons (SDM volume 3, appendix C; 76, 77, 84 and 85 as Linux numbers them). */
export interface ExitReasonRow {
  readonly reason: number;
  readonly name: string;
  /** What the core calls it when it leaves a guest. */
  readonly kind: number | null;
  /** The operation, for those that the core calls {@link INTERCEPT}.VIRTUALIZATION. */
  readonly op: OpName | null;
}

function row(reason: number, name: string, kind: number | null = null, op: OpName | null = null): ExitReasonRow {
  return { reason, name, kind, op };
}

const { VIRTUALIZATION } = INTERCEPT;

// biome-ignore format: one row per fact
export const EXIT_REASON_ROWS: readonly ExitReasonRow[] = [
  row(0, 'EXCEPTION_NMI', EXIT.EXCEPTION),
  row(0, 'EXCEPTION_NMI', INTERCEPT.NMI),
  row(1, 'EXTERNAL_INTERRUPT', INTERCEPT.EXTERNAL_INTERRUPT),
  row(2, 'TRIPLE_FAULT', INTERCEPT.TRIPLE_FAULT),
  row(7, 'INTERRUPT_WINDOW'),
  row(8, 'NMI_WINDOW'),
  row(10, 'CPUID', INTERCEPT.CPUID),
  row(12, 'HLT', INTERCEPT.HLT),
  row(16, 'RDTSC', INTERCEPT.RDTSC),
  row(18, 'VMCALL', INTERCEPT.HYPERCALL),
  row(19, 'VMCLEAR', VIRTUALIZATION, 'VMCLEAR'),
  row(20, 'VMLAUNCH', VIRTUALIZATION, 'VMLAUNCH'),
  row(21, 'VMPTRLD', VIRTUALIZATION, 'VMPTRLD'),
  row(22, 'VMPTRST', VIRTUALIZATION, 'VMPTRST'),
  row(23, 'VMREAD', VIRTUALIZATION, 'VMREAD'),
  row(24, 'VMRESUME', VIRTUALIZATION, 'VMRESUME'),
  row(25, 'VMWRITE', VIRTUALIZATION, 'VMWRITE'),
  row(26, 'VMXOFF', VIRTUALIZATION, 'VMXOFF'),
  row(27, 'VMXON', VIRTUALIZATION, 'VMXON'),
  row(28, 'CR_ACCESS', EXIT.CR_READ),
  row(28, 'CR_ACCESS', EXIT.CR_WRITE),
  row(31, 'RDMSR', EXIT.MSR_READ),
  row(32, 'WRMSR', EXIT.MSR_WRITE),
  row(33, 'INVALID_GUEST_STATE'),
  row(34, 'MSR_LOADING'),
  row(36, 'MWAIT', INTERCEPT.MWAIT),
  row(39, 'MONITOR', INTERCEPT.MONITOR),
  row(40, 'PAUSE', INTERCEPT.PAUSE),
  row(46, 'GDTR_IDTR', INTERCEPT.LIDT),
  row(48, 'EPT_VIOLATION', EXIT.NESTED_FAULT),
  row(49, 'EPT_MISCONFIGURATION'),
  row(51, 'RDTSCP', INTERCEPT.RDTSCP),
  row(52, 'PREEMPTION_TIMER', EXIT.PREEMPTION_TIMER),
  row(55, 'XSETBV', INTERCEPT.XSETBV),
  row(57, 'RDRAND', INTERCEPT.RDRAND),
  row(61, 'RDSEED', INTERCEPT.RDSEED),
  row(67, 'UMWAIT', INTERCEPT.UMWAIT),
  row(68, 'TPAUSE', INTERCEPT.TPAUSE),
  row(76, 'SEAMCALL', INTERCEPT.SEAMCALL),
  row(77, 'TDCALL', INTERCEPT.TDCALL),
  row(84, 'MSR_READ_IMM', EXIT.MSR_READ_IMM),
  row(85, 'MSR_WRITE_IMM', EXIT.MSR_WRITE_IMM),
];

/** Bit 31 of the exit reason: the guest was not entered. */
export const ENTRY_FAILURE = 1 << 31;

/** A basic exit reason by name. Throws on a name that is not in the table. */
export function exitReason(name: string): number {
  const found = EXIT_REASON_ROWS.find((item) => item.name === name);
  if (!found) throw new Error(`no exit reason is called ${name}`);
  return found.reason;
}

/** The name of a basic exit reason; its number where it has none. */
export function exitReasonName(reason: number): string {
  return EXIT_REASON_ROWS.find((item) => item.reason === (reason & 0xffff))?.name ?? String(reason & 0xffff);
}
