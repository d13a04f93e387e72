/**
 * The raw bytes of `struct kvm_cpuid2`, as a VMM hands them to the kernel (little endian):
 *
 *     0  nent      8 + 40 n       function     + 12 .. 24  eax, ebx, ecx, edx
 *     4  padding       + 4, + 8   index, flags + 28 .. 36  padding[3]
 */

import type { Payload } from '../dump.js';
import type { CpuidEntry2 } from '../entry.js';
import { FormatError } from '../errors.js';
import { Remarks } from './remarks.js';

const HEADER_SIZE = 8;
const ENTRY_SIZE = 40;

/**
 * Reads `struct kvm_cpuid2`.
 *
 * @throws FormatError when the bytes end before the entries that nent promises
 */
export function readKvmCpuid2(bytes: Uint8Array, name: string): Payload {
  if (bytes.length < HEADER_SIZE) {
    throw new FormatError(`only ${bytes.length} bytes`, `${name}@0x0`, `the ${HEADER_SIZE}-byte head of kvm_cpuid2`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const nent = view.getUint32(0, true);
  const size = HEADER_SIZE + nent * ENTRY_SIZE;
  if (size > bytes.length) {
    throw new FormatError(`nent is ${nent} in a file of ${bytes.length} bytes`, `${name}@0x0`, `${size} bytes for it`);
  }
  const remarks = new Remarks();
  if (size < bytes.length) {
    remarks.add(`${name}@0x${size.toString(16)}: ${bytes.length - size} bytes behind the last entry are ignored`);
  }
  const entries = Array.from({ length: nent }, (_, n) => readEntry(view, HEADER_SIZE + n * ENTRY_SIZE));
  const table = { label: '', entries, headPadding: view.getUint32(4, true) };
  return { format: 'kvm_cpuid2', tables: [table], warnings: remarks.list() };
}

/** Writes `struct kvm_cpuid2`. */
export function writeKvmCpuid2(entries: readonly CpuidEntry2[], headPadding = 0): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + entries.length * ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, entries.length, true);
  view.setUint32(4, headPadding, true);
  entries.forEach((entry, n) => {
    writeEntry(view, HEADER_SIZE + n * ENTRY_SIZE, entry);
  });
  return bytes;
}

function readEntry(view: DataView, offset: number): CpuidEntry2 {
  const word = (n: number) => view.getUint32(offset + 4 * n, true);
  const padding = [word(7), word(8), word(9)] as const;
  const entry = {
    function: word(0),
    index: word(1),
    flags: word(2),
    eax: word(3),
    ebx: word(4),
    ecx: word(5),
    edx: word(6),
  };
  return padding.some((value) => value !== 0) ? { ...entry, padding } : entry;
}

function writeEntry(view: DataView, offset: number, entry: CpuidEntry2): void {
  const { function: fn, index, flags, eax, ebx, ecx, edx, padding = [0, 0, 0] } = entry;
  [fn, index, flags, eax, ebx, ecx, edx, ...padding].forEach((word, n) => {
    view.setUint32(offset + 4 * n, word, true);
  });
}
