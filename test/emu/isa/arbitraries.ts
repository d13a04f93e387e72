import fc from 'fast-check';
import { bytesOf, encode, sizesOf, type Value } from '../../../src/emu/isa/encode.js';
import { FORMS, type Form, type FormOperand, MAP } from '../../../src/emu/isa/forms.js';
import { RIP } from '../../../src/emu/isa/insn.js';
import type { Address } from '../../../src/emu/isa/operand.js';
import { CONTROL_REGISTERS, findRegister, gprName, type Register } from '../../../src/emu/isa/registers.js';

/** Random instructions: from the encoder's model, and bytes that lean towards where decoders go wrong. */

export interface Sample {
  readonly form: Form;
  readonly size: number;
  readonly lock: boolean;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const register = (number: number, size: number): Register => findRegister(gprName(number, size))!;

function registerFor(operand: FormOperand, size: number): fc.Arbitrary<Value> {
  const bytes = bytesOf(operand, size);
  const fixed = { AL: 0, rAX: 0, CL: 1 }[operand.place as string];
  if (fixed !== undefined) return fc.constant({ kind: 'register', register: register(fixed, bytes) });
  if (operand.place === 'C') {
    return fc
      .constantFrom(...CONTROL_REGISTERS)
      .map((n): Value => ({ kind: 'register', register: findRegister(`cr${n}`)! }));
  }
  const width = operand.width === 'a' ? fc.constantFrom(4, 8) : fc.constant(bytes);
  return fc
    .tuple(fc.integer({ min: operand.notZero ? 1 : 0, max: bytes === 1 ? 19 : 15 }), width)
    .map(([number, w]): Value => ({ kind: 'register', register: register(number, w) }));
}

const displacement = fc.oneof(
  fc.constant(0),
  fc.integer({ min: -128, max: 127 }),
  fc.constantFrom(-129, 128, 0x7fff_ffff, -0x8000_0000),
  fc.integer(),
);

const address: fc.Arbitrary<Address> = fc
  .record({
    base: fc.integer({ min: -1, max: RIP }),
    index: fc.integer({ min: -1, max: 15 }).filter((index) => index !== 4),
    scale: fc.nat(3),
    disp: displacement.map(BigInt),
    segment: fc.constantFrom(undefined, undefined, 'fs' as const, 'gs' as const),
    narrow: fc.boolean(),
  })
  .map(({ base, index, scale, narrow, ...rest }) => {
    const noIndex = base === RIP || index < 0;
    const label = undefined;
    return { size: 0, base, index: noIndex ? -1 : index, scale: noIndex ? 0 : scale, narrow, label, ...rest };
  });

const memory = address.map((a): Value => ({ kind: 'memory', address: a }));

/** Numbers with edges, as wide as asked. */
function number(bits: number): fc.Arbitrary<bigint> {
  const max = (1n << BigInt(bits)) - 1n;
  return fc.oneof(fc.constantFrom(0n, 1n, max, max >> 1n, (max >> 1n) + 1n), fc.bigInt({ min: 0n, max }));
}

function immediateFor({ place, width }: FormOperand, size: number): fc.Arbitrary<Value> {
  const bits =
    place === 'J' && width === 'z' ? 32 : { v: size, z: Math.min(size, 4), w: 2, d: 4 }[width as string]! * 8 || 8;
  const signed = place === 'J' || width === 'bs' || width === 'z';
  return number(bits).map((value): Value => {
    if (place === '1') return { kind: 'immediate', value: 1n };
    const extended = signed ? BigInt.asIntN(bits, value) : value;
    return place === 'J' ? { kind: 'relative', value: extended } : { kind: 'immediate', value: extended };
  });
}

function valueFor(form: Form, operand: FormOperand, size: number): fc.Arbitrary<Value> {
  if ('IJ1'.includes(operand.place)) return immediateFor(operand, size);
  if (operand.place === 'M') return memory;
  if (operand.place === 'E' && form.mod === 'any') return fc.oneof(registerFor(operand, size), memory);
  return registerFor(operand, size);
}

/** AH beside a register that needs REX has no encoding. */
function tryEncode(form: Form, size: number, values: readonly Value[], lock: boolean): Sample | null {
  try {
    return { form, size, lock, bytes: Uint8Array.from(encode(form, size, values, lock)) };
  } catch {
    return null;
  }
}

/** Instructions of every form, with operands that it takes. */
export const samples: fc.Arbitrary<Sample> = fc
  .constantFrom(...FORMS)
  .chain((form) => fc.tuple(fc.constant(form), fc.constantFrom(...sizesOf(form))))
  .chain(([form, size]) => {
    const values = fc.tuple(...form.operands.map((operand) => valueFor(form, operand, size)));
    return fc.tuple(values, fc.boolean()).map(([all, locked]) => {
      return tryEncode(form, size, all, locked && form.lock && all[0]?.kind === 'memory');
    });
  })
  .filter((sample) => sample !== null);

const LEGACY = [0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e];
const prefixes = fc.array(fc.oneof(fc.constantFrom(...LEGACY), fc.integer({ min: 0x40, max: 0x4f })), { maxLength: 5 });

/** Opcodes of the machine, as bytes. */
const OPCODES = FORMS.filter((form) => form.map !== MAP.VEX7).map(({ map, opcode }) =>
  map === MAP.ONE_BYTE ? [opcode] : map === MAP['0F'] ? [0x0f, opcode] : [0x0f, 0x38, opcode],
);
const GROUPS = [
  [0x0f, 0x01],
  [0x0f, 0xae],
  [0x0f, 0xc7],
  [0xc6, 0xf8],
  [0xc7, 0xf8],
  [0x0f, 0x00],
  [0x0f, 0x1e],
  [0x0f, 0x38],
];
const VEX = [[0xc4, 0xe7], [0xc4, 0xe7, 0x7b, 0xf6], [0xc4, 0xe7, 0x7a, 0xf8], [0xc4, 0xe1], [0xc4], [0xc5]];

const heads = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...GROUPS) },
  { weight: 4, arbitrary: fc.constantFrom(...OPCODES) },
  { weight: 1, arbitrary: fc.constantFrom(...VEX) },
  { weight: 2, arbitrary: fc.constant<number[]>([]) },
);

/** Fifteen bytes that begin with prefixes and an opcode of interest, and go on with anything. */
export const biasedBytes: fc.Arbitrary<Uint8Array<ArrayBuffer>> = fc
  .tuple(prefixes, heads, fc.uint8Array({ minLength: 15, maxLength: 15 }))
  .map(([prefix, head, rest]) => Uint8Array.from([...prefix, ...head, ...rest].slice(0, 15)));
