import type { Stop } from '../emu/core/status.js';
import { type Assembler, asm } from '../emu/isa/asm.js';
import type { RegisterName } from '../emu/isa/registers.js';
import type { End } from './entry.js';
import { PROGRAM_SIZE, userSave } from './layout.js';

/**
 * Programs: what a CPU is told to run, in machine code, and what came of it. A program ends when it runs off its end. In
 * the kernel it may also return with RET, in user mode with the system call `exit` or `exit_group`.
 */
export type Program = ((a: Assembler) => void) | Uint8Array;

const assembled = new WeakMap<(a: Assembler) => void, Uint8Array>();

/** The bytes of a program. A function is asked once. */
export function bytesOf(program: Program): Uint8Array {
  if (program instanceof Uint8Array) return program;
  const bytes = assembled.get(program) ?? asm(program);
  assembled.set(program, bytes);
  return bytes;
}

const RET = Uint8Array.of(0xc3);

/** A program for the kernel, with its end. */
export function kernelBytes(program: Program): Uint8Array {
  return joined(bytesOf(program), RET);
}

const userEnds = new Map<number, Uint8Array>();

/** A program for user mode: at its end it saves what the system call destroys, and exits. */
export function userBytes(program: Program, cpu: number): Uint8Array {
  const end = userEnds.get(cpu) ?? userEnd(cpu);
  userEnds.set(cpu, end);
  return joined(bytesOf(program), end);
}

/** How many bytes of {@link userBytes} are the program's own. */
export const userEndOffset = (program: Program): number => bytesOf(program).length;

function userEnd(cpu: number): Uint8Array {
  const save = userSave(cpu);
  return asm((a) => {
    a.mov(`qword ptr [${save}]`, 'rax');
    a.mov(`qword ptr [${save + 8n}]`, 'rcx');
    a.mov(`qword ptr [${save + 16n}]`, 'r11');
    a.mov('eax', 60);
    a.syscall();
  });
}

function joined(body: Uint8Array, end: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(body.length + end.length);
  if (bytes.length > PROGRAM_SIZE) throw new Error(`a program of ${body.length} bytes does not fit its slot`);
  bytes.set(body);
  bytes.set(end, body.length);
  return bytes;
}

// biome-ignore format: one row
export const GENERAL_REGISTERS = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
] as const satisfies readonly RegisterName[];
export type GeneralRegister = (typeof GENERAL_REGISTERS)[number];
export type Registers = Readonly<Record<GeneralRegister, bigint>>;

export interface ProgramOptions {
  /** What registers hold at first; the others hold 0. RSP is the stack's. */
  readonly registers?: Readonly<Partial<Record<GeneralRegister, bigint | number>>>;
  /** RFLAGS.IF. Default: on. */
  readonly interrupts?: boolean;
  /** In the kernel: offset in the program at which it goes on after a fault (`_ASM_EXTABLE`). Default: a fault is an oops. */
  readonly fixup?: number;
}

/** An exception or interrupt that the kernel has handled, as it logs them. */
export interface LoggedEvent {
  readonly vector: number;
  /** 0 for events without one. */
  readonly errorCode: bigint;
  /** Where it came from. */
  readonly rip: bigint;
  /** CR2 at that time. */
  readonly cr2: bigint;
}

/** What came of a program. */
export interface ProgramResult {
  /** How it ended; `null` when it has not. */
  readonly end: End | null;
  /** Why the CPU stopped. */
  readonly stop: Stop;
  /** Cycles of the CPU's clock: when it began, when it stopped, and their difference. */
  readonly began: number;
  readonly stopped: number;
  readonly cycles: number;
  /** The program's registers at its end. */
  readonly registers: Registers;
  readonly rip: bigint;
  readonly rflags: number;
  /** The last events, oldest first. */
  readonly events: readonly LoggedEvent[];
  /** How many system calls the kernel has taken. */
  readonly systemCalls: number;
  /** The vector that ended it (`killed`, `oops`, `panic`); `null` otherwise. */
  readonly vector: number | null;
}
