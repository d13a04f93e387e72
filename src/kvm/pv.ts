import { EBX, ECX, EDX, ENTRY2_WORDS, FUNCTION } from './abi.js';
import { ANY_INDEX, findEntry } from './cpuid-table.js';

/** KVM's signature, "KVMKVMKVM" and three zero bytes, in EBX, ECX and EDX of the base leaf. */
export const KVM_SIGNATURE = { ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d } as const;

/** Where KVM's leaves are unless userspace moves them. */
export const KVM_CPUID_SIGNATURE = 0x4000_0000;
const LAST_BASE = 0x4000_ff00;
const BASE_STEP = 0x100;

/** Of KVM_CPUID_FEATURES: EAX[7], cleared in the guest's table when HLT exits are disabled. */
export const KVM_FEATURE_PV_UNHALT = 1 << 7;

/**
 * `kvm_get_hypervisor_cpuid()`: the first of 0x40000000, 0x40000100 … 0x4000FF00 that carries KVM's signature; 0 when
 * the table has none.
 */
export function kvmSignatureBase(words: Uint32Array, count: number): number {
  let lowest = 0;
  const end = count * ENTRY2_WORDS;
  for (let at = 0; at < end; at += ENTRY2_WORDS) {
    if (!isKvmSignature(words, at)) continue;
    const base = words[at + FUNCTION]!;
    if (base < KVM_CPUID_SIGNATURE || base > LAST_BASE || base % BASE_STEP !== 0) continue;
    // Of several entries the first counts, whatever it carries.
    if ((lowest === 0 || base < lowest) && findEntry(words, count, base, ANY_INDEX) === at) lowest = base;
  }
  return lowest;
}

/** Whether the entry at word `at` carries KVM's signature. */
export function isKvmSignature(words: Uint32Array, at: number): boolean {
  return (
    words[at + EBX] === KVM_SIGNATURE.ebx &&
    words[at + ECX] === KVM_SIGNATURE.ecx &&
    words[at + EDX] === KVM_SIGNATURE.edx
  );
}
