import type { MemoryBlock } from '../../linux/user-memory.js';
import { CPUID2_HEADER_SIZE, ENTRY2_SIZE, ENTRY2_WORDS } from '../abi.js';
import { KVM_MAX_CPUID_ENTRIES } from '../supported.js';
import type { RuleLines } from './rule-lines.js';
import { isShared, MAX_LISTED, SimdScan } from './simd.js';
import { firstRefusedAt } from './verify.js';

/** Bytes in which tables lie; a process's `UserMemory` is one. */
export interface Arena {
  readonly bytes: Uint8Array;
  /** Whose first bytes they are; `null` if they have no particular owner. */
  readonly block: MemoryBlock | null;
}

export type KernelName = 'simd' | 'portable';

const verifiers = new WeakMap<MemoryBlock, ArenaVerifier>();

/**
 * The verifier of an arena that vectors can run over and that no other thread can write to: what is verified there is
 * what was copied from there. `null` for every other.
 */
export function arenaVerifierOf(arena: Arena): ArenaVerifier | null {
  const { block } = arena;
  if (block === null || isShared(block.buffer)) return null;
  let verifier = verifiers.get(block);
  if (!verifier) {
    verifier = new ArenaVerifier(arena);
    verifiers.set(block, verifier);
  }
  return verifier.kernel === 'simd' ? verifier : null;
}

/**
 * Verifies tables where they lie in an arena: with vectors if that is memory of WebAssembly (see `simdMemory()`), else
 * with the portable kernel. Make one for an arena and keep it.
 */
export class ArenaVerifier {
  readonly kernel: KernelName;
  private readonly simd: SimdScan | null;
  private readonly view: DataView;
  private readonly words: Uint32Array;
  /** Takes tables that are not aligned. */
  private readonly aligned = new Uint32Array(KVM_MAX_CPUID_ENTRIES * ENTRY2_WORDS);

  /** @param kernel `portable` leaves vectors alone even if they are there */
  constructor({ bytes, block }: Arena, kernel: KernelName = 'simd') {
    this.simd = kernel === 'simd' ? SimdScan.over(block, bytes.length) : null;
    this.kernel = this.simd ? 'simd' : 'portable';
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  }

  /**
   * Verifies the `count` entries, at most 256, that start at byte `offset` of the arena. Allocates nothing.
   *
   * @returns the position of the first entry with a bit or value that is not allowed, or -1
   */
  firstRefused(rules: RuleLines, offset: number, count: number): number {
    if ((offset & 3) !== 0) return firstRefusedAt(rules, this.align(offset, count), 0, count);
    if (this.simd === null) return firstRefusedAt(rules, this.words, offset >>> 2, count);
    const suspect = this.simd.nextSuspect(offset, offset + count * ENTRY2_SIZE, rules.screen, offset);
    return this.firstRefusedBySimd(this.simd, rules, offset, count, suspect);
  }

  /**
   * Verifies many tables, each a `struct kvm_cpuid2`.
   *
   * @param offsets where they are in the arena
   * @param refused a bit for each, set if the table is refused, has more than 256 entries, or reaches beyond the arena
   * @returns how many are refused
   */
  verifyAll(rules: RuleLines, offsets: Uint32Array, refused: Uint32Array): number {
    refused.fill(0);
    return this.simd === null
      ? this.verifyAllPortably(rules, offsets, refused)
      : this.verifyAllBySimd(this.simd, rules, offsets, refused);
  }

  private verifyAllPortably(rules: RuleLines, offsets: Uint32Array, refused: Uint32Array): number {
    let found = 0;
    for (let n = 0; n < offsets.length; n++) {
      if (!this.refuses(rules, offsets[n]!)) continue;
      refused[n >>> 5]! |= 1 << (n & 31);
      found++;
    }
    return found;
  }

  private verifyAllBySimd(simd: SimdScan, rules: RuleLines, offsets: Uint32Array, refused: Uint32Array): number {
    let found = 0;
    for (let first = 0; first < offsets.length; first += MAX_LISTED) {
      const count = Math.min(MAX_LISTED, offsets.length - first);
      if (simd.scanAll(offsets, first, count, rules.screen) === 0) continue;
      for (let n = 0; n < count; n++) {
        const suspect = simd.suspectOf(n);
        if (suspect < 0 || !this.refusesFrom(simd, rules, offsets[first + n]!, suspect)) continue;
        refused[(first + n) >>> 5]! |= 1 << (n & 31);
        found++;
      }
    }
    return found;
  }

  /** Whether a table is refused of which all is known before its first suspect entry. */
  private refusesFrom(simd: SimdScan, rules: RuleLines, table: number, suspect: number): boolean {
    if (suspect === 0 || (table & 3) !== 0) return this.refuses(rules, table);
    const count = this.view.getUint32(table, true);
    return this.firstRefusedBySimd(simd, rules, table + CPUID2_HEADER_SIZE, count, suspect) >= 0;
  }

  private refuses(rules: RuleLines, table: number): boolean {
    const room = this.view.byteLength - CPUID2_HEADER_SIZE - table;
    if (room < 0) return true;
    const nent = this.view.getUint32(table, true);
    if (nent > KVM_MAX_CPUID_ENTRIES || nent * ENTRY2_SIZE > room) return true;
    return this.firstRefused(rules, table + CPUID2_HEADER_SIZE, nent) >= 0;
  }

  /** `firstRefusedAt()` with the other kernel, from the first suspect on. */
  private firstRefusedBySimd(simd: SimdScan, rules: RuleLines, offset: number, count: number, suspect: number): number {
    const { words } = this;
    const { screen } = rules;
    const end = offset + count * ENTRY2_SIZE;
    let at = suspect;
    while (at < end && !rules.refuses(words, at >>> 2)) at = simd.nextSuspect(at + ENTRY2_SIZE, end, screen, offset);
    return at < end ? (at - offset) / ENTRY2_SIZE : -1;
  }

  private align(offset: number, count: number): Uint32Array {
    const { aligned, view } = this;
    for (let word = 0; word < count * ENTRY2_WORDS; word++) aligned[word] = view.getUint32(offset + 4 * word, true);
    return aligned;
  }
}
