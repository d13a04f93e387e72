import { MSR_ROWS } from '../emu/msr-rows.js';
import { XFAM_SUPERVISOR, XFAM_USER } from './cpuid-init.js';
import type { TdFlags } from './module-flags.js';
import { isVersionIn, type TdxModuleVersion } from './params.js';
import { EXIT_ROWS, type ExitTableRow } from './rows/exit-rows.js';

/**
 * What TD entry and TD exit do to the host's state, as rows. The table is `rows/exit-rows.ts`; the engine that applies
 * the rows to a machine is not here.
 */

/**
 * What the host finds in a state after a TD exit:
 *
 * - `host` the value from before the entry;
 * - `init` a fixed value that the module writes;
 * - `guest` what the guest left there;
 * - `vmcs` what the VMM's transfer VMCS holds: the host's value again, loaded by hardware.
 */
export type ExitKind = 'host' | 'init' | 'guest' | 'vmcs';

/**
 * What the guest finds in a state after TD entry: its own saved copy, a fixed value, or the host's, because the module
 * does not touch it.
 */
export type EntryKind = 'guest' | 'fixed' | 'untouched';

/** Where a row comes from: read in public source, recalled from a manual, or assumed. */
export type SourceMark = 'S' | 'D' | 'A';

/** Whether a row holds. The table names conditions: a flag of the TD, or one of `CONDITIONS`. */
type ExitCondition = (facts: ExitFacts) => boolean;

/** What conditions look at. */
export interface ExitFacts {
  readonly version: TdxModuleVersion;
  readonly xfam: bigint;
  readonly flags: TdFlags;
  /** IA32_ARCH_CAPABILITIES.TSX_CTRL. */
  readonly hasTsxCtrl: boolean;
  /** The CPU has HLE or RTM, whatever IA32_TSX_CTRL hides. */
  readonly hasTsx: boolean;
  /** CPUID.1:EAX of the CPU. */
  readonly model: number;
}

/** One state in one TD: a row of the table whose condition holds. */
export interface ExitRow {
  /** Name as in the MSR table (`emu/msr-rows.ts`), or of a state that is no MSR (`XCR0`, `DR6`, `PKRU`, …). */
  readonly state: string;
  /** MSR index; `null` when the state is no MSR. */
  readonly msr: number | null;
  readonly entry: EntryKind;
  /** What a `fixed` entry loads; `null` for the other kinds. */
  readonly entryValue: bigint | null;
  /** The guest's copy before the first entry, for `guest`; TD exit saves the guest's value into that copy. */
  readonly initial: bigint;
  readonly kind: ExitKind;
  /** What an `init` exit leaves; `null` for the other kinds, and where the state is not one number (`XSAVE`). */
  readonly value: bigint | null;
  /** Bits that the row speaks of; the others are the host's after exit. All of them when `null`. */
  readonly bits: bigint | null;
  /** Kind after an exit that the module only pretends (an emulated EPT violation): the guest never ran. */
  readonly synthesized: ExitKind;
  /** The condition that this TD meets. */
  readonly condition: string;
  readonly source: SourceMark;
  /** What else is to be said; may be empty. */
  readonly note: string;
}

/** How TDH.VP.ENTER ends: the guest ran; the module pretends an exit before it ran; the entry failed. */
export type ExitWay = 'exit' | 'synthesized' | 'failed';

/** What a row means for one way. A failed TDH.VP.ENTER leaves everything as it was. */
export function kindAfter(row: ExitRow, way: ExitWay): ExitKind {
  if (way === 'exit') return row.kind;
  return way === 'synthesized' ? row.synthesized : 'host';
}

/** Family 6, model ADH. That A0 is stepping 0 is assumed. */
const GRANITE_RAPIDS_A0 = 0xa06d0;

/** Conditions that are no flag of the TD. */
const CONDITIONS: Readonly<Record<string, ExitCondition>> = {
  always: () => true,
  'CPU has TSX_CTRL, TSX not configured': ({ hasTsxCtrl, flags }) => hasTsxCtrl && !flags.tsx,
  'CPU has TSX and TSX_CTRL, TSX not configured': ({ hasTsxCtrl, hasTsx, flags }) => hasTsxCtrl && hasTsx && !flags.tsx,
  'no PERFMON': ({ flags }) => !flags.perfmon,
  'not the first stepping of Granite Rapids': ({ model }) => model !== GRANITE_RAPIDS_A0,
};

function meets(condition: string, facts: ExitFacts): boolean {
  const known = CONDITIONS[condition];
  if (known) return known(facts);
  if (!(condition in facts.flags)) throw new Error(`no exit condition is called ${condition}`);
  return facts.flags[condition as keyof TdFlags];
}

/** The rows that hold in a TD, in the order of the table; a state appears once. */
export function exitRowsOf(facts: ExitFacts): readonly ExitRow[] {
  return TABLE.filter(
    ({ row: { condition, since, until } }) => isVersionIn(facts.version, since, until) && meets(condition, facts),
  ).flatMap(({ row, states }) => {
    const { value } = row;
    if (value !== 'XFAM user' && value !== 'XFAM supervisor') return states;
    const mask = value === 'XFAM user' ? XFAM_USER : XFAM_SUPERVISOR;
    return states.map((state) => ({ ...state, value: facts.xfam & mask }));
  });
}

const msrs = new Map(MSR_ROWS.map((row) => [row.name, row]));

/** The table, with the rows that stand for several states expanded. */
const TABLE = EXIT_ROWS.map((row) => ({ row, states: expand(row) }));

function expand(row: ExitTableRow): readonly ExitRow[] {
  const { entry, entryValue = null, kind, bits = null, condition, source, note = '', synthesized = 'host' } = row;
  const value = typeof row.value === 'string' || kind !== 'init' ? null : row.value === undefined ? 0n : row.value;
  return Array.from({ length: row.count ?? 1 }, (_, n) => {
    const state = row.state.replaceAll('{n}', String(n));
    const found = msrs.get(state);
    const msr = row.msr === undefined ? (found?.index ?? null) : row.msr + n;
    const initial = row.initial ?? (typeof found?.reset === 'bigint' ? found.reset : 0n);
    return { state, msr, entry, entryValue, initial, kind, value, bits, synthesized, condition, source, note };
  });
}
