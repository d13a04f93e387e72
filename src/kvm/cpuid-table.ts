import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../cpuid/entry.js';
import { EAX, EBX, ECX, EDX, ENTRY_SIZE, ENTRY2_SIZE, ENTRY2_WORDS, FLAGS, FUNCTION, INDEX, PADDING } from './abi.js';
import { hasSlot, NO_SLOT, SLOT_COUNT, slotOf } from './paranoid/rule-arrays.js';
import { KVM_MAX_CPUID_ENTRIES } from './supported.js';

/** For lookups that take any sub-leaf (`KVM_CPUID_INDEX_NOT_SIGNIFICANT`). */
export const ANY_INDEX = -1;

// V8 compiles the constants of a module into its code, but reads imported ones from memory: hence these copies.
const entrySize = ENTRY2_WORDS;
const indexAt = INDEX;
const flagsAt = FLAGS;
const significantIndex = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
const noSlot = NO_SLOT;

/** The kernel's copy of a vCPU's CPUID table: `cpuid_entries` and `cpuid_nent`, in the layout that userspace wrote. */
export class CpuidTable {
  /** Entries of {@link ENTRY2_WORDS} words each. */
  readonly words = new Uint32Array(KVM_MAX_CPUID_ENTRIES * ENTRY2_WORDS);
  readonly bytes = new Uint8Array(this.words.buffer);
  private entryCount = 0;
  /** By slot: the first word of the function's first entry, or -1. Made when it is first needed. */
  private readonly firstEntries = new Int16Array(SLOT_COUNT);
  private isIndexed = false;

  get count(): number {
    return this.entryCount;
  }

  /** Set it after functions, indices or flags of {@link words} have been written; registers may change at any time. */
  set count(count: number) {
    this.entryCount = count;
    this.isIndexed = false;
  }

  /** Takes `nent` entries of `struct kvm_cpuid_entry2` from userspace. */
  copyIn(source: Uint8Array, offset: number, nent: number): void {
    this.bytes.set(source.subarray(offset, offset + nent * ENTRY2_SIZE));
    this.count = nent;
  }

  /** Takes `nent` entries of the legacy `struct kvm_cpuid_entry`; index, flags and padding become zero. */
  copyInLegacy(source: DataView, offset: number, nent: number): void {
    for (let i = 0; i < nent; i++) {
      const from = offset + i * ENTRY_SIZE;
      const to = i * ENTRY2_WORDS;
      this.words.fill(0, to, to + ENTRY2_WORDS);
      this.words[to + FUNCTION] = source.getUint32(from, true);
      for (let register = 0; register < 4; register++) {
        this.words[to + EAX + register] = source.getUint32(from + 4 + register * 4, true);
      }
    }
    this.count = nent;
  }

  /** {@link findEntry} in this table. */
  find(fn: number, index: number): number {
    if (!hasSlot(fn)) return findEntry(this.words, this.entryCount, fn, index);
    if (!this.isIndexed) this.makeIndex();
    const first = this.firstEntries[slotOf(fn)]!;
    return first < 0 ? -1 : findEntry(this.words, this.entryCount, fn, index, first);
  }

  /**
   * {@link find} for one sub-leaf of a function with a slot, both numbers signed: V8 computes with 32 bits then, and need
   * not put anything on the heap.
   */
  findSigned(fn: number, index: number): number {
    if (!this.isIndexed) this.makeIndex();
    const first = this.firstEntries[((fn << 24) + fn) >>> 24]!;
    if (first < 0) return -1;
    const { words } = this;
    const end = this.entryCount * entrySize;
    for (let at = first; at < end; at += entrySize) {
      if ((words[at]! | 0) !== fn) continue;
      if ((words[at + flagsAt]! & significantIndex) === 0 || (words[at + indexAt]! | 0) === index) return at;
    }
    return -1;
  }

  private makeIndex(): void {
    const { words, firstEntries } = this;
    firstEntries.fill(-1);
    for (let at = this.entryCount * entrySize; at > 0; ) {
      at -= entrySize;
      const fn = words[at]! | 0;
      if ((fn & noSlot) === 0) firstEntries[((fn << 24) + fn) >>> 24] = at;
    }
    this.isIndexed = true;
  }

  /** Whether two tables are equal in count and, position by position, in all but the padding. */
  equals(other: CpuidTable): boolean {
    if (this.count !== other.count) return false;
    for (let at = 0; at < this.count * ENTRY2_WORDS; at++) {
      if (this.words[at] !== other.words[at] && at % ENTRY2_WORDS < PADDING) return false;
    }
    return true;
  }

  /** The entries as objects, for people and reports. */
  entries(): CpuidEntry2[] {
    return Array.from({ length: this.count }, (_, i) => entryAt(this.words, i));
  }
}

/**
 * `kvm_find_cpuid_entry2()`: the first entry, in table order, of this function whose index matches or does not matter
 * (no KVM_CPUID_FLAG_SIGNIFCANT_INDEX, or {@link ANY_INDEX} asked).
 *
 * @param from the first word of the entry to start with
 * @returns the position of its first word in `words`, or -1
 */
export function findEntry(words: Uint32Array, count: number, fn: number, index: number, from = 0): number {
  const end = count * ENTRY2_WORDS;
  for (let at = from; at < end; at += ENTRY2_WORDS) {
    if (words[at + FUNCTION] !== fn) continue;
    if (index === ANY_INDEX || (words[at + FLAGS]! & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) === 0) return at;
    if (words[at + INDEX] === index) return at;
  }
  return -1;
}

/** One entry of an array of words as an object. */
export function entryAt(words: Uint32Array, position: number): CpuidEntry2 {
  const at = position * ENTRY2_WORDS;
  const padding = [words[at + PADDING]!, words[at + PADDING + 1]!, words[at + PADDING + 2]!] as const;
  return {
    function: words[at + FUNCTION]!,
    index: words[at + INDEX]!,
    flags: words[at + FLAGS]!,
    eax: words[at + EAX]!,
    ebx: words[at + EBX]!,
    ecx: words[at + ECX]!,
    edx: words[at + EDX]!,
    ...(padding.some((word) => word !== 0) && { padding }),
  };
}

/** Writes an entry to an array of words. */
export function putEntry(words: Uint32Array, position: number, entry: CpuidEntry2): void {
  const { function: fn, index, flags, eax, ebx, ecx, edx, padding = [0, 0, 0] } = entry;
  words.set([fn, index, flags, eax, ebx, ecx, edx, ...padding], position * ENTRY2_WORDS);
}
