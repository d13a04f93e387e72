import { MsrMoves } from '../msr-moves.js';
import { slotNamed } from '../msrs.js';
import { ENTRY_CONTROL, EXIT_CONTROL, EXIT_CONTROL_2 } from './controls.js';
import { FIELD, type FieldName } from './field-rows.js';

/**
 * MSRs that have a place in the VMCS: which controls load the guest's value, save it, and load the host's (SDM volume 3,
 * 28.3.2.1, 29.3.1, 29.5.1; the FRED specification). An MSR without a row stays as it is: the guest finds the host's
 * value, and the host the guest's.
 */
export interface StateRow {
  readonly msr: string;
  readonly guest: FieldName;
  readonly host: FieldName | null;
  readonly load: Condition;
  readonly save: Condition;
  /** `clear`: the host finds 0, whatever was there before. */
  readonly back: Condition | 'clear' | { readonly clear: Condition };
}

/** `true`: always. Else a control that must be set. */
type Condition = true | false | { readonly entry: number } | { readonly exit: number } | { readonly exit2: number };

function row(
  msr: string,
  guest: FieldName,
  host: FieldName | null,
  load: Condition,
  save: Condition,
  back: StateRow['back'],
): StateRow {
  return { msr, guest, host, load, save, back };
}

const entry = (bit: keyof typeof ENTRY_CONTROL): Condition => ({ entry: ENTRY_CONTROL[bit] });
const exit = (bit: keyof typeof EXIT_CONTROL): Condition => ({ exit: EXIT_CONTROL[bit] });
const LOAD_FRED = entry('LOAD_FRED');
const SAVE_FRED: Condition = { exit2: EXIT_CONTROL_2.SAVE_FRED };
const BACK_FRED: Condition = { exit2: EXIT_CONTROL_2.LOAD_FRED };

// biome-ignore format: one row per fact
export const STATE_ROWS: readonly StateRow[] = [
  row('IA32_FS_BASE', 'GUEST_FS_BASE', 'HOST_FS_BASE', true, true, true),
  row('IA32_GS_BASE', 'GUEST_GS_BASE', 'HOST_GS_BASE', true, true, true),
  row('IA32_SYSENTER_CS', 'GUEST_SYSENTER_CS', 'HOST_SYSENTER_CS', true, true, true),
  row('IA32_SYSENTER_ESP', 'GUEST_SYSENTER_ESP', 'HOST_SYSENTER_ESP', true, true, true),
  row('IA32_SYSENTER_EIP', 'GUEST_SYSENTER_EIP', 'HOST_SYSENTER_EIP', true, true, true),
  row('IA32_DEBUGCTL', 'GUEST_DEBUGCTL', null, entry('LOAD_DEBUG'), exit('SAVE_DEBUG'), 'clear'),
  row('IA32_PAT', 'GUEST_PAT', 'HOST_PAT', entry('LOAD_PAT'), exit('SAVE_PAT'), exit('LOAD_PAT')),
  row('IA32_PERF_GLOBAL_CTRL', 'GUEST_PERF_GLOBAL_CTRL', 'HOST_PERF_GLOBAL_CTRL', entry('LOAD_PERF_GLOBAL_CTRL'), false, exit('LOAD_PERF_GLOBAL_CTRL')),
  row('IA32_BNDCFGS', 'GUEST_BNDCFGS', null, entry('LOAD_BNDCFGS'), entry('LOAD_BNDCFGS'), { clear: exit('CLEAR_BNDCFGS') }),
  row('IA32_S_CET', 'GUEST_S_CET', 'HOST_S_CET', entry('LOAD_CET'), entry('LOAD_CET'), exit('LOAD_CET')),
  row('IA32_INTERRUPT_SSP_TABLE_ADDR', 'GUEST_INTERRUPT_SSP_TABLE', 'HOST_INTERRUPT_SSP_TABLE', entry('LOAD_CET'), entry('LOAD_CET'), exit('LOAD_CET')),
  row('IA32_PKRS', 'GUEST_PKRS', 'HOST_PKRS', entry('LOAD_PKRS'), entry('LOAD_PKRS'), exit('LOAD_PKRS')),
  row('IA32_FRED_CONFIG', 'GUEST_FRED_CONFIG', 'HOST_FRED_CONFIG', LOAD_FRED, SAVE_FRED, BACK_FRED),
  row('IA32_FRED_RSP1', 'GUEST_FRED_RSP1', 'HOST_FRED_RSP1', LOAD_FRED, SAVE_FRED, BACK_FRED),
  row('IA32_FRED_RSP2', 'GUEST_FRED_RSP2', 'HOST_FRED_RSP2', LOAD_FRED, SAVE_FRED, BACK_FRED),
  row('IA32_FRED_RSP3', 'GUEST_FRED_RSP3', 'HOST_FRED_RSP3', LOAD_FRED, SAVE_FRED, BACK_FRED),
  row('IA32_FRED_STKLVLS', 'GUEST_FRED_STKLVLS', 'HOST_FRED_STKLVLS', LOAD_FRED, SAVE_FRED, BACK_FRED),
  row('IA32_FRED_SSP1', 'GUEST_FRED_SSP1', 'HOST_FRED_SSP1', LOAD_FRED, SAVE_FRED, BACK_FRED),
  row('IA32_FRED_SSP2', 'GUEST_FRED_SSP2', 'HOST_FRED_SSP2', LOAD_FRED, SAVE_FRED, BACK_FRED),
  row('IA32_FRED_SSP3', 'GUEST_FRED_SSP3', 'HOST_FRED_SSP3', LOAD_FRED, SAVE_FRED, BACK_FRED),
];

/** What one setting of the controls moves between the fields of a VMCS and the MSRs. */
export interface SwitchPlan {
  readonly load: MsrMoves;
  readonly save: MsrMoves;
  readonly back: MsrMoves;
  /** Slots that are cleared. */
  readonly clear: Int32Array;
}

const plans = new Map<string, SwitchPlan>();

/** What a setting of entry, exit and secondary exit controls moves; `exists`: 1 where the CPU has the MSR, by slot. */
export function switchPlan(entryControls: number, exitControls: number, exit2: number, exists: Uint8Array): SwitchPlan {
  const rows = STATE_ROWS.filter(({ msr }) => exists[slotNamed(msr)] === 1);
  const key = `${entryControls},${exitControls},${exit2},${rows.map(({ msr }) => msr).join()}`;
  const known = plans.get(key);
  if (known) return known;
  const holds = (condition: Condition): boolean => {
    if (typeof condition === 'boolean') return condition;
    if ('entry' in condition) return (entryControls & condition.entry) !== 0;
    if ('exit' in condition) return (exitControls & condition.exit) !== 0;
    return (exitControls & EXIT_CONTROL.SECONDARY) !== 0 && (exit2 & condition.exit2) !== 0;
  };
  const moves = (wanted: (item: StateRow) => FieldName | null): MsrMoves =>
    new MsrMoves(
      'halves',
      rows.flatMap((item) => {
        const field = wanted(item);
        return field === null ? [] : [FIELD[field], slotNamed(item.msr)];
      }),
    );
  const clears = ({ back }: StateRow): boolean =>
    back === 'clear' || (typeof back === 'object' && 'clear' in back && holds(back.clear));
  const plan: SwitchPlan = {
    load: moves((item) => (holds(item.load) ? item.guest : null)),
    save: moves((item) => (holds(item.save) ? item.guest : null)),
    back: moves(({ back, host }) =>
      back !== 'clear' && !(typeof back === 'object' && 'clear' in back) && holds(back) ? host : null,
    ),
    clear: Int32Array.from(rows.filter(clears), ({ msr }) => slotNamed(msr)),
  };
  plans.set(key, plan);
  return plan;
}
