import { describe, expect, test } from 'vitest';
import { type CpuidEntry2, formatEntry } from '../../../src/index.js';
import { CPUID2_HEADER_SIZE, ENTRY2_SIZE, ENTRY2_WORDS } from '../../../src/kvm/abi.js';
import { ArenaVerifier } from '../../../src/kvm/paranoid/batch.js';
import { simdMemory } from '../../../src/kvm/paranoid/simd.js';
import { firstRefused, firstRefusedAt } from '../../../src/kvm/paranoid/verify.js';
import { UserMemory } from '../../../src/linux/user-memory.js';
import { hostNamed } from '../../support/platforms.js';
import { mutate, random } from '../../support/random-tables.js';
import { allRules, firstRefusedSlowly, putTable, type Rules, rulesOf, wordsOf } from '../../support/rules.js';
import { multiplier } from '../../support/runs.js';

/** How many tables all kernels are compared on. */
const TABLES = Math.ceil(200_000 * multiplier);

const ARENA = 1 << 16;
/** Where in the arena tables are put: aligned, and three times not. */
const OFFSETS = [0, 4096, 8193 * 2 + 1, 32_771];

/** Every way to ask for the first refused entry. */
class Kernels {
  private readonly words = new Uint32Array(256 * ENTRY2_WORDS);
  private readonly memory = new UserMemory(ARENA, simdMemory(ARENA));
  private readonly simd = new ArenaVerifier(this.memory);
  private readonly portable = new ArenaVerifier(this.memory, 'portable');
  private readonly offsets = Uint32Array.from(OFFSETS, (offset) => offset);
  private readonly refused = new Uint32Array(1);

  /** What is not as the slow way has it; `null` if all is. */
  complaint({ allowed }: Rules, table: readonly CpuidEntry2[], turn: number): string | null {
    const count = table.length;
    putTable(this.words, 0, table);
    const expected = firstRefusedSlowly(allowed, this.words, count);
    const offset = OFFSETS[turn % OFFSETS.length]!;
    this.memory.view.setUint32(offset, count, true);
    const start = offset + CPUID2_HEADER_SIZE;
    this.memory.bytes.set(new Uint8Array(this.words.buffer, 0, count * ENTRY2_SIZE), start);
    this.offsets[0] = offset;
    const answers = {
      firstRefused: firstRefused(allowed, this.words, count),
      portable: this.portable.firstRefused(allowed, start, count),
      simd: this.simd.firstRefused(allowed, start, count),
      'portable batch': this.portable.verifyAll(allowed, this.offsets.subarray(0, 1), this.refused),
      'simd batch': this.simd.verifyAll(allowed, this.offsets.subarray(0, 1), this.refused),
    };
    for (const [name, answer] of Object.entries(answers)) {
      if (answer !== (name.endsWith('batch') ? Number(expected >= 0) : expected)) {
        return `${name}: ${answer} instead of ${expected} at ${offset}`;
      }
    }
    return null;
  }
}

describe('all kernels agree with a slow look at every entry', () => {
  test(`on ${TABLES} tables of all hosts and overlays, in turn`, () => {
    const rules = allRules();
    const kernels = new Kernels();
    const below = random(7);
    for (let n = 0; n < TABLES; n++) {
      // Turns of different length, so that screens stay for a while and are replaced.
      const item = rules[(n >>> (n & 4)) % rules.length]!;
      const table = mutate(item.reported, below).slice(0, 256);
      const complaint = kernels.complaint(item, table, n);
      if (complaint !== null)
        expect.fail(`${item.name}, table ${n}: ${complaint}\n${table.map(formatEntry).join('\n')}`);
    }
  });

  test('on one bit too many, wherever it is', () => {
    const item = rulesOf(hostNamed('genoa'))[0]!;
    const kernels = new Kernels();
    const table = item.reported.slice(0, 30);
    for (const [position, entry] of table.entries()) {
      for (const register of ['eax', 'ebx', 'ecx', 'edx'] as const) {
        for (let bit = 0; bit < 32; bit++) {
          const changed = table.with(position, { ...entry, [register]: (entry[register] ^ (1 << bit)) >>> 0 });
          expect(kernels.complaint(item, changed, bit)).toBe(null);
        }
      }
    }
  });

  test('on tables of every length', () => {
    const item = rulesOf(hostNamed('sapphire-rapids'))[0]!;
    const kernels = new Kernels();
    const bad = { ...item.reported[0]!, function: 0x7fff_ffff, eax: 1 };
    for (let length = 0; length <= 256; length++) {
      const table = Array.from({ length }, (_, i) => item.reported[i % item.reported.length]!);
      expect(kernels.complaint(item, table, length)).toBe(null);
      if (length > 0) expect(kernels.complaint(item, table.with(-1, bad), length)).toBe(null);
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
