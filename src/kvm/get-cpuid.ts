import type { CpuidEntry2 } from '../cpuid/entry.js';
import type { Overlay } from '../cpuid/features.js';
import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import { CPUID2_HEADER_SIZE, ENTRY2_SIZE, ENTRY2_WORDS, PADDING } from './abi.js';
import { chargeGetSupported, coreOf } from './charges.js';
import { putEntry } from './cpuid-table.js';
import type { KvmModule } from './module.js';
import { KVM_MAX_CPUID_ENTRIES } from './supported.js';

/** An address some bytes further on. */
export function plus(address: Address, bytes: number): Address {
  return typeof address === 'bigint' ? address + BigInt(bytes) : address + bytes;
}

/**
 * KVM_GET_SUPPORTED_CPUID (`kvm_dev_ioctl_get_cpuid()`).
 *
 * @returns 0; -EFAULT when the header cannot be read or the result not be written; -E2BIG when `nent` is 0 or too small.
 *   `nent` above 256 counts as 256. On E2BIG nothing is written, `nent` neither.
 */
export function getSupportedCpuid(module: KvmModule, overlay: Overlay, process: Process, argument: Address): number {
  const { memory } = process;
  const header = memory.readable(argument, CPUID2_HEADER_SIZE);
  if (header < 0) return -ERRNO.EFAULT;
  const nent = memory.view.getUint32(header, true);
  if (nent === 0) return -ERRNO.E2BIG;
  const list = module.supported(overlay, process);
  const core = coreOf(process);
  if (core !== null) chargeGetSupported(core, list.slice(0, nent));
  if (list.length > Math.min(nent, KVM_MAX_CPUID_ENTRIES)) return -ERRNO.E2BIG;
  return copyOutList(process, argument, header, list);
}

/**
 * KVM_GET_EMULATED_CPUID. As {@link getSupportedCpuid}, but -EINVAL when the padding of one of the entries handed in is
 * not zero or cannot be read, and one entry more than the result is needed: the walk asks for room at the bases
 * 0x80000000 and 0x40000000, which add nothing.
 */
export function getEmulatedCpuid(module: KvmModule, overlay: Overlay, process: Process, argument: Address): number {
  const { memory } = process;
  const header = memory.readable(argument, CPUID2_HEADER_SIZE);
  if (header < 0) return -ERRNO.EFAULT;
  const nent = memory.view.getUint32(header, true);
  if (nent === 0) return -ERRNO.E2BIG;
  const room = Math.min(nent, KVM_MAX_CPUID_ENTRIES);
  for (let i = 0; i < room; i++) {
    const padding = plus(argument, CPUID2_HEADER_SIZE + i * ENTRY2_SIZE + PADDING * 4);
    const at = memory.readable(padding, 12);
    if (at < 0) return -ERRNO.EINVAL;
    for (let word = 0; word < 12; word += 4) if (memory.view.getUint32(at + word, true) !== 0) return -ERRNO.EINVAL;
  }
  const list = module.emulated(overlay);
  if (list.length + 1 > room) return -ERRNO.E2BIG;
  return copyOutList(process, argument, header, list);
}

const packed = new WeakMap<readonly CpuidEntry2[], Uint8Array>();

/** A list as userspace gets it. KVM computes some lists once: these are packed but once too. */
function pack(list: readonly CpuidEntry2[]): Uint8Array {
  let bytes = packed.get(list);
  if (!bytes) {
    const words = new Uint32Array(list.length * ENTRY2_WORDS);
    for (const [position, entry] of list.entries()) putEntry(words, position, entry);
    bytes = new Uint8Array(words.buffer);
    packed.set(list, bytes);
  }
  return bytes;
}

const header = new Uint32Array(2);
const headerBytes = new Uint8Array(header.buffer);

/** Writes entries, then the header with the new count; the header's padding comes back as it was. */
export function copyOutList(process: Process, argument: Address, at: number, list: readonly CpuidEntry2[]): number {
  const { memory } = process;
  const padding = memory.view.getUint32(at + 4, true);
  if (!memory.copyOut(plus(argument, CPUID2_HEADER_SIZE), pack(list))) return -ERRNO.EFAULT;
  header[0] = list.length;
  header[1] = padding;
  return memory.copyOut(argument, headerBytes) ? 0 : -ERRNO.EFAULT;
}
