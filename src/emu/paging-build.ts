import { FRAME_SIZE, MEMORY_OK, type PhysicalMemory } from './memory.js';

/** Page tables for tests and for setting up a machine. Off the hot path: addresses are bigints where they have 64 bits. */

/** What an entry says beside the address. */
export interface PageFlags {
  readonly write?: boolean;
  readonly user?: boolean;
  readonly execute?: boolean;
  /** EPT only: readable; it is unless told otherwise. */
  readonly read?: boolean;
  readonly global?: boolean;
  readonly key?: number;
  /** Not set in advance unless told so. */
  readonly accessed?: boolean;
  readonly dirty?: boolean;
}

export type PageSize = 0x1000 | 0x20_0000 | 0x4000_0000;

interface Format {
  /** The entry that points to a table; its rights are those of the pages below. */
  table(address: number): bigint;
  page(address: number, flags: PageFlags, large: boolean): bigint;
  present(entry: bigint): boolean;
}

const LONG_MODE: Format = {
  table: (address) => BigInt(address) | 7n,
  page: (address, flags, large) =>
    BigInt(address) |
    1n |
    bit(flags.write, 1) |
    bit(flags.user, 2) |
    bit(flags.accessed, 5) |
    bit(flags.dirty, 6) |
    bit(large, 7) |
    bit(flags.global, 8) |
    (BigInt(flags.key ?? 0) << 59n) |
    bit(!(flags.execute ?? true), 63),
  present: (entry) => (entry & 1n) !== 0n,
};

/** Write-back memory. */
const EPT: Format = {
  table: (address) => BigInt(address) | 7n,
  page: (address, flags, large) =>
    BigInt(address) |
    bit(flags.read ?? true, 0) |
    bit(flags.write, 1) |
    bit(flags.execute ?? true, 2) |
    (6n << 3n) |
    bit(large, 7) |
    bit(flags.accessed, 8) |
    bit(flags.dirty, 9),
  present: (entry) => (entry & 7n) !== 0n,
};

/** Builds tables in frames of their own, one after the other from `tables` on. */
class TableBuilder {
  readonly root: number;
  readonly levels: 4 | 5;
  private readonly memory: PhysicalMemory;
  private readonly format: Format;
  private next: number;

  constructor(memory: PhysicalMemory, format: Format, tables: number, levels: 4 | 5) {
    this.memory = memory;
    this.format = format;
    this.next = tables;
    this.levels = levels;
    this.root = this.table();
  }

  /** The first address after the tables. */
  get end(): number {
    return this.next;
  }

  /** Maps one page. */
  map(address: bigint, physical: number, flags: PageFlags = {}, size: PageSize = 0x1000): void {
    const leaf = size === 0x1000 ? 1 : size === 0x20_0000 ? 2 : 3;
    this.put(address, leaf, this.format.page(physical, flags, leaf > 1));
  }

  /** Maps a range of whole pages to itself, from address 0 of both unless told otherwise. */
  identity(size: number, flags: PageFlags = {}, pageSize: PageSize = 0x1000, from = 0): void {
    for (let done = 0; done < size; done += pageSize) this.map(BigInt(from + done), from + done, flags, pageSize);
  }

  /** Where the entry of an address lies in the table of a level, which comes into being with those above it. */
  entryAt(address: bigint, leaf: number): number {
    let table = this.root;
    for (let level = this.levels as number; level > leaf; level--) {
      const at = table + index(address, level) * 8;
      const entry = this.read(at);
      if (this.format.present(entry)) table = Number(entry & 0xf_ffff_ffff_f000n);
      else {
        table = this.table();
        this.write(at, this.format.table(table));
      }
    }
    return table + index(address, leaf) * 8;
  }

  /** Writes an entry as it is. */
  put(address: bigint, level: number, entry: bigint): void {
    this.write(this.entryAt(address, level), entry);
  }

  /** Changes an entry that is there. */
  change(address: bigint, level: number, change: (entry: bigint) => bigint): void {
    const at = this.entryAt(address, level);
    this.write(at, change(this.read(at)));
  }

  private table(): number {
    const at = this.next;
    this.next += FRAME_SIZE;
    // A frame that comes into being is empty.
    if (this.memory.frameAt(at) < 0) this.memory.touch(at);
    else this.memory.load(at, new Uint8Array(FRAME_SIZE));
    return at;
  }

  private read(at: number): bigint {
    this.memory.read(at, 8);
    return BigInt.asUintN(64, (BigInt(this.memory.value[1]!) << 32n) | BigInt(this.memory.value[0]! >>> 0));
  }

  private write(at: number, entry: bigint): void {
    const lo = Number(BigInt.asIntN(32, entry));
    const hi = Number(BigInt.asIntN(32, entry >> 32n));
    if (this.memory.write(at, 8, lo, hi) !== MEMORY_OK) throw new Error(`there is no RAM for a page table at ${at}`);
  }
}

/** Page tables of IA-32e mode; nested page tables (SVM) have the same format. */
export class PageTableBuilder extends TableBuilder {
  constructor(memory: PhysicalMemory, tables: number, levels: 4 | 5 = 4) {
    super(memory, LONG_MODE, tables, levels);
  }
}

/** Extended page tables (VMX). */
export class EptBuilder extends TableBuilder {
  constructor(memory: PhysicalMemory, tables: number, levels: 4 | 5 = 4) {
    super(memory, EPT, tables, levels);
  }
}

function index(address: bigint, level: number): number {
  return Number((address >> BigInt(3 + 9 * level)) & 511n);
}

function bit(set: boolean | undefined, at: number): bigint {
  return set ? 1n << BigInt(at) : 0n;
}
