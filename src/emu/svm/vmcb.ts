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

/** Names of 64-bit fields. */
const words = Object.fromEntries(VMCB_ROWS.map(({ name }) => [name, wordOf(name)])) as Readonly<
  Record<VmcbField, number>
>;

/** A VMCB in memory, by the names of its fields: for hypervisors and tests. */
export class Vmcb {
  readonly address: number;
  private readonly physical: PhysicalWords;

  constructor(memory: PhysicalMemory, address: number) {
    this.address = address;
    this.physical = new PhysicalWords(memory);
  }

  /** The low half of a field that begins at a word's boundary. */
  lo(name: VmcbField): number {
    return this.physical.words[this.physical.frame(this.address) + words[name]]!;
  }

  /** The upper half of a 64-bit field. */
  hi(name: VmcbField): number {
    return this.physical.words[this.physical.frame(this.address) + words[name] + 1]!;
  }

  /** Writes a 64-bit field. */
  put(name: VmcbField, lo: number, hi: number): void {
    const frame = this.physical.frame(this.address);
    const all = this.physical.words;
    all[frame + words[name]] = lo;
    all[frame + words[name] + 1] = hi;
    this.physical.writes(frame);
  }

  /** Writes a 32-bit field. */
  put32(name: VmcbField, value: number): void {
    const frame = this.physical.frame(this.address);
    this.physical.words[frame + words[name]] = value;
    this.physical.writes(frame);
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
