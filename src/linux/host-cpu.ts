import { CR4_FRED_HI } from '../emu/control.js';
import { type Core, RSP } from '../emu/core/core.js';
import { ACTIVITY, type Stop, VECTOR } from '../emu/core/status.js';
import { note, TRACE } from '../emu/core/trace.js';
import { OP } from '../emu/isa/forms.js';
import { MSR_OK } from '../emu/msrs.js';
import { writeMsr } from './charge.js';
import type { CpuRow } from './cpu-rows.js';
import { type End, kernelText } from './entry.js';
import type { KernelLog } from './kernel-log.js';
import type { KernelMemory, ProgramSlots } from './kernel-memory.js';
import {
  KERNEL_CS,
  KERNEL_DATA,
  KERNEL_DS,
  kernelProgram,
  LOG_RECORD,
  LOG_SIZE,
  PANIC,
  PER_CPU,
  USER_CS,
  USER_DS,
  USER_SAVE_SIZE,
  userProgram,
  userStackTop,
} from './layout.js';
import {
  GENERAL_REGISTERS,
  kernelBytes,
  type LoggedEvent,
  type Program,
  type ProgramOptions,
  type ProgramResult,
  type Registers,
  userBytes,
  userEndOffset,
} from './programs.js';
import type { Task } from './tasks.js';
import { UserReturnMsrs } from './user-return.js';
import { msrIndex } from './user-return-rows.js';

const FRED_RSP0 = msrIndex('IA32_FRED_RSP0');
const FS_BASE = msrIndex('IA32_FS_BASE');
const KERNEL_GS_BASE = msrIndex('IA32_KERNEL_GS_BASE');

const IF = 1 << 9;
const RFLAGS_FIXED = 2;
const WORD = 8n;

/** What a CPU was given when it was brought up. */
export interface CpuArea {
  readonly perCpuPhysical: number;
  readonly programs: ProgramSlots;
  readonly refused: readonly CpuRow[];
  /** That of the machine. */
  readonly log: KernelLog;
}

const DR6_RESERVED = 0xffff_0ff0 | 0;

/** A program that does nothing. */
const NOTHING = new Uint8Array(0);

/** A program that is under way. */
interface Running {
  readonly user: boolean;
  readonly began: number;
  /** For user programs: the address at which their own code ends. */
  readonly ends: bigint;
  readonly logged: number;
  readonly systemCalls: number;
}

/**
 * A CPU with Linux on it. Between programs the core is in the kernel, at privilege level 0, on the stack of the current
 * task, with the kernel's GS.
 */
export class HostCpu {
  readonly id: number;
  readonly core: Core;
  readonly memory: KernelMemory;
  /** MSRs that are restored when the CPU returns to user mode. */
  readonly userReturn: UserReturnMsrs;
  /** Physical address of the private area. */
  readonly perCpu: number;
  /** MSR writes that faulted while the CPU was brought up: flags that were forced on, say. */
  readonly refused: readonly CpuRow[];
  /** What the kernel has printed, on all CPUs. */
  readonly log: KernelLog;
  /** What the kernel does in the interrupts that it takes after a VM exit, beyond what its entry code does. */
  interruptWork: (() => void) | null = null;
  private readonly programs: ProgramSlots;
  private readonly fred: boolean;
  private task: Task;
  /** `fred_rsp0`: what is believed to be in IA32_FRED_RSP0. */
  private fredRsp0 = 0n;
  private running: Running | null = null;

  constructor(core: Core, memory: KernelMemory, area: CpuArea, idle: Task) {
    this.id = core.id;
    this.core = core;
    this.memory = memory;
    this.perCpu = area.perCpuPhysical;
    this.programs = area.programs;
    this.refused = area.refused;
    this.log = area.log;
    this.userReturn = new UserReturnMsrs(core);
    this.fred = (core.control.hi[4]! & CR4_FRED_HI) !== 0;
    this.task = idle;
    this.switchTo(idle);
    core.stopsAtHalt = true;
    core.setRegister(RSP, idle.stackTop);
    core.rip = kernelText().programEnd;
    core.segments.cs = KERNEL_CS;
    core.segments.ss = KERNEL_DS;
  }

  /** The task that runs. */
  get current(): Task {
    return this.task;
  }

  /** `__switch_to()`: FS and GS of user mode, and the kernel stack, which FRED learns on the next return to user mode. */
  switchTo(task: Task): void {
    if (task.fsBase !== this.task.fsBase) writeMsr(this.core, FS_BASE, task.fsBase);
    if (task.gsBase !== this.task.gsBase) writeMsr(this.core, KERNEL_GS_BASE, task.gsBase);
    this.task = task;
    this.writePerCpu(PER_CPU.TOP_OF_STACK, task.stackTop);
  }

  /**
   * `exit_to_user_mode_prepare()`: user-return MSRs, and IA32_FRED_RSP0 if another value is believed to be there
   * (`fred_update_rsp0()`).
   */
  prepareUserMode(): void {
    this.userReturn.restore();
    if (!this.fred || this.fredRsp0 === this.task.stackTop) return;
    writeMsr(this.core, FRED_RSP0, this.task.stackTop);
    this.fredRsp0 = this.task.stackTop;
  }

  /** `fred_sync_rsp0()`: somebody has written IA32_FRED_RSP0 by hand. */
  syncFredRsp0(value: bigint): void {
    this.fredRsp0 = value;
  }

  /** `wrmsrq()`: a WRMSR of the kernel's own. Should it fault, nothing has changed, and the kernel says so and goes on. */
  wrmsr(index: number, lo: number, hi: number): void {
    const { core } = this;
    core.clock.now[0]! += core.costs.op[OP.WRMSR]!;
    if (core.msrs.write(index, lo, hi) === MSR_OK) {
      note(core, TRACE.WRMSR, index, lo);
      return;
    }
    const tried = `${hexWord(hi)}${hexWord(lo)}`;
    this.uncheckedAccess('WRMSR', `WRMSR to 0x${index.toString(16)} (tried to write 0x${tried})`);
  }

  /** `rdmsrq()`, likewise, into `core.msrs.value`. Should it fault, the kernel reads zero. */
  rdmsr(index: number): void {
    const { core } = this;
    core.clock.now[0]! += core.costs.op[OP.RDMSR]!;
    if (core.msrs.read(index) === MSR_OK) return;
    core.msrs.value.fill(0);
    this.uncheckedAccess('RDMSR', `RDMSR from 0x${index.toString(16)}`);
  }

  /** #GP in the kernel, and `ex_handler_msr()`. */
  private uncheckedAccess(instruction: string, text: string): void {
    const { clock, costs } = this.core;
    clock.advance(costs.of('int_exception_idt_r3_r0'));
    const line = { cpu: this.id, cycle: clock.now[0]!, text: `unchecked MSR access error: ${text}` };
    this.log.printOnce(instruction, line);
  }

  /** Runs a program in the kernel, to its end or to a limit of cycles. */
  runKernel(program: Program, options: ProgramOptions = {}, limit?: number): ProgramResult {
    this.startKernel(program, options);
    return this.resume(limit);
  }

  /** Runs a program in user mode, to its end or to a limit of cycles. */
  runUser(program: Program, options: ProgramOptions = {}, limit?: number): ProgramResult {
    this.startUser(program, options);
    return this.resume(limit);
  }

  /**
   * Gets a program in the kernel ready. After a panic nothing runs any more: every program ends in that panic at once.
   *
   * @throws Error when another program is under way
   */
  startKernel(program: Program, { registers = {}, interrupts = true, fixup }: ProgramOptions = {}): void {
    const { core, memory } = this;
    if (this.stays()) return;
    memory.physical.load(this.programs.kernel, kernelBytes(program));
    this.start(false, 0n, registers);
    const top = this.task.stackTop - WORD;
    this.push(top, [kernelText().programEnd]);
    core.setRegister(RSP, top);
    core.rip = kernelProgram(this.id);
    core.rflags = RFLAGS_FIXED | (interrupts ? IF : 0);
    this.writePerCpu(PER_CPU.FIXUP, fixup === undefined ? 0n : kernelProgram(this.id) + BigInt(fixup));
  }

  /** Likewise a program in user mode, to which the kernel has still to return, with IRETQ or ERETU. */
  startUser(program: Program, { registers = {}, interrupts = true }: ProgramOptions = {}): void {
    const { core, memory } = this;
    if (this.stays()) return;
    memory.physical.load(this.programs.user, userBytes(program, this.id));
    this.prepareUserMode();
    const start = userProgram(this.id);
    this.start(true, start + BigInt(userEndOffset(program)), registers);
    const { returnByEretu, returnByIret } = kernelText();
    const rflags = BigInt(RFLAGS_FIXED | (interrupts ? IF : 0));
    const frame = [start, BigInt(USER_CS), rflags, userStackTop(this.id), BigInt(USER_DS)];
    const words = this.fred ? [0n, ...frame] : frame;
    const top = this.task.stackTop - BigInt(words.length) * WORD;
    this.push(top, words);
    core.setRegister(RSP, top);
    core.rip = this.fred ? returnByEretu : returnByIret;
    core.rflags = RFLAGS_FIXED;
  }

  /** Goes on with the program that is under way. */
  resume(limit: number = Number.POSITIVE_INFINITY): ProgramResult {
    return this.result(this.core.run(limit));
  }

  /** Turns interrupts on for a moment: what is pending is taken, as after a VM exit. */
  takeInterrupts(): void {
    this.runKernel(NOTHING);
    this.interruptWork?.();
  }

  /** Whether the program that was started has ended. */
  get ended(): boolean {
    return this.end !== null;
  }

  /** What has come of the program so far, when the core has stopped. */
  result(stop: Stop): ProgramResult {
    const { core, running } = this;
    if (!running) throw new Error(`CPU ${this.id} has not been given a program`);
    const { end } = this;
    // The HLT at the end is ours, not the program's.
    const stopped = core.clock.now[0]! - (end === null ? 0 : core.costs.op[OP.HLT]!);
    const logged = Number(this.readPerCpu(PER_CPU.LOG_COUNT));
    const events = this.lastEvents(logged - running.logged);
    // debug_read_clear_dr6(): its MOV DR is not among the instructions of this machine.
    if (events.some(({ vector }) => vector === VECTOR.DB)) core.drLo[6] = DR6_RESERVED;
    const result: ProgramResult = {
      end,
      stop,
      began: running.began,
      stopped,
      cycles: stopped - running.began,
      ...this.programState(end, running),
      events,
      systemCalls: Number(this.readPerCpu(PER_CPU.SYSCALLS)) - running.systemCalls,
      vector: this.endingVector(end, events),
    };
    if (end !== null) this.toRest();
    return result;
  }

  /** How many events of a vector the CPU has taken since it was brought up. */
  eventCount(vector: number): number {
    return Number(this.readPerCpu(PER_CPU.COUNTS + vector * 8));
  }

  /** The vector of the panic that any CPU had; `null`: none. */
  get panicked(): number | null {
    const code = Number(this.memory.read(this.memory.data + KERNEL_DATA.PANIC));
    return code === 0 ? null : code - PANIC;
  }

  /** Lets the local timer interrupt in as many TSC ticks from now (TSC-deadline mode). */
  armTimer(ticks: number): void {
    const { tsc } = this.core;
    tsc.read();
    const now = (BigInt(tsc.value[1]! >>> 0) << 32n) | BigInt(tsc.value[0]! >>> 0);
    writeMsr(this.core, msrIndex('IA32_TSC_DEADLINE'), now + BigInt(ticks));
  }

  /** Whether the kernel has panicked: then the core stays where it is. */
  private stays(): boolean {
    if (this.running) throw new Error(`CPU ${this.id} has a program under way`);
    if (this.panicked === null) return false;
    this.start(false, 0n, {});
    this.core.rip = kernelText().halts.panic;
    this.core.rflags = RFLAGS_FIXED;
    this.core.activity = ACTIVITY.HALTED;
    return true;
  }

  private start(user: boolean, ends: bigint, registers: NonNullable<ProgramOptions['registers']>): void {
    const { core } = this;
    this.running = {
      user,
      began: core.clock.now[0]!,
      ends,
      logged: Number(this.readPerCpu(PER_CPU.LOG_COUNT)),
      systemCalls: Number(this.readPerCpu(PER_CPU.SYSCALLS)),
    };
    GENERAL_REGISTERS.forEach((name, slot) => {
      core.setRegister(slot, BigInt(registers[name] ?? 0));
    });
    core.interrupts.attention = true;
  }

  /** How the program ended: by the address at which the core has halted. */
  private get end(): End | null {
    const { core } = this;
    return core.activity === ACTIVITY.HALTED && core.cpl === 0 ? (kernelText().ends.get(core.rip) ?? null) : null;
  }

  /** Registers as the program had them: from the core, or from the frame that its last event has left. */
  private programState(
    end: End | null,
    running: Running,
  ): { readonly registers: Registers; readonly rip: bigint; readonly rflags: number } {
    const { core, memory } = this;
    const values = GENERAL_REGISTERS.map((_, slot) => core.register(slot));
    if (end === null || end === 'returned') return { registers: named(values), rip: core.rip, rflags: core.rflags };
    const frame = (word: number) => this.readStack(core.register(RSP) + BigInt(word) * WORD);
    const rip = frame(1);
    values[RSP] = frame(4);
    if (running.user && end === 'exited' && rip > running.ends) {
      const save = memory.userSave + this.id * USER_SAVE_SIZE;
      [0, 1, 11].forEach((slot, at) => {
        values[slot] = memory.read(save + at * 8);
      });
    }
    return { registers: named(values), rip, rflags: Number(frame(3)) };
  }

  private endingVector(end: End | null, events: readonly LoggedEvent[]): number | null {
    if (end === 'panic') return this.panicked;
    return end === 'killed' || end === 'oops' ? (events.at(-1)?.vector ?? VECTOR.UD) : null;
  }

  /** The last events, oldest first, as far as the ring holds them. */
  private lastEvents(count: number): readonly LoggedEvent[] {
    const kept = Math.min(count, LOG_SIZE / LOG_RECORD);
    const next = Number(this.readPerCpu(PER_CPU.LOG_NEXT));
    return Array.from({ length: kept }, (_, at) => {
      const offset = PER_CPU.LOG + ((next - (kept - at) * LOG_RECORD + LOG_SIZE) % LOG_SIZE);
      return {
        vector: Number(this.readPerCpu(offset)),
        errorCode: this.readPerCpu(offset + 8),
        rip: this.readPerCpu(offset + 16),
        cr2: this.readPerCpu(offset + 24),
      };
    });
  }

  private toRest(): void {
    const { core } = this;
    core.activity = ACTIVITY.ACTIVE;
    core.setRegister(RSP, this.task.stackTop);
    // An event from user mode has left it null.
    core.segments.ss = KERNEL_DS;
    this.running = null;
  }

  private push(address: bigint, words: readonly bigint[]): void {
    words.forEach((word, at) => {
      this.memory.write(this.memory.physicalOf(address + BigInt(at) * WORD), word);
    });
  }

  private readStack(address: bigint): bigint {
    const physical = this.memory.physicalOf(address);
    return physical < 0 ? 0n : this.memory.read(physical);
  }

  private readPerCpu(offset: number): bigint {
    return this.memory.read(this.perCpu + offset);
  }

  private writePerCpu(offset: number, value: bigint): void {
    this.memory.write(this.perCpu + offset, value);
  }
}

const hexWord = (word: number): string => (word >>> 0).toString(16).padStart(8, '0');

function named(values: readonly bigint[]): Registers {
  return Object.fromEntries(GENERAL_REGISTERS.map((name, slot) => [name, values[slot]!])) as Registers;
}
