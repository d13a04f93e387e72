/**
 * Time. The machine counts core cycles in a float64 that is always an integer, exact to 2^53 (34 days at 3 GHz). The TSC
 * is a function of it: `offset + floor(cycles * numerator / denominator)`, where the ratio is TSC : core clock. It is
 * only worked out when somebody asks, and in such an order that no product passes 2^53. (The floor of a quotient of two
 * integers below 2^53 is exact in float64: the quotient is at least 1/divisor away from the next integer, which is more
 * than rounding can bridge.)
 */

/** What 2^32 is. */
const WORD = 0x1_0000_0000;

/** The TSC runs `numerator` ticks in `denominator` core cycles, e.g. 2596 : 3694. */
export interface TscRatio {
  readonly numerator: number;
  readonly denominator: number;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** The core clock, which all CPUs share. */
export class Clock {
  /** Core cycles since reset, one cell. It only ever grows. */
  readonly now = new Float64Array(1);
  readonly numerator: number;
  readonly denominator: number;

  constructor(ratio: TscRatio = { numerator: 1, denominator: 1 }) {
    const { numerator, denominator } = ratio;
    if (!Number.isInteger(numerator) || !Number.isInteger(denominator) || numerator < 1 || denominator < 1)
      throw new Error(`the TSC ratio ${numerator} : ${denominator} is not one of two positive integers`);
    const divisor = greatestCommonDivisor(numerator, denominator);
    this.numerator = numerator / divisor;
    this.denominator = denominator / divisor;
    if (this.numerator * this.denominator > Number.MAX_SAFE_INTEGER)
      throw new Error(`the TSC ratio ${numerator} : ${denominator} is too fine to be exact`);
  }

  /** Lets `cycles` pass: an integer that is not negative. */
  advance(cycles: number): void {
    if (!(cycles >= 0)) throw new Error(`time does not pass by ${cycles} cycles`);
    this.now[0]! += cycles;
  }

  /** Idles until `cycle`; no time passes if that is over. */
  advanceTo(cycle: number): void {
    if (cycle > this.now[0]!) this.now[0] = cycle;
  }

  /** TSC ticks since reset, as a number. */
  ticks(): number {
    return this.ticksAt(this.now[0]!);
  }

  /** TSC ticks from reset to a cycle. */
  ticksAt(cycle: number): number {
    const quotient = Math.floor(cycle / this.denominator);
    const rest = cycle - quotient * this.denominator;
    return quotient * this.numerator + Math.floor((rest * this.numerator) / this.denominator);
  }

  /** The first cycle at which `ticks` TSC ticks have passed since reset; `Infinity` when that is out of reach. */
  cycleOfTicks(ticks: number): number {
    if (ticks > Number.MAX_SAFE_INTEGER) return Number.POSITIVE_INFINITY;
    const quotient = Math.floor(ticks / this.numerator);
    const rest = ticks - quotient * this.numerator;
    const cycle = quotient * this.denominator + Math.ceil((rest * this.denominator) / this.numerator);
    return cycle <= Number.MAX_SAFE_INTEGER ? cycle : Number.POSITIVE_INFINITY;
  }
}

/** IA32_TIME_STAMP_COUNTER of one CPU, with IA32_TSC_ADJUST (SDM volume 3, 19.17). */
export class Tsc {
  readonly clock: Clock;
  /** What {@link read} found: low and high half. */
  readonly value = new Int32Array(2);
  /** Added to the ticks of the clock. */
  readonly offset = new Int32Array(2);
  /** IA32_TSC_ADJUST: the sum of all changes by WRMSR. */
  readonly adjust = new Int32Array(2);

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Reads the counter into {@link value}. */
  read(): void {
    const ticks = this.clock.ticks();
    add(this.value, ticks | 0, Math.floor(ticks / WORD) | 0, this.offset[0]!, this.offset[1]!);
  }

  /** WRMSR to IA32_TIME_STAMP_COUNTER: IA32_TSC_ADJUST changes by as much. */
  write(lo: number, hi: number): void {
    this.read();
    // What is to be added: the value wanted less the value there is.
    add(this.value, ~this.value[0]!, ~this.value[1]!, 1, 0);
    add(this.value, this.value[0]!, this.value[1]!, lo, hi);
    this.shift(this.value[0]!, this.value[1]!);
  }

  /** WRMSR to IA32_TSC_ADJUST: the counter changes by as much. */
  writeAdjust(lo: number, hi: number): void {
    add(this.value, ~this.adjust[0]!, ~this.adjust[1]!, 1, 0);
    add(this.value, this.value[0]!, this.value[1]!, lo, hi);
    this.shift(this.value[0]!, this.value[1]!);
  }

  /**
   * The first cycle, from now on, at which the counter has reached a deadline (both are unsigned); `Infinity` when
   * that is out of reach. The counter itself is left in {@link value}.
   */
  cycleOf(lo: number, hi: number): number {
    this.read();
    const high = (hi >>> 0) - (this.value[1]! >>> 0);
    const low = (lo >>> 0) - (this.value[0]! >>> 0);
    // Rounded when the distance is beyond 2^53, which is out of reach anyway.
    const distance = high * WORD + low;
    if (distance <= 0) return this.clock.now[0]!;
    return this.clock.cycleOfTicks(this.clock.ticks() + distance);
  }

  private shift(lo: number, hi: number): void {
    add(this.offset, this.offset[0]!, this.offset[1]!, lo, hi);
    add(this.adjust, this.adjust[0]!, this.adjust[1]!, lo, hi);
  }
}

/** Adds two 64-bit numbers. */
function add(out: Int32Array, aLo: number, aHi: number, bLo: number, bHi: number): void {
  const low = (aLo >>> 0) + (bLo >>> 0);
  out[1] = (aHi + bHi + (low >= WORD ? 1 : 0)) | 0;
  out[0] = low | 0;
}

/** Fraction bits of the VMX TSC multiplier, a 16.48 number (SDM volume 3, 26.6.5). */
export const VMX_TSC_FRACTION = 48;
/** Fraction bits of the TSC ratio MSR, an 8.32 number (APM volume 2, 15.30.5). */
export const SVM_TSC_FRACTION = 32;

/** 16-bit limbs of the product that is being worked out. */
const limbs = new Float64Array(8);

/** `out = floor(value * multiplier / 2^fraction)` modulo 2^64; `fraction` is a multiple of 16. All are unsigned. */
export function scale64(
  out: Int32Array,
  lo: number,
  hi: number,
  multiplierLo: number,
  multiplierHi: number,
  fraction: number,
): void {
  const b0 = multiplierLo & 0xffff;
  const b1 = multiplierLo >>> 16;
  const b2 = multiplierHi & 0xffff;
  const b3 = multiplierHi >>> 16;
  limbs.fill(0);
  for (let at = 0; at < 4; at++) {
    const word = at < 2 ? lo : hi;
    const a = (at & 1) === 0 ? word & 0xffff : word >>> 16;
    limbs[at]! += a * b0;
    limbs[at + 1]! += a * b1;
    limbs[at + 2]! += a * b2;
    limbs[at + 3]! += a * b3;
  }
  for (let at = 0; at < 7; at++) {
    const carry = Math.floor(limbs[at]! / 0x1_0000);
    limbs[at]! -= carry * 0x1_0000;
    limbs[at + 1]! += carry;
  }
  const first = fraction >> 4;
  out[0] = limbs[first]! | (limbs[first + 1]! << 16);
  out[1] = limbs[first + 2]! | (limbs[first + 3]! << 16);
}

/** The TSC as a guest sees it: scaled, then offset. */
export class GuestTsc {
  readonly tsc: Tsc;
  /** 48 (VMX) or 32 (SVM). */
  readonly fraction: number;
  /** What {@link read} found. */
  readonly value = new Int32Array(2);
  /** TSC_OFFSET of VMCS or VMCB. */
  readonly offset = new Int32Array(2);
  /** TSC multiplier (VMX) or MSR C0000104H (SVM); 1.0 at first. */
  readonly multiplier = new Int32Array(2);

  constructor(tsc: Tsc, fraction: typeof VMX_TSC_FRACTION | typeof SVM_TSC_FRACTION) {
    this.tsc = tsc;
    this.fraction = fraction;
    this.multiplier[1] = fraction === VMX_TSC_FRACTION ? 0x1_0000 : 1;
  }

  /** Reads the counter into {@link value}. */
  read(): void {
    const { tsc, value, offset, multiplier } = this;
    tsc.read();
    scale64(value, tsc.value[0]!, tsc.value[1]!, multiplier[0]!, multiplier[1]!, this.fraction);
    add(value, value[0]!, value[1]!, offset[0]!, offset[1]!);
  }

  /**
   * The first cycle, from now on, at which the guest's counter has reached a deadline; `Infinity` when that is out of
   * reach. Off the hot path: a guest waits.
   */
  cycleOf(lo: number, hi: number): number {
    this.read();
    const deadline = toBigInt(lo, hi);
    if (toBigInt(this.value[0]!, this.value[1]!) >= deadline) return this.tsc.clock.now[0]!;
    const multiplier = toBigInt(this.multiplier[0]!, this.multiplier[1]!);
    const scaled = BigInt.asUintN(64, deadline - toBigInt(this.offset[0]!, this.offset[1]!));
    if (multiplier === 0n) return Number.POSITIVE_INFINITY;
    const host = ((scaled << BigInt(this.fraction)) + multiplier - 1n) / multiplier;
    if (host >> 64n !== 0n) return Number.POSITIVE_INFINITY;
    return this.tsc.cycleOf(Number(host & 0xffff_ffffn) | 0, Number(host >> 32n) | 0);
  }
}

function toBigInt(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}
