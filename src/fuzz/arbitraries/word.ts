import fc, { type Arbitrary, type Random, type Value } from 'fast-check';

/** Fewer bits: none at all, then one half of those that are set or the other, then all but one. */
export function* fewerBits(value: number): Generator<number> {
  if (value === 0) return;
  yield 0;
  const bits = [...Array(32).keys()].filter((bit) => (value >>> bit) & 1);
  if (bits.length === 1) return;
  const mask = (some: readonly number[]) => some.reduce((all, bit) => all | (1 << bit), 0) >>> 0;
  const middle = bits.length >>> 1;
  if (bits.length > 2) {
    yield mask(bits.slice(0, middle));
    yield mask(bits.slice(middle));
  }
  for (const bit of bits) yield (value & ~(1 << bit)) >>> 0;
}

const isWord = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;

/** A u32 of which each bit means something by itself. */
class WordArbitrary extends fc.Arbitrary<number> {
  generate(random: Random): Value<number> {
    const kind = random.nextInt(0, 3);
    const bit = () => (1 << random.nextInt(0, 31)) >>> 0;
    const some = [0, 1, 0xff, 0xffff, 0x8000_0000, 0xffff_ffff];
    const value =
      kind === 0
        ? some[random.nextInt(0, some.length - 1)]!
        : kind === 1
          ? bit()
          : kind === 2
            ? (bit() | bit() | bit()) >>> 0
            : random.nextInt(0, 0xffff_ffff);
    return new fc.Value(value, undefined);
  }

  canShrinkWithoutContext(value: unknown): value is number {
    return isWord(value);
  }

  shrink(value: number) {
    return fc.stream(
      (function* () {
        for (const fewer of fewerBits(value)) yield new fc.Value(fewer, undefined);
      })(),
    );
  }
}

/** A register: edges, few bits, or anything; shrinks to the bits that matter. */
export const word = (): Arbitrary<number> => new WordArbitrary();
