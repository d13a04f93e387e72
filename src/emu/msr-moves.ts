import { canCompile } from './can-compile.js';

/** Moves values: MSRs by slot, and their places elsewhere, counted from `at`. All four arrays are of halves. */
type Mover = (slotsLo: Int32Array, slotsHi: Int32Array, lo: Int32Array, hi: Int32Array, at: number) => void;

/**
 * Uses after which moves become code of their own: a loop has V8 check in each round what it knows of the arrays. Most
 * machines live for less.
 */
const WORTH_COMPILING = 64;

/**
 * Which MSRs a world switch moves, and where their values are. In `halves`, low and upper halves lie in two arrays at the
 * same place; in `words`, in one array, the upper half behind the low one.
 */
export class MsrMoves {
  /** Places, each followed by a slot. */
  readonly pairs: Int32Array;
  private readonly gap: 0 | 1;
  private uses = 0;
  private loader: Mover | null = null;
  private storer: Mover | null = null;

  constructor(layout: 'halves' | 'words', pairs: Iterable<number>) {
    this.pairs = Int32Array.from(pairs);
    this.gap = layout === 'words' ? 1 : 0;
  }

  /** To the MSRs. @param at where places begin; with `words`, `lo` and `hi` are the same */
  load(slotsLo: Int32Array, slotsHi: Int32Array, lo: Int32Array, hi: Int32Array, at: number): void {
    if (this.loader !== null) {
      this.loader(slotsLo, slotsHi, lo, hi, at);
      return;
    }
    const { pairs, gap } = this;
    for (let n = 0; n < pairs.length; n += 2) {
      const place = at + pairs[n]!;
      const slot = pairs[n + 1]!;
      slotsLo[slot] = lo[place]!;
      slotsHi[slot] = hi[place + gap]!;
    }
    this.used();
  }

  /** From the MSRs. */
  store(slotsLo: Int32Array, slotsHi: Int32Array, lo: Int32Array, hi: Int32Array, at: number): void {
    if (this.storer !== null) {
      this.storer(slotsLo, slotsHi, lo, hi, at);
      return;
    }
    const { pairs, gap } = this;
    for (let n = 0; n < pairs.length; n += 2) {
      const place = at + pairs[n]!;
      const slot = pairs[n + 1]!;
      lo[place] = slotsLo[slot]!;
      hi[place + gap] = slotsHi[slot]!;
    }
    this.used();
  }

  private used(): void {
    if (++this.uses !== WORTH_COMPILING || !canCompile()) return;
    this.loader = this.compile((slot, place) => `${slot}=${place}`);
    this.storer = this.compile((slot, place) => `${place}=${slot}`);
  }

  private compile(statement: (slot: string, place: string) => string): Mover {
    const { pairs, gap } = this;
    const lines: string[] = [];
    for (let n = 0; n < pairs.length; n += 2) {
      const place = pairs[n]!;
      const slot = pairs[n + 1]!;
      lines.push(statement(`slotsLo[${slot}]`, `lo[at+${place}]`));
      lines.push(statement(`slotsHi[${slot}]`, `hi[at+${place + gap}]`));
    }
    return new Function('slotsLo', 'slotsHi', 'lo', 'hi', 'at', lines.join(';\n')) as Mover;
  }
}
