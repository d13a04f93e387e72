import type { Register } from '../cpuid/entry.js';
import type { RawCpuid } from '../emu/raw-cpuid.js';
import { Silicon } from '../emu/silicon.js';
import { configureCpuid, IA32_ARCH_CAPABILITIES } from './cpuid-configure.js';
import { explainBit } from './cpuid-explain.js';
import { configurableLeaves, type NativeCpuid, sampleCpuid } from './cpuid-init.js';
import { type LeafRules, leafRules, type Registers } from './cpuid-rules.js';
import { executeCpuid, type GuestCpuidState, type TdCpuidResult } from './cpuid-run.js';
import { valuesOf } from './cpuid-values.js';
import { type ExitRow, exitRowsOf } from './exit.js';
import { FLAG_NAMES, hasBits, latchFlags, type TdFlags } from './module-flags.js';
import { type FutureFeature, type FutureModule, futureExitRows, futureRules } from './module-future.js';
import { isTabled, type MsrAccess, msrAccess } from './module-msrs.js';
import { checkParams, limitsOf } from './module-params.js';
import {
  accepted,
  type ConfigurableLeaf,
  type ReadMsr,
  type Result,
  refused,
  type StoredLeaf,
  type TdParams,
  type TdxModuleVersion,
} from './params.js';
import { CR4_ROWS } from './rows/cr4-rows.js';

export type { GuestCpuidState, TdCpuidResult } from './cpuid-run.js';
export { type ExitKind, type ExitRow, type ExitWay, kindAfter } from './exit.js';
export type { TdFlags } from './module-flags.js';
export { type FutureFeature, type FutureModule, type FutureState, withNativeBits } from './module-future.js';
export type { MsrAccess } from './module-msrs.js';
export * from './params.js';
export { FUTURE_MODULES } from './rows/future-rows.js';

/** IA32_ARCH_CAPABILITIES: the CPU has IA32_TSX_CTRL. */
const ARCH_CAP_TSX_CTRL = 1n << 7n;

/** A TDX module that has gone through TDH.SYS.INIT on a CPU. */
export class TdxModule {
  readonly version: TdxModuleVersion;
  /** The version, or a future module's own name. */
  readonly name: string;
  /** The future module that this is, or `null`. */
  readonly future: FutureModule | null;
  /** Metadata CPUID_CONFIG_LEAVES and CPUID_CONFIG_VALUES, in the order of the configuration index. */
  readonly configurable: readonly ConfigurableLeaf[];
  /** Bits of ATTRIBUTES that may be 1, and those that must be. */
  readonly attributesFixed0: bigint;
  readonly attributesFixed1: bigint;
  /** The same of XFAM. */
  readonly xfamFixed0: bigint;
  readonly xfamFixed1: bigint;

  readonly rules: LeafRules;
  readonly native: NativeCpuid;
  readonly hasTsxCtrl: boolean;
  /** CR4 bits of the CPU, what IA32_VMX_CR4_FIXED1 says. */
  readonly nativeCr4: bigint;

  private constructor(
    model: TdxModuleVersion | FutureModule,
    rules: LeafRules,
    native: NativeCpuid,
    cpuid: RawCpuid,
    readMsr: ReadMsr,
  ) {
    const silicon = new Silicon(cpuid);
    this.future = typeof model === 'string' ? null : model;
    this.version = typeof model === 'string' ? model : model.base;
    this.name = typeof model === 'string' ? model : model.name;
    this.rules = rules;
    this.native = native;
    this.hasTsxCtrl = ((readMsr(IA32_ARCH_CAPABILITIES) ?? 0n) & ARCH_CAP_TSX_CTRL) !== 0n;
    this.nativeCr4 = silicon.mask('CR4');
    this.configurable = configurableLeaves(rules, native);
    const limits = limitsOf(this.version, native, (feature) => silicon.has(feature));
    this.attributesFixed0 = limits.attributesFixed0;
    this.attributesFixed1 = limits.attributesFixed1;
    this.xfamFixed0 = limits.xfamFixed0;
    this.xfamFixed1 = limits.xfamFixed1;
  }

  /**
   * TDH.SYS.INIT and TDH.SYS.CONFIG, as far as CPUID and MSRs go.
   *
   * @returns TDX_CPUID_LEAF_NOT_SUPPORTED, or TDX_INCORRECT_CPUID_VALUE with the leaf and its bits, when the module
   *   refuses the CPU
   */
  static init(cpuid: RawCpuid, readMsr: ReadMsr, model: TdxModuleVersion | FutureModule): Result<TdxModule> {
    const rules = typeof model === 'string' ? leafRules(model) : futureRules(leafRules(model.base), model);
    const native = sampleCpuid(rules, cpuid);
    return native.ok ? accepted(new TdxModule(model, rules, native.value, cpuid, readMsr)) : native;
  }

  /** How the module virtualises one bit: see `explainBit()`. */
  explain(leaf: number, subleaf: number | null, register: Register, bit: number): string {
    return explainBit(this.rules.find(leaf >>> 0, subleaf ?? 0), register, bit);
  }

  /**
   * TDH.MNG.INIT.
   *
   * @returns TDX_OPERAND_INVALID with the operand, for CPUID_CONFIG also with the leaf; TDX_INCORRECT_MSR_VALUE for TSX
   *   without IA32_TSX_CTRL
   */
  createTd(params: TdParams): Result<Td> {
    const error = checkParams(params, this, this.native);
    if (error) return refused(error);
    const finished = configureCpuid(this, params);
    return finished.ok ? accepted(new Td(this, params, finished.value)) : finished;
  }
}

/** A TD that TDH.MNG.INIT accepted. */
export class Td {
  readonly module: TdxModule;
  readonly params: TdParams;
  readonly flags: TdFlags;
  /** The future module's features that this TD has. */
  readonly futureFeatures: readonly FutureFeature[];
  /** CR4 bits that the guest may set. */
  readonly cr4Allowed: bigint;

  private readonly finished: readonly Registers[];
  private rows: readonly ExitRow[] | undefined;
  private values: readonly StoredLeaf[] | undefined;

  constructor(module: TdxModule, params: TdParams, finished: readonly Registers[]) {
    const { rules, future } = module;
    this.module = module;
    this.params = params;
    this.finished = finished;
    this.flags = latchFlags(rules, finished, params);
    this.futureFeatures = (future?.features ?? []).filter((feature) =>
      hasBits(rules, finished, feature, feature.register, (1 << feature.bit) >>> 0),
    );
    this.cr4Allowed = this.allowedCr4();
  }

  /** Metadata CPUID_VALUES, in the order of the module's table; leaves that raise #VE are absent. */
  get cpuidValues(): readonly StoredLeaf[] {
    this.values ??= this.module.rules.rules.flatMap(({ leaf, subleaf, faults }, at) =>
      faults ? [] : [{ leaf, subleaf, ...valuesOf(this.finished[at]!) }],
    );
    return this.values;
  }

  /** TDH.MNG.RD of CPUID_VALUES; `undefined` when the TD has no such field. */
  stored(leaf: number, subleaf: number | null): StoredLeaf | undefined {
    const { rules } = this.module;
    const rule = rules.exactly(leaf >>> 0, subleaf);
    if (!rule || rule.faults) return undefined;
    return { leaf: rule.leaf, subleaf, ...valuesOf(this.finished[rules.indexOf(rule)]!) };
  }

  /** CPUID executed in the TD: the registers, or #VE, which lets the guest ask KVM. */
  cpuid(eax: number, ecx: number, guest: GuestCpuidState): TdCpuidResult {
    const { rules, native } = this.module;
    return executeCpuid(rules, this.finished, native.layout, eax >>> 0, ecx >>> 0, guest);
  }

  /** RDMSR or WRMSR in the TD. */
  msrAccess(index: number, write: boolean): MsrAccess {
    const has = (features: readonly FutureFeature[]) =>
      features.some(({ states }) => states.some(({ msr }) => msr === index));
    if (has(this.futureFeatures)) return 'native';
    if (!isTabled(index) && has(this.module.future?.features ?? [])) return '#GP';
    return msrAccess(index, write, this.flags);
  }

  /** What TD entry and exit do to the host's state, in the order of the table. A state appears once. */
  exitRows(): readonly ExitRow[] {
    this.rows ??= this.findExitRows();
    return this.rows;
  }

  private findExitRows(): readonly ExitRow[] {
    const { version, hasTsxCtrl, native } = this.module;
    const { tsx: hasTsx, model } = native;
    const { flags, params } = this;
    const rows = exitRowsOf({ version, xfam: params.xfam, flags, hasTsxCtrl, hasTsx, model });
    return futureExitRows(rows, this.futureFeatures);
  }

  private allowedCr4(): bigint {
    const shut = CR4_ROWS.filter(
      ([, , condition]) => !FLAG_NAMES.some((name) => name === condition && this.flags[name]),
    );
    const base = shut.reduce((mask, [bit]) => mask & ~(1n << BigInt(bit)), this.module.nativeCr4);
    return this.futureFeatures.reduce((mask, { cr4 = 0n }) => mask | (cr4 & this.module.nativeCr4), base);
  }
}
