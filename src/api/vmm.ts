import type { CpuidEntry2 } from '../cpuid/entry.js';
import {
  CPUID2_HEADER_SIZE,
  ENABLE_CAP_ARGS,
  ENABLE_CAP_SIZE,
  ENTRY2_SIZE,
  KVM_CAP_SPLIT_IRQCHIP,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_ENABLE_CAP,
  KVM_GET_CPUID2,
  KVM_GET_EMULATED_CPUID,
  KVM_GET_SUPPORTED_CPUID,
  KVM_MEMORY_ENCRYPT_OP,
  KVM_SET_CPUID2,
  KVM_TDX_CAPABILITIES,
  KVM_TDX_FINALIZE_VM,
  KVM_TDX_GET_CPUID,
  KVM_TDX_INIT_VCPU,
  KVM_TDX_INIT_VM,
  TDX_CAPABILITIES,
  TDX_CMD,
  TDX_CMD_SIZE,
  TDX_INIT_VM,
  TDX_INIT_VM_CPUID,
  VM_TYPES,
} from '../kvm/abi.js';
import { entryAt, putEntry } from '../kvm/cpuid-table.js';
import type { KvmModule } from '../kvm/module.js';
import type { Finding } from '../kvm/paranoid/findings.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';
import { Vm } from '../kvm/vm.js';
import { type ErrnoName, errnoName } from '../linux/errno.js';
import type { Process, ProcessOptions } from '../linux/process.js';
import { KvmTd } from '../tdx/kvm-vm.js';
import type { TdxError } from '../tdx/params.js';
import { configFindings, MINIMAL_TD, mergeTdCpuid, type TdConfiguration } from './td.js';

export type Errno = ErrnoName | 'OK';

/** What an ioctl that fills a table answered. */
export interface TableAnswer {
  readonly errno: Errno;
  readonly entries: readonly CpuidEntry2[];
}

/** What a command of KVM_MEMORY_ENCRYPT_OP answered. */
export interface TdxAnswer {
  readonly errno: Errno;
  /** The TDX module's status, where KVM hands it on; else 0. */
  readonly hwError: bigint;
}

/** Why KVM_TDX_INIT_VM refused a configuration, as far as its bits are to blame. */
export interface TdRefusal {
  /** Bits that KVM's policy refused; then the module was not asked. */
  readonly findings: readonly Finding[];
  /** What the TDX module said. */
  readonly module: TdxError | null;
}

/** What KVM_TDX_CAPABILITIES answered: what a TD may be configured with. */
export interface TdxCapabilities extends TdxAnswer {
  readonly attributes: bigint;
  readonly xfam: bigint;
  /** A mask of bits for each configurable leaf. */
  readonly entries: readonly CpuidEntry2[];
}

/** One ioctl on the way to a TD. */
export interface TdStep extends TdxAnswer {
  readonly ioctl: string;
}

/** How far the creation of a TD came. */
export interface CreatedTd {
  /** Descriptors; -1 for what was not reached. */
  readonly vm: number;
  readonly vcpus: readonly number[];
  /** Every ioctl, in order; all but the last are OK. */
  readonly steps: readonly TdStep[];
  /** The ioctl that failed; `null` when the TD can run. */
  readonly failed: TdStep | null;
  /** The table that KVM_SET_CPUID2 got; empty when it was not reached. */
  readonly table: readonly CpuidEntry2[];
}

/** An ioctl that failed on the way to the one that was asked for. */
export class IoctlFailed extends Error {
  override readonly name = 'IoctlFailed';
  readonly ioctl: string;
  readonly errno: Errno;

  constructor(ioctl: string, errno: Errno, because: string | null = null) {
    super(`${ioctl} failed with ${errno}${because === null ? '' : `: ${because}`}`);
    this.ioctl = ioctl;
    this.errno = errno;
  }
}

/** A minimal VMM: a process that speaks to /dev/kvm through its own memory, as QEMU would. */
export class Vmm {
  readonly module: KvmModule;
  readonly process: Process;
  /** The descriptor of /dev/kvm. */
  readonly kvm: number;
  private readonly buffer: number;
  private readonly capacity: number;
  /** For `struct kvm_tdx_cmd` and what it points to; mapped when it is first needed. */
  private tdxBuffer = 0;

  /** @param capacity entries that its buffer holds; larger tables are passed as far as E2BIG needs */
  constructor(module: KvmModule, options: ProcessOptions = {}, capacity = KVM_MAX_CPUID_ENTRIES + 1) {
    this.module = module;
    this.process = module.kernel.spawn(options);
    this.capacity = capacity;
    this.buffer = this.process.memory.mmap(CPUID2_HEADER_SIZE + capacity * ENTRY2_SIZE);
    this.kvm = this.descriptor('open("/dev/kvm")', this.process.open('/dev/kvm'));
  }

  private descriptor(what: string, result: number): number {
    if (result < 0) throw new IoctlFailed(what, errnoName(result));
    return result;
  }

  private require(what: string, result: number): void {
    if (result < 0) throw new IoctlFailed(what, errnoName(result));
  }

  /** The words of the buffer: header, then entries. */
  private get words(): Uint32Array {
    const { bytes, base } = this.process.memory;
    return new Uint32Array(bytes.buffer, this.buffer - base, (CPUID2_HEADER_SIZE + this.capacity * ENTRY2_SIZE) / 4);
  }

  /** KVM_CREATE_VM. @throws IoctlFailed with EINVAL when KVM does not offer the type */
  createVm(type: number): number {
    const fd = this.process.ioctl(this.kvm, KVM_CREATE_VM, type);
    const because = type === VM_TYPES.tdx ? this.module.tdxRefusal : null;
    if (fd < 0) throw new IoctlFailed(`KVM_CREATE_VM(${type})`, errnoName(fd), because);
    return fd;
  }

  /**
   * A VM that is ready for vCPUs: paranoid mode opted in where the kernel offers it, a TD initialised.
   *
   * @throws IoctlFailed with the ioctl that did not work
   */
  prepareVm(type: number): number {
    const vm = this.createVm(type);
    if (type === VM_TYPES.tdx) this.initTd(vm);
    else if (this.module.policy === 'paranoid') {
      this.require(
        'KVM_ENABLE_CAP(KVM_CAP_X86_CPUID_PARANOID)',
        this.enableCap(vm, this.module.paranoidCapability, 1n),
      );
    }
    return vm;
  }

  private initTd(vm: number): void {
    this.require('KVM_ENABLE_CAP(KVM_CAP_SPLIT_IRQCHIP)', this.splitIrqchip(vm));
    const { errno } = this.tdxInitVm(vm, MINIMAL_TD);
    if (errno !== 'OK') throw new IoctlFailed('KVM_TDX_INIT_VM', errno);
  }

  private splitIrqchip(vm: number): number {
    return this.enableCap(vm, KVM_CAP_SPLIT_IRQCHIP, 24n);
  }

  /**
   * KVM_MEMORY_ENCRYPT_OP on a TD or a vCPU of one.
   *
   * @param data for commands that take no address: what stands in its place. Default: the address behind the command
   */
  private tdx(fd: number, id: number, data?: bigint): TdxAnswer {
    const { view, base } = this.process.memory;
    const at = this.tdxArea - base;
    view.setUint32(at + TDX_CMD.id, id, true);
    view.setUint32(at + TDX_CMD.flags, 0, true);
    view.setBigUint64(at + TDX_CMD.data, data ?? BigInt(this.tdxArea + TDX_CMD_SIZE), true);
    view.setBigUint64(at + TDX_CMD.hwError, 0n, true);
    const errno = errnoName(this.process.ioctl(fd, KVM_MEMORY_ENCRYPT_OP, this.tdxArea));
    return { errno, hwError: view.getBigUint64(at + TDX_CMD.hwError, true) };
  }

  private get tdxArea(): number {
    const entries = (KVM_MAX_CPUID_ENTRIES + 1) * ENTRY2_SIZE;
    this.tdxBuffer ||= this.process.memory.mmap(TDX_CMD_SIZE + TDX_CAPABILITIES.cpuid + CPUID2_HEADER_SIZE + entries);
    return this.tdxBuffer;
  }

  /** Clears what the command points to and writes the header of its `struct kvm_cpuid2`. Returns the offset of it all. */
  private tdxParameters(cpuid: number, nent: number): number {
    const { bytes, view, base } = this.process.memory;
    const at = this.tdxArea + TDX_CMD_SIZE - base;
    bytes.fill(0, at, at + cpuid + CPUID2_HEADER_SIZE);
    view.setUint32(at + cpuid, nent, true);
    return at;
  }

  /** The entries of a `struct kvm_cpuid2` that the command points to, as words. */
  private tdxWords(cpuid: number): Uint32Array {
    const { bytes, base } = this.process.memory;
    const at = this.tdxArea + TDX_CMD_SIZE + cpuid + CPUID2_HEADER_SIZE - base;
    return new Uint32Array(bytes.buffer, at, (KVM_MAX_CPUID_ENTRIES + 1) * (ENTRY2_SIZE / 4));
  }

  private tdxEntries(cpuid: number): CpuidEntry2[] {
    const { view, base } = this.process.memory;
    const nent = view.getUint32(this.tdxArea + TDX_CMD_SIZE + cpuid - base, true);
    const words = this.tdxWords(cpuid);
    return Array.from({ length: nent }, (_, position) => entryAt(words, position));
  }

  /** KVM_TDX_CAPABILITIES on a TD. */
  tdxCapabilities(vm: number): TdxCapabilities {
    const { view } = this.process.memory;
    const at = this.tdxParameters(TDX_CAPABILITIES.cpuid, KVM_MAX_CPUID_ENTRIES);
    const answer = this.tdx(vm, KVM_TDX_CAPABILITIES);
    return {
      ...answer,
      attributes: view.getBigUint64(at + TDX_CAPABILITIES.supportedAttributes, true),
      xfam: view.getBigUint64(at + TDX_CAPABILITIES.supportedXfam, true),
      entries: answer.errno === 'OK' ? this.tdxEntries(TDX_CAPABILITIES.cpuid) : [],
    };
  }

  /** KVM_TDX_INIT_VM on a TD. */
  tdxInitVm(vm: number, { cpuid, attributes = 0n, xfam = 0n }: TdConfiguration): TdxAnswer {
    const { view } = this.process.memory;
    const at = this.tdxParameters(TDX_INIT_VM_CPUID, cpuid.length);
    view.setBigUint64(at + TDX_INIT_VM.attributes, attributes, true);
    view.setBigUint64(at + TDX_INIT_VM.xfam, xfam, true);
    const words = this.tdxWords(TDX_INIT_VM_CPUID);
    for (const [position, entry] of cpuid.slice(0, KVM_MAX_CPUID_ENTRIES + 1).entries())
      putEntry(words, position, entry);
    return this.tdx(vm, KVM_TDX_INIT_VM);
  }

  /** Why the last KVM_TDX_INIT_VM on a TD was refused; `null` when it was not, or not for any bit. */
  tdRefusal(vm: number): TdRefusal | null {
    const file = this.process.file(vm);
    const refusal = file instanceof Vm && file.td instanceof KvmTd ? file.td.refusal : null;
    return refusal && { findings: configFindings(this.module, refusal.bits), module: refusal.module };
  }

  /** KVM_TDX_GET_CPUID on a vCPU of a TD. */
  tdxGetCpuid(vcpu: number): TableAnswer {
    this.tdxParameters(0, KVM_MAX_CPUID_ENTRIES);
    const { errno } = this.tdx(vcpu, KVM_TDX_GET_CPUID);
    return { errno, entries: errno === 'OK' ? this.tdxEntries(0) : [] };
  }

  /** KVM_TDX_INIT_VCPU on a vCPU of a TD. @param rcx what RCX starts as */
  tdxInitVcpu(vcpu: number, rcx = 0n): TdxAnswer {
    return this.tdx(vcpu, KVM_TDX_INIT_VCPU, rcx);
  }

  /** KVM_TDX_FINALIZE_VM on a TD: from here on it can run. */
  tdxFinalizeVm(vm: number): TdxAnswer {
    return this.tdx(vm, KVM_TDX_FINALIZE_VM);
  }

  /**
   * Creates a TD with a configuration as QEMU does: initialises it, reads back what CPUID its guest will have, tells KVM
   * that with KVM_SET_CPUID2, initialises the vCPUs. Stops at the first ioctl that fails; throws nothing.
   *
   * @param vcpus how many
   * @param load what is done before the TD becomes runnable, such as adding its memory
   */
  createTd(
    configuration: TdConfiguration,
    vcpus = 1,
    load?: (vm: number, vcpus: readonly number[]) => TdStep[],
  ): CreatedTd {
    const steps: TdStep[] = [];
    const fds: number[] = [];
    const table: CpuidEntry2[] = [];
    const step = (ioctl: string, answer: TdxAnswer) => steps.push({ ioctl, ...answer }) > 0 && answer.errno === 'OK';
    const call = (ioctl: string, result: number) => step(ioctl, { errno: errnoName(result), hwError: 0n });
    let vm = -1;
    const create = (): boolean => {
      vm = this.process.ioctl(this.kvm, KVM_CREATE_VM, VM_TYPES.tdx);
      return (
        call('KVM_CREATE_VM', vm) &&
        call('KVM_ENABLE_CAP', this.splitIrqchip(vm)) &&
        step('KVM_TDX_INIT_VM', this.tdxInitVm(vm, configuration))
      );
    };
    const addVcpu = (id: number): boolean => {
      const vcpu = this.process.ioctl(vm, KVM_CREATE_VCPU, id);
      if (!call('KVM_CREATE_VCPU', vcpu)) return false;
      fds.push(vcpu);
      const stored = this.tdxGetCpuid(vcpu);
      if (!step('KVM_TDX_GET_CPUID', { errno: stored.errno, hwError: 0n })) return false;
      table.splice(0, table.length, ...mergeTdCpuid(stored.entries, this.supported().entries));
      return (
        step('KVM_SET_CPUID2', { errno: this.setCpuid2(vcpu, table), hwError: 0n }) &&
        step('KVM_TDX_INIT_VCPU', this.tdxInitVcpu(vcpu))
      );
    };
    const ready =
      create() &&
      Array.from({ length: vcpus }, (_, id) => id).every(addVcpu) &&
      (load?.(vm, fds) ?? []).every((done) => step(done.ioctl, done)) &&
      step('KVM_TDX_FINALIZE_VM', this.tdxFinalizeVm(vm));
    return { vm: Math.max(vm, -1), vcpus: fds, steps, failed: ready ? null : steps.at(-1)!, table };
  }

  /** KVM_ENABLE_CAP with args[0]; the system call's result. */
  enableCap(fd: number, cap: number, value: bigint): number {
    const { memory } = this.process;
    const at = this.buffer - memory.base;
    memory.bytes.fill(0, at, at + ENABLE_CAP_SIZE);
    memory.view.setUint32(at, cap, true);
    memory.view.setBigUint64(at + ENABLE_CAP_ARGS, value, true);
    return this.process.ioctl(fd, KVM_ENABLE_CAP, this.buffer);
  }

  /** KVM_CREATE_VCPU. @throws IoctlFailed */
  createVcpu(vm: number, id = 0): number {
    return this.descriptor(`KVM_CREATE_VCPU(${id})`, this.process.ioctl(vm, KVM_CREATE_VCPU, id));
  }

  /** KVM_GET_SUPPORTED_CPUID on /dev/kvm or a VM. */
  supported(fd = this.kvm): TableAnswer {
    return this.get(fd, KVM_GET_SUPPORTED_CPUID);
  }

  /** KVM_GET_EMULATED_CPUID on /dev/kvm or a VM. */
  emulated(fd = this.kvm): TableAnswer {
    return this.get(fd, KVM_GET_EMULATED_CPUID);
  }

  /** KVM_GET_CPUID2 on a vCPU. */
  getCpuid2(vcpu: number): TableAnswer {
    return this.get(vcpu, KVM_GET_CPUID2);
  }

  private get(fd: number, request: number): TableAnswer {
    const { words } = this;
    words.fill(0);
    words[0] = KVM_MAX_CPUID_ENTRIES;
    const errno = errnoName(this.process.ioctl(fd, request, this.buffer));
    if (errno !== 'OK') return { errno, entries: [] };
    const body = words.subarray(CPUID2_HEADER_SIZE / 4);
    return { errno, entries: Array.from({ length: words[0] }, (_, position) => entryAt(body, position)) };
  }

  /** KVM_SET_CPUID2 on a vCPU. */
  setCpuid2(vcpu: number, entries: readonly CpuidEntry2[], headPadding = 0): Errno {
    const { words } = this;
    const body = words.subarray(CPUID2_HEADER_SIZE / 4);
    words[0] = entries.length;
    words[1] = headPadding;
    for (const [position, entry] of entries.slice(0, this.capacity).entries()) putEntry(body, position, entry);
    return errnoName(this.process.ioctl(vcpu, KVM_SET_CPUID2, this.buffer));
  }
}
