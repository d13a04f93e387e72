import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Address, PAGE_SIZE, UserMemory } from '../../src/linux/user-memory.js';
import { runs } from '../support/runs.js';

const fill = (length: number, value = 0x77): Uint8Array => new Uint8Array(length).fill(value);

describe('mmap', () => {
  test('gives whole pages, each mapping behind a guard page', () => {
    const memory = new UserMemory(64 * PAGE_SIZE);
    const sizes = [1, PAGE_SIZE, PAGE_SIZE + 1, 0];
    const starts = sizes.map((size) => memory.mmap(size));
    expect(starts.map((start) => (start - memory.base) / PAGE_SIZE)).toEqual([0, 2, 4, 7]);
    expect(starts.map((start) => memory.readable(start, PAGE_SIZE) >= 0)).toEqual([true, true, true, true]);
    expect(memory.readable(starts[2]!, 2 * PAGE_SIZE)).toBe(4 * PAGE_SIZE);
    expect(starts.slice(1).map((start) => memory.readable(start - 1, 1))).toEqual([-1, -1, -1]);
  });

  test('memory is zero at first', () => {
    const memory = new UserMemory(PAGE_SIZE * 4);
    const at = memory.readable(memory.mmap(PAGE_SIZE), PAGE_SIZE);
    expect(memory.bytes.subarray(at, at + PAGE_SIZE).every((byte) => byte === 0)).toBe(true);
  });

  test('an arena that is used up is the limit of the simulator', () => {
    const memory = new UserMemory(4 * PAGE_SIZE);
    memory.mmap(2 * PAGE_SIZE);
    expect(() => memory.mmap(PAGE_SIZE)).toThrow(new RangeError(`the arena has no room for ${PAGE_SIZE} bytes`));
  });

  test.each([
    [0, 0],
    [1, 1],
    [PAGE_SIZE, 1],
    [PAGE_SIZE + 1, 2],
  ])('an arena of %i bytes has %i pages', (size, pages) => {
    expect(new UserMemory(size).bytes.length).toBe(pages * PAGE_SIZE);
  });
});

describe('access', () => {
  /** Pages: read-write, read-only, read-write, none. */
  function mixed() {
    const memory = new UserMemory(8 * PAGE_SIZE);
    const start = memory.mmap(4 * PAGE_SIZE);
    memory.mprotect(start + PAGE_SIZE, PAGE_SIZE, 'r');
    memory.mprotect(start + 3 * PAGE_SIZE, PAGE_SIZE, 'none');
    return { memory, start };
  }

  type Row = readonly [what: string, offset: number, length: number, readable: boolean, written: number];
  const rows: readonly Row[] = [
    ['all of a page', 0, PAGE_SIZE, true, PAGE_SIZE],
    ['its last byte', PAGE_SIZE - 1, 1, true, 1],
    ['over to a read-only page', PAGE_SIZE - 3, 8, true, 3],
    ['a read-only page', PAGE_SIZE, 1, true, 0],
    ['over to a writable page', 2 * PAGE_SIZE - 4, 8, true, 0],
    ['over all that can be read', 0, 3 * PAGE_SIZE, true, PAGE_SIZE],
    ['one byte too many', 0, 3 * PAGE_SIZE + 1, false, PAGE_SIZE],
    ['up to the page that is not mapped', 3 * PAGE_SIZE - 8, 8, true, 8],
    ['over to it', 3 * PAGE_SIZE - 8, 9, false, 8],
    ['in it', 3 * PAGE_SIZE, 1, false, 0],
    ['behind it', 4 * PAGE_SIZE, 1, false, 0],
    ['below the arena', -1, 1, false, 0],
    ['below the arena and into it', -1, 2, false, 0],
    ['beyond the arena', 8 * PAGE_SIZE, 1, false, 0],
  ];

  test.each(rows)('%s', (_, offset, length, readable, written) => {
    for (const as of [(address: number): Address => address, BigInt]) {
      const { memory, start } = mixed();
      const address = as(start + offset);
      expect(memory.readable(address, length)).toBe(readable ? offset : -1);
      expect(memory.copyOut(address, fill(length))).toBe(written === length);
      expect(memory.bytes.filter((byte) => byte === 0x77)).toHaveLength(written);
      if (written > 0) expect(memory.bytes.subarray(offset, offset + written)).toEqual(fill(written));
    }
  });

  test.each([
    0,
    -PAGE_SIZE,
    2 ** 31,
    2 ** 32,
    2 ** 53,
    Number.MAX_VALUE,
    0x7fff_ffff_f000n,
    0x8000_0000_0000n,
    0xffff_8880_0000_0000n,
    2n ** 64n - 1n,
    2n ** 32n + 0x1_0000n,
    2n ** 53n + 0x1_0000n,
    2n ** 64n + 0x1_0000n,
  ])('%s is nowhere in the arena', (address) => {
    const memory = new UserMemory(1 << 20);
    memory.mmap(1 << 19);
    expect(memory.readable(address, 1)).toBe(-1);
    expect(memory.copyOut(address, fill(4))).toBe(false);
  });

  test('a length of 0 never faults, wherever it is', () => {
    const { memory, start } = mixed();
    for (const address of [start, start + 3 * PAGE_SIZE, 0, 2 ** 40, 2n ** 64n - 1n]) {
      expect(memory.copyOut(address, fill(0))).toBe(true);
      expect(memory.readable(address, 0)).toBeGreaterThanOrEqual(0);
    }
  });

  test('mprotect can take a page away and give it back', () => {
    const { memory, start } = mixed();
    memory.mprotect(start, PAGE_SIZE, 'none');
    expect(memory.readable(start, 1)).toBe(-1);
    memory.mprotect(start, PAGE_SIZE, 'r');
    expect([memory.readable(start, 1), memory.copyOut(start, fill(1))]).toEqual([0, false]);
    memory.mprotect(start, PAGE_SIZE, 'rw');
    expect(memory.copyOut(start, fill(1))).toBe(true);
  });

  test('any access agrees with a map of pages', () => {
    const protection = fc.constantFrom('rw' as const, 'r' as const, 'none' as const);
    const pages = 6;
    const layout = fc.array(protection, { minLength: pages, maxLength: pages });
    const offset = fc.integer({ min: -10, max: pages * PAGE_SIZE + 10 });
    fc.assert(
      fc.property(layout, offset, fc.nat(3 * PAGE_SIZE), (protections, from, length) => {
        const memory = new UserMemory((pages + 1) * PAGE_SIZE);
        const start = memory.mmap(pages * PAGE_SIZE);
        for (const [page, how] of protections.entries()) memory.mprotect(start + page * PAGE_SIZE, PAGE_SIZE, how);
        const reach = (allows: (how: string | undefined) => boolean) => {
          let at = from;
          while (at < from + length && at >= 0 && allows(protections[Math.floor(at / PAGE_SIZE)])) at++;
          return at - from;
        };
        const readable = reach((how) => how === 'r' || how === 'rw') === length;
        if (length > 0) expect(memory.readable(start + from, length)).toBe(readable ? from : -1);
        const writable = reach((how) => how === 'rw');
        expect(memory.copyOut(start + from, fill(length))).toBe(writable === length);
        expect(memory.bytes.filter((byte) => byte === 0x77)).toHaveLength(writable);
      }),
      runs(100),
    );
  });
});
