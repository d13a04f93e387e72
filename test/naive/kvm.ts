// What KVM makes of a host when its modules are loaded: the variables and the capability words.
import type { BootKernel } from './boot.js';
import type { RawCpuid } from './cpuid.js';
import { evaluate, evaluateNumber, evaluateTruth, type Scope, type Value } from './expression.js';
import type { Vendor } from './inputs.js';
import {
  appliesTo,
  type CapStep,
  type CapWord,
  exists,
  type Feature,
  type Parameters,
  placeOfCap,
  profiles,
  type Register,
} from './reference.js';

export type VendorModule = 'vmx' | 'svm';

export interface NaiveHost {
  kernel: string;
  parameters: Parameters;
  raw: RawCpuid;
  vendor: Vendor;
  /** null: neither kvm-intel nor kvm-amd would load, and there are no capabilities. */
  vendorModule: VendorModule | null;
  boot: BootKernel;
  bugs: Record<string, 0 | 1>;
  xcr0: number;
  xss: number;
  /** The KVM variables after all programs have run. */
  vars: Record<string, Value>;
  /** The capability words by name. */
  caps: Record<string, number>;
  guestPermAmx: boolean;
}

export function hasCap(caps: Record<string, number>, name: string): boolean {
  const { word, bit } = placeOfCap(name);
  return (((caps[word] ?? 0) >>> bit) & 1) === 1;
}

export function numberOf(host: NaiveHost, name: string): number {
  const value = host.vars[name];
  if (typeof value !== 'number') throw new Error(`no KVM variable '${name}'`);
  return value >>> 0;
}

/** The scope of every KVM expression; `extra` adds what only one place knows, such as `raw`. */
export function kvmScope(host: NaiveHost, extra: Record<string, Value> = {}): Scope {
  return {
    variable(name) {
      const value = extra[name] ?? host.vars[name];
      if (value === undefined) throw new Error(`no KVM variable '${name}'`);
      return value;
    },
    call(name, args) {
      const [first = '', second = 0, third = '', fourth = 0] = args;
      switch (name) {
        case 'kernel':
          return host.boot.has(first as string) ? 1 : 0;
        case 'bug':
          return host.bugs[first as string] ?? 0;
        case 'cap':
          return hasCap(host.caps, first as string) ? 1 : 0;
        case 'caps':
          return host.caps[first as string] ?? 0;
        case 'min':
          return Math.min(first as number, second as number);
        case 'raw_bit':
          return (host.raw.executed(first as number, second as number)[third as Register] >>> (fourth as number)) & 1;
        default:
          throw new Error(`unknown function '${name}'`);
      }
    },
  };
}

export function vendorModuleOf(raw: RawCpuid, vendor: Vendor): VendorModule | null {
  const vmx = (raw.inRange(1, 0).ecx >>> 5) & 1;
  const svm = (raw.inRange(0x80000001, 0).ecx >>> 2) & 1;
  if (vmx && (vendor === 'intel' || vendor === 'centaur' || vendor === 'zhaoxin')) return 'vmx';
  return svm ? 'svm' : null;
}

function classOf(feature: Feature, kernel: string): string {
  return feature.class_by_kernel?.[kernel] ?? feature.class;
}

function bits(features: Feature[]): number {
  return features.reduce((mask, feature) => (mask | (1 << feature.bit)) >>> 0, 0);
}

function maskModelWord(host: NaiveHost, word: CapWord): number {
  const features = word.features.filter((feature) => {
    if (!exists(feature, host.kernel)) return false;
    return classOf(feature, host.kernel) !== 'SCATTERED' || host.boot.has(feature.name);
  });
  const raw = host.raw.executed(Number(word.function), word.subindex ?? 0)[word.register as Register];
  const start = word.kind === 'kernel' ? (host.caps[word.name] ?? 0) : 0xffffffff;
  return (start & bits(features) & raw) >>> 0;
}

function macroModelWord(host: NaiveHost, word: CapWord): number {
  const { kernel, boot, parameters } = host;
  const listed = word.features.filter((feature) => exists(feature, kernel));
  const ofClass = (name: string): Feature[] => listed.filter((feature) => classOf(feature, kernel) === name);
  const plain = ['F', 'X86_64', 'ALIASED_1_EDX', 'EMULATED', 'PASSTHROUGH'].flatMap(ofClass);
  const scattered = ofClass('SCATTERED').filter((feature) => boot.has(feature.name));
  const synthesized = ofClass('SYNTHESIZED').filter(
    (feature) => parameters.synthesized_needs_kernel_flag === false || boot.has(feature.name),
  );

  let value = bits([...plain, ...scattered, ...synthesized]);
  if (word.kind === 'kernel') value &= boot.word(word.name);
  value |= bits(ofClass('PASSTHROUGH'));
  value &= rawBelowMaximum(host, word) | bits(synthesized);
  value |= bits(ofClass('EMULATED'));
  return value >>> 0;
}

/** The raw register of a word, zero if the maximum of its class does not reach the function. */
function rawBelowMaximum(host: NaiveHost, word: CapWord): number {
  const fn = Number(word.function);
  const base = (fn & 0xffff0000) >>> 0;
  if (host.raw.inRange(base, 0).eax < fn) return 0;
  return host.raw.inRange(fn, word.subindex ?? 0)[word.register as Register];
}

function wordNamed(name: string): CapWord {
  const word = profiles.words.find((candidate) => candidate.name === name);
  if (word === undefined) throw new Error(`unknown word '${name}'`);
  return word;
}

function runStep(host: NaiveHost, step: CapStep): void {
  const scope = kvmScope(host);
  if (step.if !== undefined && !evaluateTruth(step.if, scope)) return;
  if (step.op === 'supported_xss') {
    host.vars.supported_xss = evaluateNumber(step.value as string, scope);
    return;
  }
  const name = step.word as string;
  if (step.op === 'init') {
    const word = wordNamed(name);
    host.caps[name] = host.parameters.cap_model === 'mask' ? maskModelWord(host, word) : macroModelWord(host, word);
    return;
  }
  const mask = 1 << (step.bit as number);
  const word = host.caps[name] ?? 0;
  host.caps[name] = (step.op === 'set' ? word | mask : word & ~mask) >>> 0;
}

/** A vendor module that cannot use all six counters falls back to the four every AMD CPU has. */
function capCounters(host: NaiveHost): void {
  const usable = numberOf(host, 'enable_pmu') !== 0 && numberOf(host, 'pmu_gp') >= 6 && host.boot.has('PERFCTR_CORE');
  if (!usable) host.vars.pmu_gp = Math.min(numberOf(host, 'pmu_gp'), 4);
}

export function runPrograms(host: NaiveHost, module: VendorModule, overrides: Record<string, Value>): void {
  const { kernel } = host;
  for (const input of [...profiles.derived_inputs.common, ...profiles.derived_inputs[module]]) {
    if (!appliesTo(input, kernel)) continue;
    host.vars[input.var] = overrides[input.var] ?? evaluate(input.expr, kvmScope(host));
  }
  for (const word of profiles.words) {
    const copied = word.kind === 'kernel' && host.parameters.cap_model === 'mask';
    host.caps[word.name] = copied ? host.boot.word(word.name) : 0;
  }
  const programs = [profiles.init_program, profiles.vendor_programs[module], profiles.xss_program];
  for (const step of programs.flat()) if (appliesTo(step, kernel)) runStep(host, step);
  if (module === 'svm' && kernel !== '6.1') capCounters(host);
}
