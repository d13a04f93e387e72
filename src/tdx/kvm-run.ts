import { EptBuilder } from '../emu/paging-build.js';
import { NestedPaging } from '../emu/paging-nested.js';
import {
  KVM_EXIT_HLT,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_INTR,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_SYSTEM_EVENT,
  KVM_INTERNAL_ERROR_EMULATION,
  KVM_SYSTEM_EVENT_TDX_FATAL,
  RUN,
} from '../kvm/abi.js';
import { guestCpuid } from '../kvm/guest-cpuid.js';
import type { RunPage } from '../kvm/run-page.js';
import { charge } from '../linux/charge.js';
import { ERRNO } from '../linux/errno.js';
import type { HostCpu } from '../linux/host-cpu.js';
import { PAGE_SIZE } from '../linux/layout.js';
import { msrIndex, TDX_USER_RETURN_ROWS, type TdxUserReturnRow, tdxUserReturnRule } from '../linux/user-return-rows.js';
import type { KvmTdVcpu } from './kvm-vcpu.js';
import { type RestoreRow, restoreRows, TD_RESTORE_ROWS } from './restore-rows.js';
import { PRETENDED, type TdExit, TdVcpuState } from './td-run.js';
import { stateAccess } from './td-state.js';

/** KVM_RUN on a vCPU of a TD: `tdx_vcpu_run()` and what common code does around it, on a CPU that executes. */

/** What an entry and its exit cost in KVM itself, beyond SEAMCALL. An estimate, by likeness to VMX. */
const LOOP_CYCLES = 200;

/** TDVMCALLs of the Guest-Hypervisor Communication Interface that KVM answers itself (GHCI 1.5, table 2-2 and 3-1). */
const VMCALL = { CPUID: 10, HLT: 12, RDMSR: 31, WRMSR: 32, REPORT_FATAL_ERROR: 0x10003 } as const;
const VMCALL_SUCCESS = 0n;
const VMCALL_INVALID_OPERAND = 0x8000_0000_0000_0000n;

const R10 = 10;
const R11 = 11;
const R12 = 12;
const R13 = 13;
const R14 = 14;
const R15 = 15;
const EPT_TABLE_PAGES = 64;

export class TdRunner {
  /** What the module keeps of the vCPU. */
  readonly state: TdVcpuState;
  /** A signal waits for the VMM's thread: KVM_RUN ends with the next exit. */
  signalPending = false;
  private readonly vcpu: KvmTdVcpu;
  private readonly cpu: HostCpu;
  private readonly afterExit: readonly string[];
  private readonly leaveGuest: readonly string[];
  private readonly rule: ReturnType<typeof tdxUserReturnRule>;
  private readonly userReturn: readonly TdxUserReturnRow[];
  private readonly host = new Map<string, bigint>();
  private readonly answer = new Uint32Array(4);

  /** @param rows what is brought back, and @param userReturn on the way to user mode: others than KVM's own, to try */
  constructor(
    vcpu: KvmTdVcpu,
    cpu: HostCpu,
    rows: readonly RestoreRow[] = TD_RESTORE_ROWS,
    userReturn: readonly TdxUserReturnRow[] = TDX_USER_RETURN_ROWS,
  ) {
    this.vcpu = vcpu;
    this.cpu = cpu;
    this.userReturn = userReturn;
    const { kvm, td } = vcpu.td;
    this.afterExit = restoreRows('after-exit', rows);
    this.leaveGuest = restoreRows('leave-guest', rows);
    this.rule = kvm.defects.has('stale-user-return')
      ? 'after-exit'
      : tdxUserReturnRule(kvm.caps(kvm.defaultOverlay).scope.line);
    this.state = new TdVcpuState(td!, vcpu.vcpu.id, cpu.core, this.mapMemory());
    for (const { msr } of userReturn) cpu.userReturn.add(msrIndex(msr));
  }

  /** The TD's private pages, in frames of the host. */
  private mapMemory(): NestedPaging {
    const { cpu, vcpu } = this;
    const { memory, core } = cpu;
    const tables = memory.allocate(EPT_TABLE_PAGES);
    const builder = new EptBuilder(memory.physical, tables);
    for (const [frame, bytes] of vcpu.td.pages) {
      const at = memory.allocate(1);
      memory.physical.load(at, bytes);
      builder.map(frame * BigInt(PAGE_SIZE), at, { write: true, accessed: true, dirty: true });
    }
    if (builder.end > tables + EPT_TABLE_PAGES * PAGE_SIZE) throw new Error('the TD has more memory than is modelled');
    return new NestedPaging(memory.physical, core.silicon, { format: 'ept', root: builder.root });
  }

  /**
   * Runs the guest until userspace has to know.
   *
   * @returns 0 with an exit reason in `struct kvm_run`; -EINTR for a signal, or when the core was stopped from outside
   */
  run(page: RunPage): number {
    const { cpu } = this;
    this.rememberHost();
    let result: number | null = null;
    let entered = false;
    while (result === null) {
      this.beforeEntry();
      charge(cpu.core, LOOP_CYCLES);
      const exit = this.state.enter(Number.POSITIVE_INFINITY);
      entered = true;
      this.restore(this.afterExit);
      result = this.handle(exit, page) ?? this.handleSignal(page);
    }
    this.restore(this.leaveGuest);
    if (entered && this.rule === 'after-exit') {
      for (const { msr, value } of this.userReturn)
        cpu.userReturn.updateCache(cpu.userReturn.find(msrIndex(msr)), value);
    }
    // Back to user mode, where the VMM waits.
    cpu.prepareUserMode();
    return result;
  }

  private rememberHost(): void {
    for (const name of [...this.afterExit, ...this.leaveGuest]) {
      const access = stateAccess(name);
      if (access) this.host.set(name, access.read(this.cpu.core));
    }
  }

  /** Linux writes what it believes to be the host's value, as it was when the vCPU was loaded. */
  private restore(names: readonly string[]): void {
    const { core } = this.cpu;
    for (const name of names) {
      const access = stateAccess(name);
      const value = this.host.get(name);
      if (access && value !== undefined && access.read(core) !== value) access.write(core, value);
    }
    core.mmu.pagingChanged(false);
  }

  private beforeEntry(): void {
    if (this.rule !== 'before-entry') return;
    const { userReturn } = this.cpu;
    for (const { msr, value } of this.userReturn) userReturn.set(userReturn.find(msrIndex(msr)), value);
  }

  /** @returns what KVM_RUN returns, or null when the guest goes on */
  private handle(exit: TdExit, page: RunPage): number | null {
    const { cpu } = this;
    switch (exit.reason) {
      case 'external-interrupt':
      case 'nmi':
        // The host takes it as soon as interrupts are on.
        cpu.takeInterrupts();
        return null;
      case 'tdvmcall':
        return this.vmcall(page);
      case 'triple-fault':
        page.set32(RUN.exitReason, KVM_EXIT_SHUTDOWN);
        return 0;
      case 'stopped':
        page.set32(RUN.exitReason, KVM_EXIT_INTR);
        return -ERRNO.EINTR;
      case 'ept-violation':
        // KVM finds the page where it should be, and goes on.
        if (exit.detail === PRETENDED) return null;
        return this.unsupported(page);
      default:
        return this.unsupported(page);
    }
  }

  /** `xfer_to_guest_mode_handle_work()`, `kvm_handle_signal_exit()` */
  private handleSignal(page: RunPage): number | null {
    if (!this.signalPending) return null;
    this.signalPending = false;
    page.set32(RUN.exitReason, KVM_EXIT_INTR);
    return -ERRNO.EINTR;
  }

  private unsupported(page: RunPage): number {
    page.set32(RUN.exitReason, KVM_EXIT_INTERNAL_ERROR);
    page.set32(RUN.internalSuberror, KVM_INTERNAL_ERROR_EMULATION);
    page.set32(RUN.internalNdata, 0);
    return 0;
  }

  /** `handle_tdvmcall()` */
  private vmcall(page: RunPage): number | null {
    const { state } = this;
    if (state.guest(R10) !== 0n) {
      state.setGuest(R10, VMCALL_INVALID_OPERAND);
      return null;
    }
    switch (Number(state.guest(R11))) {
      case VMCALL.CPUID:
        this.cpuid();
        return null;
      case VMCALL.HLT:
        state.setGuest(R10, VMCALL_SUCCESS);
        page.set32(RUN.exitReason, KVM_EXIT_HLT);
        return 0;
      case VMCALL.REPORT_FATAL_ERROR:
        state.setGuest(R10, VMCALL_SUCCESS);
        page.set32(RUN.exitReason, KVM_EXIT_SYSTEM_EVENT);
        page.set32(RUN.systemEventType, KVM_SYSTEM_EVENT_TDX_FATAL);
        return 0;
      default:
        // MSRs of TDs are the module's; KVM's own few are not modelled.
        state.setGuest(R10, VMCALL_INVALID_OPERAND);
        return null;
    }
  }

  /** TDVMCALL of CPUID: from the table of KVM_SET_CPUID2. */
  private cpuid(): void {
    const { state, answer } = this;
    const low = (register: number): number => Number(BigInt.asUintN(32, state.guest(register)));
    guestCpuid(this.vcpu.vcpu.cpuid.table, low(R12), low(R13), false, answer);
    [R12, R13, R14, R15].forEach((register, at) => {
      state.setGuest(register, BigInt(answer[at]!));
    });
    state.setGuest(R10, VMCALL_SUCCESS);
  }
}
