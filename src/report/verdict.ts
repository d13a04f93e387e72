import { architectureFieldAt } from '../cpuid/architecture.js';
import { isIndexed } from '../cpuid/indexed.js';
import { type Finding, formatEntry, hex8, type RefusedBit, sdmName, type Verdict } from '../index.js';

const hex = (value: number): string => (value >>> 0).toString(16);

/** One finding of a `check --json` document. Numbers are hexadecimal strings but for positions and bits. */
export function findingDocument(finding: Finding) {
  const { entry, function: fn, index, register, value, allowed, offending, rule, bits, source, why } = finding;
  return {
    entry,
    function: hex(fn),
    index: hex(index),
    register,
    value: register === 'nent' ? String(value) : hex8(value),
    allowed,
    offending: hex(offending),
    rule,
    bits,
    source,
    why,
  };
}

/** The document of `check --json` for one table. */
export function verdictDocument(verdict: Verdict) {
  const { accepted, errno, policy, overlay, off, findings, acceptedTable } = verdict;
  return {
    accepted,
    errno,
    policy,
    overlay,
    off,
    findings: findings.map(findingDocument),
    accepted_table: acceptedTable.map(formatEntry),
  };
}

/** What a reason means, in a few words. */
export const REASONS: Readonly<Record<RefusedBit['reason'], string>> = {
  unknown: 'nobody knows this bit',
  'unsupported-by-host': 'the host does not have it',
  'unsupported-by-kvm': 'KVM does not support it',
  'not-in-overlay': 'KVM supports it, but not for this kind of VM',
  reserved: 'reserved',
  'field-too-large': 'larger than allowed',
  'value-mismatch': 'not the value of the hardware',
  'no-permission': 'the process has no permission (ARCH_REQ_XCOMP_GUEST_PERM)',
  'too-many-entries': 'more than 256 entries',
  'address-width': 'a linear address width other than 0, 48 or 57',
};

/** One line of a verdict: a bit or a run of bits that are refused for the same reason. */
export interface RefusalLine {
  readonly place: string;
  readonly name: string;
  readonly reason: string;
  readonly clobbers: string;
}

/** The lines of a finding: bits that share name and reason are one line. */
export function refusalLines(finding: Finding): RefusalLine[] {
  if (finding.register === 'nent') {
    return [{ place: 'nent', name: String(finding.value), reason: REASONS['too-many-entries'], clobbers: '' }];
  }
  const lines = new Map<string, RefusalLine>();
  for (const { bits, place } of refusedRanges(finding)) {
    const { name, clobbers } = bits;
    const reason = reasonText(finding, bits);
    lines.set(`${place} ${reason}`, { place, name: name ?? '-', reason, clobbers: clobberText(clobbers) });
  }
  return [...lines.values()];
}

/** What a guest with the feature could clobber, as a remark. */
export function clobberText(clobbers: readonly string[]): string {
  return clobbers.length > 0 ? `would clobber ${clobbers.join(', ')}` : '';
}

/** A range of refused bits that is one thing: a bit, a run of bits that are refused alike, or a multi-bit field. */
export interface RefusedRange {
  readonly high: number;
  readonly low: number;
  /** In SDM notation. */
  readonly place: string;
  /** What holds for each bit of the range. */
  readonly bits: RefusedBit;
}

/** The ranges of a finding, from low to high; none for a finding on the table as a whole. */
export function refusedRanges(finding: Finding): RefusedRange[] {
  const { function: fn, register } = finding;
  if (register === 'nent') return [];
  const index = isIndexed(fn) ? finding.index : null;
  return runsOf(finding).map((run) => {
    const [high, low] = fieldRange(finding, run) ?? [run.high, run.low];
    return { high, low, place: sdmName(fn, index, register, high, low), bits: run.bits };
  });
}

interface Run {
  readonly bits: RefusedBit;
  readonly low: number;
  high: number;
}

/** Runs of bits that follow each other and share name and reason. */
function runsOf(finding: Finding): Run[] {
  const runs: Run[] = [];
  for (const bit of finding.bits) {
    const last = runs.at(-1);
    if (last && last.high === bit.bit - 1 && sameLine(last.bits, bit)) last.high = bit.bit;
    else runs.push({ bits: bit, low: bit.bit, high: bit.bit });
  }
  return runs;
}

/** The multi-bit field of the architecture that the run lies in: its number is refused, not its single bits. */
function fieldRange({ function: fn, index, register }: Finding, run: Run): [high: number, low: number] | null {
  if (register === 'nent') return null;
  const field = architectureFieldAt(fn, index, register, run.low);
  return field && field.high > field.low && run.high <= field.high ? [field.high, field.low] : null;
}

const sameLine = (a: RefusedBit, b: RefusedBit): boolean =>
  a.name === b.name && a.reason === b.reason && a.because === b.because;

function reasonText(finding: Finding, bit: RefusedBit): string {
  const text = REASONS[bit.reason];
  if (bit.because !== undefined) return `${text} here: ${bit.because}`;
  if (finding.rule === 'fixed' || bit.reason === 'field-too-large') {
    return `${text}: ${hex(finding.value)}, allowed ${finding.allowed}`;
  }
  return text;
}

/** How many bits findings name. */
export function countBits(findings: readonly Finding[]): number {
  return findings.reduce((sum, finding) => sum + finding.bits.length, 0);
}
