/** Memory of this process at known addresses, as ioctls need it. */
import type { CpuidEntry2 } from '../cpuid/entry.js';
import { CPUID2_HEADER_SIZE, ENTRY2_SIZE, ENTRY2_WORDS, PADDING } from '../kvm/abi.js';
import { entryAt, putEntry } from '../kvm/cpuid-table.js';
import { errnoOf, type Libc, MAP_ANONYMOUS, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } from './ffi.js';

export const PAGE_SIZE = 4096;

/** Anonymous memory that ends at a fence: whatever reads or writes beyond {@link end} faults. */
export class Mapping {
  readonly address: number;
  /** Whole pages. */
  readonly size: number;
  private readonly libc: Libc;
  private readonly memory: Uint8Array<ArrayBuffer>;
  private open = true;

  /** @throws Error when the kernel gives no memory */
  constructor(libc: Libc, size: number) {
    this.libc = libc;
    this.size = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
    const length = this.size + PAGE_SIZE;
    this.address = libc.mmap(length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (this.address < 0) throw new Error(`mmap() of ${length} bytes failed with ${errnoOf(this.address)}`);
    libc.mprotect(this.end, PAGE_SIZE, PROT_NONE);
    this.memory = libc.view(this.address, this.size);
  }

  /** The first address that is not mapped. */
  get end(): number {
    return this.address + this.size;
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    if (!this.open) throw new Error('the mapping is closed');
    return this.memory;
  }

  get view(): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset, this.size);
  }

  /** 32-bit words from a byte offset on. */
  words(offset: number, count: number): Uint32Array {
    return new Uint32Array(this.bytes.buffer, this.bytes.byteOffset + offset, count);
  }

  /** Changes what may be done with it, e.g. to PROT_READ. Returns the system call's result. */
  protect(protection: number): number {
    return this.libc.mprotect(this.address, this.size, protection);
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    this.libc.munmap(this.address, this.size + PAGE_SIZE);
  }
}

/** Runs with memory that is unmapped afterwards, whatever happens. */
export function withMapping<T>(libc: Libc, size: number, body: (mapping: Mapping) => T): T {
  const mapping = new Mapping(libc, size);
  try {
    return body(mapping);
  } finally {
    mapping.close();
  }
}

/** More entries than any ioctl takes or gives. */
export const AREA_CAPACITY = 1100;

/** Lies in the padding of entries that nothing has been written to. */
const UNTOUCHED = 0xfeed_beef;

/** A `struct kvm_cpuid2` with room for {@link AREA_CAPACITY} entries. */
export class CpuidArea {
  readonly address: number;
  /** `nent` and `padding`. */
  readonly header: Uint32Array;
  /** The entries, {@link ENTRY2_WORDS} words each. */
  readonly words: Uint32Array;

  private constructor(mapping: Mapping) {
    this.address = mapping.address;
    this.header = mapping.words(0, 2);
    this.words = mapping.words(CPUID2_HEADER_SIZE, AREA_CAPACITY * ENTRY2_WORDS);
  }

  /** Runs with an area that is unmapped afterwards. */
  static with<T>(libc: Libc, body: (area: CpuidArea) => T): T {
    const size = CPUID2_HEADER_SIZE + AREA_CAPACITY * ENTRY2_SIZE;
    return withMapping(libc, size, (mapping) => body(new CpuidArea(mapping)));
  }

  get nent(): number {
    return this.header[0]!;
  }

  /** Zeroes everything but `nent`. */
  clear(nent: number): void {
    this.header.set([nent, 0]);
    this.words.fill(0);
  }

  /** Writes a table; `nent` may claim another length than it has. */
  put(entries: readonly CpuidEntry2[], headPadding = 0, nent = entries.length): void {
    this.header.set([nent, headPadding]);
    for (const [position, entry] of entries.entries()) putEntry(this.words, position, entry);
  }

  /** The entries that it holds. */
  entries(): CpuidEntry2[] {
    return Array.from({ length: this.nent }, (_, position) => entryAt(this.words, position));
  }

  /** Marks every entry, so that {@link countTouched} works. */
  markUntouched(): void {
    this.words.fill(0);
    for (let at = PADDING + 2; at < this.words.length; at += ENTRY2_WORDS) this.words[at] = UNTOUCHED;
  }

  /** How many entries were written since {@link markUntouched}. */
  countTouched(): number {
    let count = 0;
    while (count < AREA_CAPACITY && this.words[count * ENTRY2_WORDS + PADDING + 2] !== UNTOUCHED) count++;
    return count;
  }

  /** The last entry that is not all zero, counted from 1. */
  countNonZero(): number {
    return Math.ceil((this.words.findLastIndex((word) => word !== 0) + 1) / ENTRY2_WORDS);
  }
}
