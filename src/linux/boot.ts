import { compileExpression, type Expression } from '../cpuid/expression.js';
import {
  FEATURES,
  type Feature,
  featureNamed,
  featureOfCpuinfo,
  linuxPlace,
  WORD_COUNT,
  WORDS,
} from '../cpuid/features.js';
import { inRange, KERNEL_LINES, type KernelLine, onLine } from '../cpuid/kernel-line.js';
import type { Machine } from '../emu/machine.js';
import {
  type BootStep,
  BUG_ROWS,
  type BugName,
  DEPENDENCIES,
  EARLY_STEPS,
  LATE_STEPS,
  PROBE_STEPS,
  SUPERVISOR_XFEATURES,
  USER_XFEATURES,
  VENDOR_STEPS,
  XFEATURE_XTILE_DATA,
  XSTATE_ROWS,
} from './boot-rows.js';
import type { CommandLine } from './command-line.js';
import type { HostInputs } from './host-inputs.js';
import { HOST_DIALECT, type HostScope, hasFlag, hostScope } from './scope.js';

/** What the host kernel knows when it has booted. */
export interface BootState extends HostScope {
  /** XCR0 and IA32_XSS as the kernel sets them up; no component above 31 is modelled by Linux. */
  readonly xcr0: number;
  readonly xss: number;
  /** `boot_cpu_data.x86_phys_bits`. */
  readonly physBits: number;
}

interface CompiledStep extends BootStep {
  readonly feature: Feature | null;
  readonly condition: Expression<HostScope> | null;
}

interface Program {
  readonly probe: readonly CompiledStep[];
  readonly early: readonly CompiledStep[];
  readonly vendor: readonly CompiledStep[];
  readonly late: readonly CompiledStep[];
  /** For each feature: itself and all that depends on it. */
  readonly closure: ReadonlyMap<Feature, readonly Feature[]>;
}

const programs = new Map<KernelLine, Program>();

function program(line: KernelLine): Program {
  const known = programs.get(line);
  if (known) return known;
  const steps = (rows: readonly BootStep[]): CompiledStep[] =>
    rows
      .filter((row) => inRange(line, row.since, row.until))
      .map((row) => ({
        ...row,
        feature: row.flag === undefined ? null : featureNamed(row.flag),
        condition: row.when === undefined ? null : compileExpression(row.when, HOST_DIALECT),
      }));
  const made: Program = {
    probe: steps(PROBE_STEPS),
    early: steps(EARLY_STEPS),
    vendor: steps(VENDOR_STEPS),
    late: steps(LATE_STEPS),
    closure: dependents(line),
  };
  programs.set(line, made);
  return made;
}

/** `do_clear_cpu_cap()`: what falls with a flag, transitively. */
function dependents(line: KernelLine): Map<Feature, Feature[]> {
  const direct = new Map<string, string[]>();
  for (const row of DEPENDENCIES) {
    if (!inRange(line, row.since)) continue;
    direct.set(row.clearing, [...(direct.get(row.clearing) ?? []), ...row.takes]);
  }
  const closure = new Map<Feature, Feature[]>();
  for (const name of direct.keys()) {
    const reached = new Set<string>([name]);
    for (const item of reached) for (const next of direct.get(item) ?? []) reached.add(next);
    closure.set(featureNamed(name), [...reached].map(featureNamed));
  }
  return closure;
}

/** The words of one CPU while it is identified, with what is forced on and off. */
class Identification {
  private readonly scope: HostScope;
  private readonly closure: Program['closure'];
  private readonly forcedClear = new Uint32Array(WORD_COUNT);
  private readonly forcedSet = new Uint32Array(WORD_COUNT);

  constructor(scope: HostScope, closure: Program['closure']) {
    this.scope = scope;
    this.closure = closure;
  }

  run(steps: readonly CompiledStep[]): void {
    for (const step of steps) {
      if (step.condition && step.condition.number(this.scope) === 0) continue;
      for (const feature of step.feature ? [step.feature] : namedFlags(this.scope, step.each!))
        this.apply(step.op, feature);
    }
  }

  private apply(op: BootStep['op'], feature: Feature): void {
    const { words } = this.scope;
    if (op === 'set' || op === 'force_set') {
      words[feature.word.id]! |= feature.mask;
      if (op === 'force_set') this.forcedSet[feature.word.id]! |= feature.mask;
      return;
    }
    for (const { word, mask } of this.closure.get(feature) ?? [feature]) {
      words[word.id]! &= ~mask;
      if (op === 'force_clear') this.forcedClear[word.id]! |= mask;
    }
  }

  /** `apply_forced_caps()` */
  applyForced(): void {
    const { words } = this.scope;
    for (let id = 0; id < WORD_COUNT; id++) words[id] = (words[id]! & ~this.forcedClear[id]!) | this.forcedSet[id]!;
  }
}

/** `clearcpuid=` and `setcpuid=` take names of /proc/cpuinfo or word*32+bit; unknown words are ignored with a warning. */
function namedFlags(scope: HostScope, key: 'clearcpuid' | 'setcpuid'): Feature[] {
  return scope.commandLine.list(key).flatMap((text) => {
    const found = /^\d+$/.test(text) ? featureNumbered(Number(text)) : featureOfCpuinfo(text);
    return found && linuxPlace(found, scope.line) !== null ? [found] : [];
  });
}

function featureNumbered(number: number): Feature | undefined {
  return WORDS[number >>> 5]?.features.find((feature) => feature.bit === (number & 31));
}

/** Whether `clearcpuid=`/`setcpuid=` would find the flag: for warnings at the edge. */
export function isFlagName(text: string): boolean {
  return (/^\d+$/.test(text) ? featureNumbered(Number(text)) : featureOfCpuinfo(text)) !== undefined;
}

const scattered = new Map<KernelLine, readonly Feature[]>(
  KERNEL_LINES.map((line) => [line, FEATURES.filter((feature) => linuxPlace(feature, line) === 'scattered')]),
);

const answer = new Uint32Array(4);

/** `get_cpu_cap()` and `init_scattered_cpuid_features()`: the words as raw CPUID gives them. */
function readWords(scope: HostScope): void {
  const { cpuid } = scope.cpu;
  const read = (fn: number, index: number): Uint32Array | null => {
    if (fn > cpuid.maximum(fn)) return null;
    cpuid.execute(fn, index, answer);
    return answer;
  };
  const maxSubleaf7 = read(7, 0)?.[0] ?? 0;
  const vendor = scope.variables.get('vendor');
  for (const word of WORDS) {
    if (word?.kind !== 'kernel') continue;
    if (word.function === 7 && word.index > maxSubleaf7) continue;
    if (word.function === 0xc000_0001 && vendor !== 'centaur' && vendor !== 'zhaoxin') continue;
    scope.words[word.id] = read(word.function, word.index)?.[word.registerIndex] ?? 0;
  }
  for (const { word, mask } of scattered.get(scope.line)!) {
    const raw = read(word.function, word.index)?.[word.registerIndex] ?? 0;
    scope.words[word.id]! |= raw & mask;
  }
}

function identify(scope: HostScope): void {
  const { probe, early, vendor, late, closure } = program(scope.line);
  const identification = new Identification(scope, closure);
  readWords(scope);
  identification.run(probe);
  identification.run(early);
  identification.run(vendor);
  identification.run(late);
  identification.applyForced();
}

const compiledBugs = BUG_ROWS.map((row) => ({ name: row.name, when: compileExpression(row.when, HOST_DIALECT) }));

function findBugs(scope: HostScope, given: ReadonlyMap<BugName, boolean>): Set<BugName> {
  const bugs = new Set<BugName>();
  for (const { name, when } of compiledBugs) if (given.get(name) ?? when.number(scope) !== 0) bugs.add(name);
  return bugs;
}

/** `fpu__init_system_xstate()`: the components that the CPU has and whose flag the kernel has. */
function xstate(scope: HostScope): { xcr0: number; xss: number } {
  if (!hasFlag(scope, 'XSAVE')) return { xcr0: 0, xss: 0 };
  const { cpuid } = scope.cpu;
  cpuid.execute(0xd, 0, answer);
  let available = answer[0]!;
  cpuid.execute(0xd, 1, answer);
  available |= answer[2]!;
  let usable = 0;
  for (const row of XSTATE_ROWS) {
    if (!inRange(scope.line, row.since)) continue;
    const flag = typeof row.flag === 'string' ? row.flag : onLine(row.flag, scope.line)!;
    if (!hasFlag(scope, flag)) continue;
    if (row.bit === XFEATURE_XTILE_DATA && !hasFlag(scope, 'XFD')) continue;
    usable |= 1 << row.bit;
  }
  const components = (bits: readonly number[]) => bits.reduce((mask, bit) => mask | (1 << bit), 0);
  const user = components(onLine(USER_XFEATURES, scope.line)!);
  const supervisor = hasFlag(scope, 'XSAVES') ? components(onLine(SUPERVISOR_XFEATURES, scope.line)!) : 0;
  return { xcr0: (available & usable & user) >>> 0, xss: (available & usable & supervisor) >>> 0 };
}

/** `get_cpu_address_sizes()`, less what memory encryption takes away. */
function physicalBits(scope: HostScope): number {
  const { cpuid } = scope.cpu;
  if (cpuid.maximum(0x8000_0000) < 0x8000_0008) return 36;
  cpuid.execute(0x8000_0008, 0, answer);
  const bits = answer[0]! & 0xff;
  if (!hasFlag(scope, 'SME') && !hasFlag(scope, 'SEV')) return bits;
  cpuid.execute(0x8000_001f, 0, answer);
  return bits - ((answer[1]! >>> 6) & 0x3f);
}

function applyOverrides(words: Uint32Array, inputs: HostInputs): void {
  for (const { word, mask } of inputs.flags.set) words[word.id]! |= mask;
  for (const { word, mask } of inputs.flags.clear) words[word.id]! &= ~mask;
}

/**
 * Boots the host kernel on a machine: its capability words, bugs, XCR0, XSS and physical address bits.
 * With several CPUs a flag stays only if every CPU has it.
 */
export function boot(machine: Machine, inputs: HostInputs, commandLine: CommandLine): BootState {
  const scope = hostScope(inputs.kernel, machine.bootCpu, commandLine, inputs.facts);
  identify(scope);
  for (const cpu of machine.cpus.slice(1)) {
    if (cpu.cpuid === machine.bootCpu.cpuid) continue;
    const other = hostScope(inputs.kernel, cpu, commandLine, inputs.facts);
    identify(other);
    for (let id = 0; id < WORD_COUNT; id++) scope.words[id]! &= other.words[id]!;
  }
  applyOverrides(scope.words, inputs);
  const bugs = findBugs(scope, inputs.bugs);
  const { xcr0, xss } = xstate(scope);
  const given = (fact: string) => scope.variables.get(fact) as number | undefined;
  return {
    ...scope,
    bugs,
    xcr0: given('host_xcr0') ?? xcr0,
    xss: given('host_xss') ?? xss,
    physBits: given('host_phys_bits') ?? physicalBits(scope),
  };
}
