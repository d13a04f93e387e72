/**
 * A direct-mapped TLB of 256 pages of 4 KiB; larger pages come in parts. An entry belongs to an address space, a number
 * that changes when old translations must not be found any more, or to the global space of its owner. An entry says for
 * which kinds of access it has been checked; every other kind walks again. So it can be as forgetful as it likes.
 */

const ENTRIES = 256;
const PAGE_MASK = ~0xfff;
/** Words of one half of {@link Tlb.quick}: 64 pages. */
export const QUICK_HALF = 256;
/** Where the kind of access is in the first word. The bits below are zero, so that an address's may be compared with them. */
export const QUICK_ACCESS = 3;
/** No space has it. */
const NOWHERE = 0;

export class Tlb {
  /** Linear address without its low 12 bits. */
  readonly tagLo = new Int32Array(ENTRIES);
  readonly tagHi = new Int32Array(ENTRIES);
  readonly space = new Int32Array(ENTRIES);
  /** One bit for each kind of access that is allowed. */
  readonly allowed = new Int32Array(ENTRIES);
  /** Bits of the linear address that the page leaves to its offset: 12, 21 or 30. */
  readonly pageBits = new Int32Array(ENTRIES);
  /** Where the frame lies in the bytes of memory; -1 when it is no RAM. */
  readonly frame = new Int32Array(ENTRIES);
  /** Physical address of the 4 KiB. */
  readonly physical = new Float64Array(ENTRIES);

  /** The address space whose entries are found. */
  current = 1;
  /** The space whose global entries are found. */
  globals = 2;
  /** Goes up when single pages are forgotten: for those who keep what they found. */
  version = 0;
  /**
   * The last pages of RAM that were read (first half) and written (second half), for loops that cannot afford a call: four
   * words each, page number and kind of access (from bit `QUICK_ACCESS` on), high half, space, where the page lies in the bytes of
   * memory.
   */
  readonly quick = new Int32Array(2 * QUICK_HALF);
  private last = 2;

  /** The entry for an access to a linear address, or -1. */
  find(lo: number, hi: number, access: number): number {
    const at = (lo >>> 12) & (ENTRIES - 1);
    if (this.tagLo[at] !== (lo & PAGE_MASK) || this.tagHi[at] !== hi) return -1;
    const space = this.space[at];
    if (space !== this.current && space !== this.globals) return -1;
    return ((this.allowed[at]! >>> access) & 1) === 1 ? at : -1;
  }

  /** Enters a translation for one kind of access; what was known of the same page for other kinds is kept. */
  enter(
    lo: number,
    hi: number,
    access: number,
    pageBits: number,
    global: boolean,
    physical: number,
    frame: number,
  ): number {
    const at = (lo >>> 12) & (ENTRIES - 1);
    const space = global ? this.globals : this.current;
    const same =
      this.tagLo[at] === (lo & PAGE_MASK) &&
      this.tagHi[at] === hi &&
      this.space[at] === space &&
      this.pageBits[at] === pageBits &&
      this.physical[at] === physical &&
      this.frame[at] === frame;
    this.allowed[at] = (same ? this.allowed[at]! : 0) | (1 << access);
    this.tagLo[at] = lo & PAGE_MASK;
    this.tagHi[at] = hi;
    this.space[at] = space;
    this.pageBits[at] = pageBits;
    this.physical[at] = physical;
    this.frame[at] = frame;
    return at;
  }

  /** Keeps a page of RAM in {@link quick}. @param half 0 for reads, `QUICK_HALF` for writes */
  remember(lo: number, hi: number, access: number, offset: number, half: number): void {
    const at = half + ((lo >>> 10) & 0xfc);
    this.quick[at] = (lo & PAGE_MASK) | (access << QUICK_ACCESS);
    this.quick[at + 1] = hi;
    this.quick[at + 2] = this.current;
    this.quick[at + 3] = offset - (lo & 0xfff);
  }

  /** INVLPG: all parts of the page that holds the address, global or not, in the current spaces. */
  invalidate(lo: number, hi: number): void {
    this.version++;
    this.quick.fill(0);
    for (let at = 0; at < ENTRIES; at++) {
      const space = this.space[at];
      if (space !== this.current && space !== this.globals) continue;
      const mask = -1 << this.pageBits[at]!;
      if (this.tagHi[at] === hi && (this.tagLo[at]! & mask) === (lo & mask)) this.space[at] = NOWHERE;
    }
  }

  /** Forgets the current address space, as a new CR3 does. */
  flush(): void {
    this.current = this.fresh();
  }

  /** Forgets global translations too. */
  flushAll(): void {
    this.current = this.fresh();
    this.globals = this.fresh();
  }

  /** A space that no entry belongs to: for a guest, so that two worlds can take turns. */
  fresh(): number {
    if (this.last === 0x7fff_fffe) this.forget();
    return ++this.last;
  }

  /** Forgets everything there ever was. Spaces that others have kept mean nothing afterwards. */
  private forget(): void {
    this.space.fill(NOWHERE);
    this.quick.fill(0);
    this.last = 0;
  }
}
