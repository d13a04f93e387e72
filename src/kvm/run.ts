import { CPUID_LENGTH, HLT_LENGTH, type RealModeCpu, runRealMode } from '../emu/real-mode.js';
import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import {
  KVM_EXIT_HLT,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_INTR,
  KVM_INTERNAL_ERROR_EMULATION,
  RAX,
  RBX,
  RCX,
  RDX,
  RFLAGS,
  RIP,
  RUN,
  SEGMENT,
  SREGS_CR8,
  SREGS_SEGMENTS,
} from './abi.js';
import { guestCpuid } from './guest-cpuid.js';
import { isTsxHidden } from './msrs.js';
import type { RunPage } from './run-page.js';
import type { TdVcpu } from './td.js';
import type { VcpuCpuid } from './vcpu-cpuid.js';
import type { VcpuState } from './vcpu-state.js';
import type { Vm } from './vm.js';

/** What KVM_RUN works on: a vCPU. */
export interface RunContext {
  readonly vm: Vm;
  readonly state: VcpuState;
  readonly cpuid: VcpuCpuid;
  readonly page: RunPage;
  /** What makes it a TD's vCPU; `null` or absent for every other. */
  readonly td?: TdVcpu | null;
  /** A guest in 64-bit mode, on a CPU that executes; `null` where there is no way to run one. */
  guestLoop?(): { run(page: RunPage): number } | null;
}

/** Bits of `kvm_valid_regs` and `kvm_dirty_regs` that the kernel knows (KVM_CAP_SYNC_REGS). */
const SYNC_REGS = 7n;

const RFLAGS_IF = 1n << 9n;
const CR0_PE = 1;
/** The end of a code segment in real mode. */
const REAL_MODE_LIMIT = 0xffffn;

/**
 * KVM_RUN (`kvm_arch_vcpu_ioctl_run()`). A guest in 64-bit mode runs on the CPU that the process runs on; one in real
 * mode on an emulator that knows three instructions. What neither can do ends the run with KVM_EXIT_INTERNAL_ERROR, suberror KVM_INTERNAL_ERROR_EMULATION: a limit of this simulator. Registers are not
 * exchanged through the run page.
 *
 * @returns 0 with an exit reason in `struct kvm_run`; -EINVAL for sync bits or a CR8 that are unknown, and for a TD that
 *   is not ready; -EINTR when
 *   `immediate_exit` is set, and then the vCPU has not run, or when a signal ends the run; -EFAULT when the process's
 *   memory behind the guest's faults
 */
export function run(context: RunContext, process: Process): number {
  const { page, state } = context;
  page.set16(RUN.flags, 0);
  const result = prepare(context) || enter(context, process);
  page.set8(RUN.ifFlag, (state.regs[RFLAGS]! & RFLAGS_IF) !== 0n ? 1 : 0);
  page.set8(RUN.readyForInterruptInjection, (state.regs[RFLAGS]! & RFLAGS_IF) !== 0n ? 1 : 0);
  page.set64(RUN.cr8, state.sregs.getBigUint64(SREGS_CR8, true));
  page.set64(RUN.apicBase, state.apicBase);
  return result;
}

function prepare({ page, state, vm, td }: RunContext): number {
  if (((page.get64(RUN.validRegs) | page.get64(RUN.dirtyRegs)) & ~SYNC_REGS) !== 0n) return -ERRNO.EINVAL;
  if (!vm.irqchipInKernel) {
    const cr8 = page.get64(RUN.cr8);
    if (cr8 > 0xfn) return -ERRNO.EINVAL;
    state.sregs.setBigUint64(SREGS_CR8, cr8, true);
  }
  if (page.get8(RUN.immediateExit) !== 0) return -ERRNO.EINTR;
  return td?.preRun() ?? 0;
}

/** `vcpu_run()`: enters the guest until something must be said to userspace. From here on the model is frozen. */
function enter(context: RunContext, process: Process): number {
  const { state, cpuid, page } = context;
  cpuid.hasRun = true;
  if (context.td) return context.td.run(process, page) ?? unsupported(page);
  if (state.isLongMode64) return context.guestLoop?.()?.run(page) ?? unsupported(page);
  if ((state.cr0 & CR0_PE) !== 0) return unsupported(page);
  const cpu: RealModeCpu = { csBase: state.sregs.getUint32(SREGS_SEGMENTS.cs + SEGMENT.base, true), ip: 0 };
  while (state.regs[RIP]! <= REAL_MODE_LIMIT) {
    cpu.ip = Number(state.regs[RIP]);
    const exit = runRealMode(cpu, context.vm.slots);
    state.regs[RIP] = BigInt(cpu.ip);
    if (exit === 'hlt') return emulateHlt(context);
    if (exit === 'no-code' && context.vm.slots.missingBehindSlot) return -ERRNO.EFAULT;
    if (exit !== 'cpuid') break;
    emulateCpuid(context);
  }
  return unsupported(page);
}

function unsupported(page: RunPage): number {
  page.set32(RUN.exitReason, KVM_EXIT_INTERNAL_ERROR);
  page.set32(RUN.internalSuberror, KVM_INTERNAL_ERROR_EMULATION);
  page.set32(RUN.internalNdata, 0);
  return 0;
}

/** A signal ends the run: the simulator has no clock that could send one, so it comes when nothing else would. */
function interrupted(page: RunPage): number {
  page.set32(RUN.exitReason, KVM_EXIT_INTR);
  return -ERRNO.EINTR;
}

const answer = new Uint32Array(4);

/** `kvm_emulate_cpuid()` */
function emulateCpuid({ state, cpuid, vm }: RunContext): void {
  const { regs } = state;
  guestCpuid(cpuid.table, low(regs[RAX]!), low(regs[RCX]!), isTsxHidden({ state, cpuid, vm }), answer);
  regs[RAX] = BigInt(answer[0]!);
  regs[RBX] = BigInt(answer[1]!);
  regs[RCX] = BigInt(answer[2]!);
  regs[RDX] = BigInt(answer[3]!);
  regs[RIP]! += BigInt(CPUID_LENGTH);
}

const low = (register: bigint): number => Number(register & 0xffff_ffffn);

/**
 * `kvm_emulate_halt()`: without an APIC in the kernel, userspace waits for the interrupt. With one, or when HLT does not
 * exit, the guest waits, and only a signal ends that.
 */
function emulateHlt({ state, page, vm }: RunContext): number {
  state.regs[RIP]! += BigInt(HLT_LENGTH);
  if (vm.irqchipInKernel || vm.hltExitsDisabled) return interrupted(page);
  page.set32(RUN.exitReason, KVM_EXIT_HLT);
  return 0;
}
