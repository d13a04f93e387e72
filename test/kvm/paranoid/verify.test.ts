import { describe, expect, test } from 'vitest';
import { type CpuidEntry2, formatEntry } from '../../../src/index.js';
import { CPUID2_HEADER_SIZE, ENTRY2_SIZE, ENTRY2_WORDS } from '../../../src/kvm/abi.js';
import { entryAt } from '../../../src/kvm/cpuid-table.js';
import { ArenaVerifier } from '../../../src/kvm/paranoid/batch.js';
import { simdMemory } from '../../../src/kvm/paranoid/simd.js';
import { firstRefused, firstRefusedAt } from '../../../src/kvm/paranoid/verify.js';
import { UserMemory } from '../../../src/linux/user-memory.js';
import { hostNamed } from '../../support/platforms.js';
import { random } from '../../support/random-tables.js';
import {
  allRules,
  firstRefusedSlowly,
  mutateWords,
  putTable,
  type Rules,
  rulesOf,
  wordsOf,
} from '../../support/rules.js';
import { multiplier } from '../../support/runs.js';

/** How many tables all kernels are compared on. */
const TABLES = Math.ceil(200_000 * multiplier);

const ARENA = 1 << 16;
/** Where in the arena tables are put: aligned, and three times not. */
const OFFSETS = [0, 4096, 8193 * 2 + 1, 32_771];

/** Every way to ask for the first refused entry. */
class Kernels {
  /** The table in question. */
  readonly words = new Uint32Array(256 * ENTRY2_WORDS);
  private readonly memory = new UserMemory(ARENA, simdMemory(ARENA));
  private readonly simd = new ArenaVerifier(this.memory);
  private readonly portable = new ArenaVerifier(this.memory, 'portable');
  private readonly offsets = OFFSETS.map((offset) => Uint32Array.of(offset));
  private readonly refused = new Uint32Array(1);

  /** What is not as the slow way has it; `null` if all is. */
  complaint({ allowed }: Rules, count: number, turn: number): string | null {
    const expected = firstRefusedSlowly(allowed, this.words, count);
    const [offset] = this.putAt(turn % OFFSETS.length, count);
    const start = offset! + CPUID2_HEADER_SIZE;
    const position = [
      firstRefused(allowed, this.words, count),
      this.portable.firstRefused(allowed, start, count),
      this.simd.firstRefused(allowed, start, count),
    ];
    const verdict = [this.portable, this.simd].map((verifier) =>
      verifier.verifyAll(allowed, this.offsets[turn % OFFSETS.length]!, this.refused),
    );
    if (position.every((answer) => answer === expected) && verdict.every((n) => n === Number(expected >= 0)))
      return null;
    const table = Array.from({ length: count }, (_, i) => formatEntry(entryAt(this.words, i)));
    return `${expected} expected at ${offset}, but ${position} and ${verdict}:\n${table.join('\n')}`;
  }

  private putAt(turn: number, count: number): Uint32Array {
    const offsets = this.offsets[turn]!;
    this.memory.view.setUint32(offsets[0]!, count, true);
    const bytes = new Uint8Array(this.words.buffer, 0, count * ENTRY2_SIZE);
    this.memory.bytes.set(bytes, offsets[0]! + CPUID2_HEADER_SIZE);
    return offsets;
  }
}

describe('all kernels agree with a slow look at every entry', () => {
  test(`on ${TABLES} tables of all hosts and overlays, in turn`, () => {
    const all = allRules().map((rules) => ({ rules, words: wordsOf(rules.reported) }));
    const kernels = new Kernels();
    const below = random(7);
    for (let n = 0; n < TABLES; n++) {
      // Each for a while, or in quick turn, so that their screens are replaced.
      const { rules, words } = all[(n & 0x400 ? n : n >>> 6) % all.length]!;
      kernels.words.set(words);
      const count = mutateWords(kernels.words, rules.reported.length, below);
      const complaint = kernels.complaint(rules, count, n);
      if (complaint !== null) expect.fail(`${rules.name}, table ${n}: ${complaint}`);
    }
  });

  test('on one bit too many, wherever it is', () => {
    const [rules] = rulesOf(hostNamed('genoa'));
    const kernels = new Kernels();
    putTable(kernels.words, 0, rules!.reported);
    for (let position = 0; position < rules!.reported.length; position++) {
      for (let bit = 0; bit < 128; bit++) {
        const at = position * ENTRY2_WORDS + 3 + (bit >>> 5);
        kernels.words[at]! ^= 1 << (bit & 31);
        expect(kernels.complaint(rules!, rules!.reported.length, bit)).toBe(null);
        kernels.words[at]! ^= 1 << (bit & 31);
      }
    }
  });

  test('on tables of every length', () => {
    const [rules] = rulesOf(hostNamed('sapphire-rapids'));
    const { reported } = rules!;
    const kernels = new Kernels();
    for (let length = 0; length <= 256; length++) {
      const table = Array.from({ length }, (_, i) => reported[i % reported.length]!);
      putTable(kernels.words, 0, table);
      expect(kernels.complaint(rules!, length, length)).toBe(null);
      if (length === 0) continue;
      kernels.words.set([0x7fff_ffff, 0, 0, 1], (length - 1) * ENTRY2_WORDS);
      expect(kernels.complaint(rules!, length, length)).toBe(null);
    }
  });
});

describe('firstRefused', () => {
  const [item] = rulesOf(hostNamed('sapphire-rapids'));
  const { allowed, reported } = item!;
  const hyperV = { index: 0, flags: 0, eax: 0x4000_0006, ebx: 0x7263_694d, ecx: 0x666f_736f, edx: 0x7648_2074 };
  const kvm = { index: 0, flags: 0, eax: 0x4000_0001, ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d };
  const features = { index: 0, flags: 0, eax: 0xffff_ffff, ebx: 1, ecx: 1, edx: 0xffff_ffff };
  const first = (entries: readonly CpuidEntry2[]) => firstRefused(allowed, wordsOf(entries), entries.length);

  test('an empty table is accepted', () => {
    expect(first([])).toBe(-1);
  });

  test('what KVM reports is accepted', () => {
    expect(first(reported)).toBe(-1);
  });

  test('the leaves at 0x40000000 are those of who signs there', () => {
    const leaf = (fn: number, registers: typeof kvm) => ({ function: fn, ...registers });
    expect(first([leaf(0x4000_0000, kvm), leaf(0x4000_0001, features)])).toBe(1);
    expect(first([leaf(0x4000_0001, features), leaf(0x4000_0000, kvm)])).toBe(0);
    expect(first([leaf(0x4000_0000, hyperV), leaf(0x4000_0001, features)])).toBe(-1);
    expect(first([leaf(0x4000_0001, features), leaf(0x4000_0000, hyperV)])).toBe(-1);
    expect(first([leaf(0x4000_0001, features)])).toBe(-1);
    expect(first([leaf(0x4000_0000, hyperV), leaf(0x4000_0100, kvm), leaf(0x4000_0101, features)])).toBe(-1);
    // The first entry counts, as in kvm_find_cpuid_entry().
    expect(first([leaf(0x4000_0000, hyperV), leaf(0x4000_0000, kvm), leaf(0x4000_0001, features)])).toBe(-1);
    expect(first([leaf(0x4000_0000, kvm), leaf(0x4000_0000, hyperV)])).toBe(1);
  });

  test.each(['ebx', 'ecx', 'edx'] as const)('a signature with another %s is not KVM’s', (register) => {
    const signature = { function: 0x4000_0000, ...kvm };
    const foreign = { ...signature, [register]: signature[register] ^ 0x100 };
    const leaf = { function: 0x4000_0001, ...features };
    expect(first([signature, leaf])).toBe(1);
    expect(first([foreign, leaf])).toBe(-1);
    expect(first([leaf, foreign])).toBe(-1);
  });

  test('a foreign leaf does not hide what comes behind', () => {
    const bad = { ...reported[0]!, function: 0x7fff_ffff, eax: 1 };
    expect(first([{ function: 0x4000_0000, ...hyperV }, { function: 0x4000_0001, ...features }, bad])).toBe(2);
  });

  test('entries may start anywhere in an array', () => {
    const words = new Uint32Array(4 * ENTRY2_WORDS + 3);
    putTable(words, 3, [reported[0]!, reported[1]!, { ...reported[1]!, ecx: 0xffff_ffff }]);
    expect(firstRefusedAt(allowed, words, 3, 2)).toBe(-1);
    expect(firstRefusedAt(allowed, words, 3, 3)).toBe(2);
    expect(firstRefusedAt(allowed, words, 3 + ENTRY2_WORDS, 2)).toBe(1);
  });
});
