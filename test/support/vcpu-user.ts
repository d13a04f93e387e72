import {
  bootKvm,
  builtInHost,
  type CpuidEntry2,
  describeBuiltIn,
  type KernelLine,
  withInputs,
} from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import { putEntry } from '../../src/kvm/cpuid-table.js';
import type { KvmModule, KvmOptions } from '../../src/kvm/module.js';
import { errnoName } from '../../src/linux/errno.js';
import type { HostInputs } from '../../src/linux/host-inputs.js';
import type { Process, ProcessOptions } from '../../src/linux/process.js';
import type { Address } from '../../src/linux/user-memory.js';

/** KVM on a built-in host. */
export function kvmOn(
  host: string,
  kernel: KernelLine = '7.3',
  options: KvmOptions = {},
  inputs: Partial<HostInputs> = {},
): KvmModule {
  return bootKvm(withInputs(describeBuiltIn(builtInHost(host)!), { kernel, ...inputs }), options);
}

export const entry = (fn: number, registers: Partial<CpuidEntry2> = {}): CpuidEntry2 => ({
  function: fn,
  index: 0,
  flags: 0,
  eax: 0,
  ebx: 0,
  ecx: 0,
  edx: 0,
  ...registers,
});

const SIZE = 16 * 4096;

/** A process with one VM and one vCPU, which writes structures by hand. */
export class VcpuUser {
  readonly process: Process;
  readonly kvm: number;
  readonly vm: number;
  readonly vcpu: number;
  /** Memory for structures. */
  readonly buffer: number;

  constructor(module: KvmModule, options: ProcessOptions & { beforeVcpu?: (user: VcpuUser) => void } = {}) {
    const { beforeVcpu, ...rest } = options;
    this.process = module.kernel.spawn(rest);
    this.buffer = this.process.memory.mmap(SIZE);
    this.kvm = this.process.open('/dev/kvm');
    this.vm = this.process.ioctl(this.kvm, abi.KVM_CREATE_VM, 0);
    beforeVcpu?.(this);
    this.vcpu = this.process.ioctl(this.vm, abi.KVM_CREATE_VCPU, 0);
  }

  /** The bytes of the buffer. */
  get view(): DataView {
    const { bytes, base } = this.process.memory;
    return new DataView(bytes.buffer, this.buffer - base, SIZE);
  }

  clear(): DataView {
    const { view } = this;
    new Uint8Array(view.buffer, view.byteOffset, SIZE).fill(0);
    return view;
  }

  errno(fd: number, request: number, argument: Address = this.buffer): string {
    return errnoName(this.process.ioctl(fd, request, argument));
  }

  enableCap(fd: number, cap: number, value: bigint, flags = 0): string {
    const view = this.clear();
    view.setUint32(0, cap, true);
    view.setUint32(4, flags, true);
    view.setBigUint64(abi.ENABLE_CAP_ARGS, value, true);
    return this.errno(fd, abi.KVM_ENABLE_CAP);
  }

  private write(entries: readonly CpuidEntry2[]): void {
    const view = this.clear();
    view.setUint32(0, entries.length, true);
    const words = new Uint32Array(view.buffer, view.byteOffset + abi.CPUID2_HEADER_SIZE, 256 * abi.ENTRY2_WORDS);
    for (const [position, item] of entries.entries()) putEntry(words, position, item);
  }

  setCpuid(entries: readonly CpuidEntry2[]): string {
    this.write(entries);
    return this.errno(this.vcpu, abi.KVM_SET_CPUID2);
  }

  /** The words of the table as it reads back, `count` entries of it. */
  getCpuid(count: number): number[][] {
    this.write([]);
    this.view.setUint32(0, 256, true);
    this.errno(this.vcpu, abi.KVM_GET_CPUID2);
    return Array.from({ length: count }, (_, position) =>
      Array.from({ length: abi.ENTRY2_WORDS }, (_, word) =>
        this.view.getUint32(abi.CPUID2_HEADER_SIZE + position * abi.ENTRY2_SIZE + word * 4, true),
      ),
    );
  }

  /** KVM_SET_SREGS with changes to what KVM_GET_SREGS gives. */
  setSregs(change: (sregs: DataView) => void): string {
    const view = this.clear();
    this.errno(this.vcpu, abi.KVM_GET_SREGS);
    change(view);
    return this.errno(this.vcpu, abi.KVM_SET_SREGS);
  }

  setCr4(cr4: bigint): string {
    return this.setSregs((sregs) => sregs.setBigUint64(abi.SREGS_CR4, cr4, true));
  }

  setXcr0(value: bigint, nr = 1, flags = 0, xcr = 0): string {
    const view = this.clear();
    view.setUint32(0, nr, true);
    view.setUint32(4, flags, true);
    view.setUint32(abi.XCRS_FIRST, xcr, true);
    view.setBigUint64(abi.XCRS_FIRST + abi.XCR_VALUE, value, true);
    return this.errno(this.vcpu, abi.KVM_SET_XCRS);
  }

  private msrs(pairs: readonly (readonly [index: number, value: bigint])[], nmsrs = pairs.length): DataView {
    const view = this.clear();
    view.setUint32(0, nmsrs, true);
    for (const [position, [index, value]] of pairs.entries()) {
      const at = abi.MSRS_HEADER_SIZE + position * abi.MSR_ENTRY_SIZE;
      view.setUint32(at, index, true);
      view.setBigUint64(at + abi.MSR_DATA, value, true);
    }
    return view;
  }

  /** KVM_SET_MSRS: how many were written. */
  setMsrs(...pairs: (readonly [index: number, value: bigint])[]): number {
    this.msrs(pairs);
    return this.process.ioctl(this.vcpu, abi.KVM_SET_MSRS, this.buffer);
  }

  /** KVM_GET_MSRS of one; `null` when it is refused. */
  getMsr(index: number): bigint | null {
    const view = this.msrs([[index, 0n]]);
    const read = this.process.ioctl(this.vcpu, abi.KVM_GET_MSRS, this.buffer);
    return read === 1 ? view.getBigUint64(abi.MSRS_HEADER_SIZE + abi.MSR_DATA, true) : null;
  }

  msrErrno(request: number, nmsrs: number, argument: Address = this.buffer): string {
    this.msrs([], nmsrs);
    return this.errno(this.vcpu, request, argument);
  }

  /** KVM_SET_USER_MEMORY_REGION. */
  setRegion(slot: number, flags: number, gpa: bigint, size: bigint, hva: bigint): string {
    const view = this.clear();
    view.setUint32(0, slot, true);
    view.setUint32(4, flags, true);
    view.setBigUint64(8, gpa, true);
    view.setBigUint64(16, size, true);
    view.setBigUint64(24, hva, true);
    return this.errno(this.vm, abi.KVM_SET_USER_MEMORY_REGION);
  }

  /** Maps `struct kvm_run` and gives the guest a page of code at 0x1000, to which CS:IP point. Returns the run page. */
  prepare(code: readonly number[]): DataView {
    const { memory } = this.process;
    const run = this.process.mmap(this.vcpu, abi.VCPU_MMAP_SIZE);
    const page = memory.mmap(4096);
    memory.bytes.set(code, page - memory.base);
    this.setRegion(0, 0, 0x1000n, 4096n, BigInt(page));
    this.setSregs((sregs) => {
      sregs.setBigUint64(abi.SREGS_SEGMENTS.cs + abi.SEGMENT.base, 0n, true);
      sregs.setUint16(abi.SREGS_SEGMENTS.cs + abi.SEGMENT.selector, 0, true);
    });
    this.setRegs({ [abi.RIP]: 0x1000n });
    return new DataView(memory.bytes.buffer, run - memory.base, 4096);
  }

  setRegs(values: Readonly<Record<number, bigint>>): string {
    const view = this.clear();
    for (const [register, value] of Object.entries(values)) view.setBigUint64(Number(register) * 8, value, true);
    return this.errno(this.vcpu, abi.KVM_SET_REGS);
  }

  getRegs(): bigint[] {
    const view = this.clear();
    this.errno(this.vcpu, abi.KVM_GET_REGS);
    return Array.from({ length: abi.REGS_WORDS }, (_, register) => view.getBigUint64(register * 8, true));
  }

  run(): string {
    return this.errno(this.vcpu, abi.KVM_RUN, 0);
  }
}
