import { canCompile } from '../can-compile.js';
import { type BlockCache, placeText } from './blocks.js';
import { OP_WRITERS, type OpName, type OpWriters } from './compile-ops.js';
import { BlockWriter } from './compile-writer.js';
import type { Core } from './core.js';
import { type Engine, INTERPRETER, interpret, interpretRest, interrupted } from './engine.js';
import { execute } from './execute.js';
import { carry, condition, isEven, shifted, shifted32, zero } from './flags.js';
import { integer } from './integer.js';
import { generalProtection } from './linear.js';
import { MICRO_NAMES } from './lower.js';
import { ACTIVITY, JUMP, NEXT } from './status.js';
import { system } from './system.js';

/**
 * The engine that compiles: a block that has run some times becomes a JavaScript function (`new Function`), which does what
 * the interpreter does and leaves the same registers, flags, memory, cycles and trace. What is rare or of the system, it
 * leaves to the interpreter's own functions. Where text may not be compiled (a content security policy without
 * `unsafe-eval`, `--disallow-code-generation-from-strings`) the interpreter stays.
 */

/** Runs of a block before it is compiled. */
export const WARM = 16;
const BLOCKS = 1024;
const RIP = 16;

/** Functions that are kept for blocks that the cache may forget. */
const KEPT = 4096;

/** @returns a status; the clock and RIP are past the block unless it says that the block has ended early */
type BlockFunction = (horizon: number) => number;

/** What generated code calls, or reads, by name. */
const environment = (core: Core) => ({
  core,
  lo: core.lo,
  hi: core.hi,
  f: core.f,
  v: core.v,
  now: core.clock.now,
  retired: core.retired,
  blocks: core.blocks,
  memory: core.memory,
  tlb: core.mmu.tlb,
  quick: core.mmu.tlb.quick,
  trace: core.trace,
  rest: (number: number) => interpretRest(core, number),
  ...{ execute, integer, system, generalProtection },
  ...{ carry, condition, isEven, shifted, shifted32, zero },
});

export interface CompilerOptions {
  /** Runs of a block before it is compiled. */
  readonly warm?: number;
  /** How micro-operations are written; others than ours are for tests. */
  readonly writers?: OpWriters;
}

/**
 * The way from block to block: that of the interpreter, with the first look of `BlockCache.find()` in place. As text of the
 * core's own, V8 may take its arrays for constants.
 */
const DRIVER = `
const { ripLo, ripHi, space, version, access, generation, offset, length, serial, cycles, map } = blocks;
return function drive(from, horizon) {
  let block = from;
  for (;;) {
    if (serials[block] !== serial[block]) begin(block);
    core.settled = false;
    // A hit that a call has left behind is for the next store, wherever that is.
    const status = blocks.hit ? interpret(core, block) : functions[block](horizon);
    if (status !== ${NEXT} && status !== ${JUMP}) return interrupted(core, block, status);
    if (interrupts.attention || core.activity !== ${ACTIVITY.ACTIVE} || core.shadow || now[0] >= horizon) return status;
    const l = lo[${RIP}], h = hi[${RIP}];
    block = map[${placeText('l')}];
    if (
      block >= 0 && ripLo[block] === l && ripHi[block] === h && space[block] === tlb.current &&
      version[block] === tlb.version && access[block] === core.fetchAccess &&
      generation[block] === memory.generations[offset[block] >>> 12]
    ) {
      blocks.running = block;
      blocks.runningFrom = offset[block];
      blocks.runningTo = offset[block] + length[block];
    } else {
      block = blocks.find();
      if (block < 0) return status;
    }
    if (now[0] + cycles[block] >= horizon) return status;
    trace.block(l, h, now[0]);
  }
};`;

/** A function, and the code that it was made of. */
interface Kept {
  readonly ripHi: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly run: BlockFunction;
}

/** The text of a block's function. */
export function blockText(core: Core, block: number, writers: OpWriters = OP_WRITERS): string {
  const writer = new BlockWriter(core, block);
  return writer.write((w, micro, x) => writers[MICRO_NAMES[x] as OpName](w, micro));
}

class Compiled implements Engine {
  readonly name = 'compiled';
  private readonly warm: number;
  private readonly writers: OpWriters;
  private readonly names: readonly string[];
  private readonly values: readonly unknown[];
  /** By block; those that are not compiled run in the interpreter. */
  private readonly functions: BlockFunction[];
  /** The use of the block's number that the function belongs to. */
  private readonly serials = new Int32Array(BLOCKS);
  private readonly runs = new Int32Array(BLOCKS);
  /** By the low half of the address. */
  private readonly kept = new Map<number, Kept>();
  private readonly interpreted: BlockFunction;
  private readonly driver: (block: number, horizon: number) => number;

  constructor(core: Core, { warm = WARM, writers = OP_WRITERS }: CompilerOptions) {
    const known = environment(core);
    this.warm = warm;
    this.writers = writers;
    this.names = Object.keys(known);
    this.values = Object.values(known);
    this.interpreted = () => this.count(core);
    this.functions = new Array(BLOCKS).fill(this.interpreted);
    const { interrupts } = core;
    const { functions, serials } = this;
    const own = {
      functions,
      serials,
      interrupts,
      interpret,
      interrupted,
      begin: (block: number) => this.begin(core.blocks, block),
    };
    this.driver = new Function(...this.names, ...Object.keys(own), DRIVER)(...this.values, ...Object.values(own));
  }

  run(_core: Core, from: number, horizon: number): number {
    return this.driver(from, horizon);
  }

  /** The block's number has a new meaning; the code may be known all the same. */
  private begin(blocks: BlockCache, block: number): void {
    this.serials[block] = blocks.serial[block]!;
    this.runs[block] = 0;
    const known = this.kept.get(blocks.ripLo[block]!);
    const same =
      known !== undefined &&
      known.ripHi === blocks.ripHi[block] &&
      known.offset === blocks.offset[block] &&
      equal(known.bytes, blocks.bytesOf(block));
    this.functions[block] = same ? known.run : this.interpreted;
  }

  /** Interprets the block that runs; next time it may be a function. */
  private count(core: Core): number {
    const block = core.blocks.running;
    this.runs[block]!++;
    if (this.runs[block] === this.warm) this.functions[block] = this.compile(core, block);
    return interpret(core, block);
  }

  private compile(core: Core, block: number): BlockFunction {
    const { blocks } = core;
    const ripLo = blocks.ripLo[block]!;
    const ripHi = blocks.ripHi[block]!;
    const name = `block_${(ripHi >>> 0).toString(16)}_${(ripLo >>> 0).toString(16)}`;
    const text = `return function ${name}(horizon){\n${blockText(core, block, this.writers)}\n};`;
    const run = new Function(...this.names, text)(...this.values) as BlockFunction;
    if (this.kept.size >= KEPT) this.kept.clear();
    this.kept.set(ripLo, { ripHi, offset: blocks.offset[block]!, bytes: blocks.bytesOf(block).slice(), run });
    return run;
  }
}

function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** An engine for one core; the interpreter, where text may not be compiled. */
export function compiledEngine(core: Core, options: CompilerOptions = {}): Engine {
  return canCompile() ? new Compiled(core, options) : INTERPRETER;
}
