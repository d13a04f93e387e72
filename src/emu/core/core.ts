import { Clock, type GuestTsc, Tsc, type TscRatio } from '../clock.js';
import { ControlRegisters, CR4_SMAP, CR4_TSD, EFER_LMA, EFER_LME, EFER_SLOT } from '../control.js';
import { Costs } from '../costs.js';
import { EventQueue } from '../events.js';
import { OP_GATE } from '../isa/forms.js';
import type { PhysicalMemory } from '../memory.js';
import { MsrFile } from '../msrs.js';
import { CpuMsrHooks } from '../msrs-hooks.js';
import { Mmu } from '../paging.js';
import { ACCESS } from '../paging-rows.js';
import type { RawCpuid } from '../raw-cpuid.js';
import type { Silicon } from '../silicon.js';
import { BlockCache } from './blocks.js';
import { compiledEngine } from './compiled.js';
import { type Engine, type EngineName, INTERPRETER } from './engine.js';
import { AC, F, STATUS_FLAGS, setStatusFlags, statusFlags } from './flags.js';
import { closedSets, Gates } from './gates.js';
import { type Exit, emptyExit, type GuestWorld } from './guest-world.js';
import { Interrupts } from './interrupts.js';
import { Monitors } from './monitors.js';
import { HIGH_HALVES, SLOT } from './registers.js';
import { run } from './run.js';
import { ACTIVITY, EVENT, type Stop } from './status.js';
import { RollingTrace, type TraceSink } from './trace.js';
import { Transaction } from './transaction.js';

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;

/** A fault that is to be delivered. */
export interface Fault {
  vector: number;
  errorCode: number;
  hasErrorCode: boolean;
  /** The second walk failed: no exception but an exit. */
  nested: boolean;
}

/** What the hidden parts of segment registers come to in 64-bit mode; FS and GS bases are MSRs. */
export interface Segments {
  cs: number;
  ss: number;
  ds: number;
  es: number;
  fs: number;
  gs: number;
  tr: number;
  ldtr: number;
}

/** Base and limit of a descriptor table, or of the TSS. */
export interface TableRegister {
  baseLo: number;
  baseHi: number;
  limit: number;
}

/** UMWAIT, TPAUSE, MWAIT. */
export interface Wait {
  /** The line that UMONITOR or MONITOR armed, by physical address; -1 when none is. */
  line: number;
  /** IA32_UMWAIT_CONTROL's limit comes before the deadline. */
  byLimit: boolean;
  /** The cycle at which it ends if nothing else happens. */
  until: number;
  /** A store hit the line. */
  triggered: boolean;
  handle: number;
  /** `OP` of the instruction. */
  op: number;
  /** Cycles from the end of the wait to the next instruction. */
  wakeCycles: number;
  /** The wait is in C0.2, not in C0.1. */
  deep: boolean;
  /** Interrupts that RFLAGS.IF masks end it too. */
  masked: boolean;
  /** The cycle at which it began. */
  since: number;
}

export interface CoreOptions {
  readonly id?: number;
  readonly cpuid: RawCpuid;
  /** Share it among cores of one kind: to work it out takes a millisecond. */
  readonly silicon: Silicon;
  /** Likewise. */
  readonly costs?: Costs;
  readonly memory: PhysicalMemory;
  /** Shared by the cores that share the memory. */
  readonly monitors?: Monitors;
  readonly ratio?: TscRatio;
  /** How blocks are executed. Default: `interpreted`. Nothing but speed depends on it. */
  readonly engine?: EngineName;
}

/** One logical processor: 64-bit mode only, in order, one instruction after the other. */
export class Core {
  readonly id: number;
  readonly cpuid: RawCpuid;
  readonly silicon: Silicon;
  readonly costs: Costs;
  readonly memory: PhysicalMemory;

  /** Low and high halves of the register file; see `registers.ts`. */
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  /** The same in one array: the low halves, then, from {@link HIGH_HALVES} on, the upper halves. */
  readonly registers = new Int32Array(2 * HIGH_HALVES);
  /** RFLAGS, see `flags.ts`. */
  readonly f = new Int32Array(F.WORDS);
  /** What a load found, what a store stores. */
  readonly v = new Int32Array(2);

  readonly clock: Clock;
  readonly tsc: Tsc;
  readonly events = new EventQueue();
  readonly msrs: MsrFile;
  readonly control: ControlRegisters;
  readonly mmu: Mmu;
  readonly hooks: CpuMsrHooks;
  readonly gates: Gates;
  readonly blocks: BlockCache;
  readonly interrupts = new Interrupts();
  readonly transaction = new Transaction();
  readonly monitors: Monitors;
  /** Stores concern somebody: a transaction is under way, or a line is armed. */
  watched = false;

  readonly segments: Segments = { cs: 0x10, ss: 0x18, ds: 0, es: 0, fs: 0, gs: 0, tr: 0, ldtr: 0 };
  readonly gdtr: TableRegister = { baseLo: 0, baseHi: 0, limit: 0xffff };
  readonly idtr: TableRegister = { baseLo: 0, baseHi: 0, limit: 0xffff };
  readonly tss: TableRegister = { baseLo: 0, baseHi: 0, limit: 0x67 };
  /** DR0–DR3, DR6, DR7: low and high halves. Only world switches and MOV DR would use them; breakpoints do not fire. */
  readonly drLo = Int32Array.of(0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400);
  readonly drHi = new Int32Array(8);
  /** SSP, as far as INCSSP and world switches need it. */
  readonly ssp = new Int32Array(2);
  /** The user-interrupt flag. */
  uif = false;
  /** No event is taken before the next instruction is done: after STI and MOV SS. */
  shadow = false;
  nmiBlocked = false;
  activity: number = ACTIVITY.ACTIVE;
  /** Vector of the local APIC's timer in TSC-deadline mode. */
  timerVector = 0xec;

  readonly wait: Wait = {
    line: -1,
    byLimit: false,
    until: Number.POSITIVE_INFINITY,
    triggered: false,
    handle: 0,
    op: -1,
    wakeCycles: 0,
    deep: false,
    masked: false,
    since: 0,
  };
  /** Cycles spent in C0.2, C0.1 and HLT. */
  readonly residency = { c02: 0, c01: 0, halted: 0 };

  readonly fault: Fault = { vector: 0, errorCode: 0, hasErrorCode: false, nested: false };
  readonly exitInfo: Exit = emptyExit();

  /** The guest's world, or `null` in the host. Change it with {@link enterWorld} and {@link leaveWorld}. */
  world: GuestWorld | null = null;
  /** The counter that a guest reads when its world offsets it. */
  guestTsc: GuestTsc | null = null;
  /** Whether {@link run} ends when a guest was left; otherwise the host's code goes on. */
  stopsAtExit = true;
  /** Whether {@link run} ends at a HLT with interrupts off (`cli; hlt`): the host's code has come to its end. */
  stopsAtHalt = false;
  /** SEAM root mode: the TDX module runs. */
  inSeam = false;
  /** What SEAMCALL, TDCALL, VMX and SVM instructions do; `null`: the CPU has none. */
  virtualization: Virtualization | null = null;

  /** Kinds of access, by privilege and RFLAGS.AC. */
  readAccess: number = ACCESS.READ;
  writeAccess: number = ACCESS.WRITE;
  fetchAccess: number = ACCESS.FETCH;
  /** Cycles of the block that runs which the clock has not seen yet. */
  owedCycles = 0;
  /** The clock has, and RIP is that of the block's last instruction. */
  settled = false;
  /** What CPUID says in leaves 1, 0BH and 1FH; -1: what the dump says. */
  apicId = -1;
  /** Delivers an interrupt to another core: destination as SENDUIPI's descriptor has it, vector. */
  ipi: ((destination: number, vector: number) => void) | null = null;
  /** Number of the decoded instruction that ended {@link execute} early. */
  at = 0;
  /** High half of the address that was worked out last. */
  addressHi = 0;
  /** What a conditional branch costs more when it is taken. */
  readonly takenExtra: number;
  /** Instructions done. */
  readonly retired = new Float64Array(1);
  readonly trace = new RollingTrace();
  /** What executes whole blocks. */
  engine: Engine = INTERPRETER;
  /** Who wants every instruction; slower. */
  sink: TraceSink | null = null;

  private seed: number;
  private privilege = 0;
  private gateVersion = -1;
  private closed: Uint8Array | null = null;

  constructor(options: CoreOptions) {
    this.lo = this.registers.subarray(0, HIGH_HALVES);
    this.hi = this.registers.subarray(HIGH_HALVES);
    this.id = options.id ?? 0;
    this.cpuid = options.cpuid;
    this.silicon = options.silicon;
    this.costs = options.costs ?? new Costs(options.silicon);
    this.memory = options.memory;
    this.takenExtra = Math.max(0, this.costs.branchTaken - this.costs.of('branch'));
    this.clock = new Clock(options.ratio);
    this.tsc = new Tsc(this.clock);
    this.msrs = new MsrFile(options.silicon);
    this.control = new ControlRegisters(options.silicon, this.msrs);
    this.mmu = new Mmu(options.memory, options.silicon, this.control, this.msrs);
    this.hooks = new CpuMsrHooks(this.msrs, this.control, this.tsc, this.events, EVENT.TSC_DEADLINE, this.id);
    this.msrs.hooks = this.hooks;
    this.gates = new Gates(options.silicon);
    this.blocks = new BlockCache(this);
    this.monitors = options.monitors ?? new Monitors();
    this.monitors.join(this);
    if (options.engine === 'compiled') this.engine = compiledEngine(this);
    this.seed = Math.imul(this.id + 1, 0x9e37_79b1) | 1;
    this.f[F.REST] = 2;
  }

  /** CPL. */
  get cpl(): number {
    return this.privilege;
  }

  set cpl(cpl: number) {
    this.privilege = cpl;
    this.accessChanged();
  }

  /** After changes of CPL, RFLAGS.AC or CR4.SMAP. */
  accessChanged(): void {
    const user = this.privilege === 3;
    const explicit = !user && (this.f[F.REST]! & AC) !== 0 && (this.control.lo[4]! & CR4_SMAP) !== 0;
    this.readAccess = user ? ACCESS.USER_READ : explicit ? ACCESS.READ_AC : ACCESS.READ;
    this.writeAccess = user ? ACCESS.USER_WRITE : explicit ? ACCESS.WRITE_AC : ACCESS.WRITE;
    this.fetchAccess = user ? ACCESS.USER_FETCH : ACCESS.FETCH;
  }

  /** RFLAGS, low half; the upper half is zero. */
  get rflags(): number {
    return (this.f[F.REST]! & ~STATUS_FLAGS) | 2 | statusFlags(this.f);
  }

  set rflags(value: number) {
    setStatusFlags(this.f, value);
    this.f[F.REST] = (value & ~STATUS_FLAGS) | 2;
    this.accessChanged();
  }

  get rip(): bigint {
    return this.register(SLOT.RIP);
  }

  set rip(value: bigint) {
    this.setRegister(SLOT.RIP, value);
  }

  /** A general register, or RIP. */
  register(slot: number): bigint {
    return (BigInt(this.hi[slot]! >>> 0) << 32n) | BigInt(this.lo[slot]! >>> 0);
  }

  setRegister(slot: number, value: bigint): void {
    this.lo[slot] = Number(BigInt.asIntN(32, value));
    this.hi[slot] = Number(BigInt.asIntN(32, value >> 32n));
  }

  /** Whether an address with this high half is canonical in the present paging mode. */
  isCanonical(hi: number): boolean {
    return this.mmu.isCanonical(hi);
  }

  /** Address of an instruction of the block that runs, by its number. */
  addressOf(number: number): bigint {
    const { blocks } = this;
    let address = (BigInt(blocks.ripHi[blocks.running]! >>> 0) << 32n) | BigInt(blocks.ripLo[blocks.running]! >>> 0);
    for (let at = blocks.first[blocks.running]!; at < number; at++) address += BigInt(blocks.lengthOf(at));
    return BigInt.asUintN(64, address);
  }

  /** The gate set of a decoded instruction. */
  gateOf(insn: number): number {
    return OP_GATE[this.blocks.insns[insn]!]!;
  }

  /** What this machine does not do: a failed precondition of the run, no event of the guest. */
  unsupported(what: string): Error {
    return new Error(`CPU ${this.id} at 0x${this.rip.toString(16)}: ${what} is not modelled`);
  }

  /** Whether the gate set of an operation is open. */
  isOpen(set: number): boolean {
    if (this.gateVersion !== this.control.version) this.updateGates();
    return this.gates.open[set] === 1;
  }

  private updateGates(): void {
    this.gateVersion = this.control.version;
    this.gates.update(this.control.lo[4]!, this.control.hi[4]!, this.msrs.lo[EFER_SLOT]!, this.closed);
    this.accessChanged();
  }

  /**
   * Goes to a guest's world. Its state must have been loaded.
   *
   * @param closed the gates that its controls close (`closedSets`), if it has worked them out already
   */
  enterWorld(
    world: GuestWorld,
    guestTsc: GuestTsc | null,
    closed: Uint8Array = closedSets((name) => world.gate(name)),
  ): void {
    this.world = world;
    this.guestTsc = guestTsc;
    this.closed = closed;
    this.gateVersion = -1;
    this.interrupts.attention = true;
  }

  /** Comes back to the host. Its state must have been loaded. */
  leaveWorld(): void {
    this.world = null;
    this.guestTsc = null;
    this.closed = null;
    this.gateVersion = -1;
    this.interrupts.attention = true;
  }

  /** After changes of armed lines and transactions. */
  watchChanged(): void {
    this.watched = this.transaction.active || this.monitors.armed;
  }

  /** Lets the core be in 64-bit mode with these page tables: what firmware and a kernel's first instructions do. */
  enterLongMode(cr3: number, cr0: number, cr4: number): void {
    this.control.load(3, cr3 | 0, Math.floor(cr3 / 2 ** 32) | 0);
    this.control.load(4, cr4, 0);
    this.msrs.put(EFER_SLOT, this.msrs.lo[EFER_SLOT]! | EFER_LME | EFER_LMA, 0);
    this.control.load(0, cr0, 0);
    this.accessChanged();
  }

  /**
   * Runs until there is a reason to stop.
   *
   * @param limit cycle at which to stop at the latest; the instruction that reaches it is done
   */
  run(limit: number = Number.POSITIVE_INFINITY): Stop {
    return run(this, limit);
  }

  /** Before an instruction that ends its block: the clock has caught up with it, and RIP is its address. */
  settleAt(length: number): void {
    const { blocks } = this;
    this.clock.now[0]! += this.owedCycles;
    this.owedCycles = 0;
    this.settled = true;
    const lo = blocks.endLo[blocks.running]!;
    this.lo[SLOT.RIP] = (lo - length) | 0;
    this.hi[SLOT.RIP] = (blocks.endHi[blocks.running]! - (lo >>> 0 < length ? 1 : 0)) | 0;
  }

  /** CR4.TSD forbids reading the time-stamp counter. */
  get timeStampDisabled(): boolean {
    return this.privilege > 0 && (this.control.lo[4]! & CR4_TSD) !== 0;
  }

  /** What RDRAND gives: xorshift32, seeded by the core's number. */
  nextRandom(): number {
    let x = this.seed;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.seed = x;
    return x;
  }

  sendIpi(destination: number, vector: number): void {
    this.ipi?.(destination, vector);
  }

  /** An external interrupt arrives. */
  interrupt(vector: number): void {
    this.interrupts.post(vector);
  }
}

/** The instructions of virtualization extensions. They answer with a status (`status.ts`). */
export interface Virtualization {
  /** VMXON … VMXOFF, VMRUN … STGI in the host; RIP is the instruction's. */
  execute(core: Core, op: number, insn: number): number;
  /** SEAMCALL, SEAMRET, SEAMOPS, TDCALL where they are not intercepted. */
  seam(core: Core, op: number): number;
  /** SVM's GIF is clear: interrupts and NMIs wait. */
  readonly holdsEvents?: boolean;
}
