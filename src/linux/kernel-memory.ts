import { MEMORY_OK, PhysicalMemory } from '../emu/memory.js';
import { type PageFlags, PageTableBuilder } from '../emu/paging-build.js';
import { kernelText } from './entry.js';
import {
  APIC_BASE,
  type CpuPlaces,
  cpuPlaces,
  DATA,
  directMap,
  FREE_BASE,
  IDT,
  IMAGE_BASE,
  IST_STACKS,
  KERNEL_CS,
  kernelProgram,
  PAGE_SIZE,
  PROGRAM_SIZE,
  RAM_SIZE,
  STUB_SIZE,
  STUBS,
  TABLES_BASE,
  TEXT,
  THREAD_SIZE,
  TSS_SELECTOR,
  USER_DATA,
  USER_DATA_SIZE,
  USER_SAVE,
  USER_SAVE_SIZE,
  USER_STACK_SIZE,
  userProgram,
  userStackTop,
  vmalloc,
} from './layout.js';

/** The kernel's memory: physical pages, page tables, and what lies in them when the kernel has booted. */

const GIGABYTE = 0x4000_0000;
const MEGABYTES_2 = 0x20_0000;

/** Flat segments, as `gdt_page` has them, by index. */
const GDT: readonly bigint[] = [
  0n,
  0x00cf_9b00_0000_ffffn,
  0x00af_9b00_0000_ffffn,
  0x00cf_9300_0000_ffffn,
  0x00cf_fb00_0000_ffffn,
  0x00cf_f300_0000_ffffn,
  0x00af_fb00_0000_ffffn,
];
export const GDT_LIMIT = 16 * 8 - 1;
export const TSS_LIMIT = 0x67;
export const IDT_LIMIT = 256 * 16 - 1;

/** Gates that user mode may use: #BP, #OF and the old system call. */
const USER_VECTORS = new Set([3, 4, 0x80]);
/** IST entry of a gate, by vector; 0: none. */
const IST_ENTRY: Readonly<Record<number, number>> = { 8: 1, 2: 2, 1: 3, 18: 4, 29: 5 };

const PRESENT_INTERRUPT_GATE = 0x8e00n;

function idtImage(): Uint8Array {
  const view = new DataView(new ArrayBuffer(IDT_LIMIT + 1));
  for (let vector = 0; vector < 256; vector++) {
    const offset = STUBS + BigInt(vector * STUB_SIZE);
    const type = PRESENT_INTERRUPT_GATE | (USER_VECTORS.has(vector) ? 0x6000n : 0n) | BigInt(IST_ENTRY[vector] ?? 0);
    const low = (offset & 0xffffn) | (BigInt(KERNEL_CS) << 16n) | (type << 32n) | (((offset >> 16n) & 0xffffn) << 48n);
    view.setBigUint64(vector * 16, low, true);
    view.setBigUint64(vector * 16 + 8, offset >> 32n, true);
  }
  return new Uint8Array(view.buffer);
}

let idt: Uint8Array | undefined;

/** What the host's CPUID and flags let the page tables use. */
export interface PagingChoices {
  readonly la57: boolean;
  readonly noExecute: boolean;
  readonly gigabytePages: boolean;
}

export class KernelMemory {
  readonly physical: PhysicalMemory;
  readonly tables: PageTableBuilder;
  readonly la57: boolean;
  /** Where all physical memory is mapped. */
  readonly directMap: bigint;
  /** Physical addresses of {@link DATA}, {@link USER_DATA} and {@link USER_SAVE}. */
  readonly data: number;
  readonly userData: number;
  readonly userSave: number;
  private readonly noExecute: boolean;
  /** Small pages, by linear address. */
  private readonly pages = new Map<bigint, number>();
  private image = IMAGE_BASE;
  private free = FREE_BASE;
  private nextStack: bigint;

  constructor(choices: PagingChoices, cpus: number) {
    this.physical = new PhysicalMemory(
      [
        { base: 0, size: RAM_SIZE, kind: 'ram' },
        { base: APIC_BASE, size: PAGE_SIZE, kind: 'mmio' },
      ],
      { frames: 96 + cpus * 24 },
    );
    this.la57 = choices.la57;
    this.noExecute = choices.noExecute;
    this.directMap = directMap(choices.la57);
    this.nextStack = vmalloc(choices.la57);
    this.tables = new PageTableBuilder(this.physical, TABLES_BASE, choices.la57 ? 5 : 4);
    this.mapAll(choices.gigabytePages);
    this.mapText();
    this.data = this.newRange(DATA, PAGE_SIZE, KERNEL_DATA_PAGE);
    this.userData = this.newRange(USER_DATA, USER_DATA_SIZE, USER_DATA_PAGE);
    this.userSave = this.newRange(USER_SAVE, cpus * USER_SAVE_SIZE, USER_DATA_PAGE);
  }

  /** CR3 of the kernel. */
  get cr3(): number {
    return this.tables.root;
  }

  /** The linear address at which the kernel sees a physical one. */
  linear(physical: number): bigint {
    return this.directMap + BigInt(physical);
  }

  /** Physical pages that nobody uses yet, one after the other; zeros. */
  allocate(pages: number): number {
    const at = this.free;
    this.free += pages * PAGE_SIZE;
    if (this.free > RAM_SIZE) throw new Error('the host has no more memory');
    return at;
  }

  /** Maps whole pages. */
  map(address: bigint, physical: number, size: number, flags: PageFlags): void {
    const all = { accessed: true, dirty: true, ...flags, execute: !this.noExecute || flags.execute !== false };
    for (let done = 0; done < size; done += PAGE_SIZE) {
      const page = address + BigInt(done);
      this.tables.map(page, physical + done, all);
      this.pages.set(page, physical + done);
    }
  }

  /** A new kernel stack, behind a guard page. @returns the first address above it */
  newStack(): bigint {
    const bottom = this.nextStack + BigInt(PAGE_SIZE);
    this.map(bottom, this.allocate(THREAD_SIZE / PAGE_SIZE), THREAD_SIZE, KERNEL_DATA_PAGE);
    this.nextStack = bottom + BigInt(THREAD_SIZE);
    return this.nextStack;
  }

  /** The pages of one CPU. */
  newCpu(cpu: number): CpuPlaces & { readonly perCpuPhysical: number; readonly programs: ProgramSlots } {
    const perCpuPhysical = this.newPages(1);
    const places = cpuPlaces(cpu, this.linear(perCpuPhysical));
    this.physical.load(this.newRange(places.gdt, PAGE_SIZE, KERNEL_CONSTANTS), gdtImage(places.tss));
    this.physical.load(this.newRange(places.tss, PAGE_SIZE, KERNEL_DATA_PAGE), tssImage(places));
    for (const top of [places.entryStack, ...IST_STACKS.map((name) => places.ist[name])])
      this.newRange(top - BigInt(PAGE_SIZE), PAGE_SIZE, KERNEL_DATA_PAGE);
    this.newRange(userStackTop(cpu) - BigInt(USER_STACK_SIZE), USER_STACK_SIZE, USER_DATA_PAGE);
    const programs = {
      kernel: this.newRange(kernelProgram(cpu), PROGRAM_SIZE, KERNEL_CODE),
      user: this.newRange(userProgram(cpu), PROGRAM_SIZE, USER_CODE),
    };
    return { ...places, perCpuPhysical, programs };
  }

  /** Where a linear address of the kernel lies; -1 when it is not mapped. */
  physicalOf(address: bigint): number {
    if (address >= this.directMap && address < this.directMap + BigInt(RAM_SIZE))
      return Number(address - this.directMap);
    const page = this.pages.get(address & ~0xfffn);
    return page === undefined ? -1 : page + Number(address & 0xfffn);
  }

  /** Reads a quadword of the kernel's own memory, by physical address. */
  read(physical: number): bigint {
    this.physical.read(physical, 8);
    const { value } = this.physical;
    return BigInt.asUintN(64, (BigInt(value[1]!) << 32n) | BigInt(value[0]! >>> 0));
  }

  write(physical: number, value: bigint): void {
    const lo = Number(BigInt.asIntN(32, value));
    const hi = Number(BigInt.asIntN(32, value >> 32n));
    if (this.physical.write(physical, 8, lo, hi) !== MEMORY_OK) throw new Error(`there is no RAM at ${physical}`);
  }

  private newPages(pages: number): number {
    const at = this.image;
    this.image += pages * PAGE_SIZE;
    if (this.image > TABLES_BASE) throw new Error('the kernel image is too large: fewer CPUs would do');
    return at;
  }

  /** Maps new pages of the kernel's image. @returns where they lie */
  private newRange(address: bigint, size: number, flags: PageFlags): number {
    const pages = Math.ceil(size / PAGE_SIZE);
    const physical = this.newPages(pages);
    this.map(address, physical, pages * PAGE_SIZE, flags);
    return physical;
  }

  private mapAll(gigabytePages: boolean): void {
    const size = gigabytePages ? GIGABYTE : MEGABYTES_2;
    const flags = { write: true, execute: !this.noExecute, global: true, accessed: true, dirty: true };
    // Without pages of 1 GiB only what is in use at first is worth the tables.
    const end = gigabytePages ? RAM_SIZE : FREE_BASE * 2;
    for (let at = 0; at < end; at += size) this.tables.map(this.linear(at), at, flags, size);
  }

  private mapText(): void {
    const { bytes } = kernelText();
    this.physical.load(this.newRange(TEXT, bytes.length, KERNEL_CODE), bytes);
    idt ??= idtImage();
    this.physical.load(this.newRange(IDT, PAGE_SIZE, KERNEL_CONSTANTS), idt);
  }
}

/** Where the programs of a CPU go: physical addresses. */
export interface ProgramSlots {
  readonly kernel: number;
  readonly user: number;
}

const KERNEL_CODE: PageFlags = { global: true };
const KERNEL_DATA_PAGE: PageFlags = { write: true, execute: false, global: true };
const KERNEL_CONSTANTS: PageFlags = { execute: false, global: true };
const USER_CODE: PageFlags = { user: true };
const USER_DATA_PAGE: PageFlags = { user: true, write: true, execute: false };

function gdtImage(tss: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(GDT_LIMIT + 1));
  GDT.forEach((entry, at) => {
    view.setBigUint64(at * 8, entry, true);
  });
  // A busy 64-bit TSS (SDM volume 3, figure 8-4).
  const low = BigInt(TSS_LIMIT) | ((tss & 0xff_ffffn) << 16n) | (0x8bn << 40n) | (((tss >> 24n) & 0xffn) << 56n);
  view.setBigUint64(TSS_SELECTOR, low, true);
  view.setBigUint64(TSS_SELECTOR + 8, tss >> 32n, true);
  return new Uint8Array(view.buffer);
}

/** RSP0 and the interrupt stack table (SDM volume 3, figure 8-11). `load_sp0()`: RSP0 is the entry stack, for good. */
function tssImage({ entryStack, ist }: CpuPlaces): Uint8Array {
  const view = new DataView(new ArrayBuffer(TSS_LIMIT + 1));
  view.setBigUint64(4, entryStack, true);
  IST_STACKS.forEach((name, at) => {
    view.setBigUint64(0x24 + at * 8, ist[name], true);
  });
  view.setUint16(0x66, TSS_LIMIT + 1, true);
  return new Uint8Array(view.buffer);
}
