// The reference files as they are on disk, with the few look-ups every other file here needs.
import { readFileSync } from 'node:fs';

export type Register = 'eax' | 'ebx' | 'ecx' | 'edx';
export const REGISTERS: readonly Register[] = ['eax', 'ebx', 'ecx', 'edx'];

export interface Registers {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** One expression, or one per kernel line: the newest key that is not newer than the line applies. */
export type ByKernel = string | Record<string, string>;

export interface Feature {
  name: string;
  bit: number;
  class: string;
  class_by_kernel?: Record<string, string>;
  since?: string;
  until?: string;
  absent_in?: string[];
}

export interface CapWord {
  index: number;
  name: string;
  kind: 'kernel' | 'kvm_only';
  function: string | null;
  subindex: number | null;
  register: Register | null;
  features: Feature[];
}

export interface CapStep {
  op: 'init' | 'set' | 'clear' | 'supported_xss';
  feature?: string;
  word?: string;
  bit?: number;
  value?: string;
  if?: string;
  kernels?: string[];
}

export interface LeafRegisters {
  eax?: ByKernel;
  ebx?: ByKernel;
  ecx?: ByKernel;
  edx?: ByKernel;
}

export interface SubLeafRule extends LeafRegisters {
  index: number;
  since?: string;
  if_parent_eax_at_least?: number;
}

export interface LeafRule extends LeafRegisters {
  function: string;
  since?: string;
  gate?: string;
  rule?: string;
  guest_phys_addr_size_since?: string;
  sub?: SubLeafRule[];
}

export interface DerivedInput {
  var: string;
  expr: string;
  kernels?: string[];
}

export interface Parameters {
  cap_model: 'mask' | 'macro';
  synthesized_needs_kernel_flag: boolean | null;
  max_basic_leaf: string;
  max_extended_leaf: string;
  max_centaur_leaf: string;
  centaur_range_vendors: string[];
  indexed_functions: string[];
  kvm_only_words: string[];
  xtile_cfg_follows_xtile_data: boolean;
  sgx_attr_mask: string;
}

interface KernelProfiles {
  kernels: string[];
  parameters: Record<string, Parameters>;
  words: CapWord[];
  init_program: CapStep[];
  vendor_programs: Record<'vmx' | 'svm', CapStep[]>;
  xss_program: CapStep[];
  derived_inputs: Record<'common' | 'vmx' | 'svm', DerivedInput[]>;
  leaf_rules: LeafRule[];
  emulated: { entries: (LeafRegisters & { function: string; index?: number; flags?: number })[] };
}

export interface FlagStep {
  op: 'set' | 'clear' | 'force_set' | 'force_clear';
  flag: string;
  if: string;
  each?: 'clearcpuid' | 'setcpuid';
  kernels?: string[];
}

interface FlagPlace {
  flag: string;
  word: string;
  bit?: number;
  since?: string;
  cpuinfo?: string;
  place_by_kernel?: Record<string, string>;
}

interface HostKernelCaps {
  words: { word: string; function: string; index: number; register: Register; if?: string }[];
  scattered: { flag: string; function: string; index: number; register: Register; bit: number; kernels?: string[] }[];
  probe: (Omit<FlagStep, 'if'> & { if?: string })[];
  early_forced: FlagStep[];
  vendor: FlagStep[];
  late: FlagStep[];
  deps: { flag: string; needs: string; since?: string }[];
  bugs: { bug: string; expr: string }[];
  xstate: {
    components: { bit: number; flag: ByKernel; since?: string }[];
    user_supported: Record<string, string>;
    supervisor_supported: Record<string, string>;
  };
  flags: FlagPlace[];
}

export interface ParanoidRow {
  function: string;
  index: number | string;
  register: Register;
  vmx: string;
  svm: string;
  tdx: string;
  reason: string;
  source: string;
}

function load<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../fixtures/reference/${name}`, import.meta.url), 'utf8')) as T;
}

export const profiles = load<KernelProfiles>('kernel-profiles.json');
export const hostCaps = load<HostKernelCaps>('host-kernel-caps.json');
export const paranoidRows = load<{ rows: ParanoidRow[] }>('paranoid-rules.json').rows;

function age(kernel: string): number {
  const position = profiles.kernels.indexOf(kernel);
  if (position < 0) throw new Error(`unknown kernel line '${kernel}'`);
  return position;
}

export function exists(item: { since?: string; until?: string; absent_in?: string[] }, kernel: string): boolean {
  if (item.since !== undefined && age(kernel) < age(item.since)) return false;
  if (item.until !== undefined && age(kernel) > age(item.until)) return false;
  return !(item.absent_in ?? []).includes(kernel);
}

export function appliesTo(step: { kernels?: string[] }, kernel: string): boolean {
  return step.kernels === undefined || step.kernels.includes(kernel);
}

export function byKernel(value: ByKernel, kernel: string): string {
  if (typeof value === 'string') return value;
  const usable = profiles.kernels.filter((line) => line in value && age(line) <= age(kernel));
  const newest = usable.at(-1);
  if (newest === undefined) throw new Error(`no value for kernel ${kernel}`);
  return value[newest] as string;
}

export function parametersOf(kernel: string): Parameters {
  age(kernel);
  return profiles.parameters[kernel] as Parameters;
}

/** Where a KVM capability lives. Its kernel lines do not matter: vendor steps may set bits the lists lack. */
export function placeOfCap(name: string): { word: string; bit: number } {
  for (const word of profiles.words) {
    for (const feature of word.features) {
      if (feature.name === name && feature.class !== 'ALIASED_1_EDX') return { word: word.name, bit: feature.bit };
    }
  }
  for (const step of [...profiles.vendor_programs.svm, ...profiles.vendor_programs.vmx]) {
    if (step.feature === name) return { word: step.word as string, bit: step.bit as number };
  }
  throw new Error(`unknown capability '${name}'`);
}
