import {
  bootKvm,
  builtInHosts,
  type CpuidEntry2,
  describeBuiltIn,
  type HostDescription,
  impliedByVmType,
  type KernelLine,
  type KvmModule,
  type KvmOptions,
  type Process,
  withInputs,
} from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import { entryAt, putEntry } from '../../src/kvm/cpuid-table.js';
import { errnoName } from '../../src/linux/errno.js';

const PAGE = 4096;
/** Offset of the structure that a command points to. */
const DATA = 64;

/** The built-in hosts that can run TDs. */
export const tdxHosts: readonly HostDescription[] = builtInHosts()
  .filter((host) => host.tdx)
  .map(describeBuiltIn);

/** KVM on a host that is set up for TDs. */
export function bootTdx(host: HostDescription, options: KvmOptions = {}, kernel: KernelLine = '7.3'): KvmModule {
  const implied = impliedByVmType(withInputs(host, { kernel }), 'tdx');
  return bootKvm(implied.host, { ...implied.options, ...options });
}

/** `struct kvm_tdx_cmd` but for `data`, which is an address behind it unless it is given. */
export interface Command {
  readonly id: number;
  readonly flags?: number;
  readonly data?: bigint;
  readonly hwError?: number;
}

/** `struct kvm_tdx_init_vm`. */
export interface InitVm {
  readonly attributes?: bigint;
  readonly xfam?: bigint;
  readonly cpuid?: readonly CpuidEntry2[];
  /** Byte that is set to 1, in the reserved words or anywhere. */
  readonly dirty?: number;
  readonly nent?: number;
  readonly padding?: number;
}

export const entry = (fn: number, index: number, registers: Partial<CpuidEntry2> = {}): CpuidEntry2 => ({
  ...{ function: fn, index, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 },
  ...registers,
});

/** What every TD needs: the width of guest-physical addresses. */
export const WIDTH_48 = entry(0x8000_0008, 0, { eax: 48 << 16 });

/** A process that speaks KVM_MEMORY_ENCRYPT_OP by hand. */
export class TdCaller {
  readonly module: KvmModule;
  readonly process: Process;
  readonly kvm: number;
  /** A page for `struct kvm_tdx_cmd`, and those behind it for what it points to. */
  readonly area: number;

  constructor(module: KvmModule) {
    this.module = module;
    this.process = module.kernel.spawn();
    this.kvm = this.process.open('/dev/kvm');
    this.area = this.process.memory.mmap(8 * PAGE);
  }

  get data(): number {
    return this.area + DATA;
  }

  /** `OK` or the name of the errno. */
  errno(fd: number, request: number, argument: number | bigint = 0): string {
    return errnoName(this.process.ioctl(fd, request, argument));
  }

  td(): number {
    return this.process.ioctl(this.kvm, abi.KVM_CREATE_VM, abi.VM_TYPES.tdx);
  }

  splitIrqchip(vm: number): string {
    const { view, base } = this.process.memory;
    const at = this.area - base;
    this.clear();
    view.setUint32(at, abi.KVM_CAP_SPLIT_IRQCHIP, true);
    view.setBigUint64(at + abi.ENABLE_CAP_ARGS, 24n, true);
    return this.errno(vm, abi.KVM_ENABLE_CAP, this.area);
  }

  vcpu(vm: number, id = 0): number {
    return this.process.ioctl(vm, abi.KVM_CREATE_VCPU, id);
  }

  clear(): void {
    const { bytes, base } = this.process.memory;
    bytes.fill(0, this.area - base, this.area - base + 8 * PAGE);
  }

  /** Writes the command; what it points to is there already. Returns errno. */
  command(fd: number, { id, flags = 0, data = BigInt(this.data), hwError = 0 }: Command, at = this.area): string {
    const { view, base } = this.process.memory;
    view.setUint32(at - base, id, true);
    view.setUint32(at - base + abi.TDX_CMD.flags, flags, true);
    view.setBigUint64(at - base + abi.TDX_CMD.data, data, true);
    view.setBigUint64(at - base + abi.TDX_CMD.hwError, BigInt(hwError), true);
    return this.errno(fd, abi.KVM_MEMORY_ENCRYPT_OP, at);
  }

  /** hw_error as the kernel left it. */
  get hwError(): bigint {
    const { view, base } = this.process.memory;
    return view.getBigUint64(this.area - base + abi.TDX_CMD.hwError, true);
  }

  /** Writes `struct kvm_tdx_init_vm` at an address. */
  putInitVm(
    { attributes = 0n, xfam = 0n, cpuid = [WIDTH_48], dirty, nent, padding = 0 }: InitVm,
    at = this.data,
  ): void {
    const { bytes, view, base } = this.process.memory;
    const from = at - base;
    view.setBigUint64(from + abi.TDX_INIT_VM.attributes, attributes, true);
    view.setBigUint64(from + abi.TDX_INIT_VM.xfam, xfam, true);
    view.setUint32(from + abi.TDX_INIT_VM_CPUID, nent ?? cpuid.length, true);
    view.setUint32(from + abi.TDX_INIT_VM_CPUID + 4, padding, true);
    this.putEntries(cpuid, at + abi.TDX_INIT_VM_CPUID + abi.CPUID2_HEADER_SIZE);
    if (dirty !== undefined) bytes[from + dirty] = 1;
  }

  initVm(vm: number, init: InitVm = {}, command: Partial<Command> = {}): string {
    this.clear();
    this.putInitVm(init);
    return this.command(vm, { id: abi.KVM_TDX_INIT_VM, ...command });
  }

  /** Writes a `struct kvm_cpuid2` header where the command points to. */
  putHeader(nent: number, offset = 0, padding = 0): void {
    const { view, base } = this.process.memory;
    view.setUint32(this.data - base + offset, nent, true);
    view.setUint32(this.data - base + offset + 4, padding, true);
  }

  putEntries(entries: readonly CpuidEntry2[], at: number): void {
    const { bytes, base } = this.process.memory;
    const words = new Uint32Array(bytes.buffer, at - base, entries.length * abi.ENTRY2_WORDS);
    for (const [position, item] of entries.entries()) putEntry(words, position, item);
  }

  /** The entries behind the header at `offset` of what the command points to. */
  entries(offset = 0): CpuidEntry2[] {
    const { bytes, view, base } = this.process.memory;
    const at = this.data - base + offset;
    const nent = view.getUint32(at, true);
    const words = new Uint32Array(bytes.buffer, at + abi.CPUID2_HEADER_SIZE, nent * abi.ENTRY2_WORDS);
    return Array.from({ length: nent }, (_, position) => entryAt(words, position));
  }

  setCpuid2(vcpu: number, entries: readonly CpuidEntry2[]): string {
    this.clear();
    this.putHeader(entries.length);
    this.putEntries(entries, this.data + abi.CPUID2_HEADER_SIZE);
    return this.errno(vcpu, abi.KVM_SET_CPUID2, this.data);
  }

  /** A TD with a vCPU whose guest may use x2APIC. */
  withVcpu(init: InitVm = {}): { readonly vm: number; readonly vcpu: number } {
    const vm = this.td();
    this.splitIrqchip(vm);
    this.initVm(vm, init);
    const vcpu = this.vcpu(vm);
    this.setCpuid2(vcpu, [entry(1, 0, { ecx: 1 << 21 })]);
    this.clear();
    return { vm, vcpu };
  }

  /** As {@link withVcpu}, ready to run. */
  runnable(): { readonly vm: number; readonly vcpu: number } {
    const made = this.withVcpu();
    this.command(made.vcpu, { id: abi.KVM_TDX_INIT_VCPU });
    this.command(made.vm, { id: abi.KVM_TDX_FINALIZE_VM });
    return made;
  }
}
