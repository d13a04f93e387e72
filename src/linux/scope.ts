import { REGISTERS } from '../cpuid/entry.js';
import {
  type Argument,
  compileExpression,
  type Dialect,
  type Evaluate,
  type Expression,
  type Value,
} from '../cpuid/expression.js';
import { featureNamed, WORD_COUNT } from '../cpuid/features.js';
import { type KernelLine, onLine } from '../cpuid/kernel-line.js';
import type { Cpu } from '../emu/machine.js';
import { BUG_ROWS, type BugName } from './boot-rows.js';
import type { CommandLine } from './command-line.js';
import { FACT_ROWS } from './fact-rows.js';

export type HostVendor = 'intel' | 'amd' | 'hygon' | 'centaur' | 'zhaoxin' | 'unknown';

/** What expressions about the host are evaluated in: one CPU, the kernel that boots on it, and its flags so far. */
export interface HostScope {
  readonly line: KernelLine;
  readonly cpu: Cpu;
  readonly commandLine: CommandLine;
  /** The capability words, indexed by word id (`cpuid/features.ts`), as far as boot has got. */
  readonly words: Uint32Array;
  readonly bugs: ReadonlySet<BugName>;
  /** Variables that are known: identification, given facts, facts evaluated so far, what vendor code computed. */
  readonly variables: Map<string, Value>;
}

/** Display family, model and stepping from CPUID.1:EAX, as `x86_family()` and `x86_model()` read them. */
export function signature(eax: number): { family: number; model: number; stepping: number } {
  const base = (eax >>> 8) & 0xf;
  const family = base === 0xf ? base + ((eax >>> 20) & 0xff) : base;
  const model = ((eax >>> 4) & 0xf) | (family >= 6 ? ((eax >>> 16) & 0xf) << 4 : 0);
  return { family, model, stepping: eax & 0xf };
}

const VENDORS: Readonly<Record<string, HostVendor>> = {
  GenuineIntel: 'intel',
  AuthenticAMD: 'amd',
  HygonGenuine: 'hygon',
  CentaurHauls: 'centaur',
  '  Shanghai  ': 'zhaoxin',
};

/** The twelve characters of CPUID.0:EBX,EDX,ECX. */
export function vendorString(ebx: number, ecx: number, edx: number): string {
  const bytes = new Uint8Array(new Uint32Array([ebx, edx, ecx]).buffer);
  return String.fromCharCode(...bytes);
}

/** Starts a scope on a CPU: identification from raw CPUID, then the given facts. */
export function hostScope(
  line: KernelLine,
  cpu: Cpu,
  commandLine: CommandLine,
  facts: ReadonlyMap<string, Value>,
): HostScope {
  const out = new Uint32Array(4);
  cpu.cpuid.execute(0, 0, out);
  const vendor = VENDORS[vendorString(out[1]!, out[2]!, out[3]!)] ?? 'unknown';
  cpu.cpuid.execute(1, 0, out);
  const variables = new Map<string, Value>(Object.entries({ vendor, ...signature(out[0]!) }));
  for (const [name, value] of facts) variables.set(name, value);
  return { line, cpu, commandLine, words: new Uint32Array(WORD_COUNT), bugs: new Set(), variables };
}

/** Whether the host kernel has the flag. */
export function hasFlag(scope: HostScope, name: string): boolean {
  const { word, mask } = featureNamed(name);
  return (scope.words[word.id]! & mask) !== 0;
}

const registerIndex = (text: string): number => {
  const found = REGISTERS.indexOf(text.replaceAll('"', '') as (typeof REGISTERS)[number]);
  if (found < 0) throw new Error(`${text} is no register`);
  return found;
};

const answer = new Uint32Array(4);

/** A register of CPUID; within range only, if asked so. */
function register(scope: HostScope, fn: number, index: number, reg: number, inRangeOnly: boolean): number {
  const { cpuid } = scope.cpu;
  if (inRangeOnly && fn > cpuid.maximum(fn)) return 0;
  cpuid.execute(fn, index, answer);
  return answer[reg]!;
}

type Arguments<S> = readonly Argument<S>[];

function literal<S>(args: Arguments<S>, at: number): number {
  const value = Number(args[at]?.text);
  if (!Number.isInteger(value)) throw new Error(`argument ${at + 1} must be a number, not ${args[at]?.text}`);
  return value >>> 0;
}

/** The calls that expressions about the host may use. */
const CALLS: Readonly<Record<string, (args: Arguments<HostScope>) => Evaluate<HostScope>>> = {
  kernel: ([name]) => {
    const { word, mask } = featureNamed(name!.text);
    return (scope) => ((scope.words[word.id]! & mask) !== 0 ? 1 : 0);
  },
  bug: ([name]) => {
    const bug = BUG_ROWS.find((row) => row.name === name!.text);
    if (!bug) throw new Error(`no bug is called ${name!.text}`);
    return (scope) => (scope.bugs.has(bug.name) ? 1 : 0);
  },
  cmdline: ([word]) => {
    const text = word!.text.replaceAll('"', '');
    return (scope) => (scope.commandLine.has(text) ? 1 : 0);
  },
  msr: (args) => {
    const index = literal(args, 0);
    return (scope) => Number((scope.cpu.msrs.get(index) ?? 0n) & 0xffff_ffffn);
  },
  leaf: (args) => {
    const [fn, index, reg] = [literal(args, 0), literal(args, 1), registerIndex(args[2]!.text)];
    return (scope) => register(scope, fn, index, reg, true);
  },
  raw_reg: (args) => {
    const [fn, index, reg] = [literal(args, 0), literal(args, 1), registerIndex(args[2]!.text)];
    return (scope) => register(scope, fn, index, reg, false);
  },
  raw_bit: (args) => {
    const [fn, index, reg, bit] = [literal(args, 0), literal(args, 1), registerIndex(args[2]!.text), literal(args, 3)];
    return (scope) => (register(scope, fn, index, reg, false) >>> bit) & 1;
  },
  raw_ext_bit: (args) => {
    const [fn, reg, bit] = [literal(args, 0), registerIndex(args[1]!.text), literal(args, 2)];
    return (scope) => (register(scope, fn, 0, reg, true) >>> bit) & 1;
  },
  min: ([left, right]) => {
    const [a, b] = [left!.value(), right!.value()];
    return (scope) => Math.min(a(scope) as number, b(scope) as number);
  },
};

const factNames = new Set(FACT_ROWS.map((row) => row.name));
const IDENTIFICATION = new Set(['vendor', 'family', 'model', 'stepping']);
const defaults = new Map<KernelLine, Map<string, Expression<HostScope>>>();

function defaultOf(line: KernelLine, name: string): Expression<HostScope> {
  let byName = defaults.get(line);
  if (!byName) {
    byName = new Map();
    for (const row of FACT_ROWS) {
      const text = typeof row.default === 'string' || row.default === null ? row.default : onLine(row.default, line);
      if (text !== null) byName.set(row.name, compileExpression(text, HOST_DIALECT));
    }
    defaults.set(line, byName);
  }
  const found = byName.get(name);
  if (!found) throw new Error(`nothing is called ${name}`);
  return found;
}

/** The value of a variable; a fact that nobody gave takes its default now and keeps it. */
export function readVariable(scope: HostScope, name: string): Value {
  const known = scope.variables.get(name);
  if (known !== undefined) return known;
  const value = defaultOf(scope.line, name).number(scope);
  scope.variables.set(name, value);
  return value;
}

/** Whether a name is a row of the fact table. */
export function isFact(name: string): boolean {
  return factNames.has(name);
}

/** The language of rows about the host kernel. */
export const HOST_DIALECT: Dialect<HostScope> = {
  variable(name) {
    if (!factNames.has(name) && !IDENTIFICATION.has(name)) throw new Error(`nothing is called ${name}`);
    return (scope) => readVariable(scope, name);
  },
  call(name, args) {
    const known = CALLS[name];
    if (!known) throw new Error(`no function is called ${name}`);
    return known(args);
  },
};
