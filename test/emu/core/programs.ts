import type { Assembler } from '../../../src/emu/isa/asm.js';
import { gprName } from '../../../src/emu/isa/registers.js';
import { CONDITION_NAMES, type Place, type Step } from './reference.js';

/** Random programs of the integer instructions. They end: branches only go forward. R14, R15 and RSP keep their places. */

/** xorshift32. */
export class Chance {
  private state: number;

  constructor(seed: number) {
    this.state = Math.imul(seed + 1, 0x9e37_79b1) | 1;
  }

  /** A signed 32-bit number. */
  word(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x;
    return x;
  }

  below(limit: number): number {
    return (this.word() >>> 0) % limit;
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /** 64 bits; often small, often near a sign change. */
  wide(): bigint {
    const value = (BigInt(this.word() >>> 0) << 32n) | BigInt(this.word() >>> 0);
    switch (this.below(6)) {
      case 0:
        return value & 0xffn;
      case 1:
        return BigInt.asUintN(64, BigInt(this.of([0, 1, -1, 2, -2])));
      case 2:
        return BigInt.asUintN(64, (1n << BigInt(this.of([7, 8, 15, 16, 31, 32, 63]))) + BigInt(this.below(3) - 1));
      default:
        return value;
    }
  }
}

const BASE = 15;
const INDEX = 14;
const STACK_POINTER = 4;

const general = (chance: Chance): number => {
  const number = chance.below(13);
  return number >= STACK_POINTER ? number + 1 : number;
};

const SIZES = [1, 2, 4, 4, 8, 8, 8];
const NAMES: Readonly<Record<number, string>> = { 1: 'byte', 2: 'word', 4: 'dword', 8: 'qword', 16: 'oword' };

function register(chance: Chance, size: number): Place {
  if (size === 1 && chance.below(5) === 0) return { kind: 'register', number: chance.below(4), high: true };
  return { kind: 'register', number: general(chance) };
}

function memory(chance: Chance, alignment = 1): Place {
  const indexed = alignment === 1 && chance.below(3) === 0;
  // Around the border of two pages, and elsewhere.
  const near = chance.below(4) === 0 ? 0x7f0 + chance.below(0x20) : chance.below(0x700) - 0x300;
  return {
    kind: 'memory',
    base: BASE,
    index: indexed ? INDEX : -1,
    scale: indexed ? chance.of([1, 2, 4, 8]) : 1,
    disp: near - (near % alignment),
  };
}

const immediate = (chance: Chance, size: number): Place => ({
  kind: 'immediate',
  // What fits a sign-extended 32-bit immediate.
  value: BigInt.asIntN(Math.min(size * 8, 32), chance.wide()),
});

/** A register, or memory. */
const destination = (chance: Chance, size: number): Place =>
  chance.below(4) === 0 ? memory(chance) : register(chance, size);

/** AH to BH do not go together with REX prefixes: neither with R8 to R15, nor with SPL to DIL. */
function fitsHigh(step: Step): boolean {
  const places = [step.to, step.from].filter((place) => place !== null);
  if (!places.some((place) => place.kind === 'register' && place.high)) return true;
  if (step.size === 8 || step.op === 'movsxd') return false;
  return places.every(
    (place) =>
      place.kind === 'immediate' ||
      (place.kind === 'register' && (place.high || place.number < 4 || (place.number < 8 && step.size > 1))),
  );
}

const ALU = ['add', 'or', 'and', 'sub', 'xor', 'cmp', 'test'];

function draw(chance: Chance, at: number, length: number): Step {
  const size = chance.of(SIZES);
  const step = { op: 'nop', size, to: null, from: null, fromSize: 0, target: 0 } satisfies Step;
  switch (chance.below(14)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: {
      const to = destination(chance, size);
      const op = chance.of(ALU);
      const kind = chance.below(3);
      const mayLoad = to.kind === 'register' && op !== 'test';
      const from =
        kind === 0 ? immediate(chance, size) : kind === 1 && mayLoad ? memory(chance) : register(chance, size);
      return { ...step, op, to, from };
    }
    case 5:
      return { ...step, op: chance.of(['inc', 'dec']), to: destination(chance, size) };
    case 6: {
      const from: Place =
        chance.below(2) === 0
          ? { kind: 'immediate', value: BigInt(chance.of([0, 1, 7, 8, 31, 32, 33, 63, chance.below(256)])) }
          : { kind: 'register', number: 1 };
      return { ...step, op: chance.of(['shl', 'shr', 'sar']), to: destination(chance, size), from };
    }
    case 7: {
      const to = destination(chance, size);
      if (to.kind === 'register' && !to.high && chance.below(3) === 0)
        return { ...step, op: 'mov', to, from: { kind: 'immediate', value: BigInt.asUintN(size * 8, chance.wide()) } };
      const load = to.kind === 'register' && chance.below(2) === 0;
      const from = load ? memory(chance) : chance.below(3) === 0 ? immediate(chance, size) : register(chance, size);
      return { ...step, op: 'mov', to, from };
    }
    case 8: {
      const op = chance.of(['movzx', 'movsx', 'movsxd']);
      const wide = op === 'movsxd' ? chance.of([4, 8]) : chance.of([2, 4, 8]);
      const fromSize = op === 'movsxd' ? 4 : wide === 2 ? 1 : chance.of([1, 2]);
      const from = destination(chance, fromSize);
      return { ...step, op, size: wide, to: { kind: 'register', number: general(chance) }, from, fromSize };
    }
    case 9: {
      const from: Place = {
        kind: 'memory',
        base: general(chance),
        index: chance.below(2) === 0 ? general(chance) : -1,
        scale: chance.of([1, 2, 4, 8]),
        disp: chance.below(2) === 0 ? chance.word() : (chance.word() << 24) >> 24,
      };
      return {
        ...step,
        op: 'lea',
        size: chance.of([2, 4, 8]),
        to: { kind: 'register', number: general(chance) },
        from,
      };
    }
    case 10: {
      const op = chance.of(['xchg', 'cmpxchg']);
      return { ...step, op, to: destination(chance, size), from: register(chance, size) };
    }
    case 11: {
      const op = chance.of(['cmpxchg8b', 'cmpxchg16b']);
      return { ...step, op, size: op === 'cmpxchg8b' ? 8 : 16, to: memory(chance, 16) };
    }
    case 12: {
      const wide = chance.of([8, 8, 2]);
      switch (chance.below(4)) {
        case 0:
          return { ...step, op: 'push', size: wide, to: destination(chance, wide) };
        case 1:
          return { ...step, op: 'push', size: 8, to: immediate(chance, 8) };
        case 2:
          return { ...step, op: 'pop', size: wide, to: destination(chance, wide) };
        default:
          return { ...step, op: 'pushfq', size: 8 };
      }
    }
    default: {
      const op = chance.below(6) === 0 ? 'jmp' : `j${chance.of(CONDITION_NAMES)}`;
      return { ...step, op, target: Math.min(length, at + 1 + chance.below(5)) };
    }
  }
}

const POPPED_FLAGS = 0x24_4ed5;

/** A program of up to `longest` steps. */
export function randomProgram(chance: Chance, longest: number): Step[] {
  const length = 1 + chance.below(longest);
  const steps: Step[] = [];
  while (steps.length < length) {
    const step = draw(chance, steps.length, length);
    if (!fitsHigh(step)) continue;
    // Flags from the stack: the value is pushed right before.
    if (steps.length < length - 1 && chance.below(25) === 0) {
      const value = BigInt(chance.word() & POPPED_FLAGS);
      steps.push({ op: 'push', size: 8, to: { kind: 'immediate', value }, from: null, fromSize: 0, target: 0 });
      steps.push({ op: 'popfq', size: 8, to: null, from: null, fromSize: 0, target: 0 });
    } else steps.push(step);
  }
  return keepPairs(steps);
}

/** No branch goes between a push of flags and its POPFQ. */
function keepPairs(steps: Step[]): Step[] {
  return steps.map((step) =>
    step.target > 0 && steps[step.target]?.op === 'popfq' ? { ...step, target: step.target + 1 } : step,
  );
}

function text(place: Place, size: number): string {
  if (place.kind === 'immediate')
    return place.value < 0n ? `-0x${(-place.value).toString(16)}` : `0x${place.value.toString(16)}`;
  if (place.kind === 'register') return gprName(place.high ? place.number + 16 : place.number, size);
  const { base, index, scale, disp } = place;
  const indexed = index < 0 ? '' : `+${gprName(index, 8)}*${scale}`;
  const offset = disp < 0 ? `-0x${(-disp).toString(16)}` : `+0x${disp.toString(16)}`;
  return `${NAMES[size]} ptr [${gprName(base, 8)}${indexed}${offset}]`;
}

/** Writes a program, and HLT at its end. */
export function write(a: Assembler, steps: readonly Step[]): void {
  writeSteps(a, steps);
  a.hlt();
}

/** Writes a program, to be gone on with after its last step. */
export function writeSteps(a: Assembler, steps: readonly Step[]): void {
  const targets = new Set(steps.filter(({ target }) => target > 0).map(({ target }) => target));
  steps.forEach((step, at) => {
    if (targets.has(at)) a.label(`L${at}`);
    writeStep(a, step);
  });
  if (targets.has(steps.length)) a.label(`L${steps.length}`);
}

function writeStep(a: Assembler, { op, size, to, from, fromSize, target }: Step): void {
  const mnemonic = op as 'add';
  if (target > 0) a[mnemonic](`L${target}`);
  else if (to === null) a[mnemonic]();
  else if (from === null) a[mnemonic](text(to, size));
  else if (op === 'lea') a.lea(text(to, size), text(from, 8));
  else if (op === 'shl' || op === 'shr' || op === 'sar') a[mnemonic](text(to, size), text(from, 1));
  else a[mnemonic](text(to, size), text(from, fromSize || size));
}

/** A program as people read it. */
export function listing(steps: readonly Step[]): string {
  return steps
    .map(({ op, size, to, from, fromSize, target }, at) => {
      const operands = [to && text(to, size), from && text(from, fromSize || size), target > 0 ? `L${target}` : null];
      return `${at}: ${op} ${operands.filter((operand) => operand !== null).join(', ')}`;
    })
    .join('\n');
}
