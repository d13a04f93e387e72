import { REGISTERS } from '../cpuid/entry.js';
import { featureNamed } from '../cpuid/features.js';
import { Cpu } from '../emu/machine.js';
import type { RawCpuid } from '../emu/raw-cpuid.js';
import { XsaveLayout } from '../kvm/xsave.js';
import type { LeafRule, LeafRules, Registers } from './cpuid-rules.js';
import { valuesOf } from './cpuid-values.js';
import { accepted, type BitsInRegister, type ConfigurableLeaf, type Result, refused, tdxError } from './params.js';

/** The least maxima of a CPU's leaf ranges that TDH.SYS.INIT accepts. */
const LEAST_BASIC = 0x1f;
const LEAST_EXTENDED = 0x8000_0008;

const EXTENDED = 0x8000_0000;

/** XFAM's bits for XCR0 and for IA32_XSS; CPUs may have others, which the module does not know. */
export const XFAM_USER = 0x6_02ffn;
export const XFAM_SUPERVISOR = 0x1_fd00n;

/** What TDH.SYS.INIT sampled of the CPU. */
export interface NativeCpuid {
  /** Per rule: the CPU's answer, with constant and live bits as TDs will have them. */
  readonly values: readonly Registers[];
  /** Leaf 1: family, model and stepping. */
  readonly model: number;
  /** The CPU has HLE or RTM, whatever IA32_TSX_CTRL hides. */
  readonly tsx: boolean;
  /** MAXPHYADDR. */
  readonly physicalBits: number;
  /** Components that XCR0 or IA32_XSS may hold, of those that the module knows. */
  readonly components: bigint;
  /** Components that IA32_XFD can disable. */
  readonly xfdComponents: bigint;
  readonly layout: XsaveLayout;
}

/**
 * The CPUID part of TDH.SYS.INIT: samples every leaf of the table and verifies it. A leaf that the CPU lacks counts as
 * zero.
 *
 * @returns TDX_CPUID_LEAF_NOT_SUPPORTED for a range that ends too early, TDX_INCORRECT_CPUID_VALUE for the first leaf
 *   in which a bit is not as the table asks
 */
export function sampleCpuid({ rules }: LeafRules, cpuid: RawCpuid): Result<NativeCpuid> {
  for (const [base, least] of [
    [0, LEAST_BASIC],
    [EXTENDED, LEAST_EXTENDED],
  ] as const) {
    if (cpuid.maximum(base) >= least) continue;
    const leaf = { leaf: least, subleaf: null };
    return refused(tdxError('TDX_CPUID_LEAF_NOT_SUPPORTED', 'leaf-maximum', { leaf }));
  }

  const values: Registers[] = [];
  for (const rule of rules) {
    const sample = execute(cpuid, rule.leaf, rule.subleaf ?? 0);
    const bits = unfit(rule, sample);
    if (bits.length > 0) {
      const { leaf, subleaf } = rule;
      return refused(tdxError('TDX_INCORRECT_CPUID_VALUE', 'verify-mask', { leaf: { leaf, subleaf }, bits }));
    }
    values.push(sample.map((value, at) => (value & ~(rule.zero[at]! | rule.live[at]!)) | rule.one[at]!));
  }
  return accepted({ values, ...factsOf(cpuid) });
}

/** CPUID as the CPU executes it; zero above its maxima. */
function execute(cpuid: RawCpuid, leaf: number, subleaf: number): Registers {
  const out = new Uint32Array(4);
  if (leaf <= cpuid.maximum(leaf)) cpuid.execute(leaf, subleaf, out);
  return out;
}

/** The bits of a sample that must be otherwise. */
function unfit({ need, lack }: LeafRule, sample: Registers): readonly BitsInRegister[] {
  return REGISTERS.map((register, at) => ({
    register,
    mask: ((need[at]! & ~sample[at]!) | (lack[at]! & sample[at]!)) >>> 0,
  })).filter(({ mask }) => mask !== 0);
}

function factsOf(cpuid: RawCpuid): Omit<NativeCpuid, 'values'> {
  const [model] = execute(cpuid, 1, 0);
  const [, features] = execute(cpuid, 7, 0);
  const [user] = execute(cpuid, 0xd, 0);
  const [, , supervisor] = execute(cpuid, 0xd, 1);
  const components = (BigInt(user!) & XFAM_USER) | (BigInt(supervisor!) & XFAM_SUPERVISOR);
  let xfdComponents = 0n;
  for (let component = 2; component < 19; component++)
    if ((execute(cpuid, 0xd, component)[2]! & XFD_FAULTING) !== 0) xfdComponents |= 1n << BigInt(component);
  return {
    model: model!,
    physicalBits: execute(cpuid, LEAST_EXTENDED, 0)[0]! & 0xff,
    tsx: (features! & (featureNamed('HLE').mask | featureNamed('RTM').mask)) !== 0,
    components,
    xfdComponents,
    layout: new XsaveLayout(new Cpu(0, cpuid, new Map())),
  };
}

/** CPUID.(EAX=0DH,ECX=n):ECX. */
const XFD_FAULTING = 1 << 2;

/** Global metadata CPUID_CONFIG_LEAVES and CPUID_CONFIG_VALUES. A bit that the CPU lacks is not reported. */
export function configurableLeaves(rules: LeafRules, native: NativeCpuid): readonly ConfigurableLeaf[] {
  return rules.configurable.map((rule) => {
    const { leaf, subleaf, config, allow } = rule;
    const values = native.values[rules.indexOf(rule)]!;
    const reported = config.map((mask, at) => mask | (allow[at]! & values[at]!));
    return { leaf, subleaf, direct: valuesOf(config), allowed: valuesOf(allow), reported: valuesOf(reported) };
  });
}
