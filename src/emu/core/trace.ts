import type { Core } from './core.js';

/** What a full trace is told of. */
export interface TraceSink {
  /** Before an instruction; `insn` is its record in `core.blocks.insns`, RIP is in the register file. */
  instruction?(core: Core, insn: number, length: number): void;
  /** Something that is no instruction: see {@link TRACE}. */
  event?(core: Core, kind: number, a: number, b: number): void;
}

/** Kinds of events in a trace. */
export const TRACE = {
  /** a: vector, b: type */
  DELIVER: 1,
  /** a: exit kind, b: number */
  EXIT: 2,
  /** A guest is entered. */
  ENTRY: 3,
  /** a: MSR index, b: low half */
  WRMSR: 4,
  /** a: operation, b: 1 in C0.2 */
  WAIT: 5,
  WAKE: 6,
  /** The simulated kernel charges cycles: a: cycles */
  CHARGE: 7,
  SHUTDOWN: 8,
  ABORT: 9,
  XSETBV: 10,
  /** The host goes on after a guest: whatever is restored by the switch itself is restored. */
  LEFT: 11,
} as const;

const PRIME = 0x0100_0193;

/** A hash of everything that happened, always on: blocks by address and cycle, and events. FNV-1a over words. */
export class RollingTrace {
  private hash = 0x811c_9dc5 | 0;

  mix(word: number): void {
    this.hash = Math.imul(this.hash ^ word, PRIME);
  }

  /** A block begins. */
  block(ripLo: number, ripHi: number, cycle: number): void {
    let hash = Math.imul(this.hash ^ ripLo, PRIME);
    hash = Math.imul(hash ^ ripHi, PRIME);
    this.hash = Math.imul(hash ^ (cycle | 0), PRIME);
  }

  event(kind: number, a: number, b: number, cycle: number): void {
    this.mix(kind);
    this.mix(a);
    this.mix(b);
    this.mix(cycle | 0);
  }

  /** Unsigned 32 bits. */
  get value(): number {
    return this.hash >>> 0;
  }
}

/** Notes an event in the hash, and in a full trace if there is one. */
export function note(core: Core, kind: number, a: number, b: number): void {
  core.trace.event(kind, a, b, core.clock.now[0]!);
  core.sink?.event?.(core, kind, a, b);
}
