/** A user address: a number where it is exact, a bigint for the upper half of the 64-bit space. */
export type Address = number | bigint;

const PAGE_SHIFT = 12;
export const PAGE_SIZE = 1 << PAGE_SHIFT;

const UNMAPPED = 0;
const READ = 1;
const WRITE = 2;

/** Where the arena starts: above the pages that `mmap_min_addr` keeps unmapped. */
const ARENA_START = 0x1_0000;

/** Memory that somebody else owns, such as a `WebAssembly.Memory`, and that is large enough for an arena. */
export interface MemoryBlock {
  readonly buffer: ArrayBufferLike;
}

/**
 * The address space of a process: one arena of bytes, mapped page by page. Everything outside, and every page that is
 * not mapped, faults as in the kernel's `copy_from_user()` and `copy_to_user()`.
 */
export class UserMemory {
  /** The arena. Byte 0 is address {@link base}. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly base = ARENA_START;
  /** Whose first bytes the arena is; `null` if it has memory of its own. */
  readonly block: MemoryBlock | null;
  private readonly pages: Uint8Array;
  private nextPage = 0;

  /** @param size bytes of address space; rounded up to whole pages */
  constructor(size: number, block: MemoryBlock | null = null) {
    const pages = Math.ceil(size / PAGE_SIZE);
    this.bytes = block ? new Uint8Array(block.buffer, 0, pages * PAGE_SIZE) : new Uint8Array(pages * PAGE_SIZE);
    this.block = block;
    this.view = new DataView(this.bytes.buffer);
    this.pages = new Uint8Array(pages);
  }

  /**
   * Maps `length` bytes, rounded up to pages, behind an unmapped guard page. Returns their address.
   * Throws RangeError when the arena is used up (the simulator's own limit).
   */
  mmap(length: number, protection: 'rw' | 'r' = 'rw'): number {
    const count = Math.max(1, Math.ceil(length / PAGE_SIZE));
    const first = this.nextPage;
    if (first + count + 1 > this.pages.length) throw new RangeError(`the arena has no room for ${length} bytes`);
    this.nextPage = first + count + 1;
    this.pages.fill(protection === 'rw' ? READ | WRITE : READ, first, first + count);
    return this.base + first * PAGE_SIZE;
  }

  /** Changes the protection of the pages from `address` on. */
  mprotect(address: number, length: number, protection: 'rw' | 'r' | 'none'): void {
    const first = (address - this.base) >>> PAGE_SHIFT;
    const count = Math.ceil(length / PAGE_SIZE);
    this.pages.fill(protection === 'rw' ? READ | WRITE : protection === 'r' ? READ : UNMAPPED, first, first + count);
  }

  /**
   * The offset in {@link bytes} of `length` readable bytes at `address`; -1 when any of them faults
   * (`copy_from_user()`). A length of 0 never faults.
   */
  readable(address: Address, length: number): number {
    if (length === 0) return 0;
    return this.reach(address, length, READ) >= length ? this.offset(address) : -1;
  }

  /**
   * Copies the first `length` bytes of `source` to `address` (`copy_to_user()`). Returns whether all of them arrived;
   * up to the first page that faults they are written, as in the kernel.
   */
  copyOut(address: Address, source: Uint8Array, length = source.length): boolean {
    const reached = Math.min(this.reach(address, length, WRITE), length);
    if (reached > 0)
      this.bytes.set(reached === source.length ? source : source.subarray(0, reached), this.offset(address));
    return reached === length;
  }

  private offset(address: Address): number {
    return Number(address) - this.base;
  }

  /** How many bytes from `address` on allow the access; at least `length` when all of them do. */
  private reach(address: Address, length: number, access: number): number {
    if (length === 0) return 0;
    // Addresses beyond 2^53 are far outside the arena, so the rounding of Number() cannot matter.
    const start = Number(address) - this.base;
    if (!(start >= 0 && start < this.bytes.length)) return 0;
    let page = Math.floor(start / PAGE_SIZE);
    while (page < this.pages.length && (this.pages[page]! & access) !== 0 && page * PAGE_SIZE < start + length) page++;
    return page * PAGE_SIZE - start;
  }
}
