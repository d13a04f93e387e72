/**
 * A second model of the integer instructions, slow and obvious: registers and flags are bigints, memory is bytes, and an
 * instruction is what the program's author wrote, not what a decoder made of it.
 */

export type Place =
  | { readonly kind: 'register'; readonly number: number; readonly high?: boolean }
  | {
      readonly kind: 'memory';
      readonly base: number;
      readonly index: number;
      readonly scale: number;
      readonly disp: number;
    }
  | { readonly kind: 'immediate'; readonly value: bigint };

export interface Step {
  readonly op: string;
  /** Bytes. */
  readonly size: number;
  readonly to: Place | null;
  readonly from: Place | null;
  readonly fromSize: number;
  /** Branches: the number of the step to go on with. */
  readonly target: number;
}

export interface Flags {
  cf: boolean;
  pf: boolean;
  af: boolean;
  zf: boolean;
  sf: boolean;
  of: boolean;
}

const CONDITIONS: Readonly<Record<string, (f: Flags) => boolean>> = {
  o: (f) => f.of,
  b: (f) => f.cf,
  e: (f) => f.zf,
  be: (f) => f.cf || f.zf,
  s: (f) => f.sf,
  p: (f) => f.pf,
  l: (f) => f.sf !== f.of,
  le: (f) => f.zf || f.sf !== f.of,
};
const NEGATED: Readonly<Record<string, string>> = {
  no: 'o',
  ae: 'b',
  ne: 'e',
  a: 'be',
  ns: 's',
  np: 'p',
  ge: 'l',
  g: 'le',
};

export const CONDITION_NAMES: readonly string[] = [...Object.keys(CONDITIONS), ...Object.keys(NEGATED)];

const OTHER_FLAGS = 0x24_4600n;

export class Reference {
  readonly registers: bigint[] = new Array(16).fill(0n);
  readonly flags: Flags = { cf: false, pf: false, af: false, zf: false, sf: false, of: false };
  /** Flags that no arithmetic touches. */
  other = 2n;
  readonly memory: Uint8Array;
  private readonly base: number;

  constructor(memory: Uint8Array, base: number) {
    this.memory = memory;
    this.base = base;
  }

  get rflags(): bigint {
    const { cf, pf, af, zf, sf, of } = this.flags;
    const bits: readonly (readonly [boolean, bigint])[] = [
      [cf, 0n],
      [pf, 2n],
      [af, 4n],
      [zf, 6n],
      [sf, 7n],
      [of, 11n],
    ];
    return bits.reduce((value, [set, bit]) => value | (set ? 1n << bit : 0n), this.other);
  }

  run(steps: readonly Step[]): void {
    let at = 0;
    while (at < steps.length) {
      const step = steps[at]!;
      at = this.execute(step) ? step.target : at + 1;
    }
  }

  private address(place: Extract<Place, { kind: 'memory' }>): bigint {
    const index = place.index < 0 ? 0n : this.registers[place.index]! * BigInt(place.scale);
    return BigInt.asUintN(64, this.registers[place.base]! + index + BigInt(place.disp));
  }

  private load(address: bigint, size: number): bigint {
    let value = 0n;
    for (let byte = size - 1; byte >= 0; byte--)
      value = (value << 8n) | BigInt(this.memory[Number(address) - this.base + byte]!);
    return value;
  }

  private store(address: bigint, size: number, value: bigint): void {
    for (let byte = 0; byte < size; byte++)
      this.memory[Number(address) - this.base + byte] = Number((value >> BigInt(8 * byte)) & 0xffn);
  }

  private read(place: Place, size: number): bigint {
    if (place.kind === 'immediate') return BigInt.asUintN(size * 8, place.value);
    if (place.kind === 'memory') return this.load(this.address(place), size);
    const value = this.registers[place.number]! >> (place.high ? 8n : 0n);
    return BigInt.asUintN(size * 8, value);
  }

  private write(place: Place, size: number, value: bigint): void {
    const bits = BigInt.asUintN(size * 8, value);
    if (place.kind === 'memory') this.store(this.address(place), size, bits);
    else if (place.kind === 'register') {
      const old = this.registers[place.number]!;
      if (size >= 4) this.registers[place.number] = bits;
      else {
        const shift = place.high ? 8n : 0n;
        const mask = ((1n << BigInt(size * 8)) - 1n) << shift;
        this.registers[place.number] = (old & ~mask) | (bits << shift);
      }
    }
  }

  /** SF, ZF, PF. */
  private result(value: bigint, size: number): void {
    const bits = BigInt.asUintN(size * 8, value);
    this.flags.zf = bits === 0n;
    this.flags.sf = bits >> BigInt(size * 8 - 1) === 1n;
    let ones = 0;
    for (let bit = 0n; bit < 8n; bit++) ones += Number((bits >> bit) & 1n);
    this.flags.pf = ones % 2 === 0;
  }

  private add(a: bigint, b: bigint, size: number): bigint {
    const sum = a + b;
    const width = BigInt(size * 8);
    this.result(sum, size);
    this.flags.cf = sum >> width !== 0n;
    this.flags.af = (a & 15n) + (b & 15n) > 15n;
    const signed = BigInt.asIntN(size * 8, a) + BigInt.asIntN(size * 8, b);
    this.flags.of = signed !== BigInt.asIntN(size * 8, sum);
    return sum;
  }

  private subtract(a: bigint, b: bigint, size: number): bigint {
    const difference = a - b;
    this.result(difference, size);
    this.flags.cf = a < b;
    this.flags.af = (a & 15n) < (b & 15n);
    const signed = BigInt.asIntN(size * 8, a) - BigInt.asIntN(size * 8, b);
    this.flags.of = signed !== BigInt.asIntN(size * 8, difference);
    return difference;
  }

  private logic(value: bigint, size: number): bigint {
    this.result(value, size);
    this.flags.cf = false;
    this.flags.of = false;
    this.flags.af = false;
    return value;
  }

  private shift(op: string, a: bigint, count: number, size: number): bigint {
    const width = size * 8;
    let value = a;
    // One bit at a time, as the manual's pseudo-code does.
    for (let n = 0; n < count; n++) {
      if (op === 'shl') {
        this.flags.cf = value >> BigInt(width - 1) === 1n;
        value = BigInt.asUintN(width, value << 1n);
      } else {
        this.flags.cf = (value & 1n) === 1n;
        value = op === 'shr' ? value >> 1n : BigInt.asUintN(width, BigInt.asIntN(width, value) >> 1n);
      }
    }
    this.result(value, size);
    this.flags.af = false;
    const top = (bits: bigint): boolean => bits >> BigInt(width - 1) === 1n;
    this.flags.of = op === 'shl' ? top(value) !== this.flags.cf : op === 'shr' ? top(a) : false;
    return value;
  }

  private push(size: number, value: bigint): void {
    this.registers[4] = BigInt.asUintN(64, this.registers[4]! - BigInt(size));
    this.store(this.registers[4]!, size, value);
  }

  private pop(size: number): bigint {
    const value = this.load(this.registers[4]!, size);
    this.registers[4] = BigInt.asUintN(64, this.registers[4]! + BigInt(size));
    return value;
  }

  /** @returns whether a branch is taken */
  private execute({ op, size, to, from, fromSize }: Step): boolean {
    const a = (): bigint => this.read(to!, size);
    const b = (): bigint => this.read(from!, size);
    switch (op) {
      case 'add':
        this.write(to!, size, this.add(a(), b(), size));
        return false;
      case 'sub':
        this.write(to!, size, this.subtract(a(), b(), size));
        return false;
      case 'cmp':
        this.subtract(a(), b(), size);
        return false;
      case 'and':
        this.write(to!, size, this.logic(a() & b(), size));
        return false;
      case 'or':
        this.write(to!, size, this.logic(a() | b(), size));
        return false;
      case 'xor':
        this.write(to!, size, this.logic(a() ^ b(), size));
        return false;
      case 'test':
        this.logic(a() & b(), size);
        return false;
      case 'inc':
      case 'dec': {
        const { cf } = this.flags;
        this.write(to!, size, op === 'inc' ? this.add(a(), 1n, size) : this.subtract(a(), 1n, size));
        this.flags.cf = cf;
        return false;
      }
      case 'shl':
      case 'shr':
      case 'sar': {
        const count = Number(this.read(from!, 1)) & (size === 8 ? 63 : 31);
        this.write(to!, size, count === 0 ? a() : this.shift(op, a(), count, size));
        return false;
      }
      case 'mov':
        this.write(to!, size, b());
        return false;
      case 'movzx':
        this.write(to!, size, this.read(from!, fromSize));
        return false;
      case 'movsx':
      case 'movsxd':
        this.write(to!, size, BigInt.asIntN(fromSize * 8, this.read(from!, fromSize)));
        return false;
      case 'lea':
        this.write(to!, size, this.address(from as Extract<Place, { kind: 'memory' }>));
        return false;
      case 'xchg': {
        const [one, other] = [a(), b()];
        this.write(to!, size, other);
        this.write(from!, size, one);
        return false;
      }
      case 'cmpxchg': {
        const rax: Place = { kind: 'register', number: 0 };
        const old = a();
        const value = b();
        this.subtract(this.read(rax, size), old, size);
        this.write(to!, size, this.flags.zf ? value : old);
        if (!this.flags.zf) this.write(rax, size, old);
        return false;
      }
      case 'cmpxchg8b':
      case 'cmpxchg16b': {
        const half = op === 'cmpxchg8b' ? 4 : 8;
        const address = this.address(to as Extract<Place, { kind: 'memory' }>);
        const reg = (number: number): bigint => BigInt.asUintN(half * 8, this.registers[number]!);
        const [low, high] = [this.load(address, half), this.load(address + BigInt(half), half)];
        this.flags.zf = low === reg(0) && high === reg(2);
        if (this.flags.zf) {
          this.store(address, half, reg(3));
          this.store(address + BigInt(half), half, reg(1));
        } else {
          this.registers[0] = low;
          this.registers[2] = high;
        }
        return false;
      }
      case 'push':
        this.push(size, a());
        return false;
      case 'pop': {
        const value = this.pop(size);
        this.write(to!, size, value);
        return false;
      }
      case 'pushfq':
        this.push(8, this.rflags);
        return false;
      case 'popfq': {
        const value = this.pop(8);
        const bit = (at: bigint): boolean => ((value >> at) & 1n) === 1n;
        Object.assign(this.flags, { cf: bit(0n), pf: bit(2n), af: bit(4n), zf: bit(6n), sf: bit(7n), of: bit(11n) });
        this.other = (value & OTHER_FLAGS) | 2n;
        return false;
      }
      case 'jmp':
        return true;
      case 'nop':
        return false;
      default: {
        const name = op.slice(1);
        const positive = CONDITIONS[name];
        return positive ? positive(this.flags) : !CONDITIONS[NEGATED[name]!]!(this.flags);
      }
    }
  }
}
