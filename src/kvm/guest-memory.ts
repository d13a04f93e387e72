import { FRAME_SIZE } from '../emu/memory.js';
import { EptBuilder, PageTableBuilder } from '../emu/paging-build.js';
import type { KernelMemory } from '../linux/kernel-memory.js';
import type { UserMemory } from '../linux/user-memory.js';
import type { MemorySlots } from './memory-slots.js';

/** What a guest-physical address comes to. */
export const GUEST_RAM = 0;
/** No slot has it, or a write meets a read-only slot: userspace emulates. */
export const GUEST_MMIO = 1;
/** A slot has it, but the process's memory behind it faults. */
export const GUEST_FAULT = 2;

/** Pages for tables that are set aside: enough for hundreds of megabytes in 4 KiB pages. */
const TABLE_PAGES = 256;

/** A page of the process that the guest uses, and its frame in the host's memory. */
interface Page {
  readonly gpa: number;
  /** Offset in the process's arena. */
  readonly offset: number;
  readonly frame: number;
  /** How often the frame had been written when both were last alike. */
  generation: number;
  readonly writable: boolean;
}

/**
 * The guest's memory as a CPU that executes sees it: the second set of tables, built page by page as the guest touches
 * memory, as KVM does. The process lives in an arena of its own, which the CPU cannot reach; so a page has a frame in the
 * host's memory too, and {@link enter} and {@link leave} keep both alike. Between them nobody else runs.
 */
export class GuestMemory {
  /** Host-physical address of the top table. */
  readonly root: number;
  /** Goes up when translations are to be forgotten. */
  version = 0;
  private readonly host: KernelMemory;
  private readonly user: UserMemory;
  /** The process's arena as words; pages are aligned. */
  private readonly userWords: Int32Array;
  private readonly slots: MemorySlots;
  private readonly builder: EptBuilder | PageTableBuilder;
  private readonly end: number;
  private readonly pages = new Map<number, Page>();
  /** Frames by the place in the arena that they stand for: two slots may show the same memory. */
  private readonly frames = new Map<number, number>();
  private slotsVersion: number;

  constructor(format: 'ept' | 'npt', host: KernelMemory, user: UserMemory, slots: MemorySlots) {
    this.host = host;
    this.user = user;
    this.userWords = new Int32Array(user.bytes.buffer, user.bytes.byteOffset, user.bytes.length / 4);
    this.slots = slots;
    const tables = host.allocate(TABLE_PAGES);
    this.end = tables + TABLE_PAGES * FRAME_SIZE;
    // SVM's tables have as many levels as the host's own (`get_npt_level()`).
    this.builder =
      format === 'ept'
        ? new EptBuilder(host.physical, tables)
        : new PageTableBuilder(host.physical, tables, host.la57 ? 5 : 4);
    this.root = this.builder.root;
    this.slotsVersion = slots.version;
  }

  /** Before the guest runs: what the process has written, and what it has changed about slots. */
  enter(): void {
    if (this.slotsVersion !== this.slots.version) this.zap();
    const { physical } = this.host;
    for (const page of this.pages.values()) {
      const at = physical.touch(page.frame);
      if (isSame(physical.words, at >> 2, this.userWords, page.offset >> 2)) continue;
      const { bytes, generations } = physical;
      bytes.set(this.user.bytes.subarray(page.offset, page.offset + FRAME_SIZE), at);
      page.generation = ++generations[at >>> 12]!;
    }
  }

  /** After the guest ran: what it has written. */
  leave(): void {
    const { physical } = this.host;
    for (const page of this.pages.values()) {
      const at = physical.touch(page.frame);
      const generation = physical.generations[at >>> 12]!;
      if (generation === page.generation) continue;
      page.generation = generation;
      this.user.bytes.set(physical.bytes.subarray(at, at + FRAME_SIZE), page.offset);
    }
  }

  /** `kvm_mmu_page_fault()`: maps the page of an address, if a slot has it. */
  fault(gpa: number, write: boolean): number {
    const at = gpa - (gpa % FRAME_SIZE);
    const found = this.slots.find(at);
    if (found === null) return GUEST_MMIO;
    if (write && found.readonly) return GUEST_MMIO;
    const known = this.pages.get(at);
    if (known) return GUEST_RAM;
    const offset = this.user.readable(found.hva, FRAME_SIZE);
    if (offset < 0) return GUEST_FAULT;
    const frame = this.frameOf(offset);
    const { physical } = this.host;
    const generation = physical.generations[physical.touch(frame) >>> 12]!;
    const writable = !found.readonly;
    this.pages.set(at, { gpa: at, offset, frame, generation, writable });
    this.builder.map(BigInt(at), frame, { write: writable, user: true, accessed: true, dirty: true });
    if (this.builder.end > this.end) throw new Error('the guest uses more memory than its tables have room for');
    return GUEST_RAM;
  }

  private frameOf(offset: number): number {
    const { host, user, frames } = this;
    const frame = frames.get(offset) ?? host.allocate(1);
    // A frame that is in use already has what the guest wrote since.
    const used = [...this.pages.values()].some((page) => page.frame === frame);
    if (!used) host.physical.load(frame, user.bytes.subarray(offset, offset + FRAME_SIZE));
    frames.set(offset, frame);
    return frame;
  }

  /** `kvm_mmu_zap_all()`: all pages are to be faulted in again. */
  private zap(): void {
    for (const { gpa } of this.pages.values()) this.builder.put(BigInt(gpa), 1, 0n);
    this.pages.clear();
    this.slotsVersion = this.slots.version;
    this.version++;
  }
}

/** Whether two pages are alike, given as words and their first ones. */
function isSame(one: Int32Array, at: number, other: Int32Array, from: number): boolean {
  for (let n = 0; n < FRAME_SIZE / 4; n += 4) {
    const a = at + n;
    const b = from + n;
    const different =
      (one[a]! ^ other[b]!) |
      (one[a + 1]! ^ other[b + 1]!) |
      (one[a + 2]! ^ other[b + 2]!) |
      (one[a + 3]! ^ other[b + 3]!);
    if (different !== 0) return false;
  }
  return true;
}
