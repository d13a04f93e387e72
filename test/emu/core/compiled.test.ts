import { describe, expect, test } from 'vitest';
import { type CompilerOptions, canCompile, compiledEngine } from '../../../src/emu/core/compiled.js';
import type { Core } from '../../../src/emu/core/core.js';
import { EVENT } from '../../../src/emu/core/status.js';
import { assemble } from '../../../src/emu/isa/asm.js';
import { EmulatorLimit } from '../../../src/emu/isa/insn.js';
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

/** Why it stops; programs that overwrite themselves may come to instructions that are not ours. */
function runs(core: Core, limit: number): string {
  try {
    return core.run(limit);
  } catch (error) {
    if (error instanceof EmulatorLimit) return error.message;
    throw error;
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

/** A random program, again and again, with interrupts. */
function again(chance: Chance): { readonly given: Case; readonly steps: readonly Step[] } {
  const steps = randomProgram(chance, 24);
  const times = 3 + chance.below(4);
  const code = assemble((a) => {
    a.mov(`qword ptr [${COUNTER}]`, times);
    a.label('again');
    a.mov('rsp', TOP);
    writeSteps(a, steps);
    a.dec(`qword ptr [${COUNTER}]`);
    a.jne('again');
    a.cli();
    a.hlt();
  }).bytes;
  const interrupts = Array.from({ length: chance.below(3) }, () => chance.below(400));
  return { steps, given: { ...fill(chance), code, rflags: 2 | IF, interrupts, stops: [1e6] } };
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
function loop(chance: Chance): { readonly given: Case; readonly steps: readonly Step[] } {
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

type Draw = (chance: Chance) => { readonly given: Case; readonly steps: readonly Step[] };

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

describe('the compiled engine', () => {
  test('is there', () => {
    expect(canCompile()).toBe(true);
  });

  test('does what the interpreter does on random programs that repeat', () => {
    expect(compare(again, Math.max(1, Math.round(20_000 * multiplier)), { warm: 2 })?.text).toBeUndefined();
  });

  test('does what the interpreter does in short loops', () => {
    expect(compare(loop, Math.max(1, Math.round(10_000 * multiplier)), { warm: 2 })?.text).toBeUndefined();
  });
});
