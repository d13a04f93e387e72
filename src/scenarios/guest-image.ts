import { type Assembler, asm } from '../emu/isa/asm.js';
import { PhysicalMemory } from '../emu/memory.js';
import { PageTableBuilder } from '../emu/paging-build.js';

/** A guest's memory: a program in 64-bit mode on page tables that map its memory to itself. */

const PAGE = 0x1000;
/** Guest-physical addresses. */
export const GUEST = {
  CODE: 0x1000,
  DATA: 0x4000,
  STACK_TOP: 0x8000,
  TABLES: 0x10000,
  /** All memory below. */
  END: 0x20000,
} as const;

export interface GuestImage {
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly cr3: bigint;
  /** Pages that are not all zero or that the guest writes, by guest-physical address. */
  readonly pages: ReadonlyMap<number, Uint8Array>;
}

const images = new WeakMap<(a: Assembler) => void, GuestImage>();

/** The memory of a guest that runs a program. */
export function guestImage(program: (a: Assembler) => void): GuestImage {
  const known = images.get(program) ?? build(program);
  images.set(program, known);
  return known;
}

function build(program: (a: Assembler) => void): GuestImage {
  const memory = new PhysicalMemory([{ base: 0, size: GUEST.END, kind: 'ram' }]);
  const tables = new PageTableBuilder(memory, GUEST.TABLES);
  tables.identity(GUEST.END, { write: true, user: true, accessed: true, dirty: true });
  memory.load(GUEST.CODE, asm(program));
  const pages = new Map<number, Uint8Array>();
  for (let at = 0; at < GUEST.END; at += PAGE) {
    const used = at < GUEST.STACK_TOP || (at >= GUEST.TABLES && at < tables.end);
    if (used) pages.set(at, memory.dump(at, PAGE));
  }
  return { rip: BigInt(GUEST.CODE), rsp: BigInt(GUEST.STACK_TOP), cr3: BigInt(tables.root), pages };
}

/** TDVMCALL of HLT: the TD goes back to its VMM (GHCI 1.5, 2.4.1). */
export function tdHalt(a: Assembler): void {
  a.mov('eax', 0);
  a.mov('ecx', 0xfc00);
  a.mov('r10d', 0);
  a.mov('r11d', 12);
  a.mov('r12d', 0);
  a.tdcall();
}

/** WRMSR of a constant. */
export function writeMsr(a: Assembler, index: number, value: bigint | number): void {
  const bits = BigInt.asUintN(64, BigInt(value));
  a.mov('ecx', index);
  a.mov('eax', bits & 0xffff_ffffn);
  a.mov('edx', bits >> 32n);
  a.wrmsr();
}
