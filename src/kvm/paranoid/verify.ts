import { EBX, ECX, EDX, ENTRY2_WORDS, FUNCTION } from '../abi.js';
import { KVM_CPUID_SIGNATURE, KVM_SIGNATURE } from '../pv.js';
import { nextSuspect, place } from './portable.js';
import type { RuleLines } from './rule-lines.js';

// V8 compiles the constants of a module into its code, but reads imported ones from memory: hence these copies.
const entrySize = ENTRY2_WORDS;
const functionAt = FUNCTION;
const signatureLeaf = KVM_CPUID_SIGNATURE;

/**
 * Verifies entries against the allowed values, in place. Allocates nothing.
 *
 * @param words entries of 10 words each, from the first word on
 * @param count number of entries
 * @returns the position of the first entry with a bit or value that is not allowed, or -1
 */
export function firstRefused(rules: RuleLines, words: Uint32Array, count: number): number {
  return firstRefusedAt(rules, words, 0, count);
}

/** {@link firstRefused} for entries that start at word `start`. */
export function firstRefusedAt(rules: RuleLines, words: Uint32Array, start: number, count: number): number {
  const screen = place(rules.screen);
  const end = start + count * entrySize;
  let foreign: boolean | null = null;
  let at = nextSuspect(words, start, end, screen);
  while (at < end) {
    const isSignature = isSignatureLeaf(words[at + functionAt]! | 0);
    if (isSignature) foreign ??= isSignatureForeign(words, start, end);
    if (!(isSignature && foreign) && rules.refuses(words, at)) break;
    at = nextSuspect(words, at + entrySize, end, screen);
  }
  return at < end ? (at - start) / entrySize : -1;
}

/**
 * Whether the entry is 0x40000000 or 0x40000001 while KVM's signature is not at 0x40000000: these leaves then belong to
 * another interface (Hyper-V, Xen) and are not looked at (RFC patch 24). Asked only about entries that would be refused.
 */
export function isForeignSignatureLeaf(fn: number, words: Uint32Array, count: number): boolean {
  return isSignatureLeaf(fn) && isSignatureForeign(words, 0, count * entrySize);
}

/** Whether a function is one of KVM's two, at the place where they are by default. */
export function isSignatureLeaf(fn: number): boolean {
  return fn === signatureLeaf || fn === signatureLeaf + 1;
}

/** Whether the first entry of leaf 0x40000000 is not KVM's, or is not there. Does not depend on which entry asks. */
export function isSignatureForeign(words: Uint32Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += entrySize) {
    if (words[at + functionAt] !== signatureLeaf) continue;
    return (
      words[at + EBX] !== KVM_SIGNATURE.ebx ||
      words[at + ECX] !== KVM_SIGNATURE.ecx ||
      words[at + EDX] !== KVM_SIGNATURE.edx
    );
  }
  return true;
}
