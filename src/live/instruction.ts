/** The CPUID instruction of one CPU of this machine. JavaScript has none: a few bytes of machine code do. */
import { closeSync, openSync, readSync } from 'node:fs';
import { type Mapping, PAGE_SIZE, withMapping } from './buffers.js';
import {
  errnoOf,
  type Libc,
  LiveUnavailable,
  PROT_EXEC,
  PROT_READ,
  SYS_SCHED_GETAFFINITY,
  SYS_SCHED_SETAFFINITY,
} from './ffi.js';
import type { Cpuid } from './raw.js';

export interface Instructions {
  readonly cpuid: Cpuid;
  /** XCR0, where it can be read. */
  readonly xcr0: (() => bigint) | null;
}

/** `void (u32 function, u32 index, u32 registers[4])` in the System V calling convention. */
const CPUID_CODE: readonly number[] = [
  ...[0xf3, 0x0f, 0x1e, 0xfa], // endbr64
  0x53, // push rbx
  ...[0x49, 0x89, 0xd0], // mov r8, rdx
  ...[0x89, 0xf8], // mov eax, edi
  ...[0x89, 0xf1], // mov ecx, esi
  ...[0x0f, 0xa2], // cpuid
  ...[0x41, 0x89, 0x00], // mov [r8], eax
  ...[0x41, 0x89, 0x58, 0x04], // mov [r8 + 4], ebx
  ...[0x41, 0x89, 0x48, 0x08], // mov [r8 + 8], ecx
  ...[0x41, 0x89, 0x50, 0x0c], // mov [r8 + 12], edx
  0x5b, // pop rbx
  0xc3, // ret
];

/** `void (u32 xcr, u32 unused, u32 value[2])`; only where CPUID.1:ECX[27] OSXSAVE is set. */
const XGETBV_CODE: readonly number[] = [
  ...[0xf3, 0x0f, 0x1e, 0xfa], // endbr64
  ...[0x49, 0x89, 0xd0], // mov r8, rdx
  ...[0x89, 0xf9], // mov ecx, edi
  ...[0x0f, 0x01, 0xd0], // xgetbv
  ...[0x41, 0x89, 0x00], // mov [r8], eax
  ...[0x41, 0x89, 0x50, 0x04], // mov [r8 + 4], edx
  0xc3, // ret
];

const XGETBV_OFFSET = 64;

/**
 * Runs with the instructions of the lowest CPU that this process may use (CPU 0 as a rule), pinned to it.
 *
 * @throws LiveUnavailable when neither machine code may be run nor /dev/cpu/N/cpuid be read
 */
export function withInstructions<T>(libc: Libc, body: (instructions: Instructions) => T): T {
  return pinned(libc, (cpu) =>
    withMapping(libc, PAGE_SIZE, (code) =>
      withMapping(libc, PAGE_SIZE, (registers) => {
        code.bytes.set(CPUID_CODE, 0);
        code.bytes.set(XGETBV_CODE, XGETBV_OFFSET);
        const allowed = code.protect(PROT_READ | PROT_EXEC);
        return allowed === 0
          ? body(machineCode(libc, code, registers))
          : fromDevice(cpu, `executable memory: ${errnoOf(allowed)}`, body);
      }),
    ),
  );
}

function machineCode(libc: Libc, code: Mapping, registers: Mapping): Instructions {
  const words = registers.words(0, 4);
  const cpuid = libc.code(code.address);
  const xgetbv = libc.code(code.address + XGETBV_OFFSET);
  return {
    cpuid: (fn, index) => {
      cpuid(fn, index, registers.address);
      return [words[0]!, words[1]!, words[2]!, words[3]!];
    },
    xcr0: () => {
      xgetbv(0, 0, registers.address);
      return (BigInt(words[1]!) << 32n) | BigInt(words[0]!);
    },
  };
}

/** The cpuid driver: the file offset is the function, its upper half the index. */
function fromDevice<T>(cpu: number, reason: string, body: (instructions: Instructions) => T): T {
  const path = `/dev/cpu/${cpu}/cpuid`;
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new LiveUnavailable(`CPUID can be neither executed (${reason}) nor read from ${path} (${code})`);
  }
  try {
    const bytes = Buffer.alloc(16);
    return body({
      cpuid: (fn, index) => {
        readSync(fd, bytes, 0, 16, (BigInt(index) << 32n) | BigInt(fn));
        return [bytes.readUInt32LE(0), bytes.readUInt32LE(4), bytes.readUInt32LE(8), bytes.readUInt32LE(12)];
      },
      xcr0: null,
    });
  } finally {
    closeSync(fd);
  }
}

/** Bytes of a CPU mask: 8192 CPUs. */
const MASK_SIZE = 1024;

/** Runs on the lowest CPU of the thread's mask, and gives the mask back afterwards. */
function pinned<T>(libc: Libc, body: (cpu: number) => T): T {
  return withMapping(libc, 2 * MASK_SIZE, (masks) => {
    const before = masks.bytes.subarray(0, MASK_SIZE);
    const length = libc.syscall(SYS_SCHED_GETAFFINITY, 0, MASK_SIZE, masks.address);
    const byte = before.findIndex((bits) => bits !== 0);
    if (length < 0 || byte < 0) return body(0);
    const lowest = before[byte]! & -before[byte]!;
    masks.bytes[MASK_SIZE + byte] = lowest;
    libc.syscall(SYS_SCHED_SETAFFINITY, 0, MASK_SIZE, masks.address + MASK_SIZE);
    try {
      return body(byte * 8 + Math.log2(lowest));
    } finally {
      libc.syscall(SYS_SCHED_SETAFFINITY, 0, MASK_SIZE, masks.address);
    }
  });
}
