import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Clock, GuestTsc, SVM_TSC_FRACTION, scale64, Tsc, VMX_TSC_FRACTION } from '../../src/emu/clock.js';
import { runs } from '../support/runs.js';
import { halves, joined } from './control-fixtures.js';

const EPYC = { numerator: 2596, denominator: 3694 };
const u64 = fc.bigInt(0n, (1n << 64n) - 1n);
const mod64 = (value: bigint) => BigInt.asUintN(64, value);

const counter = ({ value }: { readonly value: Int32Array }) => joined(value[0]!, value[1]!);

describe('clock', () => {
  test('time passes forwards only', () => {
    const clock = new Clock();
    clock.advance(100);
    clock.advanceTo(50);
    expect(clock.now[0]).toBe(100);
    clock.advanceTo(170);
    expect(clock.now[0]).toBe(170);
    expect(() => clock.advance(-1)).toThrow('time does not pass by -1 cycles');
  });

  test.each([
    [{ numerator: 0, denominator: 1 }, 'not one of two positive integers'],
    [{ numerator: 1.5, denominator: 1 }, 'not one of two positive integers'],
    [{ numerator: 2_596_000_001, denominator: 3_694_000_000 }, 'too fine'],
  ])('%j is refused', (ratio, message) => {
    expect(() => new Clock(ratio)).toThrow(message);
  });

  test('the ratio is reduced, so frequencies in Hz will do', () => {
    expect(new Clock({ numerator: 2_596_000_000, denominator: 3_694_000_000 })).toMatchObject({
      numerator: 1298,
      denominator: 1847,
    });
  });
});

const ratios = fc.record({
  numerator: fc.integer({ min: 1, max: 5000 }),
  denominator: fc.integer({ min: 1, max: 5000 }),
});
/** A ratio and a cycle, as far as ticks are below 2^53; often one at which a tick begins. */
const moments = ratios.chain((ratio) => {
  const { numerator, denominator } = ratio;
  const last = Math.floor(Number.MAX_SAFE_INTEGER / Math.max(1, numerator / denominator) / 2);
  const whole = fc.nat(Math.floor(last / denominator) - 1).map((periods) => periods * denominator);
  const cycle = fc.oneof(
    fc.nat(10_000),
    fc.nat(last),
    whole,
    whole.map((at) => at + denominator - 1),
  );
  return fc.record({ ratio: fc.constant(ratio), cycle });
});

test('law: TSC ticks are exact', () => {
  fc.assert(
    fc.property(moments, ({ ratio, cycle }) => {
      const exact = (BigInt(cycle) * BigInt(ratio.numerator)) / BigInt(ratio.denominator);
      expect(BigInt(new Clock(ratio).ticksAt(cycle))).toBe(exact);
    }),
    runs(500),
  );
});

test('law: the cycle of a tick is the first one that has it', () => {
  fc.assert(
    fc.property(moments, ({ ratio, cycle: ticks }) => {
      const clock = new Clock(ratio);
      const cycle = clock.cycleOfTicks(ticks);
      if (cycle === Number.POSITIVE_INFINITY) return;
      expect(clock.ticksAt(cycle)).toBeGreaterThanOrEqual(ticks);
      if (cycle > 0) expect(clock.ticksAt(cycle - 1)).toBeLessThan(ticks);
    }),
    runs(500),
  );
});

test('law: a TSC that nobody writes never runs backwards', () => {
  fc.assert(
    fc.property(ratios, fc.array(fc.nat(100_000), { maxLength: 30 }), (ratio, advances) => {
      const tsc = new Tsc(new Clock(ratio));
      let last = -1n;
      for (const advance of advances) {
        tsc.clock.advance(advance);
        tsc.read();
        expect(counter(tsc)).toBeGreaterThanOrEqual(last);
        last = counter(tsc);
      }
    }),
    runs(200),
  );
});

describe('time-stamp counter', () => {
  test('a written value is there at once, runs on, and shows in IA32_TSC_ADJUST', () => {
    const tsc = new Tsc(new Clock(EPYC));
    tsc.clock.advance(3694);
    tsc.write(...halves(0x1_0000_0000n));
    tsc.read();
    expect(counter(tsc)).toBe(0x1_0000_0000n);
    expect(joined(tsc.adjust[0]!, tsc.adjust[1]!)).toBe(0x1_0000_0000n - 2596n);
    tsc.clock.advance(3694);
    tsc.read();
    expect(counter(tsc)).toBe(0x1_0000_0000n + 2596n);
  });

  test('a deadline that is over is now; one beyond reach never comes', () => {
    const tsc = new Tsc(new Clock());
    tsc.clock.advance(1000);
    expect(tsc.cycleOf(...halves(1000n))).toBe(1000);
    expect(tsc.cycleOf(...halves(1001n))).toBe(1001);
    expect(tsc.cycleOf(...halves((1n << 64n) - 1n))).toBe(Number.POSITIVE_INFINITY);
  });
});

test('law: WRMSR to TSC and TSC_ADJUST against bigints', () => {
  const write = fc.record({ adjust: fc.boolean(), value: u64, wait: fc.nat(1_000_000) });
  fc.assert(
    fc.property(fc.array(write, { maxLength: 12 }), (writes) => {
      const tsc = new Tsc(new Clock(EPYC));
      let offset = 0n;
      let adjust = 0n;
      for (const { adjust: toAdjust, value, wait } of writes) {
        const ticks = BigInt(tsc.clock.ticks());
        const delta = toAdjust ? value - adjust : value - ticks - offset;
        offset += delta;
        adjust += delta;
        if (toAdjust) tsc.writeAdjust(...halves(value));
        else tsc.write(...halves(value));
        tsc.clock.advance(wait);
        tsc.read();
        expect(counter(tsc)).toBe(mod64(BigInt(tsc.clock.ticks()) + offset));
        expect(joined(tsc.adjust[0]!, tsc.adjust[1]!)).toBe(mod64(adjust));
      }
    }),
    runs(200),
  );
});

const fractions = fc.constantFrom(VMX_TSC_FRACTION, SVM_TSC_FRACTION);

test('law: scaling is exact', () => {
  const out = new Int32Array(2);
  fc.assert(
    fc.property(u64, u64, fractions, (value, multiplier, fraction) => {
      scale64(out, ...halves(value), ...halves(multiplier), fraction);
      expect(joined(out[0]!, out[1]!)).toBe(mod64((value * multiplier) >> BigInt(fraction)));
    }),
    runs(1000),
  );
});

test('law: a guest sees its TSC scaled and offset, and its deadlines come on the first cycle that has them', () => {
  const advance = fc.integer({ min: 0, max: 2 ** 40 });
  const distances = fc.bigInt(1n, 1n << 36n);
  // Ratios from 1/16 to 16.
  const exponents = fc.integer({ min: -4, max: 4 });
  fc.assert(
    fc.property(
      fractions,
      exponents,
      fc.nat(1000),
      u64,
      advance,
      distances,
      (fraction, exponent, jitter, offset, advances, distance) => {
        const guest = new GuestTsc(new Tsc(new Clock(EPYC)), fraction);
        const multiplier = (1n << BigInt(fraction + exponent)) + BigInt(jitter);
        guest.multiplier.set(halves(multiplier));
        guest.offset.set(halves(offset));
        guest.tsc.clock.advance(advances);
        const at = (cycle: number) =>
          mod64(((BigInt(guest.tsc.clock.ticksAt(cycle)) * multiplier) >> BigInt(fraction)) + offset);
        guest.read();
        expect(counter(guest)).toBe(at(advances));
        const deadline = counter(guest) + distance;
        if (deadline >> 64n !== 0n || counter(guest) < offset) return;
        const cycle = guest.cycleOf(...halves(deadline));
        expect(at(cycle)).toBeGreaterThanOrEqual(deadline);
        expect(at(cycle - 1)).toBeLessThan(deadline);
      },
    ),
    runs(300),
  );
});

test('a guest has a TSC of its own speed only when it is given one', () => {
  for (const fraction of [VMX_TSC_FRACTION, SVM_TSC_FRACTION] as const) {
    const guest = new GuestTsc(new Tsc(new Clock()), fraction);
    guest.tsc.clock.advance(123_456_789_012);
    guest.read();
    expect(counter(guest)).toBe(123_456_789_012n);
    expect(guest.cycleOf(...halves(123_456_789_000n))).toBe(123_456_789_012);
    guest.multiplier.fill(0);
    expect(guest.cycleOf(...halves(1n))).toBe(Number.POSITIVE_INFINITY);
  }
});

test('the law bites: a TSC in one float product is found', () => {
  const found = fc.check(
    fc.property(moments, ({ ratio, cycle }) => {
      const careless = Math.floor(cycle * (ratio.numerator / ratio.denominator));
      return BigInt(careless) === (BigInt(cycle) * BigInt(ratio.numerator)) / BigInt(ratio.denominator);
    }),
    { ...runs(500), numRuns: 500 },
  );
  expect(found.failed).toBe(true);
});
