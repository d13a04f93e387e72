import type { CpuidRow } from '../cpuid/entry.js';
import { compileExpression, type Dialect, type Expression } from '../cpuid/expression.js';
import { type Feature, featureNamed } from '../cpuid/features.js';
import { inRange, type KernelLine } from '../cpuid/kernel-line.js';
import { CONTROL_OK, EFER_LMA } from '../emu/control.js';
import { CR0_ROWS, CR4_ROWS } from '../emu/control-rows.js';
import type { Core } from '../emu/core/core.js';
import { Costs } from '../emu/costs.js';
import { msrNamed } from '../emu/msr-rows.js';
import { MSR_OK, msrSlot } from '../emu/msrs.js';
import { RawCpuid } from '../emu/raw-cpuid.js';
import { Silicon } from '../emu/silicon.js';
import type { BootState } from './boot.js';
import { type CpuRow, FIRMWARE_ROWS, LINUX_ROWS, type Place } from './cpu-rows.js';
import type { HostInputs } from './host-inputs.js';
import { HOST_DIALECT } from './scope.js';
import { VMX_SILICON_ROWS } from './vmx-silicon-rows.js';

/** Walks the rows of `cpu-rows.ts`: what silicon the host has, and what Linux makes of each CPU. */

/** What the rows are evaluated in: the booted kernel, and one of its CPUs. */
export interface CpuScope extends BootState {
  readonly number: number;
  readonly node: number;
}

/** The addresses that {@link Place} names, of one CPU. */
export type Places = Readonly<Record<Place, bigint>>;

const VARIABLES: Readonly<Record<string, (scope: CpuScope) => number>> = {
  cpu: ({ number }) => number,
  node: ({ node }) => node,
  xcr0: ({ xcr0 }) => xcr0,
  xss: ({ xss }) => xss,
};

const CPU_DIALECT: Dialect<CpuScope> = {
  variable: (name) => VARIABLES[name] ?? HOST_DIALECT.variable(name),
  call: (name, args) => (HOST_DIALECT as unknown as Dialect<CpuScope>).call(name, args),
};

/** EFER's bits, by Linux's names without the underscore. */
const EFER_BITS = { SCE: 0, LME: 8, LMA: 10, NXE: 11, SVME: 12, TCE: 15, AUTOIBRS: 21 } as const;

const BITS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  CR0: { ...Object.fromEntries(CR0_ROWS.map(({ name, bit }) => [name, bit])), ET: 4 },
  CR4: Object.fromEntries(CR4_ROWS.map(({ name, bit }) => [name, bit])),
  EFER: EFER_BITS,
};

interface CompiledRow {
  readonly row: CpuRow;
  readonly when: Expression<CpuScope>;
  /** Low and high half: bits that are named, or what the expressions give. */
  readonly bits: readonly [lo: number, hi: number];
  readonly lo: Expression<CpuScope> | null;
  readonly hi: Expression<CpuScope> | null;
  /** What is there stays. */
  readonly adds: boolean;
  /** MSR index; `null` for other registers. */
  readonly index: number | null;
}

function compile(row: CpuRow): CompiledRow {
  const expression = (text: string | undefined) => (text === undefined ? null : compileExpression(text, CPU_DIALECT));
  const name = row.register === 'EFER' ? 'IA32_EFER' : row.register;
  return {
    row,
    when: compileExpression(row.when, CPU_DIALECT),
    bits: maskOf(row.register, row.bits?.split(' ') ?? []),
    lo: expression(row.value ?? row.also),
    hi: expression(row.high),
    adds: row.bits !== undefined || row.also !== undefined,
    index: OTHER_REGISTERS.has(name) ? null : msrNamed(name).index,
  };
}

const OTHER_REGISTERS = new Set(['CR0', 'CR4', 'XCR0', 'PKRU']);

function maskOf(register: string, names: readonly string[]): readonly [lo: number, hi: number] {
  let [lo, hi] = [0, 0];
  for (const name of names) {
    const bit = BITS[register]?.[name];
    if (bit === undefined) throw new Error(`${register} has no bit called ${name}`);
    if (bit < 32) lo |= 1 << bit;
    else hi |= 1 << (bit - 32);
  }
  return [lo, hi];
}

const programs = new Map<KernelLine, { readonly firmware: CompiledRow[]; readonly linux: CompiledRow[] }>();

function programOf(line: KernelLine) {
  const known = programs.get(line);
  if (known) return known;
  const compiled = (rows: readonly CpuRow[]) =>
    rows.filter(({ since, until }) => inRange(line, since, until)).map(compile);
  const made = { firmware: compiled([...FIRMWARE_ROWS, ...VMX_SILICON_ROWS]), linux: compiled(LINUX_ROWS) };
  programs.set(line, made);
  return made;
}

/** What a CPU of the host is made of: share it among all CPUs of that kind. */
export interface Part {
  readonly cpuid: RawCpuid;
  readonly silicon: Silicon;
  readonly costs: Costs;
}

const LM = featureNamed('LM');
const RTM_ALWAYS_ABORT = 1 << 11;
const ARCH_CAP_TSX_CTRL = 1n << 7n;
const MSR_ARCH_CAPABILITIES = 0x10a;

/**
 * CPUID as the silicon has it in 64-bit mode. A dump shows what its kernel and its tool left:
 *
 * - where IA32_TSX_CTRL is there and TSX is not, it was turned off by that MSR;
 * - Intel's CPUs say SYSCALL in 64-bit mode only;
 * - flags that were set by hand are taken to be there.
 */
function siliconCpuid({ cpu: { cpuid } }: CpuScope, msrs: ReadonlyMap<number, bigint>, inputs: HostInputs): RawCpuid {
  const answer = new Uint32Array(4);
  cpuid.execute(7, 0, answer);
  const hasTsxCtrl = ((msrs.get(MSR_ARCH_CAPABILITIES) ?? 0n) & ARCH_CAP_TSX_CTRL) !== 0n;
  const tsxWasOff = hasTsxCtrl && (answer[3]! & RTM_ALWAYS_ABORT) === 0;
  const restored = [...(tsxWasOff ? ['HLE', 'RTM'] : []), ...(isMissing(cpuid, LM) ? [] : ['SYSCALL'])];
  const missing = [...inputs.flags.set, ...restored.map(featureNamed)].filter((feature) => isMissing(cpuid, feature));
  if (missing.length === 0) return cpuid;
  const rows = cpuid.rows().map((row) => ({ ...row }) as { -readonly [K in keyof CpuidRow]: CpuidRow[K] });
  for (const { word, mask } of missing) {
    if (word.kind === 'linux' || word.kind === 'pv') continue;
    const row = rows.find((item) => item.function === word.function && item.index === word.index);
    if (row) row[word.register] = (row[word.register] | mask) >>> 0;
  }
  return new RawCpuid(rows, cpuid.outOfRange);
}

function isMissing(cpuid: RawCpuid, { word, mask }: Feature): boolean {
  if (word.kind === 'linux' || word.kind === 'pv') return false;
  const row = cpuid.row(word.function, word.index);
  return row !== undefined && (row[word.register] & mask) === 0;
}

/** Parts by CPUID and by everything else that they depend on: to work one out takes milliseconds. */
const parts = new WeakMap<RawCpuid, Map<string, Part>>();

/** The part that a CPU of a booted host is. */
export function partOf(scope: CpuScope, inputs: HostInputs): Part {
  const { cpuid } = scope.cpu;
  const msrs = firmwareMsrs(scope);
  const key = [...msrs]
    .map(([index, value]) => `${index}=${value}`)
    .concat(inputs.flags.set.map(({ name }) => name))
    .join();
  const byKey = parts.get(cpuid) ?? new Map<string, Part>();
  parts.set(cpuid, byKey);
  const known = byKey.get(key);
  if (known) return known;
  const own = siliconCpuid(scope, msrs, inputs);
  const silicon = new Silicon(own, msrs);
  const part = { cpuid: own, silicon, costs: new Costs(silicon) };
  byKey.set(key, part);
  return part;
}

/** The MSRs of which the host's values are known, and what firmware leaves in others. */
function firmwareMsrs(scope: CpuScope): Map<number, bigint> {
  const msrs = new Map(scope.cpu.msrs);
  for (const { row, when, lo, hi, adds, index } of programOf(scope.line).firmware) {
    if (when.number(scope) === 0) continue;
    const value = (BigInt(hi?.number(scope) ?? 0) << 32n) | BigInt(lo?.number(scope) ?? 0);
    const { reset } = msrNamed(row.register);
    const before = msrs.get(index!) ?? (typeof reset === 'bigint' ? reset : 0n);
    msrs.set(index!, adds ? before | value : value);
  }
  return msrs;
}

/** IA32_APIC_BASE: the CPU that boots. */
const APIC_BASE_SLOT = msrSlot(0x1b);
const APIC_BASE_BSP = 1 << 8;
const CR4_PAE = 1 << 5;
const CR4_LA57 = 1 << 12;
const CR0_LONG_MODE = 0x8000_0011 | 0;

/**
 * Brings a CPU up: long mode with the kernel's page tables, then everything that the rows say.
 *
 * @returns the MSR writes that faulted: Linux warns ("unchecked MSR access error") and goes on
 * @throws Error when a control register or XCR0 does not take its value: this kernel does not boot here
 */
export function bringUp(core: Core, scope: CpuScope, places: Places, cr3: number, la57: boolean): readonly CpuRow[] {
  if (scope.number !== 0) {
    const { msrs } = core;
    msrs.put(APIC_BASE_SLOT, msrs.lo[APIC_BASE_SLOT]! & ~APIC_BASE_BSP, msrs.hi[APIC_BASE_SLOT]!);
  }
  core.enterLongMode(cr3, CR0_LONG_MODE, CR4_PAE | (la57 ? CR4_LA57 : 0));
  const refused: CpuRow[] = [];
  for (const compiled of programOf(scope.line).linux) {
    if (compiled.when.number(scope) === 0 || write(core, compiled, scope, places)) continue;
    const { row } = compiled;
    if (OTHER_REGISTERS.has(row.register))
      throw new Error(`the host does not boot: ${row.register} does not take what ${row.note} writes`);
    refused.push(row);
  }
  core.accessChanged();
  return refused;
}

/** The registers that Linux writes while it brings the CPU up, as rows with their condition resolved. */
export function appliedRows(scope: CpuScope): readonly CpuRow[] {
  return programOf(scope.line)
    .linux.filter(({ when }) => when.number(scope) !== 0)
    .map(({ row }) => row);
}

function write(core: Core, { row, bits, lo, hi, adds, index }: CompiledRow, scope: CpuScope, places: Places): boolean {
  const place = row.place === undefined ? 0n : places[row.place];
  const low = bits[0] | (lo?.number(scope) ?? 0) | Number(BigInt.asIntN(32, place));
  const high = bits[1] | (hi?.number(scope) ?? 0) | Number(BigInt.asIntN(32, place >> 32n));
  const { control, msrs } = core;
  switch (row.register) {
    case 'CR0':
      return control.writeCr0(low, 0, true) === CONTROL_OK;
    case 'CR4':
      return control.writeCr4(control.lo[4]! | low, control.hi[4]! | high) === CONTROL_OK;
    case 'XCR0':
      return control.xsetbv(0, low, high) === CONTROL_OK;
    case 'PKRU':
      control.writePkru(low);
      return true;
  }
  if (!adds) return msrs.write(index!, low, high) === MSR_OK;
  if (msrs.read(index!) !== MSR_OK) return false;
  const keep = row.register === 'EFER' ? ~EFER_LMA : -1;
  return msrs.write(index!, (msrs.value[0]! & keep) | low, msrs.value[1]! | high) === MSR_OK;
}
