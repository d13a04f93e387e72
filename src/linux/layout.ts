/**
 * Where the simulated kernel lies: physical pages from {@link IMAGE_BASE} on, and the linear addresses at which Linux has
 * such things (Documentation/arch/x86/x86_64/mm.rst). KASLR is off.
 */

export const PAGE_SIZE = 0x1000;

/** Physical memory that the host has. Frames come into being when they are touched. */
export const RAM_SIZE = 0x8000_0000;
/** Physical memory: the kernel's pages, its page tables, and what is free. All below 16 MiB stays untouched. */
export const IMAGE_BASE = 0x0100_0000;
export const TABLES_BASE = 0x0400_0000;
export const FREE_BASE = 0x0800_0000;
/** The local APIC's registers. */
export const APIC_BASE = 0xfee0_0000;

/** `__START_KERNEL_map` + 16 MiB: `_text`. */
export const TEXT = 0xffff_ffff_8100_0000n;
/** One stub per vector, 16 bytes each. */
export const STUBS = TEXT;
export const STUB_SIZE = 16;
/** Entry code that the stubs jump to, SYSCALL's entry, the way back to user mode. */
export const ENTRY_TEXT = TEXT + 0x1000n;
/** `asm_fred_entrypoint_user`; 256 bytes further `asm_fred_entrypoint_kernel`. */
export const FRED_ENTRY = TEXT + 0x2000n;
export const FRED_KERNEL_ENTRY = 0x100;
/** Where programs that run in the kernel are put, each CPU's in a slot of its own. */
export const KERNEL_PROGRAMS = 0xffff_ffff_c000_0000n;
export const PROGRAM_PAGES = 2;
export const PROGRAM_SIZE = PROGRAM_PAGES * PAGE_SIZE;
const PROGRAM_SLOT = 0x1_0000n;
/** What all CPUs share: see {@link KERNEL_DATA}. */
export const DATA = 0xffff_ffff_8200_0000n;

/** `CPU_ENTRY_AREA_BASE`: the read-only IDT, then one area per CPU. */
export const CPU_ENTRY_AREA = 0xffff_fe00_0000_0000n;
export const IDT = CPU_ENTRY_AREA;
const CPU_ENTRY_AREA_SIZE = 0x3_b000n;

/** `PAGE_OFFSET`: all physical memory. */
export const directMap = (la57: boolean): bigint => (la57 ? 0xff11_0000_0000_0000n : 0xffff_8880_0000_0000n);
/** `VMALLOC_START`, with a page between any two things. */
export const vmalloc = (la57: boolean): bigint => (la57 ? 0xffa0_0000_0000_0000n : 0xffff_c900_0000_0000n);

/** A task's kernel stack. */
export const THREAD_SIZE = 0x4000;

/** User space, as a static executable has it. All tasks share it; programs and stacks are per CPU. */
export const USER_TEXT = 0x0040_1000n;
/** Memory that all user programs share. */
export const USER_DATA = 0x3000_0000n;
export const USER_DATA_SIZE = 2 * PAGE_SIZE;
/** Where user programs that end by themselves leave RAX, RCX and R11, which their last system call destroys. */
export const USER_SAVE = 0x3100_0000n;
export const USER_SAVE_SIZE = 32;
const USER_STACK_TOP = 0x7fff_ffff_e000n;
const USER_STACK_SLOT = 0x10_0000n;
export const USER_STACK_SIZE = 2 * PAGE_SIZE;

/** A CPU's slots for programs and for the stack of the user program. */
export const kernelProgram = (cpu: number): bigint => KERNEL_PROGRAMS + BigInt(cpu) * PROGRAM_SLOT;
export const userProgram = (cpu: number): bigint => USER_TEXT + BigInt(cpu) * PROGRAM_SLOT;
export const userStackTop = (cpu: number): bigint => USER_STACK_TOP - BigInt(cpu) * USER_STACK_SLOT;
export const userSave = (cpu: number): bigint => USER_SAVE + BigInt(cpu * USER_SAVE_SIZE);

/** Selectors (`asm/segment.h`). */
export const KERNEL_CS = 0x10;
export const KERNEL_DS = 0x18;
export const USER32_CS = 0x23;
export const USER_DS = 0x2b;
export const USER_CS = 0x33;
export const TSS_SELECTOR = 0x40;

/** Stacks of their own: `enum exception_stack_ordering`, index of the IST entry = position + 1. */
export const IST_STACKS = ['DF', 'NMI', 'DB', 'MCE', 'VC'] as const;
export type IstStack = (typeof IST_STACKS)[number];

/** Offsets in a CPU's private area, which GS points to in the kernel. Counters of {@link PER_CPU.COUNTS} have 8 bytes each. */
export const PER_CPU = {
  /** `pcpu_hot.top_of_stack` */
  TOP_OF_STACK: 0x00,
  /** `cpu_tss_rw.x86_tss.sp2`: user RSP while SYSCALL switches stacks. */
  USER_RSP: 0x08,
  /** Where the next fault in the kernel goes on: the exception table; 0: an oops. */
  FIXUP: 0x10,
  /** How many system calls came. */
  SYSCALLS: 0x18,
  /** Offset in the log of the next record. */
  LOG_NEXT: 0x20,
  /** How many records were written. */
  LOG_COUNT: 0x28,
  /** Records of {@link LOG_RECORD} bytes: vector, error code, RIP, CR2. A ring. */
  LOG: 0x400,
  COUNTS: 0x800,
} as const;
export const LOG_RECORD = 32;
export const LOG_SIZE = 0x400;

/** Offsets in what all CPUs share. */
export const KERNEL_DATA = {
  /** 0; vector + {@link PANIC} once a CPU has panicked. */
  PANIC: 0x00,
} as const;
export const PANIC = 0x100;

/** What one CPU owns, as linear addresses. */
export interface CpuPlaces {
  /** The private area. */
  readonly perCpu: bigint;
  readonly gdt: bigint;
  readonly tss: bigint;
  /** First address above the entry stack. */
  readonly entryStack: bigint;
  /** First address above each stack. */
  readonly ist: Readonly<Record<IstStack, bigint>>;
}

/**
 * `struct cpu_entry_area`: GDT, entry stack, TSS, then the exception stacks, each behind a guard page.
 *
 * @param perCpu where the private area is
 */
export function cpuPlaces(cpu: number, perCpu: bigint): CpuPlaces {
  const area = CPU_ENTRY_AREA + 0x1000n + BigInt(cpu) * CPU_ENTRY_AREA_SIZE;
  const top = (at: number) => area + 0x5000n + BigInt((at * 2 + 1) * PAGE_SIZE);
  const ist = Object.fromEntries(IST_STACKS.map((name, at) => [name, top(at)])) as Record<IstStack, bigint>;
  return { perCpu, gdt: area, entryStack: area + 0x2000n, tss: area + 0x3000n, ist };
}
