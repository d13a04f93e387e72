import type { RawCpuid } from '../../src/emu/raw-cpuid.js';
import { ERRNO } from '../../src/linux/errno.js';
import type { Process } from '../../src/linux/process.js';
import { type Libc, MAP_ANONYMOUS, PROT_NONE, PROT_READ } from '../../src/live/ffi.js';

/** The system calls of a simulated process: what is recorded through them is the simulator's own KVM. */
export function simulatedLibc(process: Process, cpuid: RawCpuid): Libc {
  const { memory } = process;
  const mprotect = (address: number, length: number, protection: number): number => {
    memory.mprotect(address, length, protection === PROT_NONE ? 'none' : protection === PROT_READ ? 'r' : 'rw');
    return 0;
  };
  const view = (address: number, length: number) =>
    new Uint8Array(memory.bytes.buffer as ArrayBuffer, address - memory.base, length);
  return {
    open: (path) => process.open(path),
    close: (fd) => process.close(fd),
    ioctl: (fd, request, argument) => process.ioctl(fd, request, argument),
    mmap: (length, _, flags, fd) => (flags & MAP_ANONYMOUS ? memory.mmap(length) : process.mmap(fd, length)),
    munmap: (address, length) => mprotect(address, length, PROT_NONE),
    mprotect,
    syscall: () => -ERRNO.EOPNOTSUPP,
    view,
    code: () => (fn, index, registers) => {
      const { buffer, byteOffset } = view(registers, 16);
      cpuid.execute(fn, index, new Uint32Array(buffer, byteOffset, 4));
    },
  };
}
