import { describe, expect, test } from 'vitest';
import { assemble } from '../../../src/emu/isa/asm.js';
import { multiplier } from '../../support/runs.js';
import { type Bench, bench, CODE, DATA } from './machine.js';
import { Chance, listing, randomProgram, write } from './programs.js';
import { Reference, type Step } from './reference.js';

const PAGES = 0x2000;
const TOP = DATA + 0x1f00;
/** R15: a little before the border of two pages. */
const BASE = DATA + 0x800;

interface Outcome {
  readonly registers: readonly bigint[];
  readonly rflags: bigint;
  readonly memory: Uint8Array;
}

/** Random contents of registers and memory, the same for both models. */
function fill(chance: Chance): { readonly registers: bigint[]; readonly memory: Uint8Array } {
  const registers = Array.from({ length: 16 }, () => chance.wide());
  registers[4] = BigInt(TOP);
  registers[14] = BigInt(chance.below(32));
  registers[15] = BigInt(BASE);
  const memory = new Uint8Array(PAGES);
  for (let at = 0; at < 0x1800; at += 1 + chance.below(3)) memory[at] = chance.word();
  for (let at = TOP - DATA; at < PAGES; at++) memory[at] = chance.word();
  return { registers, memory };
}

const machine: Bench = bench();

function onCore(
  steps: readonly Step[],
  registers: readonly bigint[],
  memory: Uint8Array,
  stepwise: boolean,
): Outcome & {
  readonly cycles: number;
  readonly hash: number;
} {
  const { core } = machine;
  const { bytes } = assemble((a) => write(a, steps));
  machine.memory.load(CODE, bytes);
  machine.memory.load(DATA, memory);
  registers.forEach((value, number) => {
    core.setRegister(number, value);
  });
  core.rip = BigInt(CODE);
  core.rflags = 2;
  core.activity = 0;
  core.sink = stepwise ? { instruction: () => {} } : null;
  const start = core.clock.now[0]!;
  expect(core.run()).toBe('idle');
  return {
    registers: Array.from({ length: 16 }, (_, number) => core.register(number)),
    rflags: BigInt(core.rflags),
    memory: machine.memory.dump(DATA, PAGES),
    cycles: core.clock.now[0]! - start,
    hash: core.trace.value,
  };
}

function onReference(steps: readonly Step[], registers: readonly bigint[], memory: Uint8Array): Outcome {
  const reference = new Reference(memory.slice(), DATA);
  registers.forEach((value, number) => {
    reference.registers[number] = value;
  });
  reference.run(steps);
  return { registers: reference.registers, rflags: reference.rflags, memory: reference.memory };
}

function differences(one: Outcome, other: Outcome): string[] {
  const found = one.registers.flatMap((value, number) =>
    value === other.registers[number]
      ? []
      : [`r${number}: ${value.toString(16)}, not ${other.registers[number]!.toString(16)}`],
  );
  if (one.rflags !== other.rflags) found.push(`rflags: ${one.rflags.toString(16)}, not ${other.rflags.toString(16)}`);
  if (Buffer.compare(one.memory, other.memory) !== 0) {
    const at = one.memory.findIndex((byte, i) => byte !== other.memory[i]);
    found.push(`memory at ${(DATA + at).toString(16)}`);
  }
  return found;
}

describe('random programs', () => {
  test('do what a second model says, with the same cycles block by block and step by step', () => {
    const count = Math.max(1, Math.round(25_000 * multiplier));
    for (let seed = 0; seed < count; seed++) {
      const chance = new Chance(seed);
      const steps = randomProgram(chance, 24);
      const { registers, memory } = fill(chance);
      const expected = onReference(steps, registers, memory);
      const found = onCore(steps, registers, memory, false);
      const wrong = differences(found, expected);
      if (wrong.length > 0) throw new Error(`seed ${seed}:\n${listing(steps)}\n${wrong.join('\n')}`);
      if (seed % 16 !== 0) continue;
      const again = onCore(steps, registers, memory, true);
      expect([differences(again, expected), again.cycles]).toEqual([[], found.cycles]);
    }
  });
});
