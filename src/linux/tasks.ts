import type { KernelMemory } from './kernel-memory.js';

/** What a task is to a CPU: a kernel stack, and what user mode finds in the bases of its segments. */
export class Task {
  readonly name: string;
  /** `task_top_of_stack()`: the first address above its kernel stack. */
  readonly stackTop: bigint;
  readonly fsBase: bigint;
  readonly gsBase: bigint;

  constructor(memory: KernelMemory, name: string, bases: { readonly fs?: bigint; readonly gs?: bigint } = {}) {
    this.name = name;
    this.stackTop = memory.newStack();
    this.fsBase = bases.fs ?? 0n;
    this.gsBase = bases.gs ?? 0n;
  }
}
