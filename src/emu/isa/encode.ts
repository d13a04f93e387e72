import { type Form, type FormOperand, MAP, PREFIX } from './forms.js';
import { HIGH_BYTE, RIP } from './insn.js';
import type { Address, ParsedOperand } from './operand.js';
import { needsRex } from './registers.js';

/** The encoder: one form, one operand size, operands that fit, bytes. */

/** What the encoder takes: labels are resolved, branch targets count from the next instruction. */
export type Value =
  | Exclude<ParsedOperand, { readonly kind: 'label' | 'here' }>
  | { readonly kind: 'relative'; readonly value: bigint };

/** Operand sizes that a form has, in bytes; the one that most want comes first. */
export function sizesOf(form: Form): readonly number[] {
  const widths = form.operands.map(({ width }) => width);
  if (form.only64 || form.sizeRule === 'f64') return [8];
  if (form.operands.some(({ place }) => place === 'J')) return [4];
  if (form.sizeRule === 'd64') return [8, 2];
  if (widths.includes('y')) return [4, 8];
  return widths.includes('v') || widths.includes('z') ? [4, 8, 2] : [4];
}

/** Bytes of an operand. */
export function bytesOf({ width }: FormOperand, size: number): number {
  if (width === 'v' || width === 'y') return size;
  if (width === 'z') return Math.min(size, 4);
  return { b: 1, bs: 1, w: 2, d: 4, q: 8, o: 16, s: 10, a: 8, '': 0 }[width];
}

/** Whether the value can stand in that place of the form. */
export function fits(operand: FormOperand, value: ParsedOperand | Value, size: number): boolean {
  if (value.kind === 'register') return registerFits(operand, value.register, size);
  if (value.kind === 'memory') return memoryFits(operand, value.address, size);
  if (value.kind === 'immediate') return immediateFits(operand, value.value, size);
  if (operand.place !== 'J') return false;
  return value.kind !== 'relative' || inSigned(value.value, operand.width === 'b' ? 8 : 32);
}

function registerFits(operand: FormOperand, register: { kind: string; number: number; size: number }, size: number) {
  const { place, width } = operand;
  if (place === 'C') return register.kind === 'control';
  if (register.kind !== 'gpr') return false;
  if (width === 'a') return register.size >= 4;
  if (register.size !== bytesOf(operand, size)) return false;
  if (place === 'AL' || place === 'rAX') return register.number === 0;
  if (place === 'CL') return register.number === 1;
  if (operand.notZero && register.number === 0) return false;
  return place === 'E' || place === 'R' || place === 'G' || place === 'Z';
}

function memoryFits(operand: FormOperand, address: Address, size: number): boolean {
  if (operand.place !== 'E' && operand.place !== 'M') return false;
  const bytes = bytesOf(operand, size);
  return address.size === 0 || bytes === 0 || address.size === bytes;
}

const inSigned = (value: bigint, bits: number): boolean => BigInt.asIntN(bits, value) === value;

/** A number may be written signed or unsigned. */
const inRange = (value: bigint, bits: number): boolean =>
  inSigned(value, bits) || BigInt.asUintN(bits, value) === value;

function immediateFits({ place, width }: FormOperand, value: bigint, size: number): boolean {
  if (place === '1') return value === 1n;
  if (place !== 'I') return false;
  if (width === 'b') return inRange(value, 8);
  if (width === 'w' || width === 'd') return BigInt.asUintN(width === 'w' ? 16 : 32, value) === value;
  if (!inRange(value, size * 8)) return false;
  const signed = BigInt.asIntN(size * 8, value);
  return width === 'v' || inSigned(signed, width === 'bs' ? 8 : 32);
}

/** The bytes; the caller has asked `fits`. Throws for an address that no encoding has. */
export function encode(form: Form, size: number, values: readonly Value[], lock = false): number[] {
  const parts = new Parts(form, size, values);
  return [...(lock ? [0xf0] : []), ...parts.legacyPrefixes(), ...parts.opcode(), ...parts.tail, ...parts.immediate];
}

const REX = { B: 1, X: 2, R: 4, W: 8 };

/** The fields of one instruction, filled operand by operand. */
class Parts {
  private readonly form: Form;
  private readonly size: number;
  /** REX.WRXB, and what forces or forbids a REX prefix. */
  private rex = 0;
  private wantsRex = false;
  private highByte = false;
  private opcodeRegister = 0;
  private modrm: number;
  private segment: 'fs' | 'gs' | undefined;
  private narrow = false;
  /** ModRM, SIB and displacement. */
  readonly tail: number[] = [];
  readonly immediate: number[] = [];

  constructor(form: Form, size: number, values: readonly Value[]) {
    this.form = form;
    this.size = size;
    this.modrm = form.mod === 'register' || form.mod === 'ignored' ? form.modrmValue | 0xc0 : form.modrmValue;
    const dependsOnSize = form.only64 || form.operands.some(({ width }) => width === 'v' || width === 'y');
    if (size === 8 && form.sizeRule === 'normal' && dependsOnSize) this.rex |= REX.W;
    const memory: number[] = [];
    form.operands.forEach((operand, i) => {
      this.take(operand, values[i]!, memory);
    });
    if (form.hasModrm) this.tail.push(this.modrm, ...memory);
  }

  private take(operand: FormOperand, value: Value, memory: number[]): void {
    if (value.kind === 'memory') memory.push(...this.takeAddress(value.address));
    else if (value.kind === 'register') this.takeRegister(operand, value.register);
    else if (operand.place !== '1') this.immediate.push(...littleEndian(value.value, this.immediateBytes(operand)));
  }

  private immediateBytes({ width }: FormOperand): number {
    return width === 'v' ? this.size : bytesOf({ width } as FormOperand, this.size);
  }

  private takeRegister({ place, width }: FormOperand, register: Parameters<typeof needsRex>[0]): void {
    const high = register.size === 1 && register.number >= HIGH_BYTE;
    const number = high ? register.number - HIGH_BYTE + 4 : register.number;
    if (place === 'AL' || place === 'rAX' || place === 'CL') return;
    if (high) this.highByte = true;
    if (register.kind === 'gpr' && needsRex(register)) this.wantsRex = true;
    if (width === 'a') this.narrow = register.size === 4;
    if (place === 'G' || place === 'C') {
      this.modrm |= (number & 7) << 3;
      if (number & 8) this.rex |= REX.R;
    } else {
      if (place === 'Z') this.opcodeRegister = number & 7;
      else this.modrm |= 0xc0 | (number & 7);
      if (number & 8) this.rex |= REX.B;
    }
  }

  /** Sets ModRM.mod and rm; returns SIB and displacement (SDM vol. 2A tables 2-2 and 2-3). */
  private takeAddress({ base, index, scale, disp, segment, narrow }: Address): number[] {
    this.segment = segment;
    this.narrow = narrow;
    const bits = narrow ? 32 : 64;
    const signed = BigInt.asIntN(bits, disp);
    if (!inRange(disp, bits) || !inSigned(signed, 32)) throw new RangeError(`displacement ${disp}: more than 32 bits`);
    if (base === RIP) {
      if (index >= 0) throw new RangeError('rip with an index register: there is no such address');
      this.modrm |= 5;
      return littleEndian(signed, 4);
    }
    if (base >= 0 && base & 8) this.rex |= REX.B;
    if (index >= 0 && index & 8) this.rex |= REX.X;
    const dispBytes = base < 0 ? 4 : signed === 0n && (base & 7) !== 5 ? 0 : inSigned(signed, 8) ? 1 : 4;
    if (base >= 0) this.modrm |= dispBytes === 1 ? 0x40 : dispBytes === 4 ? 0x80 : 0;
    const displacement = littleEndian(signed, dispBytes);
    if (base >= 0 && index < 0 && (base & 7) !== 4) {
      this.modrm |= base & 7;
      return displacement;
    }
    this.modrm |= 4;
    const sib = (scale << 6) | ((index < 0 ? 4 : index & 7) << 3) | (base < 0 ? 5 : base & 7);
    return [sib, ...displacement];
  }

  legacyPrefixes(): number[] {
    const bytes: number[] = [];
    if (this.segment) bytes.push(this.segment === 'fs' ? 0x64 : 0x65);
    if (this.narrow) bytes.push(0x67);
    if (this.form.vex) return bytes;
    const only = (prefix: number): boolean => this.form.prefixes === 1 << prefix;
    const wide = this.form.operands.some(({ width }) => width === 'v' || width === 'z' || width === 'bs');
    if (only(PREFIX['66']) || (this.size === 2 && wide)) bytes.push(0x66);
    if (only(PREFIX.F3)) bytes.push(0xf3);
    if (only(PREFIX.F2)) bytes.push(0xf2);
    return bytes;
  }

  /** REX or VEX, escapes, opcode. */
  opcode(): number[] {
    const opcode = this.form.opcode + this.opcodeRegister;
    if (this.form.vex) return [0xc4, this.vexMap(), this.form.prefixes === 1 << PREFIX.F3 ? 0x7a : 0x7b, opcode];
    const hasRex = this.rex !== 0 || this.wantsRex;
    if (hasRex && this.highByte) throw new RangeError('ah, ch, dh and bh cannot stand beside a REX prefix');
    return [...(hasRex ? [0x40 | this.rex] : []), ...ESCAPES[this.form.map]!, opcode];
  }

  /** Inverted RXB, and map 7. */
  private vexMap(): number {
    const inverted = ~this.rex & 7;
    return ((inverted & REX.R ? 1 : 0) << 7) | ((inverted & REX.X ? 1 : 0) << 6) | ((inverted & REX.B) << 5) | MAP.VEX7;
  }
}

const ESCAPES: Readonly<Record<number, readonly number[]>> = {
  [MAP.ONE_BYTE]: [],
  [MAP['0F']]: [0x0f],
  [MAP['0F38']]: [0x0f, 0x38],
  [MAP['0F3A']]: [0x0f, 0x3a],
};

function littleEndian(value: bigint, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}
