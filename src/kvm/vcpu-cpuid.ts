import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import { hasFlag } from '../linux/scope.js';
import type { Address } from '../linux/user-memory.js';
import { CPUID2_HEADER_SIZE, ENTRY_SIZE, ENTRY2_SIZE } from './abi.js';
import type { OverlayCaps } from './caps.js';
import { checkCpuid, dynamicXfeatures } from './check-cpuid.js';
import { CpuidTable } from './cpuid-table.js';
import { plus } from './get-cpuid.js';
import { GuestCaps } from './guest-caps.js';
import type { AllowedTable } from './paranoid/allowed-table.js';
import { type ArenaVerifier, arenaVerifierOf } from './paranoid/batch.js';
import { firstRefused } from './paranoid/verify.js';
import { kvmSignatureBase } from './pv.js';
import { type RuntimeRules, stripPvUnhalt, updateRuntimeBits } from './runtime.js';
import { KVM_MAX_CPUID_ENTRIES } from './supported.js';
import type { VcpuState } from './vcpu-state.js';
import type { Vm } from './vm.js';
import type { XsaveLayout } from './xsave.js';

/** KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT */
const QUIRK_MISC_ENABLE_NO_MWAIT = 1 << 4;

/** The CPUID of one vCPU: the table that userspace set, kept in step with the vCPU's state (`arch/x86/kvm/cpuid.c`). */
export class VcpuCpuid implements RuntimeRules {
  readonly caps: OverlayCaps;
  readonly layout: XsaveLayout;
  readonly osxsaveFollowsCr4: boolean;
  readonly ospkeFollowsCr4: boolean;
  /** The vCPU has entered the guest (`last_vmentry_cpu`): its model is frozen. */
  hasRun = false;
  /** Dynamic XSAVE components that the vCPU's FPU buffer has room for (`fpu_enable_guest_xfd_features()`). */
  fpuXfeatures = 0;
  private readonly vm: Vm;
  private readonly state: VcpuState;
  private installed = new CpuidTable();
  /** The buffer that takes the next table; swapped with {@link installed} when it is accepted. */
  private incoming = new CpuidTable();
  /** The vCPU's state has changed since its bits were written to the table. */
  private stale = false;
  private knownCaps: GuestCaps | null = null;
  /** What the VM's overlay allows the owner; looked up when it is first needed. */
  private allowed: AllowedTable | null = null;
  /** Verifies in the owner's memory with vectors, where it allows that. */
  private readonly verifier: ArenaVerifier | null;
  /** Where in the owner's memory the table's entries lie that came last, in the layout of KVM_SET_CPUID2; else -1. */
  private source = -1;
  /** The header that KVM_GET_CPUID2 writes back. */
  private readonly header = new Uint32Array(2);
  private readonly headerBytes = new Uint8Array(this.header.buffer);

  constructor(vm: Vm, owner: Process, state: VcpuState) {
    this.vm = vm;
    this.state = state;
    this.caps = vm.module.caps(vm.module.decidingOverlay(vm.overlay));
    this.layout = vm.module.layout(vm.module.kernel.machine.cpus[owner.cpu]!);
    this.verifier = arenaVerifierOf(owner.memory);
    const { scope } = this.caps;
    const needsFlag = scope.parameters.runtimeBitsNeedKernelFlag;
    this.osxsaveFollowsCr4 = !needsFlag || hasFlag(scope, 'XSAVE');
    this.ospkeFollowsCr4 = !needsFlag || hasFlag(scope, 'PKU');
  }

  get mwaitFollowsMiscEnable(): boolean {
    return (this.vm.disabledQuirks & QUIRK_MISC_ENABLE_NO_MWAIT) !== 0;
  }

  get hltExitsDisabled(): boolean {
    return this.vm.hltExitsDisabled;
  }

  /** The table in force, up to date with the vCPU's state. */
  get table(): CpuidTable {
    if (this.stale) this.refresh();
    return this.installed;
  }

  /** What the guest may use, by the table in force. Computed when it is first asked for. */
  get guestCaps(): GuestCaps {
    const { table } = this;
    if (this.knownCaps === null) {
      const { vm } = this;
      const { vendor, defects } = vm.module;
      this.knownCaps = GuestCaps.of(table, this.caps, vendor, vm.latestGuestCaps, defects);
      vm.latestGuestCaps = this.knownCaps;
    }
    return this.knownCaps;
  }

  /** State that shows in CPUID has changed: marks the table stale, or rewrites it at once on older kernels. */
  stateChanged(): void {
    if (this.caps.scope.parameters.lazyRuntimeUpdates) this.stale = true;
    else this.refresh();
  }

  /**
   * KVM_SET_CPUID2: `struct kvm_cpuid2` (`kvm_vcpu_ioctl_set_cpuid2()`).
   *
   * @returns 0; what {@link copyIn} and {@link install} say
   */
  setCpuid2(process: Process, argument: Address): number {
    return this.copyIn(process, argument, ENTRY2_SIZE) || this.install(process);
  }

  /** KVM_SET_CPUID: `struct kvm_cpuid`, whose entries have neither index nor flags; otherwise as {@link setCpuid2}. */
  setCpuid(process: Process, argument: Address): number {
    return this.copyIn(process, argument, ENTRY_SIZE) || this.install(process);
  }

  /**
   * Takes a table from userspace.
   *
   * @returns 0; -EFAULT when header or entries cannot be read; -E2BIG for more than 256 entries, before they are read
   */
  private copyIn(process: Process, argument: Address, entrySize: number): number {
    const { memory } = process;
    const header = memory.readable(argument, CPUID2_HEADER_SIZE);
    if (header < 0) return -ERRNO.EFAULT;
    const nent = memory.view.getUint32(header, true);
    if (nent > KVM_MAX_CPUID_ENTRIES) return -ERRNO.E2BIG;
    const entries = nent === 0 ? 0 : memory.readable(plus(argument, CPUID2_HEADER_SIZE), nent * entrySize);
    if (entries < 0) return -ERRNO.EFAULT;
    this.source = entrySize === ENTRY2_SIZE ? entries : -1;
    if (entrySize === ENTRY2_SIZE) this.incoming.copyIn(memory.bytes, entries, nent);
    else this.incoming.copyInLegacy(memory.view, entries, nent);
    return 0;
  }

  /**
   * `kvm_set_cpuid()` on the incoming table. A refused table leaves everything as it was.
   *
   * @returns 0; -EINVAL when paranoid mode refuses a bit; what {@link checkCpuid} says; after the first run what
   *   {@link checkEqual} says, and nothing else
   */
  private install(process: Process): number {
    if (this.hasRun) return this.checkEqual();
    const combined = this.vm.module.placement === 'combined';
    const refused = combined
      ? this.check(process) || this.verify(process)
      : this.verify(process) || this.check(process);
    if (refused !== 0) return refused;
    // Older kernels rewrite before they check. The checks do not look at what is rewritten, and paranoid mode judges
    // what userspace wrote: so one order serves all.
    this.rewrite(this.incoming);
    this.swap();
    this.state.tsxCtrl = null; // set anew by vmx_vcpu_after_set_cpuid()
    return 0;
  }

  /**
   * `kvm_cpuid_check_equal()`: a vCPU that has run accepts only the table that it has, apart from padding and from the
   * bits that follow its state. Kernels that swap keep the new array, with its padding; older ones the old array.
   *
   * @returns 0 or -EINVAL
   */
  private checkEqual(): number {
    const { table } = this;
    this.rewrite(this.incoming);
    if (!this.incoming.equals(table)) return -ERRNO.EINVAL;
    if (this.caps.scope.parameters.swapAndRestore) this.swap();
    return 0;
  }

  private swap(): void {
    const { installed } = this;
    this.installed = this.incoming;
    this.incoming = installed;
    this.stale = false;
    this.knownCaps = null;
  }

  /** `kvm_check_cpuid()`: a table that offers XTILEDATA makes the FPU buffer grow, and it does not shrink again. */
  private check(process: Process): number {
    const refused = checkCpuid(this.incoming, process.guestPermissions);
    if (refused === 0) this.fpuXfeatures |= dynamicXfeatures(this.incoming);
    return refused;
  }

  /** Paranoid mode; the module's `placement` says when. */
  private verify(process: Process): number {
    if (!this.vm.paranoid) return 0;
    this.allowed ??= this.vm.module.allowed(this.vm.overlay, process);
    const { allowed, verifier, source, incoming } = this;
    const refused =
      verifier !== null && source >= 0
        ? verifier.firstRefused(allowed, source, incoming.count)
        : firstRefused(allowed, incoming.words, incoming.count);
    return refused < 0 ? 0 : -ERRNO.EINVAL;
  }

  private refresh(): void {
    this.rewrite(this.installed);
    this.stale = false;
    this.knownCaps = null;
  }

  /** Bits that follow the vCPU's state, and the PV_UNHALT quirk. */
  private rewrite(table: CpuidTable): void {
    updateRuntimeBits(table, this.state, this);
    if (!this.vm.hltExitsDisabled) return;
    // Linux 6.1 remembers the signature's place when a table is installed: for an incoming one it is that of the last.
    const { pvBaseFromPreviousTable } = this.caps.scope.parameters;
    const { words, count } = pvBaseFromPreviousTable ? this.installed : table;
    stripPvUnhalt(table, kvmSignatureBase(words, count));
  }

  /**
   * KVM_GET_CPUID2: the table as set, with the bits that follow the vCPU's state.
   *
   * @returns 0; -EFAULT when the header cannot be read or the result not be written; -E2BIG when `nent` is smaller than
   *   the stored count, which is not reported then
   */
  getCpuid2(process: Process, argument: Address): number {
    const { memory } = process;
    const at = memory.readable(argument, CPUID2_HEADER_SIZE);
    if (at < 0) return -ERRNO.EFAULT;
    const { table } = this;
    if (memory.view.getUint32(at, true) < table.count) return -ERRNO.E2BIG;
    const { header } = this;
    header[0] = table.count;
    header[1] = memory.view.getUint32(at + 4, true);
    if (!memory.copyOut(plus(argument, CPUID2_HEADER_SIZE), table.bytes, table.count * ENTRY2_SIZE))
      return -ERRNO.EFAULT;
    if (!this.caps.scope.parameters.getWritesNentBack) return 0;
    return memory.copyOut(argument, this.headerBytes) ? 0 : -ERRNO.EFAULT;
  }
}
