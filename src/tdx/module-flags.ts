import { REGISTERS, type Register } from '../cpuid/entry.js';
import { bitsOf, conditionOf, type Gate, type LeafRules, leavesOf, type Registers } from './cpuid-rules.js';
import type { LeafId, TdParams } from './params.js';

/**
 * What the module latches at TDH.MNG.INIT: a bit of the final CPUID, or all of some bits of XFAM or ATTRIBUTES. MSR
 * bitmaps, CR4 and the exit policy follow these flags, not what the guest does.
 */
const FLAG_ROWS = {
  /** The TD has IA32_TSX_CTRL. HLE goes with RTM. */
  tsx: '7.0 ebx RTM',
  waitpkg: '7.0 ecx WAITPKG',
  monitor: '1 ecx MWAIT',
  tme: '7.0 ecx tme',
  mktme: '7.0 edx pconfig',
  la57: '7.0 ecx LA57',
  dca: '1 ecx dca',
  tscDeadline: '1 ecx TSC_DEADLINE_TIMER',
  /** A component of XFAM can be disabled by IA32_XFD. */
  xfd: 'd.1 eax XFD',
  pt: 'xfam 8',
  pku: 'xfam 9',
  cet: 'xfam 11,12',
  uintr: 'xfam 14',
  lbr: 'xfam 15',
  lass: 'attributes 27',
  pks: 'attributes 30',
  perfmon: 'attributes 63',
} as const;

export type FlagName = keyof typeof FLAG_ROWS;
export const FLAG_NAMES = Object.keys(FLAG_ROWS) as readonly FlagName[];

export type TdFlags = Readonly<Record<FlagName, boolean>>;

/** A row, compiled. */
type Source = Pick<Gate, 'of' | 'bits'> | { readonly id: LeafId; readonly register: Register; readonly mask: number };

let sources: ReadonlyMap<FlagName, Source> | null = null;

/** The rows, compiled when the first TD is there: they need the rules of all leaves. */
function sourcesOfFlags(): ReadonlyMap<FlagName, Source> {
  sources ??= new Map(FLAG_NAMES.map((flag) => [flag, sourceOf(FLAG_ROWS[flag])]));
  return sources;
}

function sourceOf(text: string): Source {
  const [where = '', register = '', name = ''] = text.split(' ');
  if (where === 'xfam' || where === 'attributes') return conditionOf(text);
  const id = leavesOf(where)[0]!;
  return { id, register: register as Register, mask: bitsOf(id, register as Register, name) };
}

/** The flags of a TD with these final registers, one per rule. */
export function latchFlags(rules: LeafRules, finished: readonly Registers[], params: TdParams): TdFlags {
  const flags: Partial<Record<FlagName, boolean>> = {};
  for (const [flag, source] of sourcesOfFlags()) {
    flags[flag] =
      'of' in source
        ? (params[source.of] & source.bits) === source.bits
        : hasBits(rules, finished, source.id, source.register, source.mask);
  }
  return flags as TdFlags;
}

/** Whether the final registers of a leaf have all bits of the mask. */
export function hasBits(
  rules: LeafRules,
  finished: readonly Registers[],
  { leaf, subleaf }: LeafId,
  register: Register,
  mask: number,
): boolean {
  const rule = rules.exactly(leaf, subleaf);
  const values = rule && finished[rules.indexOf(rule)];
  return values !== undefined && (values[REGISTERS.indexOf(register)]! & mask) >>> 0 === mask;
}
