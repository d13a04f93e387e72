/** One round of a mixer of 32-bit words (the finalizer of MurmurHash3): every bit of the input reaches every bit. */
function mixed(word: number): number {
  let x = word;
  x = Math.imul(x ^ (x >>> 16), 0x85eb_ca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2_ae35);
  return x ^ (x >>> 16);
}

const GOLDEN = 0x9e37_79b9 | 0;

/** xoshiro128** (Blackman and Vigna, 2018), started anew for each case. Allocates nothing. */
export class Chance {
  private a = 1;
  private b = 0;
  private c = 0;
  private d = 0;

  /** Starts from a seed and the number of a case, up to 2^53: the same words follow wherever and whenever it is done. */
  start(seed: number, number: number): void {
    const low = number | 0;
    const high = (number / 2 ** 32) | 0;
    this.a = mixed(Math.imul(seed, GOLDEN) ^ low);
    this.b = mixed(this.a ^ high ^ seed);
    this.c = mixed(this.b + GOLDEN);
    // Not all four may be zero.
    this.d = this.a ^ this.b ^ GOLDEN || 1;
  }

  /** 32 bits, as a signed number. */
  word(): number {
    const { a, b, c, d } = this;
    const times5 = Math.imul(b, 5);
    const result = Math.imul((times5 << 7) | (times5 >>> 25), 9);
    const e = c ^ a;
    const f = d ^ b;
    this.b = b ^ e;
    this.a = a ^ f;
    this.c = e ^ (b << 9);
    this.d = (f << 11) | (f >>> 21);
    return result;
  }

  /** A whole number from 0 to `limit - 1`; `limit` is at most 2^16. */
  below(limit: number): number {
    return ((this.word() >>> 16) * limit) >>> 16;
  }
}
