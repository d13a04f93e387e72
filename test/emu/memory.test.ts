import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MEMORY_HOLE, MEMORY_MMIO, MEMORY_OK, PhysicalMemory } from '../../src/emu/memory.js';
import { runs } from '../support/runs.js';
import { halves, joined } from './control-fixtures.js';

const HIGH = 2 ** 40;

function build(frames = 2) {
  return new PhysicalMemory(
    [
      { base: HIGH, size: 0x10_0000, kind: 'ram' },
      { base: 0, size: 0x10_0000, kind: 'ram' },
      { base: 0xfee0_0000, size: 0x1000, kind: 'mmio' },
      { base: 0xfee0_1000, size: 0x1000, kind: 'ram' },
    ],
    { frames, maxFrames: 200 },
  );
}

const found64 = ({ value }: PhysicalMemory) => joined(value[0]!, value[1]!);

describe('physical memory', () => {
  test('is little endian and zero at first', () => {
    const memory = build();
    expect(memory.read(0x1000, 8)).toBe(MEMORY_OK);
    expect(found64(memory)).toBe(0n);
    expect(memory.frameCount).toBe(0);
    memory.write(0x1000, 8, ...halves(0x8877_6655_4433_2211n));
    for (const [size, expected] of [
      [1, 0x11n],
      [2, 0x2211n],
      [4, 0x4433_2211n],
      [8, 0x8877_6655_4433_2211n],
    ] as const) {
      expect(memory.read(0x1000, size)).toBe(MEMORY_OK);
      expect(found64(memory)).toBe(expected);
    }
    expect([...memory.dump(0xfff, 3)]).toEqual([0, 0x11, 0x22]);
  });

  const nowhere: readonly (readonly [what: string, address: number, size: number, status: number, value: bigint])[] = [
    ['a hole', 0x20_0000, 8, MEMORY_HOLE, 0xffff_ffff_ffff_ffffn],
    ['a hole', 0x20_0000, 4, MEMORY_HOLE, 0xffff_ffffn],
    ['a hole', 0x20_0000, 2, MEMORY_HOLE, 0xffffn],
    ['a hole', 0x20_0000, 1, MEMORY_HOLE, 0xffn],
    ['a device', 0xfee0_0020, 4, MEMORY_MMIO, 0n],
    ['the end of RAM', 0xf_fffe, 4, MEMORY_HOLE, 0xffff_0000n],
    ['the end of a device', 0xfee0_0ffe, 4, MEMORY_MMIO, 0n],
    ['the beginning of a device', 0xfedf_fffe, 4, MEMORY_HOLE, 0xffffn],
  ];

  test.each(nowhere)('%s at %i, %i bytes', (_, address, size, status, value) => {
    const memory = build();
    expect(memory.read(address, size)).toBe(status);
    expect(found64(memory)).toBe(value);
    expect(memory.write(address, size, 0, 0)).toBe(status);
    expect(memory.frameCount).toBe(0);
  });

  test('programs are loaded and read back across frames', () => {
    const memory = build();
    const bytes = Uint8Array.from({ length: 0x2800 }, (_, at) => at * 7);
    memory.load(0x2c00, bytes);
    expect(memory.dump(0x2c00, bytes.length)).toEqual(bytes);
    expect(() => memory.load(0xf_fff0, bytes)).toThrow('there is no RAM at 0x100000');
    expect(() => memory.dump(0xf_fff0, 0x20)).toThrow('there is no RAM at 0x100000');
  });

  test('every write counts in the generation of its frame', () => {
    const memory = build();
    const frame = memory.touch(0x5000) >>> 12;
    memory.write(0x5008, 4, 1, 0);
    memory.write(0x5ffe, 4, 1, 0);
    memory.load(0x5000, [1]);
    expect(memory.generations[frame]).toBe(4);
  });

  test('regions are whole frames that do not overlap', () => {
    expect(() => new PhysicalMemory([{ base: 0x800, size: 0x1000, kind: 'ram' }])).toThrow('whole frames');
    expect(
      () =>
        new PhysicalMemory([
          { base: 0, size: 0x2000, kind: 'ram' },
          { base: 0x1000, size: 0x1000, kind: 'mmio' },
        ]),
    ).toThrow('overlap at 0x1000');
  });

  test('a runaway program is stopped', () => {
    const memory = build();
    expect(() => {
      for (let at = 0; at < 0x10_0000; at += 0x1000) {
        memory.touch(at);
        memory.touch(HIGH + at);
      }
    }).toThrow('more than 200 frames');
  });

  test('forgets on reset', () => {
    const memory = build();
    memory.write(0x3000, 4, 5, 0);
    memory.reset();
    memory.read(0x3000, 4);
    expect(found64(memory)).toBe(0n);
    expect(memory.touch(0x7000)).toBe(0);
    memory.read(0x7000, 4);
    expect(found64(memory)).toBe(0n);
  });
});

interface Write {
  readonly base: number;
  readonly page: number;
  readonly within: number;
  readonly size: number;
  readonly value: bigint;
}

const writes: fc.Arbitrary<readonly Write[]> = fc.array(
  fc.record({
    base: fc.constantFrom(0, HIGH, 0xfee0_0000),
    page: fc.nat(80),
    within: fc.oneof(fc.nat(0xfff), fc.integer({ min: 0xff8, max: 0xfff })),
    size: fc.constantFrom(1, 2, 4, 8),
    value: fc.bigInt(0n, (1n << 64n) - 1n),
  }),
  { maxLength: 60 },
);

/** Writes to memory and to a map of bytes; `false` when they disagree. */
function agrees(memory: PhysicalMemory, history: readonly Write[]): boolean {
  const bytes = new Map<number, bigint>();
  for (const { base, page, within, size, value } of history) {
    const address = base + page * 0x1000 + within;
    if (memory.write(address, size, ...halves(value)) === MEMORY_OK)
      for (let at = 0; at < size; at++) bytes.set(address + at, (value >> BigInt(8 * at)) & 0xffn);
  }
  return history.every(({ base, page, within, size }) => {
    const address = base + page * 0x1000 + within - (size >> 1);
    if (address < 0 || memory.read(address, size) !== MEMORY_OK) return true;
    let expected = 0n;
    for (let at = 0; at < size; at++) expected |= (bytes.get(address + at) ?? 0n) << BigInt(8 * at);
    return found64(memory) === expected;
  });
}

test('law: what was written is read, as from a map of bytes', () => {
  fc.assert(
    fc.property(writes, (history) => agrees(build(1), history)),
    runs(300),
  );
});

test('the law bites: a write that wraps within its frame is found', () => {
  class Wrapping extends PhysicalMemory {
    override write(address: number, size: number, lo: number, hi: number) {
      for (let at = 0; at < size; at++) {
        const within = (address + at) % 0x1000;
        const byte = at < 4 ? lo >>> (8 * at) : hi >>> (8 * at - 32);
        const status = super.write(address - (address % 0x1000) + within, 1, byte, 0);
        if (status !== MEMORY_OK) return status;
      }
      return MEMORY_OK;
    }
  }
  const broken = () => new Wrapping([{ base: 0, size: 0x10_0000, kind: 'ram' }]);
  const found = fc.check(
    fc.property(writes, (history) => agrees(broken(), history)),
    { ...runs(300), numRuns: 300 },
  );
  expect(found.failed).toBe(true);
});
