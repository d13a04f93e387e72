import { REGISTERS } from '../cpuid/entry.js';
import { featureNamed } from '../cpuid/features.js';
import { type NativeCpuid, XFAM_USER } from './cpuid-init.js';
import type { LeafRule, LeafRules, Registers } from './cpuid-rules.js';
import { registersOf } from './cpuid-values.js';
import {
  accepted,
  attributeMask,
  type BitsInRegister,
  invalidOperand,
  NO_VALUES,
  type Result,
  refused,
  type TdParams,
  type TdxError,
  tdxError,
} from './params.js';

/** The MSR that says whether there is IA32_TSX_CTRL. */
export const IA32_ARCH_CAPABILITIES = 0x10a;

export const HLE = featureNamed('HLE');
export const RTM = featureNamed('RTM');

/** What TDH.MNG.INIT needs beside TD_PARAMS. */
export interface ConfigureInputs {
  readonly rules: LeafRules;
  readonly native: NativeCpuid;
  /** IA32_ARCH_CAPABILITIES.TSX_CTRL. */
  readonly hasTsxCtrl: boolean;
}

/** What a fix-up may look at: the inputs, and the leaves in front of it, which are final. */
interface Context extends ConfigureInputs {
  readonly params: TdParams;
  readonly finished: readonly Registers[];
}

/**
 * The CPUID part of TDH.MNG.INIT.
 *
 * @returns the final registers of every rule, in the order of the table; TDX_OPERAND_INVALID for CPUID_CONFIG when the
 *   VMM sets a bit that is not configurable, a model that is not the CPU's, or one of HLE and RTM;
 *   TDX_INCORRECT_MSR_VALUE for TSX on a CPU without IA32_TSX_CTRL
 */
export function configureCpuid(inputs: ConfigureInputs, params: TdParams): Result<readonly Registers[]> {
  const finished: Registers[] = [];
  const context: Context = { ...inputs, params, finished };
  for (const [at, rule] of inputs.rules.rules.entries()) {
    const values = inputs.native.values[at]!.slice();
    const error = applyConfig(rule, params, values) ?? fixUp(rule, context, values);
    if (error) return refused(error);
    finished.push(values);
  }
  return accepted(finished);
}

/** Steps 1 and 2: what the VMM may say about a leaf. */
function applyConfig(rule: LeafRule, params: TdParams, values: Registers): TdxError | null {
  if (rule.configIndex === null) return null;
  const wanted = registersOf(params.cpuidConfig[rule.configIndex] ?? NO_VALUES);
  const { config, allow } = rule;
  const isExcessive = wanted.some((bits, at) => (bits & ~(config[at]! | allow[at]!)) !== 0);
  if (isExcessive) return invalidConfig('not-configurable', rule, { bits: excess(rule, wanted) });
  for (let at = 0; at < 4; at++) {
    const direct = (values[at]! & ~config[at]!) | (wanted[at]! & config[at]!);
    values[at] = direct & (wanted[at]! | ~allow[at]!);
  }
  return null;
}

/** The bits that are not configurable. */
function excess({ config, allow }: LeafRule, wanted: Registers): readonly BitsInRegister[] {
  return REGISTERS.map((register, at) => ({
    register,
    mask: (wanted[at]! & ~(config[at]! | allow[at]!)) >>> 0,
  })).filter(({ mask }) => mask !== 0);
}

function invalidConfig(
  why: 'not-configurable' | 'model' | 'hle-rtm',
  { leaf, subleaf }: LeafRule,
  detail: Pick<Partial<TdxError>, 'bits'> = {},
): TdxError {
  return invalidOperand(why, 'CPUID_CONFIG', { ...detail, leaf: { leaf, subleaf } });
}

/** Step 3: what follows from XFAM, ATTRIBUTES and other leaves. */
function fixUp(rule: LeafRule, context: Context, values: Registers): TdxError | null {
  const { params } = context;
  for (const { of, bits, masks } of rule.gates) {
    if ((params[of] & bits) === bits) continue;
    for (let at = 0; at < 4; at++) values[at]! &= ~masks[at]!;
  }
  if (rule.onlyWith !== null && !hasFeature(context, rule.onlyWith)) values.fill(0);
  return FIX_UPS[rule.name]?.(values, context, rule) ?? null;
}

type FixUp = (values: Registers, context: Context, rule: LeafRule) => TdxError | null | undefined;

/** What is calculated, by the leaf's name in the table. Registers: 0 EAX to 3 EDX. */
const FIX_UPS: Readonly<Record<string, FixUp>> = {
  1: configureModel,
  '7.0': configureTsx,
  'd.0': (values, { native, params }) => {
    values[2] = native.layout.size(Number(params.xfam & XFAM_USER), false);
    return null;
  },
  'd.1': (values, { native, params }) => {
    if ((native.xfdComponents & params.xfam) === 0n) values[0]! &= ~XFD;
    return null;
  },
  15: (values, { params }) => {
    values[1] = params.tscFrequency;
    return null;
  },
  // Key locker is in no module yet.
  19: (values) => {
    values.fill(0);
    return null;
  },
  80000008: (values, context) => {
    const linear = hasFeature(context, 'LA57') ? 57 : 48;
    values[0] = (values[0]! & ~0xff00) | (linear << 8);
    return null;
  },
};

/** CPUID.(EAX=0DH,ECX=1):EAX. */
const XFD = 1 << 4;

/** Family, model and stepping: 0 stands for the CPU's own; another one is for TDs that may migrate. */
function configureModel(values: Registers, { native, params }: Context, rule: LeafRule): TdxError | null {
  if (values[0] === 0) values[0] = native.model;
  // Which models a migratable TD may have is not modelled: all.
  const isFree = (params.attributes & attributeMask('MIGRATABLE')) !== 0n;
  return isFree || values[0] === native.model ? null : invalidConfig('model', rule);
}

/** HLE and RTM come together, and only where the module can take them away again. */
function configureTsx(values: Registers, { hasTsxCtrl }: Context, rule: LeafRule): TdxError | null {
  const hle = (values[1]! & HLE.mask) !== 0;
  const rtm = (values[1]! & RTM.mask) !== 0;
  if (hle !== rtm) return invalidConfig('hle-rtm', rule);
  if (!hle || hasTsxCtrl) return null;
  return tdxError('TDX_INCORRECT_MSR_VALUE', 'tsx-ctrl', { msr: IA32_ARCH_CAPABILITIES });
}

/** Whether the TD has a feature of a leaf that is final. */
function hasFeature({ rules, finished }: Context, name: string): boolean {
  return featureIn(rules, finished, name);
}

/** Whether the final registers have a feature, by kernel name. */
export function featureIn(rules: LeafRules, values: readonly Registers[], name: string): boolean {
  const { word, mask } = featureNamed(name);
  const rule = rules.find(word.function, word.index);
  const registers = rule && values[rules.indexOf(rule)];
  return registers !== undefined && (registers[word.registerIndex]! & mask) !== 0;
}
