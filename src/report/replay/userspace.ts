import {
  CPUID2_HEADER_SIZE,
  ENABLE_CAP_ARGS,
  ENABLE_CAP_SIZE,
  ENTRY2_SIZE,
  ENTRY2_WORDS,
  FUNCTION,
  INDEX,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_ENABLE_CAP,
  KVM_GET_CPUID2,
  PADDING,
} from '../../kvm/abi.js';
import { type ErrnoName, errnoName } from '../../linux/errno.js';
import type { Process } from '../../linux/process.js';
import type { Address } from '../../linux/user-memory.js';

export type Errno = ErrnoName | 'OK';

/** Entries that fit in a buffer: more than any table has, so that what lies behind one can be looked at. */
export const CAPACITY = 300;

/** Marks entries that KVM_GET_CPUID2 did not write: kernels up to 6.1 do not say how many they did. */
const UNWRITTEN = 0xfeed_beef;

/** A `struct kvm_cpuid2` in the process's memory. */
export class TableBuffer {
  readonly address: number;
  /** The entries, ten words each. */
  readonly entries: Uint32Array;
  private readonly header: Uint32Array;

  constructor(process: Process) {
    const { memory } = process;
    this.address = memory.mmap(CPUID2_HEADER_SIZE + CAPACITY * ENTRY2_SIZE);
    const words = new Uint32Array(
      memory.bytes.buffer,
      this.address - memory.base,
      CPUID2_HEADER_SIZE / 4 + CAPACITY * ENTRY2_WORDS,
    );
    this.header = words.subarray(0, CPUID2_HEADER_SIZE / 4);
    this.entries = words.subarray(CPUID2_HEADER_SIZE / 4);
  }

  get nent(): number {
    return this.header[0]!;
  }

  set nent(value: number) {
    this.header[0] = value;
  }

  get padding(): number {
    return this.header[1]!;
  }

  set padding(value: number) {
    this.header[1] = value;
  }

  clear(): void {
    this.header.fill(0);
    this.entries.fill(0);
  }

  /** Takes a whole table; what lies behind it becomes zero. */
  load(words: Uint32Array, nent: number): void {
    this.clear();
    this.entries.set(words.subarray(0, nent * ENTRY2_WORDS));
    this.nent = nent;
  }

  /** The position of an entry by function and index, flags aside; -1 when there is none. */
  find(fn: number, index: number): number {
    for (let position = 0; position < this.nent; position++) {
      const at = position * ENTRY2_WORDS;
      if (this.entries[at + FUNCTION] === fn && this.entries[at + INDEX] === index) return position;
    }
    return -1;
  }

  /** Appends an entry without padding. */
  add(
    ...entry: readonly [fn: number, index: number, flags: number, eax: number, ebx: number, ecx: number, edx: number]
  ) {
    const at = this.nent * ENTRY2_WORDS;
    this.entries.fill(0, at, at + ENTRY2_WORDS);
    this.entries.set(entry, at);
    this.nent++;
  }
}

/** A VM and its first vCPU, by descriptor. */
export interface VmFds {
  readonly vm: number;
  readonly vcpu: number;
}

/**
 * What the recorder was: a process with buffers that speaks to /dev/kvm. All that it does is open, ioctl, mmap and
 * writing to its own memory.
 */
export class Userspace {
  readonly process: Process;
  /** The descriptor of /dev/kvm, or a negative errno. */
  readonly kvm: number;
  /** The table that is handed to the kernel, and the one that takes the answer. */
  readonly work: TableBuffer;
  readonly got: TableBuffer;
  /** Room for the other structures. */
  readonly scratch: number;

  constructor(process: Process) {
    this.process = process;
    this.work = new TableBuffer(process);
    this.got = new TableBuffer(process);
    this.scratch = process.memory.mmap(CPUID2_HEADER_SIZE + CAPACITY * ENTRY2_SIZE);
    this.kvm = process.open('/dev/kvm');
  }

  ioctl(fd: number, request: number, argument: Address = 0): Errno {
    return errnoName(this.process.ioctl(fd, request, argument));
  }

  /** A view of `length` bytes at an address of this process, cleared. */
  bytesAt(address: number, length: number): DataView {
    const { bytes, base } = this.process.memory;
    bytes.fill(0, address - base, address - base + length);
    return new DataView(bytes.buffer, address - base, length);
  }

  createVm(): number {
    return this.process.ioctl(this.kvm, KVM_CREATE_VM, 0);
  }

  createVcpu(vm: number): number {
    return this.process.ioctl(vm, KVM_CREATE_VCPU, 0);
  }

  createBoth(): VmFds {
    const vm = this.createVm();
    return { vm, vcpu: this.createVcpu(vm) };
  }

  close({ vm, vcpu }: VmFds): void {
    this.process.close(vcpu);
    this.process.close(vm);
  }

  enableCap(fd: number, cap: number, value: bigint): Errno {
    const view = this.bytesAt(this.scratch, ENABLE_CAP_SIZE);
    view.setUint32(0, cap, true);
    view.setBigUint64(ENABLE_CAP_ARGS, value, true);
    return this.ioctl(fd, KVM_ENABLE_CAP, this.scratch);
  }

  /** KVM_GET_CPUID2 into {@link got}; counts the entries where the kernel does not say. */
  readBack(vcpu: number): Errno {
    const { got } = this;
    got.clear();
    const { entries } = got;
    for (let at = PADDING + 2; at < entries.length; at += ENTRY2_WORDS) entries[at] = UNWRITTEN;
    got.nent = CAPACITY;
    const errno = this.ioctl(vcpu, KVM_GET_CPUID2, got.address);
    if (errno === 'OK' && got.nent === CAPACITY) {
      let count = 0;
      while (count < CAPACITY && entries[count * ENTRY2_WORDS + PADDING + 2] !== UNWRITTEN) count++;
      got.nent = count;
    }
    return errno;
  }
}
