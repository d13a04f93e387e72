import type { Stop } from '../emu/core/status.js';
import type { HostCpu } from '../linux/host-cpu.js';
import type { GuestMemory } from './guest-memory.js';
import type { Vcpu } from './vcpu.js';

/**
 * How common code and a vendor module share the run of a guest's machine code. Common code has the loop of KVM_RUN and
 * what KVM does about an exit (`guest-loop.ts`); a {@link GuestRunner} has the world switch: what goes into VMCS or VMCB,
 * what is saved and restored by hand, and what an exit was.
 */

/** What KVM's common code knows an exit as. */
export const GUEST_EXIT = {
  /** There was none: the core stopped while the guest ran (see the result of {@link GuestRunner.enter}). */
  NONE: 0,
  CPUID: 1,
  HLT: 2,
  /** VMCALL or VMMCALL, and `kvm_emulate_hypercall()` decides. */
  HYPERCALL: 3,
  /** {@link GuestExit.number} is the index; for the immediate forms {@link GuestExit.register} is not -1. */
  MSR_READ: 4,
  MSR_WRITE: 5,
  /** {@link GuestExit.number} is the control register, {@link GuestExit.register} the general one. */
  CR_READ: 6,
  CR_WRITE: 7,
  XSETBV: 8,
  /** {@link GuestExit.number} is the vector. KVM gives it back to the guest. */
  EXCEPTION: 9,
  /** {@link GuestExit.gpa}, {@link GuestExit.write}, {@link GuestExit.fetch}. */
  NESTED_FAULT: 10,
  /** Interrupt or NMI of the host: it is pending in the core, or has been acknowledged (number ≥ 0 then). */
  INTERRUPT: 11,
  NMI: 12,
  /** Triple fault. */
  SHUTDOWN: 13,
  /** An instruction for which KVM injects #UD: those of virtualization, SEAMCALL, TDCALL, what guests do not get. */
  UNDEFINED: 14,
  /** PAUSE, MONITOR, MWAIT: KVM takes them as no-operations. */
  NOTHING: 15,
  /** VMX-preemption timer. */
  TIMER: 16,
  /** Hardware refused to enter: {@link GuestExit.reason} is what KVM_EXIT_FAIL_ENTRY reports. */
  ENTRY_FAILED: 17,
  /** An exit that KVM does not expect: KVM_EXIT_INTERNAL_ERROR, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON. */
  UNEXPECTED: 18,
  /** Handled by the vendor module wholly: the guest goes on. */
  HANDLED: 19,
  COUNT: 20,
} as const;

/** Why the guest was left. One record per vCPU, filled in by {@link GuestRunner.enter}. */
export interface GuestExit {
  /** {@link GUEST_EXIT} */
  kind: number;
  /** Exit reason or exit code as hardware numbers it. */
  reason: number;
  /** What is added to RIP to skip the instruction. */
  length: number;
  number: number;
  register: number;
  /** Exceptions. */
  errorCode: number;
  hasErrorCode: boolean;
  /** Linear address of #PF, bits for DR6 of #DB. */
  dataLo: number;
  dataHi: number;
  /** Guest-physical address. */
  gpa: number;
  write: boolean;
  fetch: boolean;
}

export function emptyGuestExit(): GuestExit {
  return {
    kind: GUEST_EXIT.NONE,
    reason: 0,
    length: 0,
    number: 0,
    register: -1,
    errorCode: 0,
    hasErrorCode: false,
    dataLo: 0,
    dataHi: 0,
    gpa: 0,
    write: false,
    fetch: false,
  };
}

/** RIP's place among the general registers, which are in the order of their numbers. */
export const GUEST_RIP = 16;

/** `vcpu->arch.regs[]`: the guest's general registers and RIP while it does not run, and RFLAGS. */
export class GuestRegisters {
  readonly lo = new Int32Array(17);
  readonly hi = new Int32Array(17);
  rflags = 2;
}

/** What a runner is made for. */
export interface GuestContext {
  readonly vcpu: Vcpu;
  /** The CPU on which the process, and so the guest, runs. */
  readonly cpu: HostCpu;
  /** Guest-physical memory: its tables are for EPTP or nCR3. */
  readonly memory: GuestMemory;
  readonly registers: GuestRegisters;
}

/** A vendor module's part of running one vCPU. */
export interface GuestRunner {
  readonly exit: GuestExit;
  /** Takes over what userspace may have changed since the last run: `struct kvm_sregs`, MSRs, the CPUID table. */
  loadState(): void;
  /** Brings `struct kvm_sregs` up to date. */
  saveState(): void;
  /** `kvm_arch_vcpu_load()` and `prepare_switch_to_guest()`: KVM_RUN begins. */
  load(): void;
  /** `prepare_switch_to_host()` and `kvm_arch_vcpu_put()`: KVM_RUN ends. The return to user mode comes after it. */
  put(): void;
  /**
   * `vcpu_run()` of the vendor: enters the guest with {@link GuestContext.registers}, runs it, and leaves it. They and
   * {@link exit} are up to date afterwards.
   *
   * @param limit cycle at which the core stops at the latest
   * @returns why the core stopped; `exit` when the guest left by itself or was not entered
   */
  enter(limit: number): Stop;
  /** Lets the next entry deliver an exception. */
  inject(vector: number, hasErrorCode: boolean, errorCode: number): void;
  /**
   * RDMSR of an MSR that is the vendor's or lies in hardware (`vmx_get_msr()`, `svm_get_msr()`), into `out[0…1]`.
   *
   * @returns true when it was read, false when it is #GP, null when common code is to decide
   */
  readMsr(index: number, out: Int32Array): boolean | null;
  /** WRMSR, likewise. */
  writeMsr(index: number, lo: number, hi: number): boolean | null;
  /** The guest has written an MSR that common code keeps: hardware may have to follow. */
  msrChanged?(index: number, lo: number, hi: number): void;
  /** MOV from CR. Only for registers that the vendor lets exit. */
  readCr(number: number, out: Int32Array): void;
  /** MOV to CR, as KVM emulates it. @returns whether it was taken; otherwise #GP */
  writeCr(number: number, lo: number, hi: number): boolean;
  /** CR4 and CPL as the guest has them now. */
  readonly cr4: number;
  readonly cpl: number;
  /** Guest-physical memory has changed: translations are to be forgotten. */
  invalidate(): void;
}
