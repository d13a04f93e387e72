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
  KVM_TDX_INIT_VM,
  TDX_CMD_SIZE,
  TDX_INIT_VM_CPUID,
  VM_TYPES,
} from '../kvm/abi.js';
import { entryAt, putEntry } from '../kvm/cpuid-table.js';
import type { KvmModule } from '../kvm/module.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';
import { type ErrnoName, errnoName } from '../linux/errno.js';
import type { Process, ProcessOptions } from '../linux/process.js';

export type Errno = ErrnoName | 'OK';

/** What an ioctl that fills a table answered. */
export interface TableAnswer {
  readonly errno: Errno;
  readonly entries: readonly CpuidEntry2[];
}

/** An ioctl that failed on the way to the one that was asked for. */
export class IoctlFailed extends Error {
  override readonly name = 'IoctlFailed';
  readonly ioctl: string;
  readonly errno: Errno;

  constructor(ioctl: string, errno: Errno) {
    super(`${ioctl} failed with ${errno}`);
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
    return this.descriptor(`KVM_CREATE_VM(${type})`, this.process.ioctl(this.kvm, KVM_CREATE_VM, type));
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
    this.require('KVM_ENABLE_CAP(KVM_CAP_SPLIT_IRQCHIP)', this.enableCap(vm, KVM_CAP_SPLIT_IRQCHIP, 24n));
    const { memory } = this.process;
    const command = this.buffer - memory.base;
    const parameters = command + TDX_CMD_SIZE;
    memory.bytes.fill(0, command, parameters + TDX_INIT_VM_CPUID + CPUID2_HEADER_SIZE);
    memory.view.setUint32(command, KVM_TDX_INIT_VM, true);
    memory.view.setBigUint64(command + 8, BigInt(this.buffer + TDX_CMD_SIZE), true);
    this.require('KVM_TDX_INIT_VM', this.process.ioctl(vm, KVM_MEMORY_ENCRYPT_OP, this.buffer));
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
