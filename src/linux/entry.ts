import { type Assembler, assemble } from '../emu/isa/asm.js';
import {
  DATA,
  ENTRY_TEXT,
  FRED_ENTRY,
  FRED_KERNEL_ENTRY,
  KERNEL_DATA,
  LOG_RECORD,
  LOG_SIZE,
  PAGE_SIZE,
  PANIC,
  PER_CPU,
  STUB_SIZE,
  STUBS,
  USER_CS,
  USER_DS,
} from './layout.js';

/**
 * The kernel's entry code, in machine code: what happens when a CPU takes an event. After `arch/x86/entry/entry_64.S` and
 * `entry_64_fred.S`, with all C behind them replaced by a few instructions:
 *
 * - every event is counted and logged in the CPU's private area;
 * - interrupts, NMIs, #DB and #BP return to where they came from;
 * - another exception in user mode ends the program (a signal that nobody catches); in the kernel it goes on at the fixup
 *   that the exception table has, or else is an oops;
 * - #DF and #MC are a panic;
 * - of system calls there are `exit` and `exit_group`; all others answer -ENOSYS.
 *
 * Whatever ends, ends in CLI and HLT at an address of its own: {@link KernelText.ends}. There, [RSP+8] is RIP, and CS,
 * RFLAGS, RSP, SS follow (not at the end of a program in the kernel).
 */

/** Ways in which a program ends: it has returned, its process has exited or was killed, the kernel oopsed or panicked. */
export const ENDS = ['returned', 'exited', 'killed', 'oops', 'panic'] as const;
export type End = (typeof ENDS)[number];

export interface KernelText {
  /** Three pages: stubs, entry code, FRED entry page. */
  readonly bytes: Uint8Array;
  readonly entrySyscall: bigint;
  readonly entrySyscallCompat: bigint;
  readonly entrySysenterCompat: bigint;
  /** Goes to user mode with what lies on the stack: by IRETQ RIP, CS, RFLAGS, RSP, SS; by ERETU an error code below. */
  readonly returnByIret: bigint;
  readonly returnByEretu: bigint;
  /** Where programs in the kernel return to. */
  readonly programEnd: bigint;
  /** RIP after the HLT of an end, and the other way round. */
  readonly ends: ReadonlyMap<bigint, End>;
  readonly halts: Readonly<Record<End, bigint>>;
}

const VECTORS_WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21, 29, 30]);

const NMI = 2;
const DB = 1;
const BP = 3;
const DF = 8;
const MC = 18;
const FIRST_INTERRUPT = 32;

/** Event types that FRED pushes. */
const TYPE_EXCEPTION = 3;
const TYPE_OTHER = 7;

const SYS_EXIT = 60;
const SYS_EXIT_GROUP = 231;
const ENOSYS = 38;

const MSR_GS_BASE = 0xc000_0101;

const gs = (offset: number, base = ''): string => `qword ptr gs:[${base}${offset}]`;
const data = (offset: number): string => `qword ptr [${BigInt.asIntN(64, DATA) + BigInt(offset)}]`;

/** A place from which there is no way on. */
function end(a: Assembler, name: End): void {
  a.label(name);
  a.cli();
  a.hlt();
  a.label(`${name}.after`);
  a.jmp(name);
}

function pushScratch(a: Assembler): void {
  a.push('rax');
  a.push('rcx');
  a.push('rdx');
}

function popScratch(a: Assembler): void {
  a.pop('rdx');
  a.pop('rcx');
  a.pop('rax');
}

/** Counts and logs an event: vector in RCX, error code in RDX, RIP in RAX, which is lost. */
function record(a: Assembler): void {
  a.label('record');
  a.inc(gs(PER_CPU.COUNTS, 'rcx*8+'));
  a.push('rbx');
  a.mov('rbx', gs(PER_CPU.LOG_NEXT));
  a.mov(gs(PER_CPU.LOG, 'rbx+'), 'rcx');
  a.mov(gs(PER_CPU.LOG + 8, 'rbx+'), 'rdx');
  a.mov(gs(PER_CPU.LOG + 16, 'rbx+'), 'rax');
  a.mov('rax', 'cr2');
  a.mov(gs(PER_CPU.LOG + 24, 'rbx+'), 'rax');
  a.add('ebx', LOG_RECORD);
  a.and('ebx', LOG_SIZE - 1);
  a.mov(gs(PER_CPU.LOG_NEXT), 'rbx');
  a.inc(gs(PER_CPU.LOG_COUNT));
  a.pop('rbx');
  a.ret();
}

/** A panic: vector in RCX, scratch registers and one more word on the stack. */
function panic(a: Assembler): void {
  a.label('panics_after_idt');
  a.add('rcx', PANIC);
  a.mov(data(KERNEL_DATA.PANIC), 'rcx');
  popScratch(a);
  a.add('rsp', 8);
  a.jmp('panic');
  a.label('panics_after_fred');
  a.add('rcx', PANIC);
  a.mov(data(KERNEL_DATA.PANIC), 'rcx');
  popScratch(a);
  end(a, 'panic');
}

/** Events by way of the IDT. The stack: vector, error code, RIP, CS, RFLAGS, RSP, SS. */
function idtEntry(a: Assembler): void {
  const [vector, errorCode, rip, cs] = ['rsp+24', 'rsp+32', 'rsp+40', 'rsp+48'];
  a.label('paranoid_entry');
  pushScratch(a);
  a.mov('rcx', `qword ptr [${vector}]`);
  a.cmp('ecx', DF);
  a.je('panics_after_idt');
  a.cmp('ecx', MC);
  a.je('panics_after_idt');
  // From the kernel, too, GS may still be, or again be, the user's: its sign tells.
  a.mov('ecx', MSR_GS_BASE);
  a.rdmsr();
  a.test('edx', 'edx');
  a.mov('edx', 0);
  a.js('paranoid_record');
  a.swapgs();
  a.mov('edx', 1);
  a.label('paranoid_record');
  a.push('rdx');
  a.mov('rcx', 'qword ptr [rsp+32]');
  a.mov('rdx', 'qword ptr [rsp+40]');
  a.mov('rax', 'qword ptr [rsp+48]');
  a.call('record');
  a.pop('rdx');
  a.test('edx', 'edx');
  a.je('paranoid_return');
  a.swapgs();
  a.label('paranoid_return');
  popScratch(a);
  a.add('rsp', 16);
  a.iretq();

  a.label('error_entry');
  a.test('byte ptr [rsp+24]', 3);
  a.je('error_from_kernel');
  a.swapgs();
  a.label('error_from_kernel');
  pushScratch(a);
  a.mov('rcx', `qword ptr [${vector}]`);
  a.mov('rdx', `qword ptr [${errorCode}]`);
  a.mov('rax', `qword ptr [${rip}]`);
  a.call('record');
  a.cmp('ecx', FIRST_INTERRUPT);
  a.jae('error_return');
  a.cmp('ecx', BP);
  a.je('error_return');
  a.test(`byte ptr [${cs}]`, 3);
  a.je('error_in_kernel');
  popScratch(a);
  a.add('rsp', 8);
  end(a, 'killed');
  a.label('error_in_kernel');
  a.mov('rax', gs(PER_CPU.FIXUP));
  a.test('rax', 'rax');
  a.je('error_oops');
  a.mov(gs(PER_CPU.FIXUP), 0);
  a.mov(`qword ptr [${rip}]`, 'rax');
  a.label('error_return');
  a.test(`byte ptr [${cs}]`, 3);
  a.je('error_return_to_kernel');
  popScratch(a);
  a.add('rsp', 16);
  a.label('return_by_iret');
  a.swapgs();
  a.iretq();
  a.label('error_return_to_kernel');
  popScratch(a);
  a.add('rsp', 16);
  a.iretq();
  a.label('error_oops');
  popScratch(a);
  a.add('rsp', 8);
  end(a, 'oops');
}

/** `entry_SYSCALL_64`. Linux saves all registers; that they stay where they are comes to the same here. */
function syscallEntry(a: Assembler): void {
  a.label('entry_syscall');
  a.swapgs();
  a.mov(gs(PER_CPU.USER_RSP), 'rsp');
  a.mov('rsp', gs(PER_CPU.TOP_OF_STACK));
  a.push(USER_DS);
  a.push(gs(PER_CPU.USER_RSP));
  a.push('r11');
  a.push(USER_CS);
  a.push('rcx');
  a.push('rax');
  a.inc(gs(PER_CPU.SYSCALLS));
  a.cmp('rax', SYS_EXIT);
  a.je('exited');
  a.cmp('rax', SYS_EXIT_GROUP);
  a.je('exited');
  a.mov('rax', -ENOSYS);
  a.add('rsp', 8);
  a.pop('rcx');
  a.add('rsp', 8);
  a.pop('r11');
  a.pop('rsp');
  a.swapgs();
  a.sysretq();
  end(a, 'exited');
  // 32-bit code does not run here: whoever comes this way is lost.
  a.label('entry_compat');
  a.ud2();
}

/** Events by way of FRED. The stack: error code, RIP, CS, RFLAGS, RSP, SS with the event's type and vector, event data. */
function fredEntry(a: Assembler): void {
  const [errorCode, rip, vector, type] = ['rsp+24', 'rsp+32', 'rsp+68', 'rsp+70'];
  const loadType = () => {
    a.movzx('eax', `byte ptr [${type}]`);
    a.and('eax', 0xf);
  };
  const recordEvent = (label: string) => {
    a.movzx('ecx', `byte ptr [${vector}]`);
    loadType();
    a.cmp('eax', TYPE_EXCEPTION);
    a.jne(label);
    a.cmp('ecx', DF);
    a.je('panics_after_fred');
    a.cmp('ecx', MC);
    a.je('panics_after_fred');
    a.label(label);
    a.mov('rdx', `qword ptr [${errorCode}]`);
    a.mov('rax', `qword ptr [${rip}]`);
    a.call('record');
    loadType();
  };
  a.label('fred_user');
  pushScratch(a);
  loadType();
  a.cmp('eax', TYPE_OTHER);
  a.je('fred_syscall');
  recordEvent('fred_user_record');
  a.cmp('eax', TYPE_EXCEPTION);
  a.jne('fred_user_return');
  a.cmp('ecx', DB);
  a.je('fred_user_return');
  popScratch(a);
  a.jmp('killed');
  a.label('fred_syscall');
  a.inc(gs(PER_CPU.SYSCALLS));
  a.mov('rax', 'qword ptr [rsp+16]');
  a.cmp('rax', SYS_EXIT);
  a.je('fred_exit');
  a.cmp('rax', SYS_EXIT_GROUP);
  a.je('fred_exit');
  a.mov('qword ptr [rsp+16]', -ENOSYS);
  a.label('fred_user_return');
  popScratch(a);
  a.label('return_by_eretu');
  a.eretu();
  a.label('fred_exit');
  popScratch(a);
  a.jmp('exited');

  a.label('fred_kernel');
  pushScratch(a);
  recordEvent('fred_kernel_record');
  a.cmp('eax', TYPE_EXCEPTION);
  a.jne('fred_kernel_return');
  a.cmp('ecx', DB);
  a.je('fred_kernel_return');
  a.mov('rax', gs(PER_CPU.FIXUP));
  a.test('rax', 'rax');
  a.je('fred_oops');
  a.mov(gs(PER_CPU.FIXUP), 0);
  a.mov(`qword ptr [${rip}]`, 'rax');
  a.label('fred_kernel_return');
  popScratch(a);
  a.erets();
  a.label('fred_oops');
  popScratch(a);
  a.jmp('oops');
}

const IST_VECTORS = new Set([NMI, DB, DF, MC]);

/** `irq_entries_start` and the stubs of exceptions: an error code where the CPU pushes none, the vector, and on. */
function stub(vector: number, target: bigint): number[] {
  const code = [0xf3, 0x0f, 0x1e, 0xfa];
  if (!VECTORS_WITH_ERROR_CODE.has(vector)) code.push(0x6a, 0);
  code.push(0x68, vector, 0, 0, 0);
  return jump(code, STUBS + BigInt(vector * STUB_SIZE), target);
}

/** Appends JMP rel32. */
function jump(code: number[], start: bigint, target: bigint): number[] {
  const distance = Number(target - start) - code.length - 5;
  return [...code, 0xe9, distance & 0xff, (distance >> 8) & 0xff, (distance >> 16) & 0xff, (distance >> 24) & 0xff];
}

let made: KernelText | undefined;

/** The kernel's text, assembled when it is first asked for. It is the same for all hosts. */
export function kernelText(): KernelText {
  made ??= build();
  return made;
}

function build(): KernelText {
  const entry = assemble((a) => {
    record(a);
    idtEntry(a);
    panic(a);
    syscallEntry(a);
    fredEntry(a);
    end(a, 'returned');
  });
  const at = (label: string): bigint => ENTRY_TEXT + BigInt(entry.labels.get(label)!);
  const bytes = new Uint8Array(3 * PAGE_SIZE);
  for (let vector = 0; vector < 256; vector++) {
    const target = at(IST_VECTORS.has(vector) ? 'paranoid_entry' : 'error_entry');
    bytes.set(stub(vector, target), vector * STUB_SIZE);
  }
  bytes.set(entry.bytes, PAGE_SIZE);
  bytes.set(jump([], FRED_ENTRY, at('fred_user')), 2 * PAGE_SIZE);
  bytes.set(jump([], FRED_ENTRY + BigInt(FRED_KERNEL_ENTRY), at('fred_kernel')), 2 * PAGE_SIZE + FRED_KERNEL_ENTRY);
  return {
    bytes,
    entrySyscall: at('entry_syscall'),
    entrySyscallCompat: at('entry_compat'),
    entrySysenterCompat: at('entry_compat'),
    returnByIret: at('return_by_iret'),
    returnByEretu: at('return_by_eretu'),
    programEnd: at('returned'),
    ends: new Map(ENDS.map((name) => [at(`${name}.after`), name])),
    halts: Object.fromEntries(ENDS.map((name) => [name, at(`${name}.after`)])) as Record<End, bigint>,
  };
}
