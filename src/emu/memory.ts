/**
 * Physical memory: RAM in frames of 4 KiB that come into being when they are first written (or asked for), holes, and
 * ranges that belong to devices. Addresses are float64 integers below 2^52. An access answers with a status; only the
 * first touch of a frame allocates.
 */

export const FRAME_SIZE = 0x1000;

/** What an access came to. */
export const MEMORY_OK = 0;
/** Nothing answers at that address: reads give ones, writes are lost. */
export const MEMORY_HOLE = 1;
/** The address belongs to a device, which the machine has to ask. */
export const MEMORY_MMIO = 2;

/** A range of physical addresses, in whole frames. */
export interface MemoryRegion {
  readonly base: number;
  readonly size: number;
  readonly kind: 'ram' | 'mmio';
}

export interface MemoryOptions {
  /** Frames for which there is room at once. */
  readonly frames?: number;
  /** How many frames may come into being at all: a guard against runaway guests, not a fact of hardware. */
  readonly maxFrames?: number;
}

const EMPTY = -1;
const WORD = 0x1_0000_0000;
const ADDRESS_LIMIT = 2 ** 52;

export class PhysicalMemory {
  /**
   * The contents of all frames, one after the other. It is replaced when room runs out: do not keep it across a call
   * that may bring a frame into being. Offsets stay.
   */
  bytes: Uint8Array;
  /** The same as 32-bit words. */
  words: Int32Array;
  /**
   * How often each frame was written through this class, by offset / 4096. Whoever keeps decoded code compares it, and
   * whoever writes to {@link bytes} directly counts too.
   */
  generations: Int32Array;
  /** What a read found: low and high half; sizes below 8 are zero-extended. */
  readonly value = new Int32Array(2);
  readonly regions: readonly MemoryRegion[];

  private readonly maxFrames: number;
  private count = 0;
  /** An open-addressing hash table: frame number to offset. */
  private keys: Float64Array;
  private offsets: Int32Array;
  private lastFrame = -1;
  private lastOffset = EMPTY;

  /** Regions do not overlap. */
  constructor(regions: readonly MemoryRegion[], options: MemoryOptions = {}) {
    for (const { base, size } of regions) {
      if (base % FRAME_SIZE !== 0 || size % FRAME_SIZE !== 0 || base < 0 || size <= 0 || base + size > ADDRESS_LIMIT)
        throw new Error(`physical memory at ${hex(base)} of ${hex(size)} bytes is not a range of whole frames`);
    }
    this.regions = [...regions].sort((one, other) => one.base - other.base);
    this.regions.forEach(({ base }, at) => {
      const before = this.regions[at - 1];
      if (before && before.base + before.size > base) throw new Error(`two memory regions overlap at ${hex(base)}`);
    });
    const room = Math.max(1, options.frames ?? 64);
    this.maxFrames = options.maxFrames ?? 0x1_0000;
    this.bytes = new Uint8Array(room * FRAME_SIZE);
    this.words = new Int32Array(this.bytes.buffer);
    this.generations = new Int32Array(room);
    const slots = 2 ** Math.ceil(Math.log2(room * 2));
    this.keys = new Float64Array(slots).fill(EMPTY);
    this.offsets = new Int32Array(slots);
  }

  /** How many frames have come into being. */
  get frameCount(): number {
    return this.count;
  }

  /** Which kind of memory an address belongs to, as a status. */
  kindAt(address: number): number {
    for (let at = 0; at < this.regions.length; at++) {
      const region = this.regions[at]!;
      if (address < region.base) break;
      if (address < region.base + region.size) return region.kind === 'ram' ? MEMORY_OK : MEMORY_MMIO;
    }
    return MEMORY_HOLE;
  }

  /** The offset in {@link bytes} of the frame that holds an address; -1 when there is none yet. */
  frameAt(address: number): number {
    const frame = frameOf(address);
    if (frame === this.lastFrame) return this.lastOffset;
    const offset = this.lookUp(frame);
    if (offset !== EMPTY) {
      this.lastFrame = frame;
      this.lastOffset = offset;
    }
    return offset;
  }

  /** As {@link frameAt}, but the frame comes into being; -1 where there is no RAM. */
  touch(address: number): number {
    const known = this.frameAt(address);
    return known !== EMPTY || this.kindAt(address) !== MEMORY_OK ? known : this.allocate(address);
  }

  /** Reads 1, 2, 4 or 8 bytes, little endian, into {@link value}. A hole gives ones. */
  read(address: number, size: number): number {
    const within = address & (FRAME_SIZE - 1);
    if (within + size > FRAME_SIZE) return this.readAcross(address, size);
    const frame = this.frameAt(address);
    if (frame === EMPTY) return this.readNothing(address, size);
    const { bytes, value } = this;
    const at = frame + within;
    value[1] = 0;
    switch (size) {
      case 1:
        value[0] = bytes[at]!;
        break;
      case 2:
        value[0] = bytes[at]! | (bytes[at + 1]! << 8);
        break;
      case 8:
        value[1] = bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24);
        value[0] = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
        break;
      default:
        value[0] = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    }
    return MEMORY_OK;
  }

  /** Writes 1, 2, 4 or 8 bytes, little endian. Unless the status is OK nothing was written. */
  write(address: number, size: number, lo: number, hi: number): number {
    const within = address & (FRAME_SIZE - 1);
    if (within + size > FRAME_SIZE) return this.writeAcross(address, size, lo, hi);
    const frame = this.touch(address);
    if (frame === EMPTY) return this.kindAt(address);
    const { bytes } = this;
    const at = frame + within;
    this.generations[frame >>> 12]!++;
    bytes[at] = lo;
    if (size > 1) bytes[at + 1] = lo >> 8;
    if (size > 2) {
      bytes[at + 2] = lo >> 16;
      bytes[at + 3] = lo >> 24;
    }
    if (size > 4) {
      bytes[at + 4] = hi;
      bytes[at + 5] = hi >> 8;
      bytes[at + 6] = hi >> 16;
      bytes[at + 7] = hi >> 24;
    }
    return MEMORY_OK;
  }

  /** Copies bytes in: a program, a table. Throws where there is no RAM. */
  load(address: number, bytes: Uint8Array | readonly number[]): void {
    for (let done = 0; done < bytes.length; ) {
      const within = (address + done) % FRAME_SIZE;
      const length = Math.min(FRAME_SIZE - within, bytes.length - done);
      const frame = this.touch(address + done);
      if (frame === EMPTY) throw new Error(`there is no RAM at ${hex(address + done)}`);
      this.generations[frame >>> 12]!++;
      const part = bytes instanceof Uint8Array ? bytes.subarray(done, done + length) : bytes.slice(done, done + length);
      this.bytes.set(part, frame + within);
      done += length;
    }
  }

  /** A copy of `length` bytes; zeros where no frame has come into being. Throws where there is no RAM. */
  dump(address: number, length: number): Uint8Array {
    const copy = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = address + done;
      const within = at % FRAME_SIZE;
      const part = Math.min(FRAME_SIZE - within, length - done);
      if (this.kindAt(at) !== MEMORY_OK) throw new Error(`there is no RAM at ${hex(at)}`);
      const frame = this.frameAt(at);
      if (frame !== EMPTY) copy.set(this.bytes.subarray(frame + within, frame + within + part), done);
      done += part;
    }
    return copy;
  }

  /** Forgets all contents. Offsets of before mean nothing afterwards. */
  reset(): void {
    this.bytes.fill(0, 0, this.count * FRAME_SIZE);
    this.generations.fill(0);
    this.keys.fill(EMPTY);
    this.count = 0;
    this.lastFrame = -1;
    this.lastOffset = EMPTY;
  }

  private readNothing(address: number, size: number): number {
    const kind = this.kindAt(address);
    const ones = kind === MEMORY_HOLE;
    this.value[0] = ones ? -1 >>> (size < 4 ? 32 - size * 8 : 0) : 0;
    this.value[1] = ones && size === 8 ? -1 : 0;
    return kind;
  }

  /** Byte by byte; the status is that of the first byte that is not in RAM. */
  private readAcross(address: number, size: number): number {
    let status = MEMORY_OK;
    let lo = 0;
    let hi = 0;
    for (let at = 0; at < size; at++) {
      const one = this.read(address + at, 1);
      if (status === MEMORY_OK) status = one;
      if (at < 4) lo |= this.value[0]! << (at * 8);
      else hi |= this.value[0]! << (at * 8 - 32);
    }
    this.value[0] = lo;
    this.value[1] = hi;
    return status;
  }

  private writeAcross(address: number, size: number, lo: number, hi: number): number {
    const first = this.kindAt(address);
    if (first !== MEMORY_OK) return first;
    const last = this.kindAt(address + size - 1);
    if (last !== MEMORY_OK) return last;
    for (let at = 0; at < size; at++) this.write(address + at, 1, at < 4 ? lo >>> (at * 8) : hi >>> (at * 8 - 32), 0);
    return MEMORY_OK;
  }

  private allocate(address: number): number {
    if (this.count >= this.maxFrames)
      throw new Error(`the program touched more than ${this.maxFrames} frames of memory; give the machine more`);
    if ((this.count + 1) * FRAME_SIZE > this.bytes.length) this.grow();
    const frame = frameOf(address);
    const offset = this.count * FRAME_SIZE;
    this.count++;
    this.insert(frame, offset);
    this.lastFrame = frame;
    this.lastOffset = offset;
    return offset;
  }

  private grow(): void {
    const bytes = new Uint8Array(this.bytes.length * 2);
    bytes.set(this.bytes);
    this.bytes = bytes;
    this.words = new Int32Array(bytes.buffer);
    const generations = new Int32Array(this.generations.length * 2);
    generations.set(this.generations);
    this.generations = generations;
    const { keys, offsets } = this;
    this.keys = new Float64Array(keys.length * 2).fill(EMPTY);
    this.offsets = new Int32Array(keys.length * 2);
    for (let at = 0; at < keys.length; at++) if (keys[at] !== EMPTY) this.insert(keys[at]!, offsets[at]!);
  }

  private insert(frame: number, offset: number): void {
    let at = hash(frame) & (this.keys.length - 1);
    while (this.keys[at] !== EMPTY) at = (at + 1) & (this.keys.length - 1);
    this.keys[at] = frame;
    this.offsets[at] = offset;
  }

  private lookUp(frame: number): number {
    const { keys } = this;
    let at = hash(frame) & (keys.length - 1);
    for (;;) {
      const key = keys[at]!;
      if (key === frame) return this.offsets[at]!;
      if (key === EMPTY) return EMPTY;
      at = (at + 1) & (keys.length - 1);
    }
  }
}

/** The number of the frame that holds an address. `&` takes the low bits of any integer below 2^53. */
function frameOf(address: number): number {
  return (address - (address & (FRAME_SIZE - 1))) / FRAME_SIZE;
}

/** Mixes a frame number, which may have 40 bits. */
function hash(frame: number): number {
  const mixed = Math.imul(frame | 0, 0x9e37_79b1) ^ Math.imul((frame / WORD) | 0, 0x85eb_ca6b);
  return mixed ^ (mixed >>> 15);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
