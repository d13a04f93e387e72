import { describe, expect, test } from 'vitest';
import { canCompile } from '../../../src/emu/can-compile.js';
import { OP_WRITERS, type OpName, type OpWriter, type OpWriters } from '../../../src/emu/core/compile-ops.js';
import { type CompilerOptions, compiledEngine } from '../../../src/emu/core/compiled.js';
import { Core } from '../../../src/emu/core/core.js';
import { EVENT } from '../../../src/emu/core/status.js';
import { type Assembler, assemble } from '../../../src/emu/isa/asm.js';
import { multiplier } from '../../support/runs.js';
import { type Bench, bench, CODE, DATA } from './machine.js';
import { Chance, listing, randomProgram, writeSteps } from './programs.js';
import { CONDITION_NAMES, type Step } from './reference.js';

/** Both engines on the same programs: what differs is an error of the compiler. */

const PAGES = 0x2000;
const TOP = DATA + 0x1f00;
/** R15: a little before the border of two pages. */
const BASE = DATA + 0x800;
const COUNTER = 0x40000;
const HANDLERS = 0x48000;
const IDT = 0x50000;
/** Where the last page ends. */
const MAPPED_END = 0x70000;
const FIRST_INTERRUPT = 0x20;
const IF = 0x200;

/** Interrupts are counted, faults end the program. */
function installHandlers({ core, memory }: Bench): void {
  const { bytes, labels } = assemble((a) => {
    a.hlt();
    a.label('interrupt');
    a.inc(`qword ptr [${COUNTER + 8}]`);
    a.iretq();
  });
  memory.load(HANDLERS, bytes);
  for (let vector = 0; vector < 256; vector++) {
    const target = HANDLERS + (vector < FIRST_INTERRUPT ? 0 : labels.get('interrupt')!);
    memory.write(IDT + vector * 16, 8, (target & 0xffff) | (0x10 << 16), (target & ~0xffff) | 0x8e00);
  }
  core.idtr.baseLo = IDT;
  core.idtr.limit = 0xfff;
}

function machine(options: CompilerOptions | null): Bench {
  const made = bench();
  if (options !== null) made.core.engine = compiledEngine(made.core, options);
  installHandlers(made);
  return made;
}

/** The memory that is compared. */
const SEEN = [
  [DATA, PAGES],
  [COUNTER, 16],
  [CODE, 0x200],
  [MAPPED_END - 0x1000, 0x1000],
] as const;

interface Case {
  readonly code: Uint8Array;
  readonly registers: readonly bigint[];
  readonly memory: Uint8Array;
  readonly rflags: number;
  /** Cycles from the start at which interrupts arrive. */
  readonly interrupts: readonly number[];
  /** Cycles from the start at which the core stops, several times. */
  readonly stops: readonly number[];
}

/** All that a program can see or leave behind, and the trace. */
function play({ core, memory }: Bench, given: Case): unknown[] {
  memory.load(CODE, given.code);
  memory.load(DATA, given.memory);
  memory.load(COUNTER, new Uint8Array(16));
  memory.load(MAPPED_END - 0x1000, given.memory.subarray(0x1000));
  given.registers.forEach((value, number) => {
    core.setRegister(number, value);
  });
  core.rip = BigInt(CODE);
  core.rflags = given.rflags;
  core.activity = 0;
  core.stopsAtHalt = true;
  const start = core.clock.now[0]!;
  given.interrupts.forEach((cycle, number) => {
    core.events.push(start + cycle, EVENT.INTERRUPT, FIRST_INTERRUPT + number);
  });
  const seen: unknown[] = [];
  for (const stop of given.stops) seen.push(runs(core, start + stop), ...state(core));
  while (core.events.pop());
  core.interrupts.clear();
  for (const [at, length] of SEEN) seen.push(Buffer.from(memory.dump(at, length)).toString('latin1'));
  return seen;
}

/** Why it stops; programs that go astray may come to what this machine does not do. */
function runs(core: Core, limit: number): string {
  try {
    return core.run(limit);
  } catch (error) {
    return String(error);
  }
}

function state(core: Core): unknown[] {
  const registers = Array.from({ length: 17 }, (_, number) => core.register(number));
  const [cycles, retired] = [core.clock.now[0], core.retired[0]];
  return [...registers, core.rflags, cycles, retired, core.trace.value, core.control.lo[2], core.control.hi[2]];
}

function fill(chance: Chance): { readonly registers: bigint[]; readonly memory: Uint8Array } {
  const registers = Array.from({ length: 16 }, () => chance.wide());
  registers[4] = BigInt(TOP);
  registers[14] = BigInt(chance.below(32));
  registers[15] = BigInt(BASE);
  const memory = new Uint8Array(PAGES);
  for (let at = 0; at < PAGES; at += 1 + chance.below(3)) memory[at] = chance.word();
  return { registers, memory };
}

interface Drawn {
  readonly given: Case;
  readonly steps: readonly Step[];
}

/** A random program, again and again, as a loop or as a function that is called; with interrupts. */
function again(chance: Chance): Drawn {
  const steps = randomProgram(chance, 24);
  const times = 3 + chance.below(4);
  const called = chance.below(3) === 0;
  const code = assemble((a) => {
    a.mov(`qword ptr [${COUNTER}]`, times);
    a.label('again');
    a.mov('rsp', TOP);
    if (called) a.call('function');
    else writeSteps(a, steps);
    a.dec(`qword ptr [${COUNTER}]`);
    a.jne('again');
    a.cli();
    a.hlt();
    if (!called) return;
    a.label('function');
    writeSteps(a, steps);
    a.mov('rsp', TOP - 8);
    a.ret();
  }).bytes;
  const interrupts = Array.from({ length: chance.below(3) }, () => chance.below(400));
  return { steps, given: { ...fill(chance), code, rflags: 2 | IF, interrupts, stops: [20_000] } };
}

/** A loop whose operands, or whose stack, move on until they are where no page is. */
function faulting(chance: Chance): Drawn {
  const steps = randomProgram(chance, 12);
  const code = assemble((a) => {
    a.label('again');
    writeSteps(a, steps);
    a.add('r15', 72);
    a.jmp('again');
  }).bytes;
  const filled = fill(chance);
  filled.registers[4] = BigInt(MAPPED_END - 8 * chance.below(200));
  filled.registers[15] = BigInt(MAPPED_END - 0x480 - chance.below(0x400));
  return { steps, given: { ...filled, code, rflags: 2, interrupts: [], stops: [5000] } };
}

/** A loop that writes new numbers into its own instructions: before and behind the store, near and far. */
function selfModifying(chance: Chance): Drawn {
  const length = 4 + chance.below(12);
  const kinds = Array.from({ length }, () => chance.below(6));
  const patched = Array.from({ length }, () => chance.below(length));
  const numbers = Array.from({ length }, () => chance.word());
  const gap = chance.below(3) === 0 ? 0xfe0 - chance.below(40) : 0;
  const build = (places: ReadonlyMap<string, number>) => (a: Assembler) => {
    if (gap > 0) {
      a.jmp('again');
      a.db(...new Array<number>(gap).fill(0x90));
    }
    a.label('again');
    for (let at = 0; at < length; at++) {
      // MOV r32, imm32: the number is its second to fifth byte.
      const place = CODE + (places.get(`number${patched[at]}`) ?? 0) + 1;
      if (kinds[at] === 0) a.mov(`dword ptr [${place}]`, 'eax');
      else if (kinds[at] === 1) a.add(`byte ptr [${place}]`, 'cl');
      else a.add('rax', 'rdx');
      a.label(`number${at}`);
      a.mov('edx', 0x1000_0000 | (numbers[at]! & 0xfff_ffff));
      if (kinds[at] === 2) a.add('rbx', 'rdx');
      if (kinds[at] === 3) a.jne(`number${at}`);
    }
    a.jmp('again');
  };
  const { labels } = assemble(build(new Map()));
  const code = assemble(build(labels)).bytes;
  return { steps: [], given: { ...fill(chance), code, rflags: 2, interrupts: [], stops: [700, 1500] } };
}

/** What has micro-operations of its own. */
function isNative({ op, size, to, from }: Step): boolean {
  if (size !== 4 && size !== 8) return false;
  const inMemory = to?.kind === 'memory' || from?.kind === 'memory';
  if (op === 'mov' || op === 'lea') return true;
  if (op === 'push' || op === 'pop') return size === 8 && !inMemory;
  if (op.startsWith('cmpx') || op.startsWith('x') || op.startsWith('movs') || op.startsWith('movz'))
    return op === 'xor';
  if (op.endsWith('fq')) return false;
  if (op.startsWith('sh') || op === 'sar') return !inMemory && from?.kind === 'immediate';
  return !inMemory;
}

/** Short loops of what is compiled in full, that end when the cycles do; interrupts and stops fall anywhere. */
function loop(chance: Chance): Drawn {
  const steps: Step[] = [];
  const length = 1 + chance.below(9);
  while (steps.length < length)
    steps.push(...randomProgram(chance, 12).filter((step) => step.target === 0 && isNative(step)));
  const body = steps.slice(0, length);
  const keeps = chance.below(4) > 0;
  const condition = chance.of([...CONDITION_NAMES, 'mp', 'mp', 'mp']);
  const code = assemble((a) => {
    if (chance.below(4) === 0) a.push('rax');
    a.label('again');
    if (keeps) a.mov('rsp', TOP);
    writeSteps(a, body);
    a[`j${condition}` as 'je']('again');
    if (chance.below(2) === 0) a.jmp('again');
    a.cli();
    a.hlt();
  }).bytes;
  const interrupts = Array.from({ length: chance.below(4) }, () => chance.below(600));
  const stops = Array.from({ length: chance.below(4) }, () => chance.below(900)).sort((a, b) => a - b);
  const given = { ...fill(chance), code, rflags: 2 | IF, interrupts, stops: [...stops, 900] };
  return { steps: body, given };
}

/** Text of the first difference, or null. */
function difference(interpreter: Bench, compiler: Bench, given: Case): string | null {
  const expected = play(interpreter, given);
  const found = play(compiler, given);
  const at = expected.findIndex((value, i) => value !== found[i]);
  return at < 0 ? null : `value ${at}: ${String(found[at])}, not ${String(expected[at])}`;
}

type Draw = (chance: Chance) => Drawn;

function compare(
  draw: Draw,
  count: number,
  options: CompilerOptions,
): { readonly seed: number; readonly text: string } | null {
  const interpreter = machine(null);
  const compiler = machine(options);
  for (let seed = 0; seed < count; seed++) {
    const { given, steps } = draw(new Chance(seed));
    const found = difference(interpreter, compiler, given);
    if (found !== null) return { seed, text: `seed ${seed}:\n${listing(steps)}\n${found}` };
  }
  return null;
}

/** A branch that goes the other way. */
const inverted: OpWriter = (w, micro) => OP_WRITERS.JCC(w, { ...micro, a: micro.a ^ 1 });
const nothing: OpWriter = OP_WRITERS.NOP;

/** One operation is written as another one. */
const WRONG: readonly (readonly [OpName, OpName | OpWriter])[] = [
  ['MOV64', 'MOV32'],
  ['MOV32', 'MOV64'],
  ['LOAD64', 'LOAD32'],
  ['LOAD32', 'LOAD64'],
  ['STORE64', 'STORE32'],
  ['STORE32', 'STORE64'],
  ['LEA64', 'MOV64'],
  ['ADD64', 'SUB64'],
  ['OR64', 'XOR64'],
  ['AND64', 'OR64'],
  ['SUB64', 'CMP64'],
  ['XOR64', 'OR64'],
  ['CMP64', 'TEST64'],
  ['TEST64', 'CMP64'],
  ['ADD32', 'ADD64'],
  ['OR32', 'XOR32'],
  ['AND32', 'AND64'],
  ['SUB32', 'SUB64'],
  ['XOR32', 'OR32'],
  ['CMP32', 'CMP64'],
  ['TEST32', 'CMP32'],
  ['INC64', 'DEC64'],
  ['DEC64', 'DEC32'],
  ['INC32', 'DEC32'],
  ['DEC32', 'DEC64'],
  ['SHL64', 'SHL32'],
  ['SHR64', 'SAR64'],
  ['SAR64', 'SHR64'],
  ['SHL32', 'SHL64'],
  ['SHR32', 'SAR32'],
  ['SAR32', 'SHR32'],
  ['PUSH64', nothing],
  ['POP64', nothing],
  ['JE', inverted],
  ['JNE', inverted],
  ['JCC', inverted],
  ['JMP', nothing],
  ['CALL', 'JMP'],
  ['RET', nothing],
];

describe('the compiled engine', () => {
  test('is there', () => {
    expect(canCompile()).toBe(true);
  });

  test.each([
    ['random programs that repeat', again, 15_000],
    ['short loops, with interrupts and stops anywhere', loop, 6_000],
    ['programs that come to a fault', faulting, 2_000],
    ['programs that write to their code', selfModifying, 2_000],
  ] as const)('does what the interpreter does: %s', (_, draw, count) => {
    expect(compare(draw, Math.max(1, Math.round(count * multiplier)), { warm: 2 })?.text).toBeUndefined();
  });

  test.each(WRONG)('is found out when it gets %s wrong', (name, other) => {
    const writers: OpWriters = { ...OP_WRITERS, [name]: typeof other === 'string' ? OP_WRITERS[other] : other };
    const options = { warm: 1, writers };
    expect(compare(loop, 300, options) ?? compare(again, 3000, options)).not.toBeNull();
  });

  test('forgets nothing when the cache of blocks is cleared', () => {
    const compiler = machine({ warm: 1 });
    const { core } = compiler;
    const { given } = again(new Chance(7));
    const clean = machine(null);
    expect(difference(clean, compiler, given)).toBeNull();
    for (const made of [core, clean.core]) made.blocks.clear();
    expect(difference(clean, compiler, given)).toBeNull();
  });
});

describe('the choice of an engine', () => {
  test('the interpreter, unless the other is asked for', () => {
    const { core } = bench();
    const { cpuid, silicon, costs, memory } = core;
    expect(core.engine.name).toBe('interpreted');
    expect(new Core({ cpuid, silicon, costs, memory, engine: 'compiled' }).engine.name).toBe('compiled');
  });

  test('the interpreter, where text may not be compiled', () => {
    const { Function: original } = globalThis;
    globalThis.Function = (() => {
      throw new EvalError('Code generation from strings disallowed for this context');
    }) as never;
    try {
      expect(compiledEngine(bench().core).name).toBe('interpreted');
    } finally {
      globalThis.Function = original;
    }
  });
});
