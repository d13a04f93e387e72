import { INTERCEPT } from '../core/guest-world.js';
import type { OpName } from '../isa/op-rows.js';

/**
 * Exit codes (APM volume 2, appendix C). Up to BFH a code is also the number of the bit that intercepts it, counted from
 * the beginning of the VMCB: 32 bits for control registers, debug registers, exceptions, and three words of the rest.
 */

export interface ExitRow {
  readonly code: number;
  readonly name: string;
  /** What the core calls it, when it leaves a guest by itself. */
  readonly intercept: keyof typeof INTERCEPT | null;
  /** The operation, for those that the core calls {@link INTERCEPT}.VIRTUALIZATION. */
  readonly op: OpName | null;
}

function row(code: number, name: string, intercept: ExitRow['intercept'] = null, op: ExitRow['op'] = null): ExitRow {
  return { code, name, intercept, op };
}

/** `{n}` counts up; the rest of the table is one row per code. Codes of things that this machine never does are left out. */
// biome-ignore format: one row per fact
export const EXIT_ROWS: readonly ExitRow[] = [
  ...[0, 2, 3, 4, 8].map((n) => row(n, `CR${n}_READ`)),
  ...[0, 2, 3, 4, 8].map((n) => row(0x10 + n, `CR${n}_WRITE`)),
  ...Array.from({ length: 32 }, (_, n) => row(0x40 + n, `EXCP${n}`)),
  row(0x60, 'INTR', 'EXTERNAL_INTERRUPT'),
  row(0x61, 'NMI', 'NMI'),
  row(0x64, 'VINTR'),
  row(0x65, 'CR0_SEL_WRITE'),
  row(0x6a, 'IDTR_WRITE', 'LIDT'),
  row(0x6e, 'RDTSC', 'RDTSC'),
  row(0x70, 'PUSHF'),
  row(0x71, 'POPF'),
  row(0x72, 'CPUID', 'CPUID'),
  row(0x74, 'IRET', 'IRET'),
  row(0x75, 'SWINT', 'SOFTWARE_INTERRUPT'),
  row(0x77, 'PAUSE', 'PAUSE'),
  row(0x78, 'HLT', 'HLT'),
  row(0x7b, 'IOIO'),
  row(0x7c, 'MSR'),
  row(0x7f, 'SHUTDOWN', 'TRIPLE_FAULT'),
  row(0x80, 'VMRUN', 'VIRTUALIZATION', 'VMRUN'),
  row(0x81, 'VMMCALL', 'HYPERCALL'),
  row(0x82, 'VMLOAD', 'VIRTUALIZATION', 'VMLOAD'),
  row(0x83, 'VMSAVE', 'VIRTUALIZATION', 'VMSAVE'),
  row(0x84, 'STGI', 'VIRTUALIZATION', 'STGI'),
  row(0x85, 'CLGI', 'VIRTUALIZATION', 'CLGI'),
  row(0x87, 'RDTSCP', 'RDTSCP'),
  row(0x8a, 'MONITOR', 'MONITOR'),
  row(0x8b, 'MWAIT', 'MWAIT'),
  row(0x8c, 'MWAIT_CONDITIONAL'),
  row(0x8d, 'XSETBV', 'XSETBV'),
  row(0x400, 'NPF'),
  row(0x403, 'VMGEXIT', 'VMGEXIT'),
  row(-1, 'INVALID'),
];

const byName = new Map(EXIT_ROWS.map((item) => [item.name, item.code]));

/** The exit code of that name. Throws on a name that is not in the table: a typing error. */
export function exitCode(name: string): number {
  const code = byName.get(name);
  if (code === undefined) throw new Error(`no exit is called ${name}`);
  return code;
}

/** The name of an exit code, for traces and messages. */
export function exitName(code: number): string {
  return EXIT_ROWS.find((item) => item.code === code)?.name ?? `0x${(code >>> 0).toString(16)}`;
}

/** By `INTERCEPT`: the exit code, or 0 when SVM has none. VIRTUALIZATION has one per operation. */
export const CODE_OF_INTERCEPT: Int32Array = Int32Array.from({ length: INTERCEPT.COUNT }, (_, place) => {
  const found = EXIT_ROWS.find(
    (item) => item.op === null && item.intercept !== null && INTERCEPT[item.intercept] === place,
  );
  return found?.code ?? 0;
});
