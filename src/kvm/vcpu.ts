import { ERRNO } from '../linux/errno.js';
import type { OpenFile, Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import { CPUID2_HEADER_SIZE, ENTRY_SIZE, ENTRY2_SIZE, KVM_GET_CPUID2, KVM_SET_CPUID, KVM_SET_CPUID2 } from './abi.js';
import type { OverlayCaps } from './caps.js';
import { checkCpuid } from './check-cpuid.js';
import { CpuidTable } from './cpuid-table.js';
import { plus } from './get-cpuid.js';
import { firstRefused } from './paranoid/verify.js';
import { kvmSignatureBase } from './pv.js';
import { type RuntimeRules, type RuntimeState, stripPvUnhalt, updateRuntimeBits } from './runtime.js';
import { KVM_MAX_CPUID_ENTRIES } from './supported.js';
import type { Vm } from './vm.js';

/** KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT */
const QUIRK_MISC_ENABLE_NO_MWAIT = 1 << 4;

/** A vCPU's descriptor: the vCPU ioctls (`kvm_vcpu_ioctl()`, `kvm_arch_vcpu_ioctl()`). */
export class Vcpu implements OpenFile {
  readonly vm: Vm;
  readonly id: number;
  /** What shows in CPUID; after RESET. */
  private readonly state: RuntimeState = { cr4: 0n, xcr0: 1, xss: 0, apicEnabled: true, mwaitEnabled: false };
  private readonly owner: Process;
  private readonly caps: OverlayCaps;
  private table = new CpuidTable();
  /** The buffer that takes the next table; swapped with {@link table} when it is accepted. */
  private incoming = new CpuidTable();
  /** The signature base of the table set last (Linux 6.1). */
  private rememberedPvBase = 0;

  constructor(vm: Vm, owner: Process, id: number) {
    this.vm = vm;
    this.id = id;
    this.owner = owner;
    this.caps = vm.module.caps(vm.overlay);
  }

  ioctl(process: Process, request: number, argument: Address): number {
    if (process !== this.owner) return -ERRNO.EIO; // the VM belongs to another mm
    switch (request) {
      case KVM_SET_CPUID2:
        return this.copyIn(process, argument, ENTRY2_SIZE) || this.setCpuid(process);
      case KVM_SET_CPUID:
        return this.copyIn(process, argument, ENTRY_SIZE) || this.setCpuid(process);
      case KVM_GET_CPUID2:
        return this.getCpuid2(process, argument);
      default:
        return -ERRNO.EINVAL;
    }
  }

  /**
   * Takes a table from userspace: `struct kvm_cpuid2`, or `struct kvm_cpuid` with its smaller entries.
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
    if (entrySize === ENTRY2_SIZE) this.incoming.copyIn(memory.bytes, entries, nent);
    else this.incoming.copyInLegacy(memory.view, entries, nent);
    return 0;
  }

  /**
   * `kvm_set_cpuid()` on the incoming table. A refused table leaves everything as it was.
   *
   * @returns 0; -EINVAL when paranoid mode refuses a bit; what {@link checkCpuid} says
   */
  private setCpuid(process: Process): number {
    const { parameters } = this.caps.scope;
    const rules = this.runtimeRules(process);
    if (!parameters.swapAndRestore) this.rewrite(this.incoming, rules);
    const refused = this.verify(process) || checkCpuid(this.incoming, process.guestPermissions);
    if (refused !== 0) return refused;
    [this.table, this.incoming] = [this.incoming, this.table];
    if (parameters.swapAndRestore) this.rewrite(this.table, rules);
    this.rememberedPvBase = kvmSignatureBase(this.table.words, this.table.count);
    return 0;
  }

  /** Paranoid mode, as a pass of its own before anything else is looked at (`kvm_check_cpuid()`). */
  private verify(process: Process): number {
    if (!this.vm.paranoid) return 0;
    const allowed = this.vm.module.allowed(this.vm.overlay, process);
    return firstRefused(allowed, this.incoming.words, this.incoming.count) < 0 ? 0 : -ERRNO.EINVAL;
  }

  /** Bits that follow the vCPU's state, and the PV_UNHALT quirk. */
  private rewrite(table: CpuidTable, rules: RuntimeRules): void {
    const { pvBaseFromPreviousTable } = this.caps.scope.parameters;
    updateRuntimeBits(table, this.state, rules);
    stripPvUnhalt(
      table,
      pvBaseFromPreviousTable ? this.rememberedPvBase : kvmSignatureBase(table.words, table.count),
      rules,
    );
  }

  private runtimeRules(process: Process): RuntimeRules {
    const { vm, caps } = this;
    return {
      caps,
      layout: vm.module.layout(vm.module.kernel.machine.cpus[process.cpu]!),
      mwaitFollowsMiscEnable: (vm.disabledQuirks & QUIRK_MISC_ENABLE_NO_MWAIT) !== 0,
      hltExitsDisabled: vm.hltExitsDisabled,
    };
  }

  /**
   * KVM_GET_CPUID2: the table as set, with the bits that follow the vCPU's state.
   *
   * @returns 0; -EFAULT when the header cannot be read or the result not be written; -E2BIG when `nent` is smaller than
   *   the stored count, which is not reported then
   */
  private getCpuid2(process: Process, argument: Address): number {
    const { memory } = process;
    const header = memory.readable(argument, CPUID2_HEADER_SIZE);
    if (header < 0) return -ERRNO.EFAULT;
    if (memory.view.getUint32(header, true) < this.table.count) return -ERRNO.E2BIG;
    const padding = memory.view.getUint32(header + 4, true);
    const entries = this.table.bytes.subarray(0, this.table.count * ENTRY2_SIZE);
    if (!memory.copyOut(plus(argument, CPUID2_HEADER_SIZE), entries)) return -ERRNO.EFAULT;
    if (!this.caps.scope.parameters.getWritesNentBack) return 0;
    const count = new Uint8Array(new Uint32Array([this.table.count, padding]).buffer);
    return memory.copyOut(argument, count) ? 0 : -ERRNO.EFAULT;
  }
}
