import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../cpuid/entry.js';
import { EAX, EBX, ECX, EDX, ENTRY2_WORDS, FLAGS, FUNCTION, INDEX } from '../abi.js';
import { KVM_CPUID_SIGNATURE, kvmSignatureBase } from '../pv.js';
import {
  type AllowedTable,
  CHECK_FIELD,
  CHECK_FIXED,
  CHECK_FIXED_OR_ZERO,
  CHECK_WORDS,
  hasSlot,
  slotOf,
} from './allowed-table.js';

/**
 * Verifies entries against the allowed values, in place. Allocates nothing.
 *
 * @param words entries of 10 words each, from the first word on
 * @param count number of entries
 * @returns the position of the first entry with a bit or value that is not allowed, or -1
 */
export function firstRefused(allowed: AllowedTable, words: Uint32Array, count: number): number {
  const end = count * ENTRY2_WORDS;
  for (let at = 0; at < end; at += ENTRY2_WORDS) {
    if (refusesEntry(allowed, words, at) && !isForeignSignatureLeaf(words[at + FUNCTION]!, words, count)) {
      return at / ENTRY2_WORDS;
    }
  }
  return -1;
}

/** Whether the entry at word `at` breaks a rule, taken by itself. */
export function refusesEntry(allowed: AllowedTable, words: Uint32Array, at: number): boolean {
  const { base, subleaves, reject, checkStart } = allowed;
  const fn = words[at + FUNCTION]!;
  let line: number;
  if (hasSlot(fn)) {
    const slot = slotOf(fn);
    line = base[slot]!;
    if (line < 0) line = allowed.unknownLine;
    else if ((words[at + FLAGS]! & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0) {
      const known = subleaves[slot]!;
      const index = words[at + INDEX]!;
      if (known !== 0) line += 1 + (index < known ? index : known - 1);
    }
  } else line = allowed.rangeLine(fn);
  const from = line * 4;
  const refused =
    (words[at + EAX]! & reject[from]!) |
    (words[at + EBX]! & reject[from + 1]!) |
    (words[at + ECX]! & reject[from + 2]!) |
    (words[at + EDX]! & reject[from + 3]!);
  if (refused !== 0) return true;
  return checkStart[line + 1] !== checkStart[line] && !passesChecks(allowed, line, words, at);
}

function passesChecks(allowed: AllowedTable, line: number, words: Uint32Array, at: number): boolean {
  const { checks, values, checkStart } = allowed;
  const end = checkStart[line + 1]! * CHECK_WORDS;
  for (let check = checkStart[line]! * CHECK_WORDS; check < end; check += CHECK_WORDS) {
    const value = words[at + EAX + checks[check + 1]!]!;
    const operand = checks[check + 4]!;
    switch (checks[check]) {
      case CHECK_FIELD:
        if ((value & checks[check + 3]!) >>> checks[check + 2]! > operand >>> 0) return false;
        break;
      case CHECK_FIXED:
        if ((value | 0) !== operand) return false;
        break;
      case CHECK_FIXED_OR_ZERO:
        if (value !== 0 && (value | 0) !== operand) return false;
        break;
      default:
        if (!hasValue(values, operand, checks[check + 5]!, (value & checks[check + 3]!) >>> checks[check + 2]!))
          return false;
    }
  }
  return true;
}

function hasValue(values: Int32Array, from: number, count: number, value: number): boolean {
  for (let i = from; i < from + count; i++) if (values[i] === value) return true;
  return false;
}

/**
 * Whether the entry is 0x40000000 or 0x40000001 while KVM's signature is not at 0x40000000: these leaves then belong to
 * another interface (Hyper-V, Xen) and are not looked at (RFC patch 24). Asked only about entries that would be refused.
 */
export function isForeignSignatureLeaf(fn: number, words: Uint32Array, count: number): boolean {
  if (fn !== KVM_CPUID_SIGNATURE && fn !== KVM_CPUID_SIGNATURE + 1) return false;
  return kvmSignatureBase(words, count) !== KVM_CPUID_SIGNATURE;
}
