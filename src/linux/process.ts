import { ERRNO } from './errno.js';
import type { HostKernel } from './host-kernel.js';
import { type Address, type MemoryBlock, UserMemory } from './user-memory.js';

/** What a file descriptor refers to. */
export interface OpenFile {
  /** Handles an ioctl. Returns the system call's result: zero or above, or a negative errno. */
  ioctl(process: Process, request: number, argument: Address): number;
  /** Maps the file into the process, for files that can be mapped. Returns the address, or a negative errno. */
  mmap?(process: Process, length: number): number;
  /** Called when the last descriptor is closed. */
  release?(): void;
}

export interface ProcessOptions {
  /** Bytes of address space. Default: 1 MiB. */
  readonly arena?: number;
  /** Memory whose first bytes are the address space, with room for all of it. Default: memory of its own. */
  readonly block?: MemoryBlock | null;
  /** Logical CPU on which the process runs. Default: 0. */
  readonly cpu?: number;
  /** XSAVE components that `arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM)` has granted, e.g. 18 for AMX. Default: none. */
  readonly guestPermissions?: readonly number[];
}

/** As the default of RLIMIT_NOFILE. */
const MAX_FDS = 1024;

/** A userspace process: its memory, its file descriptors, and what it was permitted. */
export class Process {
  readonly kernel: HostKernel;
  readonly memory: UserMemory;
  readonly cpu: number;
  /** XSAVE components that its guests may use on request, as a mask. */
  readonly guestPermissions: number;
  private readonly files: (OpenFile | null)[] = [null, null, null];

  constructor(kernel: HostKernel, options: ProcessOptions = {}) {
    const { arena = 1 << 20, block = null, cpu = 0, guestPermissions = [] } = options;
    if (!kernel.machine.cpus[cpu])
      throw new RangeError(`there is no CPU ${cpu}: the host has ${kernel.machine.cpus.length}`);
    this.kernel = kernel;
    this.memory = new UserMemory(arena, block);
    this.cpu = cpu;
    this.guestPermissions = guestPermissions.reduce((mask, bit) => mask | (1 << bit), 0) >>> 0;
  }

  /** `open(path, O_RDWR)`. Returns a descriptor, or -ENOENT when there is no such device, or -EMFILE. */
  open(path: string): number {
    const open = this.kernel.devices.get(path);
    return open ? this.install(open()) : -ERRNO.ENOENT;
  }

  /** `ioctl(fd, request, argument)`. Returns zero or above, or a negative errno; -EBADF for a descriptor not open. */
  ioctl(fd: number, request: number, argument: Address = 0): number {
    const file = this.files[fd];
    return file ? file.ioctl(this, request >>> 0, argument) : -ERRNO.EBADF;
  }

  /**
   * `mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)`. Returns the address, or a negative errno: -EBADF for
   * a descriptor not open, -EINVAL for no length, -ENODEV for a file that cannot be mapped. Anonymous memory is
   * `memory.mmap()`.
   */
  mmap(fd: number, length: number): number {
    const file = this.files[fd];
    if (!file) return -ERRNO.EBADF;
    if (length <= 0) return -ERRNO.EINVAL;
    return file.mmap ? file.mmap(this, length) : -ERRNO.ENODEV;
  }

  /** `close(fd)`. Returns 0 or -EBADF. */
  close(fd: number): number {
    const file = this.files[fd];
    if (!file) return -ERRNO.EBADF;
    this.files[fd] = null;
    file.release?.();
    return 0;
  }

  /** What a descriptor refers to, as /proc/PID/fd shows it; `null` for one that is not open. */
  file(fd: number): OpenFile | null {
    return this.files[fd] ?? null;
  }

  /** Gives a file the lowest free descriptor from 3 on; -EMFILE when there are too many. */
  install(file: OpenFile): number {
    let fd = 3;
    while (this.files[fd]) fd++;
    if (fd >= MAX_FDS) return -ERRNO.EMFILE;
    this.files[fd] = file;
    return fd;
  }
}
