import type { Core } from './core.js';
import { raise } from './delivery.js';
import { execute } from './execute.js';
import { carried } from './linear.js';
import { MICRO } from './lower.js';
import { ABORTED, ACTIVITY, FAULT, JUMP, NEXT, SPLIT } from './status.js';

/** What executes blocks while nothing needs a closer look: no event is due in them, and nobody wants every instruction. */

/** `interpreted` is the meaning of all instructions; `compiled` does the same faster, see `compiled.ts`. */
export const ENGINES = ['interpreted', 'compiled'] as const;
export type EngineName = (typeof ENGINES)[number];

export interface Engine {
  readonly name: EngineName;
  /**
   * Executes a block, which ends before the horizon, and those that follow it up to the first that may not.
   *
   * @param horizon cycle of the next event
   * @returns a status; FAULT has been dealt with
   */
  run(core: Core, block: number, horizon: number): number;
}

const RIP = 16;

export const INTERPRETER: Engine = {
  name: 'interpreted',
  run(core, from, horizon) {
    const { blocks, interrupts, trace, lo, hi } = core;
    const { now } = core.clock;
    let block = from;
    for (;;) {
      const status = interpret(core, block);
      if (status !== NEXT && status !== JUMP) return interrupted(core, block, status);
      if (interrupts.attention || core.activity !== ACTIVITY.ACTIVE || core.shadow || now[0]! >= horizon) return status;
      block = blocks.find();
      if (block < 0 || now[0]! + blocks.cycles[block]! >= horizon) return status;
      trace.block(lo[RIP]!, hi[RIP]!, now[0]!);
    }
  },
};

/** Executes one block. @returns a status; unless it is NEXT or JUMP, {@link interrupted} has to follow */
export function interpret(core: Core, block: number): number {
  core.settled = false;
  return finish(core, block, core.blocks.first[block]!);
}

/** As {@link interpret}, for what is left of the block that runs: from one of its instructions on. */
export function interpretRest(core: Core, number: number): number {
  const { running, first } = core.blocks;
  return finish(core, running, first[running]! + number);
}

function finish(core: Core, block: number, from: number): number {
  const { blocks } = core;
  const count = blocks.count[block]!;
  core.owedCycles = blocks.cycles[block]!;
  const status = execute(core, from, blocks.first[block]! + count, MICRO.X);
  if (status !== NEXT && status !== JUMP) return status;
  if (status === NEXT) {
    core.lo[RIP] = blocks.endLo[block]!;
    core.hi[RIP] = blocks.endHi[block]!;
  }
  core.clock.now[0]! += core.owedCycles;
  core.owedCycles = 0;
  core.retired[0]! += count;
  return status;
}

/** A block has ended before its end: the instruction in `core.at` has faulted, left the guest, or split the block. */
export function interrupted(core: Core, block: number, status: number): number {
  const { at } = core;
  const first = core.blocks.first[block]!;
  core.retired[0]! += at - first;
  if (!core.settled) {
    core.clock.now[0]! += cyclesUpTo(core, first, at);
    core.owedCycles = 0;
    if (status !== ABORTED) setRip(core, block, status === SPLIT ? at + 1 : at);
  }
  if (status === SPLIT) core.retired[0]! += 1;
  return status === FAULT ? raise(core) : status;
}

function cyclesUpTo(core: Core, first: number, at: number): number {
  const { cyclesOf } = core.blocks;
  let cycles = 0;
  for (let number = first; number <= at; number++) cycles += cyclesOf[number]!;
  return cycles;
}

/** RIP becomes the address of an instruction of the block. */
export function setRip(core: Core, block: number, number: number): void {
  const { blocks } = core;
  let bytes = 0;
  for (let at = blocks.first[block]!; at < number; at++) bytes += blocks.lengthOf(at);
  core.lo[RIP] = (blocks.ripLo[block]! + bytes) | 0;
  core.hi[RIP] = carried(blocks.ripLo[block]!, blocks.ripHi[block]!, bytes);
}
