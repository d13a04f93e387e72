/** One answer that is not the recorded one. */
export interface Mismatch {
  readonly section: string;
  /** Which experiment. */
  readonly what: string;
  readonly expected: string;
  readonly got: string;
}

/** How a section of a recording compares. */
export interface SectionResult {
  readonly checked: number;
  readonly agree: number;
  readonly skipped: number;
  /** Why something was skipped, or only compared in part. */
  readonly reason?: string;
}

/** Mismatches that are listed for one section; the rest is only counted. */
const LISTED = 100;

/** Counts the experiments of one section, and keeps those that differ. */
export class Tally {
  readonly section: string;
  readonly mismatches: Mismatch[] = [];
  private checked = 0;
  private agree = 0;
  private skipped = 0;
  private readonly reasons = new Set<string>();

  constructor(section: string) {
    this.section = section;
  }

  /** One experiment: compares what it gave with what was recorded, as text. */
  check(what: string, expected: unknown, got: unknown): void {
    const [wanted, given] = [show(expected), show(got)];
    this.count(1, wanted === given ? 1 : 0);
    if (wanted !== given) this.differs(what, wanted, given);
  }

  /** Several experiments at once. */
  count(checked: number, agree: number): void {
    this.checked += checked;
    this.agree += agree;
  }

  differs(what: string, expected: string, got: string): void {
    if (this.mismatches.length < LISTED) this.mismatches.push({ section: this.section, what, expected, got });
  }

  skip(count: number, reason: string): void {
    this.skipped += count;
    this.note(reason);
  }

  /** Says why a comparison is not whole although nothing is skipped. */
  note(reason: string): void {
    this.reasons.add(reason);
  }

  get result(): SectionResult {
    const { checked, agree, skipped } = this;
    const reason = [...this.reasons].join('; ');
    return { checked, agree, skipped, ...(reason !== '' && { reason }) };
  }
}

function show(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
