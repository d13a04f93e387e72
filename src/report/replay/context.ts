import { FormatError } from '../../cpuid/errors.js';
import { parseEntry } from '../../cpuid/formats/index.js';
import { ENTRY2_WORDS } from '../../kvm/abi.js';
import { putEntry } from '../../kvm/cpuid-table.js';
import { Deltas } from './deltas.js';
import type { Recorded } from './recorded.js';
import { Tally } from './tally.js';
import { CAPACITY, type Errno, type TableBuffer, type Userspace } from './userspace.js';

/** Why a third vendor's tables are not compared bit by bit. */
export const FOREIGN_MASKS =
  'a vendor module of its own: its feature masks and what it adds to tables are not modelled';

/** One replay: the recording, the process that repeats it, and what has been compared so far. */
export class Replay {
  readonly document: Recorded;
  readonly user: Userspace;
  /**
   * The recording is of a vendor module that is not modelled. Verdicts, limits and errors are those of every KVM and are
   * compared; its masks are not.
   */
  readonly foreign: boolean;
  readonly tallies: Tally[] = [];
  /** The recorded supported set, on which the experiments build. */
  readonly base: Uint32Array;
  readonly baseCount: number;
  /** How many entries KVM_GET_SUPPORTED_CPUID gives here. */
  supportedCount = 0;
  private readonly last = new Uint32Array(CAPACITY * ENTRY2_WORDS);
  /** Entries of the last readback of an accepted table; -1: there was none. */
  private lastCount = -1;
  private readonly deltas = new Deltas();
  private guestAddress = 0;

  constructor(document: Recorded, user: Userspace, foreign: boolean) {
    this.document = document;
    this.user = user;
    this.foreign = foreign;
    const entries = document.at('supported').at('entries');
    this.base = entries.there ? wordsOf(entries) : new Uint32Array(0);
    this.baseCount = this.base.length / ENTRY2_WORDS;
  }

  /** The tally of a section. */
  section(name: string): Tally {
    const tally = new Tally(name);
    this.tallies.push(tally);
    return tally;
  }

  /** Memory for guests, which run one after the other and share it. */
  guestMemory(size: number): number {
    if (this.guestAddress === 0) this.guestAddress = this.user.process.memory.mmap(size);
    return this.guestAddress;
  }

  /** The supported set in the work buffer. */
  fresh(): TableBuffer {
    const { work } = this.user;
    work.load(this.base, this.baseCount);
    return work;
  }

  /** The table of an experiment in the work buffer: the supported set, cut or extended to `nent`, with its edits. */
  input(experiment: Recorded): TableBuffer {
    const { work } = this.user;
    const nent = experiment.at('nent').number;
    work.clear();
    work.entries.set(this.base.subarray(0, Math.min(nent, this.baseCount) * ENTRY2_WORDS));
    for (const edit of experiment.at('edits').list) {
      const position = edit.item(0).number;
      const entry = edit.item(1);
      if (!(position >= 0 && position < CAPACITY))
        throw new FormatError(`position ${position}`, edit.toString(), `a position below ${CAPACITY}`);
      putEntry(work.entries, position, parseEntry(entry.text, entry.toString()));
    }
    work.nent = nent;
    const padding = experiment.at('head_padding');
    if (padding.there) work.padding = padding.hex;
    return work;
  }

  /** Forgets the last readback: the next vCPU has none. */
  forgetReadback(): void {
    this.lastCount = -1;
  }

  /** Takes the table in `got` for the last readback. */
  rememberReadback(): void {
    const { got } = this.user;
    this.last.set(got.entries);
    this.lastCount = got.nent;
  }

  /**
   * What the recorder wrote about a readback: `diff` against the table that was accepted, or `kept` for one that was
   * refused. Differences of a third vendor are left out.
   */
  readBack(vcpu: number, set: Errno): { get: Errno; diff?: unknown; kept?: unknown } {
    const { user, deltas } = this;
    const get = user.readBack(vcpu);
    if (get !== 'OK') return { get };
    const { got, work } = user;
    if (set === 'OK') {
      deltas.compare(work.entries, work.nent, got.entries, got.nent);
      this.rememberReadback();
      return this.foreign ? { get } : { get, diff: deltas.toJSON() };
    }
    if (this.lastCount < 0) return { get, kept: `nent=${got.nent}` };
    deltas.compare(this.last, this.lastCount, got.entries, got.nent);
    return { get, kept: deltas.isEmpty ? 1 : deltas.toJSON() };
  }

  /** The same, as it was recorded. */
  recordedReadBack(experiment: Recorded): { get: unknown; diff?: unknown; kept?: unknown } {
    const get = experiment.at('get').json;
    const diff = experiment.at('diff');
    const kept = experiment.at('kept');
    if (kept.there) return { get, kept: kept.json };
    return diff.there && !this.foreign ? { get, diff: diff.json } : { get };
  }
}

/** A recorded list of entries as words. */
export function wordsOf(entries: Recorded): Uint32Array {
  const list = entries.list.slice(0, CAPACITY);
  const words = new Uint32Array(list.length * ENTRY2_WORDS);
  for (const [position, entry] of list.entries()) putEntry(words, position, parseEntry(entry.text, entry.toString()));
  return words;
}
