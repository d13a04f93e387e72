// KVM_SET_CPUID2 of a paranoid VM, one register after the other.
import type { NaiveHost } from './kvm.js';
import { type ParanoidRow, REGISTERS, type Register, type Registers } from './reference.js';
import {
  type Check,
  indicesOfRow,
  isReserved,
  type Overlay,
  offendingBits,
  overlayCaps,
  resolveRule,
  rowMatchesIndex,
  rowsOfFunction,
  ruleOf,
  ZERO_CHECK,
} from './rules.js';

export type { Overlay } from './rules.js';

export interface CpuidEntry extends Registers {
  function: number;
  index: number;
  flags: number;
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

/** A table of checks for one host, overlay and set of options. */
type Verifier = (fn: number, index: number, flagged: boolean) => RegisterChecks;

function makeVerifier(host: NaiveHost, overlay: Overlay, options: VerifyOptions): Verifier {
  const defects = options.defects ?? [];
  for (const defect of defects) if (!DEFECTS.includes(defect)) throw new Error(`unknown defect '${defect}'`);
  const guestPermAmx = options.guestPermAmx ?? host.guestPermAmx;
  const caps = overlayCaps(host, overlay);
  const indexed = new Set(host.parameters.indexed_functions.map(Number));

  function check(row: ParanoidRow, fn: number, index: number): Check {
    if (options.reserved === 'ignore' && isReserved(row, overlay)) return { kind: 'ignored' };
    return resolveRule(ruleOf(row, overlay), {
      host,
      caps,
      guestPermAmx,
      emulatedIndexBlind: defects.includes('emulated-index-blind'),
      function: fn,
      index,
      register: row.register,
    });
  }

  function atIndex(rows: ParanoidRow[], fn: number, index: number): RegisterChecks {
    const checks: RegisterChecks = { eax: [], ebx: [], ecx: [], edx: [] };
    for (const row of rows) {
      if (rowMatchesIndex(row, fn, index, host, guestPermAmx)) checks[row.register].push(check(row, fn, index));
    }
    for (const register of REGISTERS) if (checks[register].length === 0) checks[register].push(ZERO_CHECK);
    return checks;
  }

  /** Such an entry answers for every sub-leaf, so all of their rules hold at once. */
  function atEveryIndex(rows: ParanoidRow[], fn: number): RegisterChecks {
    const checks: RegisterChecks = { eax: [], ebx: [], ecx: [], edx: [] };
    for (const row of rows) {
      for (const index of indicesOfRow(row, fn, host, guestPermAmx)) {
        checks[row.register].push(check(row, fn, index));
      }
    }
    // The rows of 0xD end at 63, the last index XCR0 has a bit for; beyond it everything is zero.
    for (const register of REGISTERS) if (fn === 0xd || rows.length === 0) checks[register].push(ZERO_CHECK);
    // KVM itself writes the sizes of 0xD into the first entry that answers for them, so nobody is to blame for them.
    for (const row of rows)
      if (row.reason.startsWith('overwritten at run time')) checks[row.register] = [{ kind: 'ignored' }];
    return checks;
  }

  function build(fn: number, index: number, flagged: boolean): RegisterChecks {
    const rows = rowsOfFunction(fn);
    if (!indexed.has(fn)) return atIndex(rows, fn, 0);
    if (flagged) return atIndex(rows, fn, index);
    return defects.includes('flagless-first-row') ? atIndex(rows, fn, 0) : atEveryIndex(rows, fn);
  }

  const cache = new Map<string, RegisterChecks>();
  return (fn, index, flagged) => {
    const key = indexed.has(fn) ? `${fn}.${flagged ? index : 'any'}` : `${fn}`;
    let checks = cache.get(key);
    if (checks === undefined) {
      checks = build(fn, index, flagged);
      // A run over millions of random functions must not keep every one of them.
      if (cache.size > 20_000) cache.clear();
      cache.set(key, checks);
    }
    return checks;
  };
}

const verifiers = new WeakMap<NaiveHost, Map<string, Verifier>>();

function verifierFor(host: NaiveHost, overlay: Overlay, options: VerifyOptions): Verifier {
  const ofHost = verifiers.get(host) ?? new Map<string, Verifier>();
  verifiers.set(host, ofHost);
  const key = `${overlay} ${options.reserved} ${options.guestPermAmx} ${(options.defects ?? []).join()}`;
  const verifier = ofHost.get(key) ?? makeVerifier(host, overlay, options);
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
  host: NaiveHost,
  overlay: Overlay,
  entries: readonly CpuidEntry[],
  options: VerifyOptions = {},
): Finding[] {
  const verifier = verifierFor(host, overlay, options);
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

export type BaseErrno = 'OK' | 'E2BIG' | 'EINVAL' | 'EPERM';

/** What KVM_SET_CPUID2 answers on a vCPU that never ran, with paranoid mode off. */
export function naiveBaseErrno(
  host: NaiveHost,
  entries: readonly CpuidEntry[],
  options: { guestPermAmx?: boolean } = {},
): BaseErrno {
  if (entries.length > 256) return 'E2BIG';
  const sizes = entries.find((entry) => entry.function === 0x80000008);
  if (sizes !== undefined && ![0, 48, 57].includes((sizes.eax >>> 8) & 0xff)) return 'EINVAL';
  const xsave = entries.find(
    (entry) => entry.function === 0xd && ((entry.flags & SIGNIFICANT_INDEX) === 0 || entry.index === 0),
  );
  const permitted = options.guestPermAmx ?? host.guestPermAmx;
  const wantsTileData = xsave !== undefined && ((xsave.eax >>> 18) & 1) === 1;
  return wantsTileData && !permitted ? 'EPERM' : 'OK';
}
