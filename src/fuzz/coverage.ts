import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX, REGISTERS, type Register } from '../cpuid/entry.js';
import { EAX, FLAGS, FUNCTION, INDEX } from '../kvm/abi.js';
import { CHECK, CHECK_FIXED, CHECK_FIXED_OR_ZERO, CHECK_WORDS, functionOf } from '../kvm/paranoid/rule-arrays.js';
import type { RuleLines } from '../kvm/paranoid/rule-lines.js';

const ACCEPTED = 1;
const REFUSED = 2;

/** What coverage consists of; can be sent to another thread. One element for each line of the rules and register. */
export interface CoverageArrays {
  /** Bits that were set in a value that was allowed. */
  readonly accepted: Int32Array;
  /** Bits that were not allowed. */
  readonly refused: Int32Array;
  /** Whether any value, zero included, was allowed (1) or not (2). */
  readonly seen: Int32Array;
}

/** Which bits of which registers the rules of one place have allowed and refused. */
export class Coverage implements CoverageArrays {
  readonly accepted: Int32Array;
  readonly refused: Int32Array;
  readonly seen: Int32Array;
  private readonly rules: RuleLines;

  constructor(rules: RuleLines) {
    this.rules = rules;
    this.accepted = new Int32Array(rules.reject.length);
    this.refused = new Int32Array(rules.reject.length);
    this.seen = new Int32Array(rules.reject.length);
  }

  /** Takes note of the entry at word `at`. Allocates nothing. */
  note(words: Uint32Array, at: number): void {
    const { rules } = this;
    const significant = (words[at + FLAGS]! & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0;
    const line = rules.lineOf(words[at + FUNCTION]! | 0, words[at + INDEX]! | 0, significant);
    const checked = rules.checkStart[line]! < rules.checkStart[line + 1]!;
    for (let register = 0; register < 4; register++) {
      const cell = line * 4 + register;
      const value = words[at + EAX + register]! | 0;
      let offending = value & rules.reject[cell]!;
      if (checked && offending === 0 && !rules.allows(line, register, value))
        offending = this.failing(line, register, value);
      if (offending === 0) {
        this.accepted[cell]! |= value;
        this.seen[cell]! |= ACCEPTED;
      } else {
        this.refused[cell]! |= offending;
        this.seen[cell]! |= REFUSED;
      }
    }
  }

  /** The bits of the checks that a value fails: all of a field that is too large, what differs from a fixed value. */
  private failing(line: number, register: number, value: number): number {
    const { checks, checkStart } = this.rules;
    let offending = 0;
    for (
      let check = checkStart[line]! * CHECK_WORDS;
      check < checkStart[line + 1]! * CHECK_WORDS;
      check += CHECK_WORDS
    ) {
      if (checks[check + CHECK.register] !== register) continue;
      const kind = checks[check + CHECK.kind];
      offending |=
        kind === CHECK_FIXED || kind === CHECK_FIXED_OR_ZERO
          ? value ^ checks[check + CHECK.operand]!
          : value & checks[check + CHECK.mask]!;
    }
    return offending;
  }

  get arrays(): CoverageArrays {
    const { accepted, refused, seen } = this;
    return { accepted, refused, seen };
  }
}

/** A register of the rule table, over all places of a campaign. */
export interface CoverageRow {
  /** First and, of a range, last function. */
  readonly function: number;
  readonly last: number;
  /** `null`: the function has no sub-leaves; `any`: entries that answer all of them. */
  readonly index: number | null | 'any';
  /** The sub-leaf stands for all further ones. */
  readonly beyond: boolean;
  readonly register: Register;
  /** Bits by what was seen of them. */
  readonly accepted: number;
  readonly refused: number;
  /** Whether a value was allowed and refused, where the rules do both. */
  readonly hit: { readonly accept: boolean; readonly refuse: boolean };
  readonly possible: { readonly accept: boolean; readonly refuse: boolean };
}

/** The lines of a set of rules with the functions and sub-leaves that they are for. */
function linesOf(rules: RuleLines): Omit<CoverageRow, 'register' | 'accepted' | 'refused' | 'hit' | 'possible'>[] {
  const lines: ReturnType<typeof linesOf> = [];
  const { base, subleaves, ranges } = rules;
  const shared = new Set<number>([rules.unknownLine]);
  for (let i = 0; i < ranges.length; i += 3) {
    shared.add(ranges[i + 2]!);
    lines[ranges[i + 2]!] = { function: ranges[i]!, last: ranges[i + 1]!, index: null, beyond: false };
  }
  for (const [slot, line] of base.entries()) {
    if (shared.has(line)) continue;
    const fn = functionOf(slot);
    const count = subleaves[slot]!;
    lines[line] = { function: fn, last: fn, index: count > 0 ? 'any' : null, beyond: false };
    for (let index = 0; index < count; index++) {
      lines[line + 1 + index] = { function: fn, last: fn, index, beyond: index === count - 1 };
    }
  }
  return lines;
}

/** Whether the rules of a line allow no value, or any value, in a register. */
function possibilities(rules: RuleLines, line: number, register: number): CoverageRow['possible'] {
  const { checks, checkStart } = rules;
  let refuse = rules.reject[line * 4 + register] !== 0;
  for (let check = checkStart[line]!; check < checkStart[line + 1]!; check++) {
    refuse ||= checks[check * CHECK_WORDS + CHECK.register] === register;
  }
  return { accept: true, refuse };
}

/** The rows of several places, put together: a row is hit when it is at one of them. */
export function coverageRows(covered: readonly (readonly [RuleLines, CoverageArrays])[]): CoverageRow[] {
  const rows = new Map<string, CoverageRow>();
  for (const [rules, { accepted, refused, seen }] of covered) {
    for (const [line, place] of linesOf(rules).entries()) {
      if (place === undefined) continue;
      for (const [number, register] of REGISTERS.entries()) {
        const cell = line * 4 + number;
        const key = `${place.function} ${place.index} ${register}`;
        const known = rows.get(key);
        const possible = possibilities(rules, line, number);
        rows.set(key, {
          ...place,
          beyond: place.beyond && (known?.beyond ?? true),
          register,
          accepted: ((known?.accepted ?? 0) | accepted[cell]!) >>> 0,
          refused: ((known?.refused ?? 0) | refused[cell]!) >>> 0,
          hit: {
            accept: known?.hit.accept === true || (seen[cell]! & ACCEPTED) !== 0,
            refuse: known?.hit.refuse === true || (seen[cell]! & REFUSED) !== 0,
          },
          possible: { accept: true, refuse: known?.possible.refuse === true || possible.refuse },
        });
      }
    }
  }
  const order = (index: CoverageRow['index']) => (typeof index === 'number' ? index : -1);
  const sorted = [...rows.values()];
  return sorted.sort((a, b) => a.function - b.function || order(a.index) - order(b.index));
}

/** How much of the rule table was hit, in numbers. */
export interface CoverageSummary {
  readonly rows: number;
  /** Rows that were hit with every verdict that they allow. */
  readonly complete: number;
  /** Bits that were seen accepted, and refused. */
  readonly acceptedBits: number;
  readonly refusedBits: number;
}

export function summarize(rows: readonly CoverageRow[]): CoverageSummary {
  const bits = (mask: number): number => {
    let count = 0;
    for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
    return count;
  };
  return {
    rows: rows.length,
    complete: rows.filter(isComplete).length,
    acceptedBits: rows.reduce((sum, { accepted }) => sum + bits(accepted), 0),
    refusedBits: rows.reduce((sum, { refused }) => sum + bits(refused), 0),
  };
}

export const isComplete = ({ hit, possible }: CoverageRow): boolean =>
  (hit.accept || !possible.accept) && (hit.refuse || !possible.refuse);
