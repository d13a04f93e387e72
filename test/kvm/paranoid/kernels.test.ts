import { describe, expect, test } from 'vitest';
import { CPUID2_HEADER_SIZE, ENTRY2_SIZE, ENTRY2_WORDS } from '../../../src/kvm/abi.js';
import { ArenaVerifier } from '../../../src/kvm/paranoid/batch.js';
import { nextSuspect, place } from '../../../src/kvm/paranoid/portable.js';
import { MAX_LISTED, SimdScan, simdMemory } from '../../../src/kvm/paranoid/simd.js';
import { firstRefused, isForeignSignatureLeaf } from '../../../src/kvm/paranoid/verify.js';
import { UserMemory } from '../../../src/linux/user-memory.js';
import { hostNamed } from '../../support/platforms.js';
import { random } from '../../support/random-tables.js';
import { firstRefusedSlowly, mutateWords, rulesOf, wordsOf } from '../../support/rules.js';
import { multiplier } from '../../support/runs.js';
import { nextSuspectSlowly, randomRules, randomTable } from '../../support/screens.js';

const ARENA = 1 << 16;
const memory = new UserMemory(ARENA, simdMemory(ARENA));
const simd = SimdScan.over(memory.block, ARENA)!;
const arena = new Uint32Array(memory.bytes.buffer, 0, ARENA / 4);

/**
 * Puts a table at byte 64 and asks both kernels for its first suspect, in entries. `known`: the vector kernel, unlike the
 * other, knows foreign leaves and passes them by.
 */
function suspects(screen: Int32Array, words: Uint32Array, count: number) {
  arena.set(words, 16);
  const end = 16 + count * ENTRY2_WORDS;
  const slowlyFrom = (position: number) =>
    position +
    nextSuspectSlowly(screen, arena.subarray(16 + position * ENTRY2_WORDS), 0, count - position) / ENTRY2_WORDS;
  const slowly = slowlyFrom(0);
  let known = slowly;
  while (known < count && isForeignSignatureLeaf(words[known * ENTRY2_WORDS]!, words, count))
    known = slowlyFrom(known + 1);
  return {
    slowly,
    known,
    portable: (nextSuspect(arena, 16, end, place(screen)) - 16) / ENTRY2_WORDS,
    simd: (simd.nextSuspect(64, 4 * end, screen, 64) - 64) / ENTRY2_SIZE,
  };
}

describe('both kernels find the suspects that the screen makes, no more and no less', () => {
  const RULES = Math.ceil(100 * multiplier);

  test(`with ${RULES} sets of rules of chance`, () => {
    const below = random(21);
    const verifier = new ArenaVerifier(memory);
    let passed = 0;
    for (let n = 0; n < RULES; n++) {
      const rules = randomRules(below);
      for (let turn = 0; turn < 100; turn++) {
        const count = below(14);
        const words = randomTable(rules, count, below);
        const { slowly, known, portable, simd } = suspects(rules.screen, words, count);
        if (portable !== slowly || simd !== known)
          expect.fail(`rules ${n}, table ${turn}: ${portable}, ${simd}, not ${slowly}, ${known}`);
        passed += slowly;
        const expected = firstRefusedSlowly(rules, words, count);
        expect(firstRefused(rules, words, count)).toBe(expected);
        expect(verifier.firstRefused(rules, 64, count)).toBe(expected);
      }
    }
    expect(passed).toBeGreaterThan(RULES * 100);
  });

  test('with the rules of a host', () => {
    const below = random(22);
    for (const host of ['sapphire-rapids', 'genoa', 'zhaoxin-kh40000']) {
      for (const { allowed, reported } of rulesOf(hostNamed(host))) {
        const words = new Uint32Array(256 * ENTRY2_WORDS);
        for (let turn = 0; turn < 300; turn++) {
          words.set(wordsOf(reported));
          const count = mutateWords(words, reported.length, below);
          const { slowly, known, portable, simd } = suspects(allowed.screen, words, count);
          expect([portable, simd]).toEqual([slowly, known]);
        }
      }
    }
  });

  test('from any entry on', () => {
    const { allowed, reported } = rulesOf(hostNamed('milan'))[0]!;
    const words = wordsOf(reported);
    const bad = [5, 6, 11, 20, reported.length - 1];
    for (const position of bad) words.set([0x7fff_ffff, 0, 0, 1], position * ENTRY2_WORDS);
    arena.set(words, 16);
    const end = 16 + words.length;
    for (let from = 0; from <= reported.length; from++) {
      const expected = bad.find((position) => position >= from) ?? reported.length;
      const at = 16 + from * ENTRY2_WORDS;
      expect((nextSuspect(arena, at, end, place(allowed.screen)) - 16) / ENTRY2_WORDS).toBe(expected);
      expect((simd.nextSuspect(4 * at, 4 * end, allowed.screen, 64) - 64) / ENTRY2_SIZE).toBe(expected);
    }
  });
});

describe('a list of tables, scanned', () => {
  const { allowed, reported } = rulesOf(hostNamed('rome'))[0]!;
  const { screen } = allowed;
  const put = (offset: number, nent: number, words = wordsOf(reported.slice(0, nent))) => {
    memory.view.setUint32(offset, nent, true);
    memory.bytes.set(new Uint8Array(words.buffer), offset + CPUID2_HEADER_SIZE);
    return offset;
  };
  const scan = (...offsets: number[]) => {
    const found = simd.scanAll(Uint32Array.from(offsets), 0, offsets.length, screen);
    return { found, suspects: offsets.map((_, n) => simd.suspectOf(n)) };
  };

  test('says where the first suspect of each is', () => {
    const bad = wordsOf(reported.slice(0, 9));
    bad.set([0x7fff_ffff, 0, 0, 1], 7 * ENTRY2_WORDS);
    const offsets = [put(0, 9), put(4001, 9, bad), put(8002, 0)];
    expect(scan(...offsets)).toEqual({ found: 1, suspects: [-1, 4001 + 8 + 7 * 40, -1] });
  });

  test('up to the last byte of the arena, and with as many entries as there may be', () => {
    const table = CPUID2_HEADER_SIZE + 3 * ENTRY2_SIZE;
    memory.bytes.fill(0);
    expect(scan(put(ARENA - table, 3)).found).toBe(0);
    expect(scan(put(ARENA - CPUID2_HEADER_SIZE, 0)).found).toBe(0);
    memory.view.setUint32(ARENA - table + 1, 3, true);
    expect(scan(ARENA - table + 1)).toEqual({ found: 1, suspects: [0] });
    expect(scan(ARENA - CPUID2_HEADER_SIZE + 1)).toEqual({ found: 1, suspects: [0] });
    memory.bytes.fill(0);
    memory.view.setUint32(0, 256, true);
    expect(scan(0).found).toBe(0);
    memory.view.setUint32(0, 257, true);
    expect(scan(0)).toEqual({ found: 1, suspects: [0] });
  });

  test('as long as it may be', () => {
    memory.bytes.fill(0);
    put(0, 1);
    expect(simd.scanAll(new Uint32Array(MAX_LISTED), 0, MAX_LISTED, screen)).toBe(0);
    expect(simd.suspectOf(MAX_LISTED - 1)).toBe(-1);
  });
});
