/** RTM: what XBEGIN keeps so that an abort can bring it back. Memory is written through, and written back on abort. */

const DEPTH_LIMIT = 7;
const WRITE_LIMIT = 512;

export class Transaction {
  /** Nesting; 0 outside a transaction. */
  depth = 0;
  fallbackLo = 0;
  fallbackHi = 0;
  readonly registersLo = new Int32Array(16);
  readonly registersHi = new Int32Array(16);
  readonly flags = new Int32Array(16);
  /** Physical addresses that were written, with what was there: oldest first. */
  readonly addresses = new Float64Array(WRITE_LIMIT);
  readonly oldLo = new Int32Array(WRITE_LIMIT);
  readonly oldHi = new Int32Array(WRITE_LIMIT);
  readonly sizes = new Uint8Array(WRITE_LIMIT);
  writes = 0;
  /** It has written more than there is room for: it will abort. */
  overflow = false;

  get active(): boolean {
    return this.depth > 0;
  }

  get canNest(): boolean {
    return this.depth < DEPTH_LIMIT;
  }

  /** Keeps what a write is about to destroy; `false` when there is no room. */
  log(address: number, size: number, lo: number, hi: number): boolean {
    if (this.writes === WRITE_LIMIT) return false;
    this.addresses[this.writes] = address;
    this.sizes[this.writes] = size;
    this.oldLo[this.writes] = lo;
    this.oldHi[this.writes] = hi;
    this.writes++;
    return true;
  }
}
