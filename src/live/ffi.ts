/**
 * The system calls that speak to a real `/dev/kvm`, through koffi. The package is optional and loaded on first use; the
 * part of its interface that is used is declared here, so that the project builds where it is not installed.
 */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { ERRNO } from '../linux/errno.js';

/** A user or kernel address; those above 2^53 are bigint. */
export type Address = number | bigint;

/** Why there is nothing to compare with on this machine: one line. */
export class LiveUnavailable extends Error {
  override readonly name = 'LiveUnavailable';
}

type Native = (...parameters: readonly unknown[]) => number;

interface Koffi {
  load(path: string | null): { func(name: string, result: string, parameters: readonly string[]): Native };
  errno(): number;
  view(pointer: bigint, length: number): ArrayBuffer;
  proto(result: string, parameters: readonly string[]): unknown;
  decode(pointer: bigint, type: unknown): Native;
}

/** System calls as the kernel answers them: zero or above, or a negative errno. */
export interface Libc {
  open(path: string, flags: number): number;
  close(fd: number): number;
  ioctl(fd: number, request: number, argument: Address): number;
  mmap(length: number, protection: number, flags: number, fd: number): number;
  munmap(address: number, length: number): number;
  mprotect(address: number, length: number, protection: number): number;
  syscall(number: number, a?: Address, b?: Address, c?: Address): number;
  /** The bytes at an address of this process, which has to stay mapped as long as they are used. */
  view(address: number, length: number): Uint8Array<ArrayBuffer>;
  /** Machine code at an address as a function of (u32, u32, address). */
  code(address: number): (a: number, b: number, c: number) => void;
}

export const O_RDWR = 2;
export const O_CLOEXEC = 0o2000000;
export const PROT_NONE = 0;
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MAP_ANONYMOUS = 0x20;

/** System call numbers of x86-64. */
export const SYS_SETITIMER = 38;
export const SYS_ARCH_PRCTL = 158;
export const SYS_SCHED_SETAFFINITY = 203;
export const SYS_SCHED_GETAFFINITY = 204;

/**
 * Loads the C library's functions.
 *
 * @throws LiveUnavailable on another platform, or where koffi is not installed or does not load
 */
export function loadLibc(): Libc {
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== 'linux-x64')
    throw new LiveUnavailable(`/dev/kvm is asked on linux-x64 only, and this is ${platform}`);
  return bind(requireKoffi());
}

function requireKoffi(): Koffi {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'MODULE_NOT_FOUND') {
      throw new LiveUnavailable('the optional package koffi is not installed (npm install koffi@3)');
    }
    throw new LiveUnavailable(`the optional package koffi does not load: ${firstLine(error)}`);
  }
}

const firstLine = (error: unknown): string => String((error as Error).message ?? error).split('\n', 1)[0]!;

function bind(koffi: Koffi): Libc {
  const library = koffi.load(null);
  const bound = (name: string, result: string, ...parameters: string[]): Native => {
    const native = library.func(name, result, parameters);
    return (...values) => {
      const answer = native(...values);
      return answer === -1 ? -koffi.errno() : answer;
    };
  };
  const open = bound('open', 'int', 'str', 'int');
  const close = bound('close', 'int', 'int');
  const ioctl = bound('ioctl', 'int', 'int', 'ulong', 'uintptr_t');
  const mmap = bound('mmap', 'intptr_t', 'uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t');
  const munmap = bound('munmap', 'int', 'uintptr_t', 'size_t');
  const mprotect = bound('mprotect', 'int', 'uintptr_t', 'size_t', 'int');
  const syscall = bound('syscall', 'long', 'long', 'uintptr_t', 'uintptr_t', 'uintptr_t');
  const stub = koffi.proto('void', ['uint32_t', 'uint32_t', 'uintptr_t']);
  return {
    open,
    close,
    ioctl,
    mmap: (length, protection, flags, fd) => mmap(0, length, protection, flags, fd, 0),
    munmap,
    mprotect,
    syscall: (number, a = 0, b = 0, c = 0) => syscall(number, a, b, c),
    view: (address, length) => new Uint8Array(koffi.view(BigInt(address), length)),
    code: (address) => koffi.decode(BigInt(address), stub),
  };
}

/** Names of errnos: those that the simulator has, then Node's. */
const names = new Map<number, string>();
for (const [name, value] of [...Object.entries(ERRNO), ...Object.entries(constants.errno)]) {
  if (!names.has(value)) names.set(value, name);
}

/** The name of a system call's result: `OK` for zero and above. Unlike the simulator's, it knows every errno. */
export function errnoOf(result: number): string {
  return result >= 0 ? 'OK' : (names.get(-result) ?? `E#${-result}`);
}
