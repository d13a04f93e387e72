import { CR4_OSXSAVE, CR4_PAE } from '../../../src/emu/control.js';
import { Core } from '../../../src/emu/core/core.js';
import { Costs } from '../../../src/emu/costs.js';
import { type Assembler, assemble } from '../../../src/emu/isa/asm.js';
import { PhysicalMemory } from '../../../src/emu/memory.js';
import { PageTableBuilder } from '../../../src/emu/paging-build.js';
import type { Silicon } from '../../../src/emu/silicon.js';
import { cpuidOf, type Part, silicon } from '../control-fixtures.js';

/** A core with some identity-mapped pages, for tests: code at 1000H, data from 20000H, a stack below 32000H. */

export const CODE = 0x1000;
export const DATA = 0x20000;
export const STACK = 0x31000;
const TABLES = 0x80000;
const CR0 = 0x8005_0033;

const costs = new WeakMap<Silicon, Costs>();

function costsOf(part: Silicon): Costs {
  const known = costs.get(part) ?? new Costs(part);
  costs.set(part, known);
  return known;
}

export interface Bench {
  readonly core: Core;
  readonly memory: PhysicalMemory;
  readonly tables: PageTableBuilder;
}

/** All pages are writable; those from 60000H to 70000H belong to user mode. */
export function bench(part: Part = {}, cr4: number = CR4_PAE | CR4_OSXSAVE): Bench {
  const made = silicon(part);
  const memory = new PhysicalMemory([{ base: 0, size: 0x20_0000, kind: 'ram' }]);
  const core = new Core({ cpuid: cpuidOf(made), silicon: made, costs: costsOf(made), memory });
  const tables = new PageTableBuilder(memory, TABLES);
  tables.identity(0x60000, { write: true });
  tables.identity(0x10000, { write: true, user: true }, 0x1000, 0x60000);
  core.enterLongMode(tables.root, CR0 | 0, cr4);
  core.setRegister(4, BigInt(STACK));
  core.rip = BigInt(CODE);
  return { core, memory, tables };
}

/** Assembles a program and puts it where the core will begin. @returns offsets of its labels */
export function program(
  { core, memory }: Bench,
  build: (a: Assembler) => void,
  at: number = CODE,
): ReadonlyMap<string, number> {
  const { bytes, labels } = assemble(build);
  memory.load(at, bytes);
  core.rip = BigInt(at);
  return labels;
}
