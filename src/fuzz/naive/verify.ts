// KVM_SET_CPUID2 of a paranoid VM, one register after the other, from the rules alone.

import type { RuleText } from './rule-text.js';
import {
  type Check,
  indicesOfRow,
  isReserved,
  type Overlay,
  offendingBits,
  overlayCaps,
  REGISTERS,
  type Register,
  type Registers,
  type RuleFacts,
  resolveRule,
  rowMatchesIndex,
  rowsOfFunction,
  ruleOf,
  ZERO_CHECK,
} from './rules.js';

export type { Overlay, RuleFacts } from './rules.js';

export interface CpuidEntry extends Readonly<Registers> {
  readonly function: number;
  readonly index: number;
  readonly flags: number;
}

export interface VerifyOptions {
  reserved?: 'zero' | 'ignore';
  defects?: string[];
  guestPermAmx?: boolean;
}

export interface Finding {
  /** Position in the table. */
  entry: number;
  register: Register;
  /** The bits that must change, never 0. */
  offending: number;
}

const DEFECTS = ['emulated-index-blind', 'flagless-first-row'];
const KVM_BASE = 0x40000000;
const SIGNIFICANT_INDEX = 1;

type RegisterChecks = Record<Register, Check[]>;

/** A table of checks for one facts, overlay and set of options. */
type Verifier = (fn: number, index: number, flagged: boolean) => RegisterChecks;

function makeVerifier(facts: RuleFacts, overlay: Overlay, options: VerifyOptions): Verifier {
  const defects = options.defects ?? [];
  for (const defect of defects) if (!DEFECTS.includes(defect)) throw new Error(`unknown defect '${defect}'`);
  const guestPermAmx = options.guestPermAmx ?? false;
  const caps = overlayCaps(facts, overlay);
  const indexed = facts.indexedFunctions;

  function check(row: RuleText, fn: number, index: number): Check {
    if (options.reserved === 'ignore' && isReserved(row, overlay)) return { kind: 'ignored' };
    return resolveRule(ruleOf(row, overlay), {
      facts,
      caps,
      guestPermAmx,
      emulatedIndexBlind: defects.includes('emulated-index-blind'),
      function: fn,
      index,
      register: row.register,
    });
  }

  function atIndex(rows: RuleText[], fn: number, index: number): RegisterChecks {
    const checks: RegisterChecks = { eax: [], ebx: [], ecx: [], edx: [] };
    for (const row of rows) {
      if (rowMatchesIndex(row, fn, index, facts, guestPermAmx)) checks[row.register].push(check(row, fn, index));
    }
    for (const register of REGISTERS) if (checks[register].length === 0) checks[register].push(ZERO_CHECK);
    return checks;
  }

  /** Such an entry answers for every sub-leaf, so all of their rules hold at once. */
  function atEveryIndex(rows: RuleText[], fn: number): RegisterChecks {
    const checks: RegisterChecks = { eax: [], ebx: [], ecx: [], edx: [] };
    for (const row of rows) {
      for (const index of indicesOfRow(row, fn, facts, guestPermAmx)) {
        checks[row.register].push(check(row, fn, index));
      }
    }
    // The rows of 0xD end at 63, the last index XCR0 has a bit for; beyond it everything is zero.
    for (const register of REGISTERS) if (fn === 0xd || rows.length === 0) checks[register].push(ZERO_CHECK);
    // KVM itself writes the sizes of 0xD into the first entry that answers for them, so nobody is to blame for them.
    for (const row of rows) if (row.note === 'overwritten') checks[row.register] = [{ kind: 'ignored' }];
    return checks;
  }

  function build(fn: number, index: number, flagged: boolean): RegisterChecks {
    const rows = rowsOfFunction(fn);
    if (!indexed.has(fn)) return atIndex(rows, fn, 0);
    if (flagged) return atIndex(rows, fn, index);
    return defects.includes('flagless-first-row') ? atIndex(rows, fn, 0) : atEveryIndex(rows, fn);
  }

  const cache = new Map<number, Map<number, RegisterChecks>>();
  let size = 0;
  return (fn, index, flagged) => {
    const subleaf = !indexed.has(fn) ? 0 : flagged ? index : -1;
    let ofFunction = cache.get(fn);
    let checks = ofFunction?.get(subleaf);
    if (checks === undefined) {
      checks = build(fn, index, flagged);
      // A run over millions of random functions must not keep every one of them.
      if (size++ > 20_000) {
        size = 0;
        cache.clear();
        ofFunction = undefined;
      }
      ofFunction ??= new Map();
      cache.set(fn, ofFunction.set(subleaf, checks));
    }
    return checks;
  };
}

const verifiers = new WeakMap<RuleFacts, Map<string, Verifier>>();

function verifierFor(facts: RuleFacts, overlay: Overlay, options: VerifyOptions): Verifier {
  const ofHost = verifiers.get(facts) ?? new Map<string, Verifier>();
  verifiers.set(facts, ofHost);
  const key = `${overlay} ${options.reserved} ${options.guestPermAmx} ${(options.defects ?? []).join()}`;
  const verifier = ofHost.get(key) ?? makeVerifier(facts, overlay, options);
  ofHost.set(key, verifier);
  return verifier;
}

/** Where the guest would find KVM's signature, by the first entry of each candidate function. */
function kvmBase(entries: readonly CpuidEntry[]): number | undefined {
  for (let base = KVM_BASE; base <= 0x4000ff00; base += 0x100) {
    const entry = entries.find((candidate) => candidate.function === base);
    if (entry?.ebx === 0x4b4d564b && entry.ecx === 0x564b4d56 && entry.edx === 0x4d) return base;
  }
  return undefined;
}

export function naiveVerify(
  facts: RuleFacts,
  overlay: Overlay,
  entries: readonly CpuidEntry[],
  options: VerifyOptions = {},
): Finding[] {
  const verifier = verifierFor(facts, overlay, options);
  const hypervisorEntries = entries.filter((entry) => entry.function >>> 28 === 4);
  const paravirtChecked = kvmBase(hypervisorEntries) === KVM_BASE;
  const findings: Finding[] = [];
  entries.forEach((entry, position) => {
    const paravirt = entry.function === KVM_BASE || entry.function === KVM_BASE + 1;
    if (paravirt && !paravirtChecked) return;
    const checks = verifier(entry.function, entry.index, (entry.flags & SIGNIFICANT_INDEX) !== 0);
    for (const register of REGISTERS) {
      let offending = 0;
      for (const check of checks[register]) offending |= offendingBits(check, entry[register]);
      if (offending !== 0) findings.push({ entry: position, register, offending: offending >>> 0 });
    }
  });
  return findings;
}

/** The first refused entry of a table in memory, ten words an entry from word `start` on; -1 if there is none. */
export type NaiveScan = (words: Uint32Array, start: number, count: number) => number;

/** {@link naiveVerify} on tables as they lie in memory, up to the first refusal. */
export function naiveScan(facts: RuleFacts, overlay: Overlay, options: VerifyOptions = {}): NaiveScan {
  const verifier = verifierFor(facts, overlay, options);
  const accepts = (words: Uint32Array, at: number): boolean => {
    const checks = verifier(words[at]!, words[at + 1]!, (words[at + 2]! & SIGNIFICANT_INDEX) !== 0);
    return REGISTERS.every((register, number) => {
      const value = words[at + 3 + number]!;
      return checks[register].every((check) => offendingBits(check, value) === 0);
    });
  };
  const isKvm = (words: Uint32Array, start: number, count: number): boolean => {
    for (let at = start; at < start + count * 10; at += 10) {
      if (words[at] !== KVM_BASE) continue;
      return words[at + 4] === 0x4b4d564b && words[at + 5] === 0x564b4d56 && words[at + 6] === 0x4d;
    }
    return false;
  };
  return (words, start, count) => {
    for (let position = 0; position < count; position++) {
      const at = start + position * 10;
      const paravirt = words[at] === KVM_BASE || words[at] === KVM_BASE + 1;
      if (!accepts(words, at) && !(paravirt && !isKvm(words, start, count))) return position;
    }
    return -1;
  };
}
