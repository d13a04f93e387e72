import type { CpuidEntry2 } from '../../src/cpuid/entry.js';
import { formatEntry } from '../../src/cpuid/entry.js';
import * as abi from '../../src/kvm/abi.js';
import { entryAt, putEntry } from '../../src/kvm/cpuid-table.js';
import { loadKvm } from '../../src/kvm/load.js';
import type { KvmModule, KvmOptions } from '../../src/kvm/module.js';
import { errnoName } from '../../src/linux/errno.js';
import type { HostKernel } from '../../src/linux/host-kernel.js';
import type { Process, ProcessOptions } from '../../src/linux/process.js';
import { kvmAmd } from '../../src/svm/svm.js';
import { kvmIntel } from '../../src/vmx/vmx.js';

export function load(kernel: HostKernel, options: KvmOptions = {}): KvmModule {
  return loadKvm(kernel, [kvmIntel, kvmAmd], options);
}

/** A userspace over raw ioctls: what a test does, it does through the process's memory. */
export class Userspace {
  readonly process: Process;
  readonly buffer: number;
  private readonly size = abi.CPUID2_HEADER_SIZE + 300 * abi.ENTRY2_SIZE;

  constructor(kernel: HostKernel, options?: ProcessOptions) {
    this.process = kernel.spawn(options);
    this.buffer = this.process.memory.mmap(this.size);
  }

  private get words(): Uint32Array {
    const { bytes, base } = this.process.memory;
    return new Uint32Array(bytes.buffer, this.buffer - base, this.size / 4);
  }

  write(entries: readonly CpuidEntry2[], nent = entries.length, headPadding = 0): void {
    this.words.fill(0);
    this.words[0] = nent;
    this.words[1] = headPadding;
    const body = this.words.subarray(2);
    for (const [position, entry] of entries.entries()) putEntry(body, position, entry);
  }

  read(): CpuidEntry2[] {
    const body = this.words.slice(2);
    return Array.from({ length: this.words[0]! }, (_, i) => entryAt(body, i));
  }

  get nent(): number {
    return this.words[0]!;
  }

  ioctl(fd: number, request: number, argument: number | bigint = this.buffer): string {
    return errnoName(this.process.ioctl(fd, request, argument));
  }

  /** A GET ioctl with room for everything. */
  get(fd: number, request: number): { errno: string; entries: string[] } {
    this.write([], 256);
    const errno = this.ioctl(fd, request);
    return { errno, entries: errno === 'OK' ? this.read().map(formatEntry) : [] };
  }

  enableCap(fd: number, cap: number, value: bigint, flags = 0): string {
    const { memory } = this.process;
    const at = this.buffer - memory.base;
    memory.bytes.fill(0, at, at + abi.ENABLE_CAP_SIZE);
    memory.view.setUint32(at, cap, true);
    memory.view.setUint32(at + 4, flags, true);
    memory.view.setBigUint64(at + abi.ENABLE_CAP_ARGS, value, true);
    return this.ioctl(fd, abi.KVM_ENABLE_CAP);
  }
}
