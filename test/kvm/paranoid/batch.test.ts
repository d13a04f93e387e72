import { afterEach, describe, expect, test, vi } from 'vitest';
import { CPUID2_HEADER_SIZE, ENTRY2_SIZE } from '../../../src/kvm/abi.js';
import { ArenaVerifier } from '../../../src/kvm/paranoid/batch.js';
import { MAX_LISTED, simdMemory } from '../../../src/kvm/paranoid/simd.js';
import { simdKernel } from '../../../src/kvm/paranoid/simd-code.js';
import { UserMemory } from '../../../src/linux/user-memory.js';
import { hostNamed } from '../../support/platforms.js';
import { mutate, random } from '../../support/random-tables.js';
import { firstRefusedSlowly, rulesOf, wordsOf } from '../../support/rules.js';

const { allowed, reported } = rulesOf(hostNamed('sapphire-rapids'))[0]!;
const STRIDE = CPUID2_HEADER_SIZE + 80 * ENTRY2_SIZE + 1;

/** Tables of chance in an arena, at any alignment, and which of them are refused. */
function fill(memory: UserMemory, count: number) {
  const below = random(11);
  const offsets = new Uint32Array(count);
  const expected: boolean[] = [];
  for (let n = 0; n < count; n++) {
    const table = mutate(reported.slice(0, below(60)), below);
    const words = wordsOf(table);
    offsets[n] = n * STRIDE;
    memory.view.setUint32(offsets[n]!, table.length, true);
    memory.bytes.set(new Uint8Array(words.buffer), offsets[n]! + CPUID2_HEADER_SIZE);
    expected.push(firstRefusedSlowly(allowed, words, table.length) >= 0);
  }
  return { offsets, expected };
}

const bits = (bitmap: Uint32Array, count: number): boolean[] =>
  Array.from({ length: count }, (_, n) => ((bitmap[n >>> 5]! >>> (n & 31)) & 1) === 1);

describe.each(['simd', 'portable'] as const)('many tables at once, %s', (kernel) => {
  const count = 300;
  const size = count * STRIDE;
  const memory = new UserMemory(size, simdMemory(size));
  const verifier = new ArenaVerifier(memory, kernel);
  const { offsets, expected } = fill(memory, count);
  const refused = new Uint32Array(Math.ceil(count / 32));

  test('the kernel is the one that was asked for', () => {
    expect(verifier.kernel).toBe(kernel);
  });

  test('a bit for each table, and how many', () => {
    expect(verifier.verifyAll(allowed, offsets, refused)).toBe(expected.filter(Boolean).length);
    expect(bits(refused, count)).toEqual(expected);
    expect(expected.filter(Boolean).length).toBeGreaterThan(50);
    expect(expected.filter(Boolean).length).toBeLessThan(250);
  });

  test('more tables than fit into one list, and the bitmap is cleared first', () => {
    const times = Math.ceil((2 * MAX_LISTED + 100) / count);
    const many = Uint32Array.from({ length: times * count }, (_, n) => offsets[n % count]!);
    const bitmap = new Uint32Array(Math.ceil(many.length / 32)).fill(0xffff_ffff);
    expect(verifier.verifyAll(allowed, many, bitmap)).toBe(times * expected.filter(Boolean).length);
    expect(bits(bitmap, many.length)).toEqual(Array(times).fill(expected).flat());
  });

  test('no tables', () => {
    expect(verifier.verifyAll(allowed, new Uint32Array(0), new Uint32Array(0))).toBe(0);
  });

  test('too many entries, or beyond the arena', () => {
    const end = memory.bytes.length;
    const put = (offset: number, nent: number): number => {
      if (offset + 4 <= end) memory.view.setUint32(offset, nent, true);
      return offset;
    };
    const verdict = (offset: number, nent: number) =>
      verifier.verifyAll(allowed, Uint32Array.of(put(offset, nent)), new Uint32Array(1));
    memory.bytes.fill(0);
    expect(verdict(0, 256)).toBe(0);
    expect(verdict(0, 257)).toBe(1);
    expect(verdict(0, 0xffff_ffff)).toBe(1);
    expect(verdict(end - CPUID2_HEADER_SIZE, 0)).toBe(0);
    expect(verdict(end - CPUID2_HEADER_SIZE, 1)).toBe(1);
    expect(verdict(end - CPUID2_HEADER_SIZE - ENTRY2_SIZE, 1)).toBe(0);
    expect(verdict(end - CPUID2_HEADER_SIZE - ENTRY2_SIZE + 1, 1)).toBe(1);
    expect(verdict(end - CPUID2_HEADER_SIZE + 1, 0)).toBe(1);
    expect(verdict(end, 0)).toBe(1);
    expect(verdict(0xffff_ffff, 0)).toBe(1);
  });
});

describe('which kernel', () => {
  test('memory of WebAssembly gets vectors, other memory does not', () => {
    const arena = 1 << 20;
    expect(new ArenaVerifier(new UserMemory(arena)).kernel).toBe('portable');
    expect(new ArenaVerifier(new UserMemory(arena, { buffer: new ArrayBuffer(1 << 22) })).kernel).toBe('portable');
    expect(new ArenaVerifier(new UserMemory(arena, simdMemory(arena))).kernel).toBe('simd');
  });

  test('memory that is shared does too', () => {
    const arena = 1 << 20;
    const memory = new UserMemory(arena, simdMemory(arena, true));
    expect(memory.bytes.buffer).toBeInstanceOf(SharedArrayBuffer);
    const verifier = new ArenaVerifier(memory);
    expect(verifier.kernel).toBe('simd');
    memory.bytes.set(new Uint8Array(wordsOf(reported).buffer), 64);
    expect(verifier.firstRefused(allowed, 64, reported.length)).toBe(-1);
    memory.view.setUint32(64 + 3 * ENTRY2_SIZE, 0x7fff_0000, true);
    memory.view.setUint32(64 + 3 * ENTRY2_SIZE + 12, 1, true);
    expect(verifier.firstRefused(allowed, 64, reported.length)).toBe(3);
  });

  test('memory without room for the kernel does not', () => {
    const block = simdMemory(1 << 20);
    expect(new ArenaVerifier(new UserMemory(1 << 21, simdMemory(1 << 21))).kernel).toBe('simd');
    expect(new ArenaVerifier(new UserMemory(block!.buffer.byteLength, block)).kernel).toBe('portable');
  });

  test('a process cannot reach the kernel behind its arena', () => {
    const memory = new UserMemory(1 << 16, simdMemory(1 << 16));
    const address = memory.mmap(4096);
    expect(memory.bytes.length).toBe(1 << 16);
    expect(memory.readable(memory.base + (1 << 16), 4)).toBe(-1);
    expect(memory.copyOut(memory.base + (1 << 16), new Uint8Array(4))).toBe(false);
    expect(memory.copyOut(address, new Uint8Array(4))).toBe(true);
  });

  afterEach(() => {
    vi.unstubAllGlobals();
    vi.resetModules();
  });

  const without: readonly (readonly [what: string, WebAssembly: unknown])[] = [
    ['no WebAssembly', undefined],
    ['no vectors', { validate: () => false, Memory: class {} }],
  ];
  test.each(without)('%s: no memory for vectors, and the portable kernel', async (_, api) => {
    const block = simdMemory(1 << 16);
    vi.stubGlobal('WebAssembly', api);
    vi.resetModules();
    const fresh = await import('../../../src/kvm/paranoid/simd.js');
    expect(fresh.simdMemory(1 << 16)).toBe(null);
    expect(fresh.SimdScan.over(block, 1 << 16)).toBe(null);
  });

  test('the kernel is a small module', () => {
    expect(simdKernel(false).length).toBeLessThan(2048);
    expect(simdKernel(true).length).toBeLessThan(2048);
  });
});
