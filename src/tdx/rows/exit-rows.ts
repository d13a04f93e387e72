import type { EntryKind, ExitKind, SourceMark } from '../exit.js';
import type { TdxModuleVersion } from '../params.js';

/**
 * What TD entry and TD exit do to state that the host has too: one row per state and condition. Read in the module's TD
 * exit and TD entry code (1.5.01; 1.5.28 and 2.0.8 where `since` and `until` say so). What is loaded from the transfer
 * VMCS comes last.
 *
 * Writing an INIT value is skipped when the guest's value equals it: the outcome is the same. An exit that the module
 * only pretends (the zero-step filter's emulated EPT violation) resets the extended state and nothing else; a failed
 * TDH.VP.ENTER resets nothing.
 */
export interface ExitTableRow {
  /** `{n}` counts up from 0 when `count` is given. */
  readonly state: string;
  /** A flag of `module-flags.ts`, or a condition of `exit.ts`. */
  readonly condition: string;
  readonly entry: EntryKind;
  readonly kind: ExitKind;
  readonly source: SourceMark;
  /** For `fixed` entries. */
  readonly entryValue?: bigint;
  /** For `init`; 0 when not given, `null` for a state that is not one number. */
  readonly value?: bigint | 'XFAM user' | 'XFAM supervisor' | null;
  readonly bits?: bigint;
  /** When the MSR table does not say it. */
  readonly initial?: bigint;
  /** For MSRs that the MSR table does not have. */
  readonly msr?: number;
  readonly count?: number;
  /** `host` when not given. */
  readonly synthesized?: ExitKind;
  readonly since?: TdxModuleVersion;
  readonly until?: TdxModuleVersion;
  readonly note?: string;
}

type Options = Omit<ExitTableRow, 'state' | 'condition' | 'entry' | 'kind' | 'source'>;

function row(
  state: string,
  condition: string,
  entry: EntryKind,
  kind: ExitKind,
  source: SourceMark,
  options: Options = {},
): ExitTableRow {
  return { state, condition, entry, kind, source, ...options };
}

/** IA32_DEBUGCTL: BTF, FREEZE_PERFMON_ON_PMI and FREEZE_WHILE_SMM keep the host's value. */
const DEBUGCTL_CLEARED = 0xffff_ffff_ffff_ffffn & ~((1n << 1n) | (1n << 12n) | (1n << 14n));

/** RTM_DISABLE and CPUID_CLEAR. */
const TSX_OFF = 3n;

// biome-ignore format: one row per fact
export const EXIT_ROWS: readonly ExitTableRow[] = [
  row('IA32_UMWAIT_CONTROL', 'waitpkg', 'guest', 'guest', 'S', { note: 'nothing restores the host value, which 0 replaces even if the guest never writes it' }),
  row('IA32_TSX_CTRL', 'tsx', 'guest', 'init', 'S'),
  row('IA32_TSX_CTRL', 'CPU has TSX_CTRL, TSX not configured', 'fixed', 'host', 'S', { entryValue: TSX_OFF, until: '1.5.01', note: 'written only if the host has RTM enabled' }),
  row('IA32_TSX_CTRL', 'CPU has TSX and TSX_CTRL, TSX not configured', 'fixed', 'host', 'S', { entryValue: TSX_OFF, since: '1.5.28', note: 'written only if the host has RTM enabled' }),
  row('IA32_STAR', 'always', 'guest', 'init', 'S'),
  row('IA32_LSTAR', 'always', 'guest', 'init', 'S'),
  row('IA32_FMASK', 'always', 'guest', 'init', 'S', { value: 0x2_0200n }),
  row('IA32_TSC_AUX', 'always', 'guest', 'init', 'S'),
  row('IA32_KERNEL_GS_BASE', 'always', 'guest', 'init', 'S'),
  row('XCR0', 'always', 'guest', 'init', 'S', { value: 'XFAM user', initial: 1n, synthesized: 'init' }),
  row('IA32_XSS', 'always', 'guest', 'init', 'S', { value: 'XFAM supervisor', synthesized: 'init' }),
  row('XSAVE', 'always', 'guest', 'init', 'S', { value: null, synthesized: 'init', note: 'INIT state of every component in XFAM' }),
  row('PKRU', 'pku', 'guest', 'init', 'S', { synthesized: 'init', note: 'XSAVE component 9' }),
  row('IA32_XFD', 'xfd', 'guest', 'init', 'S'),
  row('IA32_XFD_ERR', 'xfd', 'guest', 'init', 'S'),
  row('DR{n}', 'always', 'guest', 'init', 'S', { count: 4 }),
  row('DR6', 'always', 'guest', 'init', 'S', { value: 0xffff_0ff0n, initial: 0xffff_0ff0n }),
  row('DR7', 'always', 'guest', 'init', 'S', { value: 0x400n, initial: 0x400n }),
  row('CR2', 'always', 'guest', 'init', 'S'),
  row('IA32_DS_AREA', 'always', 'guest', 'host', 'S'),
  row('IA32_SPEC_CTRL', 'always', 'guest', 'host', 'S', { note: 'saved at SEAMCALL' }),
  row('IA32_DEBUGCTL', 'always', 'guest', 'init', 'S', { bits: DEBUGCTL_CLEARED }),
  row('IA32_UARCH_MISC_CTL', 'always', 'guest', 'init', 'S', { until: '1.5.01', note: 'DOITM: no CPUID bit belongs to it' }),
  row('IA32_UARCH_MISC_CTL', 'not the first stepping of Granite Rapids', 'guest', 'init', 'S', { since: '1.5.28', note: 'DOITM: no CPUID bit belongs to it' }),

  row('IA32_FIXED_CTR{n}', 'perfmon', 'guest', 'init', 'S', { count: 4 }),
  row('IA32_FIXED_CTR0', 'no PERFMON', 'untouched', 'host', 'S', { note: 'the module counts with it' }),
  row('IA32_PMC{n}', 'perfmon', 'guest', 'init', 'S', { count: 8 }),
  row('IA32_PERFEVTSEL{n}', 'perfmon', 'guest', 'guest', 'S', { count: 8, until: '1.5.01' }),
  row('IA32_PERFEVTSEL{n}', 'perfmon', 'guest', 'init', 'S', { count: 8, since: '1.5.28' }),
  row('IA32_FIXED_CTR_CTRL', 'perfmon', 'guest', 'guest', 'S', { until: '1.5.01' }),
  row('IA32_FIXED_CTR_CTRL', 'perfmon', 'guest', 'init', 'S', { since: '1.5.28' }),
  row('IA32_PEBS_ENABLE', 'perfmon', 'guest', 'guest', 'S', { until: '1.5.01' }),
  row('IA32_PEBS_ENABLE', 'perfmon', 'guest', 'init', 'S', { since: '1.5.28' }),
  row('MSR_PEBS_DATA_CFG', 'perfmon', 'guest', 'guest', 'S', { until: '1.5.01' }),
  row('MSR_PEBS_DATA_CFG', 'perfmon', 'guest', 'init', 'S', { since: '1.5.28' }),
  row('MSR_PEBS_LD_LAT', 'perfmon', 'guest', 'guest', 'S', { until: '1.5.01' }),
  row('MSR_PEBS_LD_LAT', 'perfmon', 'guest', 'init', 'S', { since: '1.5.28' }),
  row('MSR_PEBS_FRONTEND', 'perfmon', 'guest', 'guest', 'S', { msr: 0x3f7, until: '1.5.01' }),
  row('MSR_PEBS_FRONTEND', 'perfmon', 'guest', 'init', 'S', { msr: 0x3f7, since: '1.5.28' }),
  row('MSR_OFFCORE_RSP{n}', 'perfmon', 'guest', 'init', 'S', { msr: 0x1a6, count: 2 }),
  row('MSR_PERF_METRICS', 'perfmon', 'guest', 'init', 'S'),
  row('IA32_PERF_GLOBAL_STATUS', 'perfmon', 'guest', 'init', 'S', { note: 'all that is set is reset' }),
  row('IA32_PERF_GLOBAL_CTRL', 'perfmon', 'guest', 'init', 'S'),
  row('IA32_RTIT_CTL', 'pt', 'guest', 'init', 'S'),
  row('IA32_RTIT_OUTPUT_BASE', 'pt', 'guest', 'init', 'D', { synthesized: 'init', note: 'XSAVE component 8' }),
  row('IA32_RTIT_OUTPUT_MASK_PTRS', 'pt', 'guest', 'init', 'D', { value: 0x7fn, synthesized: 'init', note: 'XSAVE component 8' }),
  row('IA32_RTIT_STATUS', 'pt', 'guest', 'init', 'D', { synthesized: 'init', note: 'XSAVE component 8' }),
  row('IA32_RTIT_CR3_MATCH', 'pt', 'guest', 'init', 'D', { synthesized: 'init', note: 'XSAVE component 8' }),
  row('IA32_RTIT_ADDR{n}_A', 'pt', 'guest', 'init', 'D', { count: 4, synthesized: 'init', note: 'XSAVE component 8' }),
  row('IA32_RTIT_ADDR{n}_B', 'pt', 'guest', 'init', 'D', { count: 4, synthesized: 'init', note: 'XSAVE component 8' }),
  row('IA32_LBR_CTL', 'lbr', 'guest', 'init', 'S'),
  row('IA32_LBR_{n}_INFO', 'lbr', 'guest', 'init', 'D', { count: 32, synthesized: 'init', note: 'XSAVE component 15' }),
  row('IA32_LBR_{n}_FROM_IP', 'lbr', 'guest', 'init', 'D', { count: 32, synthesized: 'init', note: 'XSAVE component 15' }),
  row('IA32_LBR_{n}_TO_IP', 'lbr', 'guest', 'init', 'D', { count: 32, synthesized: 'init', note: 'XSAVE component 15' }),
  row('IA32_LBR_DEPTH', 'lbr', 'guest', 'guest', 'S', { note: 'nothing resets it on this path' }),
  row('IA32_PKRS', 'pks', 'guest', 'vmcs', 'S'),
  row('IA32_U_CET', 'cet', 'guest', 'init', 'S', { synthesized: 'init', note: 'XSAVE component 11' }),
  row('IA32_S_CET', 'cet', 'guest', 'vmcs', 'S'),
  row('IA32_PL{n}_SSP', 'cet', 'guest', 'init', 'S', { count: 4, synthesized: 'init', note: 'XSAVE components 11 and 12' }),
  row('IA32_INTERRUPT_SSP_TABLE_ADDR', 'cet', 'guest', 'vmcs', 'S'),
  row('IA32_UINTR_RR', 'uintr', 'guest', 'init', 'S', { synthesized: 'init', note: 'XSAVE component 14' }),
  row('IA32_UINTR_HANDLER', 'uintr', 'guest', 'init', 'S', { synthesized: 'init', note: 'XSAVE component 14' }),
  row('IA32_UINTR_STACKADJUST', 'uintr', 'guest', 'init', 'S', { synthesized: 'init', note: 'XSAVE component 14' }),
  row('IA32_UINTR_MISC', 'uintr', 'guest', 'init', 'S', { synthesized: 'init', note: 'XSAVE component 14' }),
  row('IA32_UINTR_PD', 'uintr', 'guest', 'init', 'S', { synthesized: 'init', note: 'XSAVE component 14' }),
  row('IA32_UINTR_TT', 'uintr', 'guest', 'init', 'S', { synthesized: 'init', note: 'XSAVE component 14' }),

  row('CR0', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('CR3', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('CR4', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('GDTR', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('IDTR', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('TR', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('IA32_FS_BASE', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('IA32_GS_BASE', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('IA32_SYSENTER_CS', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('IA32_SYSENTER_ESP', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('IA32_SYSENTER_EIP', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('IA32_EFER', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),
  row('IA32_PAT', 'always', 'guest', 'vmcs', 'S', { synthesized: 'vmcs' }),

  // No public module has FRED: its state is the host's throughout.
  row('IA32_FRED_RSP{n}', 'always', 'untouched', 'host', 'S', { count: 4 }),
  row('IA32_FRED_STKLVLS', 'always', 'untouched', 'host', 'S'),
  row('IA32_FRED_SSP1', 'always', 'untouched', 'host', 'S'),
  row('IA32_FRED_SSP2', 'always', 'untouched', 'host', 'S'),
  row('IA32_FRED_SSP3', 'always', 'untouched', 'host', 'S'),
  row('IA32_FRED_CONFIG', 'always', 'untouched', 'host', 'S'),
];
