import { Decoder } from '../isa/decode.js';
import { INSN_WORDS, MAX_LENGTH, OUTCOME } from '../isa/insn.js';
import { PAGING_OK } from '../paging.js';
import type { Core } from './core.js';
import { carried, translationFault, undefinedOpcode } from './linear.js';
import { dropDeadFlags, endsBlock, lower, MICRO_WORDS } from './lower.js';
import { CONSTANTS, FIRST_CONSTANT } from './registers.js';

/**
 * Decoded code. A block is a run of instructions of one page, decoded and lowered once: up to the first that can branch
 * or change what comes after it, up to {@link BLOCK_LIMIT}, up to the page's end. Blocks are found by linear address and
 * address space; a block whose page was written since is compared with its bytes before it is used again.
 */

const BLOCK_LIMIT = 32;
const BLOCKS = 1024;
const INSNS = 8192;
/** Instructions for which there is room at once: most machines run little code, and are made often. */
const FIRST_INSNS = 512;
const MAP_SIZE = 4096;
const PAGE = 0x1000;
const PAGE_MASK = 0xfff;
const BYTES = BLOCKS * 64;
/** No address space. */
const NOWHERE = 0;

export class BlockCache {
  /** Decoded instructions, `INSN_WORDS` each. It grows when code is decoded: do not keep it across that. */
  insns = new Int32Array(FIRST_INSNS * INSN_WORDS);
  /** What the loop executes, `MICRO_WORDS` each; likewise. */
  micros = new Int32Array(FIRST_INSNS * MICRO_WORDS);
  /** What each decoded instruction costs, as far as that is known before it runs; likewise. */
  cyclesOf = new Int32Array(FIRST_INSNS);

  // By block. These stay: generated code keeps them.
  /** Number of its first instruction. */
  readonly first = new Int32Array(BLOCKS);
  readonly count = new Int32Array(BLOCKS);
  readonly ripLo = new Int32Array(BLOCKS);
  readonly ripHi = new Int32Array(BLOCKS);
  /** Where the next instruction after it is. */
  readonly endLo = new Int32Array(BLOCKS);
  readonly endHi = new Int32Array(BLOCKS);
  /** Sum of its costs, without what is only known at run time. */
  readonly cycles = new Int32Array(BLOCKS);
  /** Where its bytes lie in memory, and how many they are. */
  readonly offset = new Int32Array(BLOCKS);
  readonly length = new Int32Array(BLOCKS);
  /** What it is good for: state of its page, address space and rights. Generated code looks at them too. */
  readonly generation = new Int32Array(BLOCKS);
  readonly space = new Int32Array(BLOCKS);
  readonly version = new Int32Array(BLOCKS);
  readonly access = new Int32Array(BLOCKS);
  /** Where its bytes lie in {@link bytes}. */
  private readonly copyAt = new Int32Array(BLOCKS);
  /** Counts uses of the block's number: a block engine keeps what it made of it under this. */
  readonly serial = new Int32Array(BLOCKS);

  /** The block that runs. */
  running = 0;
  /** Its bytes in memory. A store among them ends it. */
  runningFrom = 0;
  runningTo = 0;
  /** A store has hit the block that runs. */
  hit = false;

  private readonly core: Core;
  private readonly decoder = new Decoder();
  /** By a hash of the address: the first block there; {@link others} has those behind it. */
  readonly map = new Int16Array(MAP_SIZE).fill(-1);
  private readonly others = new Int16Array(BLOCKS);
  private readonly bytes = new Uint8Array(BYTES);
  private readonly straddling = new Uint8Array(2 * MAX_LENGTH);
  private blocks = 0;
  private used = 0;
  private usedBytes = 0;
  private constants = FIRST_CONSTANT;
  private serials = 0;

  constructor(core: Core) {
    this.core = core;
  }

  /** The block at RIP, or -1 when fetching it faults. */
  find(): number {
    const { core, map } = this;
    const lo = core.lo[16]!;
    const hi = core.hi[16]!;
    const { tlb } = core.mmu;
    for (let block = map[placeOf(lo)]!; block >= 0; block = this.others[block]!) {
      if (
        this.ripLo[block] === lo &&
        this.ripHi[block] === hi &&
        this.space[block] === tlb.current &&
        this.version[block] === tlb.version &&
        this.access[block] === core.fetchAccess &&
        this.generation[block] === core.memory.generations[this.offset[block]! >>> 12]
      ) {
        this.running = block;
        this.runningFrom = this.offset[block]!;
        this.runningTo = this.runningFrom + this.length[block]!;
        return block;
      }
    }
    return this.miss(lo, hi);
  }

  /** Forgets everything: after changes to the cache's own limits, and to what decoding depends on. */
  clear(): void {
    this.map.fill(-1);
    this.blocks = 0;
    this.used = 0;
    this.usedBytes = 0;
    this.constants = FIRST_CONSTANT;
  }

  /** A store to RAM at an offset of the memory's bytes. */
  wrote(at: number): void {
    this.core.memory.generations[at >>> 12]!++;
    if (at + 8 > this.runningFrom && at < this.runningTo) this.hit = true;
  }

  /** As {@link wrote}, when the memory has counted already. */
  wroteWithin(at: number): void {
    if (at + 8 > this.runningFrom && at < this.runningTo) this.hit = true;
  }

  /** Bytes of a decoded instruction. */
  lengthOf(number: number): number {
    return this.insns[number * INSN_WORDS + 2]!;
  }

  /** What a block was decoded from: a view, good until the next block is decoded. */
  bytesOf(block: number): Uint8Array {
    const at = this.copyAt[block]!;
    return this.bytes.subarray(at, at + this.length[block]!);
  }

  /** A slot of the register file that holds a constant. */
  constant(lo: number, hi: number): number {
    const { core } = this;
    const slot = this.constants++;
    core.lo[slot] = lo;
    core.hi[slot] = hi;
    return slot;
  }

  private miss(lo: number, hi: number): number {
    const { core } = this;
    const { mmu, memory } = core;
    const status = mmu.translate(lo, hi, core.fetchAccess);
    if (status !== PAGING_OK) {
      translationFault(core, status, false);
      return -1;
    }
    const at = mmu.offset;
    if (at < 0) {
      // Nothing answers: a hole reads as ones, FF FF, which is no instruction.
      undefinedOpcode(core);
      return -1;
    }
    const place = placeOf(lo);
    const known = this.known(lo, hi, at, place);
    if (known >= 0) {
      const across = this.isAcross(known);
      if (across && !this.fetchAcross(lo, hi, at)) return -1;
      if (this.isSame(known, across ? this.straddling : memory.bytes, across ? 0 : at)) {
        this.enter(known, memory.generations[at >>> 12]!);
        return known;
      }
      this.forget(known, place);
    }
    return this.decode(lo, hi, at, place);
  }

  /** The block that was decoded from what memory had at an offset, or -1. */
  private known(lo: number, hi: number, at: number, place: number): number {
    let block = this.map[place]!;
    while (block >= 0 && (this.ripLo[block] !== lo || this.ripHi[block] !== hi || this.offset[block] !== at))
      block = this.others[block]!;
    return block;
  }

  /** A block whose bytes were overwritten. */
  private forget(block: number, place: number): void {
    if (this.map[place] === block) {
      this.map[place] = this.others[block]!;
      return;
    }
    let before = this.map[place]!;
    while (this.others[before] !== block) before = this.others[before]!;
    this.others[before] = this.others[block]!;
  }

  /** Whether a block's bytes are still those at an offset of others. */
  private isSame(block: number, bytes: Uint8Array, at: number): boolean {
    const copy = this.copyAt[block]!;
    const length = this.length[block]!;
    for (let i = 0; i < length; i++) if (bytes[at + i] !== this.bytes[copy + i]) return false;
    return true;
  }

  /** Whether a block is an instruction that goes on in the next page. */
  isAcross(block: number): boolean {
    return (this.offset[block]! & PAGE_MASK) + this.length[block]! > PAGE;
  }

  /** The block is good for the present address space and state of its page. */
  private enter(block: number, generation: number): void {
    const { core } = this;
    const across = this.isAcross(block);
    this.generation[block] = generation;
    // What lies in two pages is looked at every time.
    this.space[block] = across ? NOWHERE : core.mmu.tlb.current;
    this.version[block] = core.mmu.tlb.version;
    this.access[block] = core.fetchAccess;
    this.running = block;
    this.runningFrom = across ? 0 : this.offset[block]!;
    this.runningTo = across ? 0 : this.runningFrom + this.length[block]!;
  }

  private decode(lo: number, hi: number, at: number, place: number): number {
    if (
      this.blocks === BLOCKS ||
      this.used > INSNS - BLOCK_LIMIT ||
      this.usedBytes > BYTES - BLOCK_LIMIT * MAX_LENGTH ||
      this.constants > FIRST_CONSTANT + CONSTANTS - 3 * BLOCK_LIMIT
    )
      this.clear();
    if (this.used + BLOCK_LIMIT > this.cyclesOf.length) this.grow();
    const { core } = this;
    const { memory } = core;
    const room = PAGE - (at & PAGE_MASK);
    const block = this.blocks++;
    this.first[block] = this.used;
    this.ripLo[block] = lo;
    this.ripHi[block] = hi;
    this.offset[block] = at;
    let length = 0;
    let count = 0;
    let cycles = 0;
    let ends = false;
    while (!ends && count < BLOCK_LIMIT) {
      const number = this.used + count;
      const insn = number * INSN_WORDS;
      let outcome: number = OUTCOME.NEEDS_MORE;
      if (length < room) outcome = this.decoder.decode(memory.bytes, at + length, room - length, this.insns, insn);
      if (outcome === OUTCOME.NEEDS_MORE) {
        if (count > 0) break;
        return this.decodeAcross(block, lo, hi, at, place);
      }
      const insnLength = this.insns[insn + 2]!;
      lower(core, number, outcome, (lo + length + insnLength) | 0, carried(lo, hi, length + insnLength));
      cycles += this.cyclesOf[number]!;
      length += insnLength;
      count++;
      ends = outcome !== OUTCOME.DECODED || endsBlock(this.insns[insn]!);
    }
    dropDeadFlags(core, this.used, count);
    return this.finish(block, count, length, cycles, memory.bytes.subarray(at, at + length), place);
  }

  /** The bytes of an instruction that goes on in the next page. @returns `false` when fetching them faults */
  private fetchAcross(lo: number, hi: number, at: number): boolean {
    const { core, straddling } = this;
    const { memory, mmu } = core;
    const room = PAGE - (at & PAGE_MASK);
    for (let byte = 0; byte < room; byte++) straddling[byte] = memory.bytes[at + byte]!;
    const status = mmu.translate((lo + room) | 0, carried(lo, hi, room), core.fetchAccess);
    if (status !== PAGING_OK) {
      translationFault(core, status, false);
      return false;
    }
    const next = mmu.offset;
    for (let byte = 0; byte < MAX_LENGTH; byte++)
      straddling[room + byte] = next >= 0 ? memory.bytes[next + byte]! : 0xff;
    return true;
  }

  /** An instruction that goes on in the next page: a block of its own. */
  private decodeAcross(block: number, lo: number, hi: number, at: number, place: number): number {
    if (!this.fetchAcross(lo, hi, at)) {
      this.blocks--;
      return -1;
    }
    const { core, straddling } = this;
    const number = this.used;
    const outcome = this.decoder.decode(straddling, 0, MAX_LENGTH, this.insns, number * INSN_WORDS);
    const length = this.insns[number * INSN_WORDS + 2]!;
    lower(core, number, outcome, (lo + length) | 0, carried(lo, hi, length));
    return this.finish(block, 1, length, this.cyclesOf[number]!, straddling.subarray(0, length), place);
  }

  private grow(): void {
    const insns = this.cyclesOf.length * 4;
    this.insns = enlarged(this.insns, insns * INSN_WORDS);
    this.micros = enlarged(this.micros, insns * MICRO_WORDS);
    this.cyclesOf = enlarged(this.cyclesOf, insns);
  }

  /** Enters a block that has been decoded. @returns its number */
  private finish(
    block: number,
    count: number,
    length: number,
    cycles: number,
    bytes: Uint8Array,
    place: number,
  ): number {
    this.count[block] = count;
    this.length[block] = length;
    this.cycles[block] = cycles;
    this.endLo[block] = (this.ripLo[block]! + length) | 0;
    this.endHi[block] = carried(this.ripLo[block]!, this.ripHi[block]!, length);
    this.used += count;
    this.serial[block] = ++this.serials;
    this.bytes.set(bytes, this.usedBytes);
    this.copyAt[block] = this.usedBytes;
    this.usedBytes += length;
    this.others[block] = this.map[place]!;
    this.map[place] = block;
    this.enter(block, this.core.memory.generations[this.offset[block]! >>> 12]!);
    return block;
  }
}

/** {@link placeOf} for generated code. */
export const placeText = (lo: string): string => `(${lo}^(${lo}>>>12))&${MAP_SIZE - 1}`;

function placeOf(lo: number): number {
  return (lo ^ (lo >>> 12)) & (MAP_SIZE - 1);
}

function enlarged(array: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(length);
  larger.set(array);
  return larger;
}
