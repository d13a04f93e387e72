import type { PhysicalMemory } from '../memory.js';
import { VMCB_ROWS, type VmcbField, type VmcbRow, wordOf } from './vmcb-rows.js';

/** A page of physical memory as 32-bit words. Numbers have the processor's byte order. */
export class PhysicalPage {
  private readonly memory: PhysicalMemory;
  private readonly address: number;
  private bytes: Uint8Array;
  private view: Int32Array;
  private at: number;

  private constructor(memory: PhysicalMemory, address: number, at: number) {
    this.memory = memory;
    this.address = address;
    this.bytes = memory.bytes;
    this.at = at;
    this.view = new Int32Array(memory.bytes.buffer, at, WORDS);
  }

  /** The page at an address, which comes into being; `null` where there is no RAM. */
  static at(memory: PhysicalMemory, address: number): PhysicalPage | null {
    const at = memory.touch(address);
    return at < 0 ? null : new PhysicalPage(memory, address, at);
  }

  /** Its words. Good until a page of memory comes into being: ask again then. */
  get words(): Int32Array {
    if (this.bytes !== this.memory.bytes) this.renew();
    return this.view;
  }

  /** It is about to be written. */
  writes(): void {
    this.memory.generations[this.offset >>> 12]!++;
  }

  /** Where it lies in the bytes of memory. */
  get offset(): number {
    if (this.bytes !== this.memory.bytes) this.renew();
    return this.at;
  }

  private renew(): void {
    this.bytes = this.memory.bytes;
    this.at = this.memory.touch(this.address);
    this.view = new Int32Array(this.bytes.buffer, this.at, WORDS);
  }
}

const WORDS = 0x1000 / 4;

const rows = new Map<VmcbField, VmcbRow>(VMCB_ROWS.map((item) => [item.name, item]));

/** The word of a VMCB that each field begins in, by name: `VMCB.RIP`. */
export const VMCB = Object.freeze(Object.fromEntries(VMCB_ROWS.map(({ name }) => [name, wordOf(name)]))) as Readonly<
  Record<VmcbField, number>
>;

/** A VMCB in memory: for hypervisors and tests. Fields go by their words ({@link VMCB}) where time matters, else by name. */
export class Vmcb {
  readonly address: number;
  private readonly memory: PhysicalMemory;
  private readonly page: PhysicalPage;

  /** Good until memory is reset. */
  constructor(memory: PhysicalMemory, address: number) {
    this.address = address;
    this.memory = memory;
    const page = PhysicalPage.at(memory, address);
    if (page === null) throw new Error('a VMCB outside RAM');
    this.page = page;
  }

  /** The low half of a field that begins at a word's boundary. */
  lo(field: number): number {
    return this.page.words[field]!;
  }

  /** The upper half of a 64-bit field. */
  hi(field: number): number {
    return this.page.words[field + 1]!;
  }

  /** Writes a 64-bit field. */
  put(field: number, lo: number, hi: number): void {
    const { words } = this.page;
    words[field] = lo;
    words[field + 1] = hi;
    this.page.writes();
  }

  /** Writes a 32-bit field. */
  put32(field: number, value: number): void {
    this.page.words[field] = value;
    this.page.writes();
  }

  /** A field of any width. */
  get(name: VmcbField): bigint {
    const { offset, bytes } = rows.get(name)!;
    const { memory } = this;
    memory.read(this.address + offset, bytes);
    return (BigInt(memory.value[1]! >>> 0) << 32n) | BigInt(memory.value[0]! >>> 0);
  }

  set(name: VmcbField, value: bigint | number): void {
    const { offset, bytes } = rows.get(name)!;
    const all = BigInt(value);
    const lo = Number(BigInt.asIntN(32, all));
    const hi = Number(BigInt.asIntN(32, all >> 32n));
    this.memory.write(this.address + offset, bytes, lo, hi);
  }

  /** Sets or clears the bit that intercepts the exit of that code. */
  intercept(code: number, on = true): void {
    const at = this.address + (code >> 5) * 4;
    const { memory } = this;
    memory.read(at, 4);
    const bit = 1 << (code & 31);
    memory.write(at, 4, on ? memory.value[0]! | bit : memory.value[0]! & ~bit, 0);
  }
}
