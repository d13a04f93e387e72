import { type Core, RAX, RBX, RCX, RDX } from '../emu/core/core.js';
import { dr6After, STOP, type Stop, VECTOR } from '../emu/core/status.js';
import { EmulatorLimit } from '../emu/isa/insn.js';
import { ERRNO } from '../linux/errno.js';
import type { HostCpu } from '../linux/host-cpu.js';
import {
  KVM_EXIT_FAIL_ENTRY,
  KVM_EXIT_HLT,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_INTR,
  KVM_EXIT_SET_TPR,
  KVM_EXIT_SHUTDOWN,
  KVM_INTERNAL_ERROR_EMULATION,
  KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
  RUN,
  SREGS_CR8,
} from './abi.js';
import { CHARGE_ROWS } from './charge-rows.js';
import { chargeFor, chargeSystemCall } from './charges.js';
import { guestCpuid } from './guest-cpuid.js';
import { GUEST_FAULT, GUEST_RAM, type GuestMemory } from './guest-memory.js';
import { GuestMmio } from './guest-mmio.js';
import { loadRegisters, saveRegisters } from './guest-registers.js';
import { GUEST_EXIT, GUEST_RIP, GuestRegisters, type GuestRunner } from './guest-run.js';
import { guestReadMsr, guestWriteMsr, isTsxHidden } from './msrs.js';
import { KVM_FEATURE_PV_UNHALT } from './pv.js';
import type { RunPage } from './run-page.js';
import type { Vcpu } from './vcpu.js';
import { setXcr0 } from './xcrs.js';

/** KVM_RUN of a guest whose machine code a CPU executes: `vcpu_run()` and what KVM does about exits. */

/** RESCHEDULE_VECTOR: a signal for the process interrupts the CPU that runs its guest. */
const RESCHEDULE_VECTOR = 0xfd;

/** `kvm_para.h`: what a hypercall answers. */
const KVM_ENOSYS = 1000;
const KVM_EPERM = 1;
const KVM_HC_VAPIC_POLL_IRQ = 1;
const KVM_HC_KICK_CPU = 5;

const MSR_TSC = 0x10;
const MISC_FEATURES_CPUID_FAULT = 1n;
const LEAF_7 = 7;
const NO_RESULT = Number.NaN;

// What each exit costs, without a look-up.
const DISPATCH = CHARGE_ROWS['exit.dispatch'][0];
const HYPERCALL = CHARGE_ROWS['exit.hypercall'][0];
const CPUID = CHARGE_ROWS['exit.cpuid'][0];
const CPUID_SCAN = CHARGE_ROWS['exit.cpuid.scan'][0];

export class GuestLoop {
  readonly runner: GuestRunner;
  readonly memory: GuestMemory;
  readonly registers: GuestRegisters;
  /** The cycle at which a signal ends KVM_RUN. */
  signalAt = Number.POSITIVE_INFINITY;
  /** How many exits there were. */
  exits = 0;
  private readonly vcpu: Vcpu;
  private readonly cpu: HostCpu;
  private readonly core: Core;
  private readonly mmio = new GuestMmio();
  private readonly answer = new Uint32Array(4);
  private readonly value = new Int32Array(2);

  constructor(vcpu: Vcpu, cpu: HostCpu, memory: GuestMemory) {
    const { createRunner } = vcpu.vm.module.vendor;
    if (!createRunner) throw new Error(`${vcpu.vm.module.vendor.name} runs no guests`);
    this.vcpu = vcpu;
    this.cpu = cpu;
    this.core = cpu.core;
    this.memory = memory;
    this.registers = new GuestRegisters();
    this.runner = createRunner({ vcpu, cpu, memory, registers: this.registers });
  }

  /**
   * Runs the guest until userspace has to know.
   *
   * @returns 0 with an exit reason in `struct kvm_run`; -EINTR when a signal ends the run; -EFAULT when the process's
   *   memory behind the guest's faults
   */
  run(page: RunPage): number {
    const { core, registers, runner, memory, vcpu, cpu } = this;
    chargeSystemCall(core);
    memory.enter();
    loadRegisters(vcpu.state, registers);
    this.mmio.complete(registers, page);
    runner.loadState();
    chargeFor(core, 'run.load');
    runner.load();
    let result = NO_RESULT;
    while (Number.isNaN(result)) result = this.step(page);
    runner.put();
    chargeFor(core, 'run.put');
    runner.saveState();
    saveRegisters(vcpu.state, registers);
    memory.leave();
    // The ioctl returns to user mode, where the VMM waits.
    cpu.prepareUserMode();
    return result;
  }

  /** Enters the guest once and deals with what comes of it. @returns what KVM_RUN returns, or NaN when it goes on */
  private step(page: RunPage): number {
    const { runner, core } = this;
    let stop: Stop;
    try {
      stop = runner.enter(this.signalAt);
    } catch (error) {
      if (!(error instanceof EmulatorLimit)) throw error;
      this.kick();
      return this.internalError(page);
    }
    if (runner.exit.kind === GUEST_EXIT.NONE) return this.stopped(stop, page);
    this.exits++;
    core.clock.now[0]! += DISPATCH;
    return this.handle(page);
  }

  /** The core has stopped within the guest: for the process that is a signal. */
  private stopped(stop: Stop, page: RunPage): number {
    if (stop === STOP.SHUTDOWN) throw new Error(`CPU ${this.core.id} has shut down`);
    this.signalAt = Number.POSITIVE_INFINITY;
    this.kick();
    return this.interrupted(page);
  }

  /** `kvm_vcpu_kick()`: an interrupt gets the CPU out of the guest. */
  private kick(): void {
    const { runner, core } = this;
    core.interrupt(RESCHEDULE_VECTOR);
    while (runner.enter(Number.POSITIVE_INFINITY) !== STOP.EXIT);
    this.takeInterrupt();
  }

  private takeInterrupt(): void {
    const { runner, core, cpu } = this;
    // An interrupt that the exit has acknowledged is handled at once, as if it came now.
    if (runner.exit.kind === GUEST_EXIT.INTERRUPT && runner.exit.number >= 0) core.interrupt(runner.exit.number);
    cpu.takeInterrupts();
  }

  private handle(page: RunPage): number {
    const { runner } = this;
    const { exit } = runner;
    switch (exit.kind) {
      case GUEST_EXIT.CPUID:
        return this.cpuid();
      case GUEST_EXIT.HYPERCALL:
        return this.hypercall();
      case GUEST_EXIT.MSR_READ:
        return this.readMsr();
      case GUEST_EXIT.MSR_WRITE:
        return this.writeMsr();
      case GUEST_EXIT.CR_READ:
      case GUEST_EXIT.CR_WRITE:
        return this.controlRegister(page);
      case GUEST_EXIT.HLT:
        return this.halt(page);
      case GUEST_EXIT.XSETBV:
        return this.xsetbv();
      case GUEST_EXIT.EXCEPTION:
        return this.exception();
      case GUEST_EXIT.UNDEFINED:
        return this.inject(VECTOR.UD, false, 0);
      case GUEST_EXIT.NESTED_FAULT:
        return this.pageFault(page);
      case GUEST_EXIT.INTERRUPT:
      case GUEST_EXIT.NMI:
        this.takeInterrupt();
        return NO_RESULT;
      case GUEST_EXIT.NOTHING:
        chargeFor(this.core, 'exit.other');
        return this.skip();
      case GUEST_EXIT.TIMER:
      case GUEST_EXIT.HANDLED:
        chargeFor(this.core, 'exit.other');
        return NO_RESULT;
      case GUEST_EXIT.SHUTDOWN:
        page.set32(RUN.exitReason, KVM_EXIT_SHUTDOWN);
        return 0;
      case GUEST_EXIT.ENTRY_FAILED:
        page.set32(RUN.exitReason, KVM_EXIT_FAIL_ENTRY);
        page.set64(RUN.failEntryReason, BigInt(exit.reason >>> 0));
        page.set32(RUN.failEntryCpu, this.core.id);
        return 0;
      default:
        return this.unexpected(page);
    }
  }

  /** `kvm_skip_emulated_instruction()` */
  private skip(): number {
    const { registers, runner } = this;
    const rip = (registers.lo[GUEST_RIP]! + runner.exit.length) | 0;
    if (rip >>> 0 < runner.exit.length) registers.hi[GUEST_RIP] = (registers.hi[GUEST_RIP]! + 1) | 0;
    registers.lo[GUEST_RIP] = rip;
    return NO_RESULT;
  }

  private inject(vector: number, hasErrorCode: boolean, errorCode: number): number {
    chargeFor(this.core, 'exit.inject');
    this.runner.inject(vector, hasErrorCode, errorCode);
    return NO_RESULT;
  }

  private setRegister(register: number, lo: number, hi: number): void {
    this.registers.lo[register] = lo;
    this.registers.hi[register] = hi;
  }

  /** `kvm_emulate_cpuid()` */
  private cpuid(): number {
    const { vcpu, registers, answer, runner, core } = this;
    const { state, cpuid } = vcpu;
    if (
      state.miscFeaturesEnables !== 0n &&
      (state.miscFeaturesEnables & MISC_FEATURES_CPUID_FAULT) !== 0n &&
      runner.cpl > 0
    )
      return this.inject(VECTOR.GP, true, 0);
    const fn = registers.lo[RAX]! >>> 0;
    const { table } = cpuid;
    const scanned = guestCpuid(table, fn, registers.lo[RCX]! >>> 0, fn === LEAF_7 && isTsxHidden(vcpu), answer);
    core.clock.now[0]! += CPUID + CPUID_SCAN * scanned;
    this.setRegister(RAX, answer[0]! | 0, 0);
    this.setRegister(RBX, answer[1]! | 0, 0);
    this.setRegister(RCX, answer[2]! | 0, 0);
    this.setRegister(RDX, answer[3]! | 0, 0);
    return this.skip();
  }

  /** `kvm_emulate_hypercall()`: those that need no more than an answer. */
  private hypercall(): number {
    const { registers, vcpu, core } = this;
    core.clock.now[0]! += HYPERCALL;
    let result = -KVM_ENOSYS;
    if (this.runner.cpl !== 0) result = -KVM_EPERM;
    else if (registers.hi[RAX] === 0) {
      if (registers.lo[RAX] === KVM_HC_VAPIC_POLL_IRQ) result = 0;
      else if (registers.lo[RAX] === KVM_HC_KICK_CPU && (vcpu.guestCaps.pvFeatures & KVM_FEATURE_PV_UNHALT) !== 0)
        result = 0;
    }
    this.setRegister(RAX, result, result >> 31);
    return this.skip();
  }

  /** `kvm_emulate_rdmsr()` */
  private readMsr(): number {
    const { runner, value, core } = this;
    const { number: index, register } = runner.exit;
    chargeFor(core, 'exit.msr');
    if (!this.msr(index)) return this.inject(VECTOR.GP, true, 0);
    if (register >= 0) this.setRegister(register, value[0]!, value[1]!);
    else {
      this.setRegister(RAX, value[0]!, 0);
      this.setRegister(RDX, value[1]!, 0);
    }
    return this.skip();
  }

  /** Reads an MSR for the guest into {@link value}. */
  private msr(index: number): boolean {
    const { runner, value, vcpu, core } = this;
    const own = runner.readMsr(index, value);
    if (own !== null) return own;
    if (index === MSR_TSC) {
      core.tsc.read();
      value.set(core.tsc.value);
      return true;
    }
    const found = guestReadMsr(vcpu, index);
    if (found === undefined) return false;
    value[0] = Number(BigInt.asIntN(32, found));
    value[1] = Number(BigInt.asIntN(32, found >> 32n));
    return true;
  }

  /** `kvm_emulate_wrmsr()` */
  private writeMsr(): number {
    const { runner, registers, vcpu, core } = this;
    const { number: index, register } = runner.exit;
    chargeFor(core, 'exit.msr');
    const lo = registers.lo[register >= 0 ? register : RAX]!;
    const hi = register >= 0 ? registers.hi[register]! : registers.lo[RDX]!;
    const own = runner.writeMsr(index, lo, hi);
    if (own === false) return this.inject(VECTOR.GP, true, 0);
    if (own === null) {
      const value = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
      if (!guestWriteMsr(vcpu, index, value)) return this.inject(VECTOR.GP, true, 0);
      runner.msrChanged?.(index, lo, hi);
    }
    return this.skip();
  }

  /** `handle_cr()`, `cr_interception()` */
  private controlRegister(page: RunPage): number {
    const { runner, registers, value, vcpu, core } = this;
    const { kind, number, register } = runner.exit;
    chargeFor(core, 'exit.cr');
    if (kind === GUEST_EXIT.CR_READ) {
      runner.readCr(number, value);
      this.setRegister(register, value[0]!, value[1]!);
      return this.skip();
    }
    const { sregs } = vcpu.state;
    const oldTpr = sregs.getUint32(SREGS_CR8, true);
    if (!runner.writeCr(number, registers.lo[register]!, registers.hi[register]!))
      return this.inject(VECTOR.GP, true, 0);
    this.skip();
    // Without an APIC in the kernel, userspace has to know that the priority is lower.
    if (number !== 8 || vcpu.vm.irqchipInKernel || oldTpr <= registers.lo[register]!) return NO_RESULT;
    page.set32(RUN.exitReason, KVM_EXIT_SET_TPR);
    return 0;
  }

  /** `kvm_emulate_halt()`: without an APIC in the kernel, userspace waits for the interrupt. */
  private halt(page: RunPage): number {
    chargeFor(this.core, 'exit.other');
    this.skip();
    if (this.vcpu.vm.irqchipInKernel) return this.interrupted(page);
    page.set32(RUN.exitReason, KVM_EXIT_HLT);
    return 0;
  }

  /** `kvm_emulate_xsetbv()` */
  private xsetbv(): number {
    const { registers, vcpu, runner, core } = this;
    chargeFor(core, 'exit.other');
    const value = (BigInt(registers.lo[RDX]! >>> 0) << 32n) | BigInt(registers.lo[RAX]! >>> 0);
    if (runner.cpl !== 0 || registers.lo[RCX] !== 0 || !setXcr0(vcpu.state, vcpu.cpuid, value))
      return this.inject(VECTOR.GP, true, 0);
    return this.skip();
  }

  /** `handle_exception_nmi()`: KVM wanted to see it, and the guest gets it. */
  private exception(): number {
    const { core, runner } = this;
    const { exit } = runner;
    if (exit.number === VECTOR.DB) core.drLo[6] = dr6After(core.drLo[6]!, exit.dataLo);
    return this.inject(exit.number, exit.hasErrorCode, exit.errorCode);
  }

  /** `kvm_mmu_page_fault()` */
  private pageFault(page: RunPage): number {
    const { memory, runner, registers, core } = this;
    const { exit } = runner;
    const status = memory.fault(exit.gpa, exit.write);
    if (status === GUEST_RAM) {
      chargeFor(core, 'exit.page');
      return NO_RESULT;
    }
    if (status === GUEST_FAULT) return -ERRNO.EFAULT;
    chargeFor(core, 'exit.mmio');
    const length = this.mmio.begin(core, exit, registers, page);
    if (length === 0) return this.internalError(page);
    exit.length = length;
    this.skip();
    return 0;
  }

  private interrupted(page: RunPage): number {
    page.set32(RUN.exitReason, KVM_EXIT_INTR);
    return -ERRNO.EINTR;
  }

  /** An instruction that this machine does not have, or KVM's emulator: KVM_INTERNAL_ERROR_EMULATION. */
  private internalError(page: RunPage): number {
    page.set32(RUN.exitReason, KVM_EXIT_INTERNAL_ERROR);
    page.set32(RUN.internalSuberror, KVM_INTERNAL_ERROR_EMULATION);
    page.set32(RUN.internalNdata, 0);
    return 0;
  }

  private unexpected(page: RunPage): number {
    page.set32(RUN.exitReason, KVM_EXIT_INTERNAL_ERROR);
    page.set32(RUN.internalSuberror, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
    page.set32(RUN.internalNdata, 2);
    page.set64(RUN.internalData, BigInt(this.runner.exit.reason >>> 0));
    page.set64(RUN.internalData + 8, BigInt(this.core.id));
    return 0;
  }
}
