import { ENTRY2_WORDS } from '../../kvm/abi.js';
import type { Recorded } from './recorded.js';

/** The words of an entry as recordings name them. */
export const FIELDS = ['function', 'index', 'flags', 'eax', 'ebx', 'ecx', 'edx', 'pad0', 'pad1', 'pad2'] as const;

/** Most differences that the recorder kept: of one readback, and of one of thousands. */
export const MAX_DELTAS = 400;
export const MAX_DELTAS_OF_FLIP = 64;

const NENT = -1;

/** Where two tables differ: position, field, differing bits, as the recorder wrote it down. Reused, never reallocated. */
export class Deltas {
  private readonly values = new Int32Array(3 * MAX_DELTAS);
  private count = 0;

  private push(position: number, field: number, bits: number): void {
    if (this.count >= MAX_DELTAS) return;
    const at = this.count++ * 3;
    this.values[at] = position;
    this.values[at + 1] = field;
    this.values[at + 2] = bits;
  }

  /** Compares `output` with `input`, entry by entry; another length comes first and counts as a difference. */
  compare(input: Uint32Array, inputCount: number, output: Uint32Array, outputCount: number, max = MAX_DELTAS): void {
    this.count = 0;
    if (inputCount !== outputCount) this.push(NENT, 0, outputCount);
    const words = Math.min(inputCount, outputCount) * ENTRY2_WORDS;
    for (let at = 0; at < words; at++) {
      if (input[at] === output[at] || this.count >= max) continue;
      this.push(Math.floor(at / ENTRY2_WORDS), at % ENTRY2_WORDS, input[at]! ^ output[at]!);
    }
  }

  equals(other: Deltas): boolean {
    if (this.count !== other.count) return false;
    for (let at = 0; at < this.count * 3; at++) if (this.values[at] !== other.values[at]) return false;
    return true;
  }

  get isEmpty(): boolean {
    return this.count === 0;
  }

  /** As the recorder writes it. */
  toJSON(): (readonly [number, string, string])[] {
    return Array.from({ length: this.count }, (_, n) => {
      const [position, field, bits] = this.values.subarray(n * 3, n * 3 + 3);
      const name = position === NENT ? 'nent' : FIELDS[field!]!;
      return [position!, name, (bits! >>> 0).toString(16)] as const;
    });
  }

  /** Reads a recorded list. */
  static of(list: Recorded): Deltas {
    const deltas = new Deltas();
    for (const item of list.list) {
      const field = FIELDS.indexOf(item.item(1).text as (typeof FIELDS)[number]);
      deltas.push(item.item(0).number, Math.max(0, field), item.item(2).hex); // "nent" has no field
    }
    return deltas;
  }
}
