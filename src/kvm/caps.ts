import type { Expression } from '../cpuid/expression.js';
import {
  type Feature,
  featureNamed,
  inOverlay,
  type KvmClass,
  kvmClass,
  maskOfClasses,
  type Overlay,
  WORD_COUNT,
  WORDS,
  type Word,
  wordNamed,
} from '../cpuid/features.js';
import { inRange, type KernelLine } from '../cpuid/kernel-line.js';
import type { HostKernel } from '../linux/host-kernel.js';
import { readVariable } from '../linux/scope.js';
import { type CapStep, COMMON_VARIABLES, INIT_PROGRAM, XSS_PROGRAM } from './cap-rows.js';
import { compileFor, type KvmScope, kvmDialect, kvmScope } from './scope.js';
import type { VendorModule } from './vendor.js';

interface CompiledStep {
  readonly row: CapStep;
  readonly condition: Expression<KvmScope> | null;
  readonly value: Expression<KvmScope> | null;
  readonly feature: Feature | null;
  readonly word: Word | null;
}

interface CompiledProgram {
  readonly variables: readonly CompiledStep[];
  /** Common init, then the vendor's adjustments, then XSS: the order of module load. */
  readonly caps: readonly CompiledStep[];
}

const compiled = new Map<string, CompiledProgram>();

function assignedNames(rows: readonly CapStep[]): Set<string> {
  return new Set(rows.flatMap((row) => (row.op === 'assign' ? [row.variable] : [])));
}

/** The dialect of a vendor's rows: all names that its rows or the common ones assign. */
export function dialectOf(vendor: VendorModule) {
  const rows = [COMMON_VARIABLES, vendor.variables, INIT_PROGRAM, vendor.program, XSS_PROGRAM].flat();
  return kvmDialect(vendor.name, assignedNames(rows));
}

function programOf(vendor: VendorModule, line: KernelLine): CompiledProgram {
  const key = `${vendor.name} ${line}`;
  const known = compiled.get(key);
  if (known) return known;
  const dialect = dialectOf(vendor);
  const compile = (rows: readonly CapStep[]): CompiledStep[] =>
    rows
      .filter((row) => inRange(line, row.since, row.until))
      .map((row) => ({
        row,
        condition: row.when === undefined ? null : compileFor(dialect, row.when),
        value: row.op === 'assign' ? compileFor(dialect, row.value) : null,
        feature: row.op === 'set' || row.op === 'clear' ? featureNamed(row.feature) : null,
        word: row.op === 'init' ? wordNamed(row.word) : null,
      }));
  const made = {
    variables: compile([...COMMON_VARIABLES, ...vendor.variables]),
    caps: compile([...INIT_PROGRAM, ...vendor.program, ...XSS_PROGRAM]),
  };
  compiled.set(key, made);
  return made;
}

/** A step that took a listed bit away, for the reason that a user is given. */
export interface Clearing {
  readonly feature: Feature;
  readonly step: CapStep;
}

/** The capabilities of one overlay. */
export interface OverlayCaps {
  readonly overlay: Overlay;
  /** `kvm_cpu_caps[]`, indexed by word id. */
  readonly words: Uint32Array;
  /** `kvm_caps.supported_xcr0` and `kvm_caps.supported_xss`. */
  readonly supportedXcr0: number;
  readonly supportedXss: number;
  /** The scope in which they were built: variables, host flags. */
  readonly scope: KvmScope;
  /** Conditional steps that cleared a bit, in order. */
  readonly clearings: readonly Clearing[];
}

/** Builds the capabilities of one overlay as module load does. */
export function buildCaps(kernel: HostKernel, vendor: VendorModule, overlay: Overlay): OverlayCaps {
  const start = kvmScope(kernel, overlay);
  const scope: KvmScope = { ...start, variables: new Map(start.variables), caps: initialWords(start) };
  const { variables, caps } = programOf(vendor, scope.line);
  const clearings: Clearing[] = [];
  for (const step of variables) walk(step, scope, overlay, clearings);
  for (const step of caps) walk(step, scope, overlay, clearings);
  addPvWords(scope, overlay);
  return {
    overlay,
    words: scope.caps,
    supportedXcr0: scope.variables.get('supported_xcr0') as number,
    supportedXss: scope.variables.get('supported_xss') as number,
    scope,
    clearings,
  };
}

function walk(step: CompiledStep, scope: KvmScope, overlay: Overlay, clearings: Clearing[]): void {
  if (step.condition && step.condition.number(scope) === 0) return;
  const { row, feature, word } = step;
  if (row.op === 'assign') scope.variables.set(row.variable, step.value!.number(scope));
  else if (word) initWord(scope, word, overlay);
  else if (row.op === 'set') {
    if (inOverlay(feature!, overlay)) scope.caps[feature!.word.id]! |= feature!.mask;
  } else {
    if ((scope.caps[feature!.word.id]! & feature!.mask) !== 0) clearings.push({ feature: feature!, step: row });
    scope.caps[feature!.word.id]! &= ~feature!.mask;
  }
}

/** Kernels of the `mask` model start from the host kernel's words, the others from nothing. */
function initialWords(scope: KvmScope): Uint32Array {
  const words = new Uint32Array(WORD_COUNT);
  if (scope.parameters.capModel === 'mask') {
    for (const word of WORDS) if (word?.kind === 'kernel') words[word.id] = scope.words[word.id]!;
  }
  return words;
}

const answer = new Uint32Array(4);

function rawWord(scope: KvmScope, word: Word): number {
  const { cpuid } = scope.cpu;
  if (scope.parameters.rawMaxLeafCheck && word.function > cpuid.maximum(word.function)) return 0;
  cpuid.execute(word.function, word.index, answer);
  return answer[word.registerIndex]!;
}

/** Classes that contribute to a word without asking the host kernel for a flag in another word. */
const PLAIN: readonly KvmClass[] = ['F', 'X86_64', 'ALIASED_1_EDX'];

/** What a kernel line lists of a word for one overlay, by class; for some classes the bits one by one. */
interface Listed {
  readonly plain: number;
  readonly emulated: number;
  readonly passthrough: number;
  readonly synthesized: number;
  readonly scatteredBits: readonly Feature[];
  readonly synthesizedBits: readonly Feature[];
}

const listedWords = new Map<string, (Listed | undefined)[]>();

function listedOf(word: Word, line: KernelLine, overlay: Overlay): Listed {
  const key = `${line} ${overlay}`;
  let words = listedWords.get(key);
  if (!words) {
    words = [];
    listedWords.set(key, words);
  }
  let listed = words[word.id];
  if (!listed) {
    const mask = (...classes: KvmClass[]) => maskOfClasses(word, line, classes, overlay);
    const bits = (wanted: KvmClass) =>
      word.features.filter((feature) => kvmClass(feature, line) === wanted && inOverlay(feature, overlay));
    listed = {
      plain: mask(...PLAIN),
      emulated: mask('EMULATED'),
      passthrough: mask('PASSTHROUGH'),
      synthesized: mask('SYNTHESIZED'),
      scatteredBits: bits('SCATTERED'),
      synthesizedBits: bits('SYNTHESIZED'),
    };
    words[word.id] = listed;
  }
  return listed;
}

function initWord(scope: KvmScope, word: Word, overlay: Overlay): void {
  const { line, parameters } = scope;
  const { plain, emulated, passthrough, scatteredBits, ...of } = listedOf(word, line, overlay);
  const listed = plain | maskInKernel(scope, scatteredBits);
  if (parameters.capModel === 'mask') {
    const before = word.kind === 'kernel' ? scope.caps[word.id]! : listed;
    scope.caps[word.id] = before & listed & rawWord(scope, word);
    return;
  }
  const synthesized = parameters.synthesizedNeedsKernelFlag ? maskInKernel(scope, of.synthesizedBits) : of.synthesized;
  let features = listed | emulated | synthesized;
  if (word.kind === 'kernel') features &= scope.words[word.id]!;
  features |= passthrough;
  features &= rawWord(scope, word) | synthesized;
  scope.caps[word.id] = features | emulated;
}

/** Those of the bits whose flag the host kernel has. */
function maskInKernel(scope: KvmScope, features: readonly Feature[]): number {
  let mask = 0;
  for (const feature of features) mask |= scope.words[feature.word.id]! & feature.mask;
  return mask >>> 0;
}

/** KVM's own leaf and the attributes of registers without a capability word: constants of the overlay. */
function addPvWords(scope: KvmScope, overlay: Overlay): void {
  const schedInfo = readVariable(scope, 'sched_info') !== 0;
  for (const word of WORDS) {
    if (word?.kind === 'pv') {
      scope.caps[word.id] = maskOfClasses(word, scope.line, schedInfo ? ['PV', 'PV_SCHED'] : ['PV'], overlay);
    } else if (word?.kind === 'named') {
      scope.caps[word.id] = maskOfClasses(word, scope.line, ['F', 'USER'], overlay);
    }
  }
}
