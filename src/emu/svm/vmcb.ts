import type { PhysicalMemory } from '../memory.js';
import { VMCB_ROWS, type VmcbField, type VmcbRow, wordOf } from './vmcb-rows.js';

/** Physical memory as 32-bit words, for those who know where their page lies. Numbers have the processor's byte order. */
export class PhysicalWords {
  readonly memory: PhysicalMemory;
  private bytes: Uint8Array;
  private view: Int32Array;

  constructor(memory: PhysicalMemory) {
    this.memory = memory;
    this.bytes = memory.bytes;
    this.view = new Int32Array(memory.bytes.buffer);
  }

  /** All of memory. Good until a frame comes into being: ask again then. */
  get words(): Int32Array {
    if (this.bytes !== this.memory.bytes) {
      this.bytes = this.memory.bytes;
      this.view = new Int32Array(this.bytes.buffer);
    }
    return this.view;
  }

  /** The number of the first word of the frame at an address, which comes into being; negative where there is no RAM. */
  frame(address: number): number {
    return this.memory.touch(address) >> 2;
  }

  /** The frame at a word number is about to be written. */
  writes(word: number): void {
    this.memory.generations[word >>> 10]!++;
  }
}

const rows = new Map<VmcbField, VmcbRow>(VMCB_ROWS.map((item) => [item.name, item]));

/** The word of a VMCB that each field begins in, by name: `VMCB.RIP`. */
export const VMCB = Object.freeze(Object.fromEntries(VMCB_ROWS.map(({ name }) => [name, wordOf(name)]))) as Readonly<
  Record<VmcbField, number>
>;

/** A VMCB in memory: for hypervisors and tests. Fields go by their words ({@link VMCB}) where time matters, else by name. */
export class Vmcb {
  readonly address: number;
  private readonly physical: PhysicalWords;
  /** Its first word. */
  private readonly first: number;

  /** Good until memory is reset. */
  constructor(memory: PhysicalMemory, address: number) {
    this.address = address;
    this.physical = new PhysicalWords(memory);
    this.first = this.physical.frame(address);
  }

  /** The low half of a field that begins at a word's boundary. */
  lo(field: number): number {
    return this.physical.words[this.first + field]!;
  }

  /** The upper half of a 64-bit field. */
  hi(field: number): number {
    return this.physical.words[this.first + field + 1]!;
  }

  /** Writes a 64-bit field. */
  put(field: number, lo: number, hi: number): void {
    const at = this.first + field;
    const all = this.physical.words;
    all[at] = lo;
    all[at + 1] = hi;
    this.physical.writes(at);
  }

  /** Writes a 32-bit field. */
  put32(field: number, value: number): void {
    const at = this.first + field;
    this.physical.words[at] = value;
    this.physical.writes(at);
  }

  /** A field of any width. */
  get(name: VmcbField): bigint {
    const { offset, bytes } = rows.get(name)!;
    const { memory } = this.physical;
    memory.read(this.address + offset, bytes);
    return (BigInt(memory.value[1]! >>> 0) << 32n) | BigInt(memory.value[0]! >>> 0);
  }

  set(name: VmcbField, value: bigint | number): void {
    const { offset, bytes } = rows.get(name)!;
    const all = BigInt(value);
    const lo = Number(BigInt.asIntN(32, all));
    const hi = Number(BigInt.asIntN(32, all >> 32n));
    this.physical.memory.write(this.address + offset, bytes, lo, hi);
  }

  /** Sets or clears the bit that intercepts the exit of that code. */
  intercept(code: number, on = true): void {
    const at = this.address + (code >> 5) * 4;
    const { memory } = this.physical;
    memory.read(at, 4);
    const bit = 1 << (code & 31);
    memory.write(at, 4, on ? memory.value[0]! | bit : memory.value[0]! & ~bit, 0);
  }
}
