import type { NestedPaging } from '../paging-nested.js';
import type { Core } from './core.js';

/**
 * A guest's world as the processor knows it while it is in it: what leaves it, and what leaving does. VMX non-root
 * operation and SVM guest mode are two of them. The core asks; VMCS or VMCB answer.
 */

/** What can be intercepted, as places of {@link GuestWorld.intercepts}. Exceptions, MSRs and control registers have more to say. */
export const INTERCEPT = {
  CPUID: 0,
  HLT: 1,
  RDTSC: 2,
  RDTSCP: 3,
  PAUSE: 4,
  MONITOR: 5,
  MWAIT: 6,
  UMWAIT: 7,
  TPAUSE: 8,
  XSETBV: 9,
  /** VMCALL, or VMMCALL. */
  HYPERCALL: 10,
  EXTERNAL_INTERRUPT: 11,
  NMI: 12,
  IRET: 13,
  SOFTWARE_INTERRUPT: 14,
  TRIPLE_FAULT: 15,
  /** VMXON … VMXOFF in a VMX guest; VMRUN and its like in an SVM guest. The operation is {@link Exit.op}. */
  VIRTUALIZATION: 16,
  SEAMCALL: 17,
  TDCALL: 18,
  RDRAND: 19,
  RDSEED: 20,
  LIDT: 21,
  VMGEXIT: 22,
  COUNT: 23,
} as const;

/** Kinds of exits that are not a place of {@link INTERCEPT}. */
export const EXIT = {
  EXCEPTION: 32,
  CR_READ: 33,
  CR_WRITE: 34,
  MSR_READ: 35,
  MSR_WRITE: 36,
  /** MSR access with an immediate index. */
  MSR_READ_IMM: 37,
  MSR_WRITE_IMM: 38,
  /** EPT violation or misconfiguration, #VMEXIT(NPF): see `mmu.nestedStatus` and `mmu.nested.fault`. */
  NESTED_FAULT: 39,
  PREEMPTION_TIMER: 40,
} as const;

/** Why the guest is left. The core fills it in before it calls {@link GuestWorld.exit}; RIP is that of the instruction. */
export interface Exit {
  /** {@link INTERCEPT} or {@link EXIT}. */
  kind: number;
  /** `OP` of the instruction, or -1. */
  op: number;
  /** Bytes of the instruction; 0 when it is no instruction that leaves. */
  length: number;
  /** MSR index; control register number; vector. */
  number: number;
  /** General register of a CR or immediate MSR access, or of UMWAIT and TPAUSE. */
  register: number;
  /** Exceptions: error code, and whether there is one. */
  errorCode: number;
  hasErrorCode: boolean;
  /** #PF: the linear address; #DB: what DR6 gets. */
  dataLo: number;
  dataHi: number;
  /** External interrupts, NMIs. */
  vector: number;
  /** An event was being delivered when this happened: its vector (-1: none), type (`EVENT_TYPE`) and error code. */
  deliveringVector: number;
  deliveringType: number;
  deliveringErrorCode: number;
  deliveringHasErrorCode: boolean;
}

export interface GuestWorld {
  readonly name: 'vmx' | 'svm';
  /** 1 where the thing leaves the guest, by {@link INTERCEPT}. The world keeps it up to date. */
  readonly intercepts: Uint8Array;
  /** Exceptions that leave the guest, one bit per vector. #PF may depend on its error code. */
  exceptionBitmap: number;
  interceptsPageFault(errorCode: number): boolean;
  /** MSR index: bitmap, permission map, or always outside their ranges. */
  interceptsMsr(index: number, write: boolean): boolean;
  /** MOV from control register `number` (3 or 8; CR0 and CR4 only on SVM). */
  interceptsCrRead(number: number): boolean;
  /** MOV to a control register with that value: guest/host masks, CR3 targets, CR8 controls. */
  interceptsCrWrite(number: number, lo: number, hi: number): boolean;
  /** What a guest reads of CR0 and CR4 (read shadows), into `out[0…1]`. */
  readCr(number: number, out: Int32Array): void;
  /** What CR0 or CR4 really become when a guest's write does not exit (host-owned bits keep), into `out[0…1]`. */
  writtenCr(number: number, lo: number, hi: number, out: Int32Array): void;
  /** Gates such as `VMX.ENABLE_RDTSCP`. */
  gate(name: string): boolean;
  /** Whether time-stamp counters are scaled and offset; then `core.guestTsc` is what RDTSC reads. */
  readonly offsetsTsc: boolean;
  /** EPT or nested page tables, if in use. */
  readonly nested: NestedPaging | null;
  /** SVM: physical interrupts are taken by the host whatever RFLAGS.IF says. */
  readonly masksInterruptsByHost: boolean;
  /**
   * Takes an event that only the guest has (a virtual interrupt), or leaves because it could be taken now (an interrupt
   * window). Asked when something may have changed and nothing of the machine's own is taken.
   *
   * @returns NEXT when there is none, JUMP or LEFT
   */
  takeVirtual?(core: Core): number;
  /** Leaves the guest: saves its state, loads the host's. Afterwards the core is in the host, at the host's RIP. */
  exit(core: Core, exit: Exit): void;
}

export function emptyExit(): Exit {
  return {
    kind: 0,
    op: -1,
    length: 0,
    number: 0,
    register: -1,
    errorCode: 0,
    hasErrorCode: false,
    dataLo: 0,
    dataHi: 0,
    vector: 0,
    deliveringVector: -1,
    deliveringType: 0,
    deliveringErrorCode: 0,
    deliveringHasErrorCode: false,
  };
}
