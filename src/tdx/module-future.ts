import type { CpuidRow, Register } from '../cpuid/entry.js';
import { type LeafRules, withAllowedBit } from './cpuid-rules.js';
import type { EntryKind, ExitKind, ExitRow } from './exit.js';
import type { LeafId, TdxModuleVersion } from './params.js';

/**
 * A module that does not exist yet, declared as a patch on one that does. Everything about it is an assumption. Its
 * features are "configured & native": a TD has one if the VMM asks for it and the CPU has it.
 */
export interface FutureModule {
  readonly name: string;
  readonly base: TdxModuleVersion;
  readonly features: readonly FutureFeature[];
}

/** One CPUID bit that becomes configurable, and the state that it brings. */
export interface FutureFeature extends LeafId {
  readonly name: string;
  readonly register: Register;
  readonly bit: number;
  /** Bits of CR4 that a TD with the feature may set. */
  readonly cr4?: bigint;
  /** What a guest with the feature reaches, with what TD exit leaves there. */
  readonly states: readonly FutureState[];
}

export interface FutureState {
  /** Name as in the MSR table, or a name of its own. */
  readonly state: string;
  /** `null` when it is no MSR; an MSR is reached natively. */
  readonly msr: number | null;
  readonly kind: ExitKind;
  /** For `init`; 0 when not given. */
  readonly value?: bigint;
  /** `guest` when not given: TD entry loads the guest's copy, 0 at first. */
  readonly entry?: EntryKind;
}

/** The rules of the base with the module's bits configurable. */
export function futureRules(base: LeafRules, { features }: FutureModule): LeafRules {
  return features.reduce((rules, feature) => withAllowedBit(rules, feature, feature.register, feature.bit), base);
}

/** A CPU that has all features of the module: rows of CPUID with their bits set. Leaves that are missing are added. */
export function withNativeBits(rows: readonly CpuidRow[], { features }: FutureModule): readonly CpuidRow[] {
  const changed = [...rows];
  for (const { leaf, subleaf, register, bit } of features) {
    const index = subleaf ?? 0;
    const at = changed.findIndex((row) => row.function === leaf && row.index === index);
    const row = changed[at] ?? { function: leaf, index, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    changed[at < 0 ? changed.length : at] = { ...row, [register]: (row[register] | (1 << bit)) >>> 0 };
  }
  return changed;
}

/** The exit rows of a TD with these features of a future module: theirs in place of the base's. */
export function futureExitRows(base: readonly ExitRow[], features: readonly FutureFeature[]): readonly ExitRow[] {
  const rows = features.flatMap((feature) => feature.states.map((state) => exitRow(feature, state)));
  const replaced = new Set(rows.map(({ state }) => state));
  return [...base.filter(({ state }) => !replaced.has(state)), ...rows];
}

function exitRow({ name }: FutureFeature, { state, msr, kind, value = 0n, entry = 'guest' }: FutureState): ExitRow {
  return {
    state,
    msr,
    entry,
    entryValue: null,
    initial: 0n,
    kind,
    value: kind === 'init' ? value : null,
    bits: null,
    synthesized: 'host',
    condition: name,
    source: 'A',
    note: 'a module that does not exist yet',
  };
}
