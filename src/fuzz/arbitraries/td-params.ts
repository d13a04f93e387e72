import fc, { type Arbitrary, type Random, type Value } from 'fast-check';
import type { CpuidEntry2 } from '../../cpuid/entry.js';
import { FEATURES, featureNamed } from '../../cpuid/features.js';
import {
  bootKvm,
  builtInHost,
  describeBuiltIn,
  impliedByVmType,
  minimalConfiguration,
  type TdConfiguration,
  VM_TYPES,
  Vmm,
} from '../../index.js';
import { withFeatures } from '../../scenarios/td-entries.js';
import { XFAM_ALWAYS, XFAM_RULES } from '../../tdx/rows/limit-rows.js';
import { bitsOf, type Dice, maskOf, oneOf, seldom, someBits } from '../dice.js';

/** How a TD is to be, in words. {@link tdConfiguration} makes of it what KVM_TDX_INIT_VM takes. */
export interface TdParams {
  /** Kernel names of CPUID bits. */
  readonly features: readonly string[];
  readonly attributes: bigint;
  readonly xfam: bigint;
  /** Bits of a guest-physical address. */
  readonly addressWidth: 48 | 52;
}

/** What a KVM offers for TDs. */
export interface TdOffer {
  readonly features: readonly string[];
  readonly attributes: bigint;
  readonly xfam: bigint;
}

export interface TdParamsOptions {
  /**
   * What there is to choose from: {@link tdOffer} of a VMM. Default: whatever the newest TDX module lets a TD have on the
   * built-in host emerald-rapids, whether a policy of KVM refuses it or not.
   */
  readonly offer?: TdOffer;
}

/** A TD's parameters. Shrinks to the features and components that matter. */
export const tdParams = (options: TdParamsOptions = {}): Arbitrary<TdParams> =>
  new Params(options.offer ?? defaultOffer());

/** What the KVM that a VMM speaks to offers. @throws IoctlFailed when it has no TDs */
export function tdOffer(vmm: Vmm): TdOffer {
  const vm = vmm.createVm(VM_TYPES.tdx);
  const { entries, attributes, xfam } = vmm.tdxCapabilities(vm);
  vmm.process.close(vm);
  return { features: featuresIn(entries), attributes, xfam };
}

function featuresIn(masks: readonly CpuidEntry2[]): string[] {
  return FEATURES.filter(
    ({ word, mask, kvm }) =>
      word.kind !== 'linux' &&
      word.kind !== 'pv' &&
      kvm !== 'ALIASED_1_EDX' &&
      masks.some(
        (entry) => entry.function === word.function && entry.index === word.index && entry[word.register] & mask,
      ),
  ).map(({ name }) => name);
}

/** The arguments of KVM_TDX_INIT_VM on the VMM's host: {@link Vmm.createTd} takes them. */
export function tdConfiguration({ features, attributes, xfam, addressWidth }: TdParams, vmm: Vmm): TdConfiguration {
  const vm = vmm.createVm(VM_TYPES.tdx);
  const offered = vmm.tdxCapabilities(vm).entries;
  vmm.process.close(vm);
  const base = minimalConfiguration(offered, vmm.supported().entries, addressWidth);
  return { cpuid: withFeatures(base, features.map(featureNamed)), attributes, xfam };
}

let known: TdOffer | null = null;

function defaultOffer(): TdOffer {
  if (known === null) {
    const { host, options } = impliedByVmType(describeBuiltIn(builtInHost('emerald-rapids')!), 'tdx');
    known = tdOffer(new Vmm(bootKvm(host, { ...options, policy: 'off' })));
  }
  return known;
}

/** Components that every TD has. */
const LEAST_XFAM = maskOf(XFAM_ALWAYS);

/** Some components of extended state; those that go together do. */
export function drawXfam(dice: Dice, offered: bigint): bigint {
  const some = seldom(dice, 2) ? 0n : someBits(dice, offered);
  const needed = XFAM_RULES.reduce((mask, { any, needs }) => (mask & maskOf(any) ? mask | maskOf(needs) : mask), some);
  return (needed & offered) | LEAST_XFAM;
}

/** Fewer components, down to the least; those that go together stay so. */
export function* fewerComponents(xfam: bigint): Generator<bigint> {
  if (xfam === LEAST_XFAM) return;
  yield LEAST_XFAM;
  for (const bit of bitsOf(xfam & ~LEAST_XFAM)) {
    const gone = 1n << BigInt(bit);
    const broken = XFAM_RULES.filter(({ needs }) => maskOf(needs) & gone);
    yield xfam & ~broken.reduce((mask, { any }) => mask | maskOf(any), gone);
  }
}

/** Features that the module lets a TD have together or not at all. */
const PAIR = ['HLE', 'RTM'];

function drawParams(dice: Dice, { features, attributes, xfam }: TdOffer): TdParams {
  const share = oneOf(dice, [1, 1, 4, 16]);
  const chosen = features.filter(() => dice.nextInt(1, 32) <= share);
  const pair = chosen.some((name) => PAIR.includes(name));
  return {
    features: features.filter((name) => (PAIR.includes(name) ? pair : chosen.includes(name))),
    attributes: seldom(dice, 2) ? 0n : someBits(dice, attributes),
    xfam: drawXfam(dice, xfam),
    addressWidth: seldom(dice, 8) ? 52 : 48,
  };
}

function* simplerParams(params: TdParams): Generator<TdParams> {
  const { features, attributes, xfam, addressWidth } = params;
  if (features.length > 0) yield { ...params, features: [] };
  for (let size = features.length >>> 1; size > 0; size >>>= 1) {
    for (let at = 0; at < features.length; at += size) yield { ...params, features: features.toSpliced(at, size) };
  }
  for (const bit of bitsOf(attributes)) yield { ...params, attributes: attributes & ~(1n << BigInt(bit)) };
  for (const fewer of fewerComponents(xfam)) yield { ...params, xfam: fewer };
  if (addressWidth === 52) yield { ...params, addressWidth: 48 };
}

class Params extends fc.Arbitrary<TdParams> {
  private readonly offer: TdOffer;

  constructor(offer: TdOffer) {
    super();
    this.offer = offer;
  }

  generate(random: Random): Value<TdParams> {
    return new fc.Value(drawParams(random, this.offer), undefined);
  }

  canShrinkWithoutContext(value: unknown): value is TdParams {
    return typeof value === 'object' && value !== null && 'features' in value && 'xfam' in value;
  }

  shrink(params: TdParams) {
    return fc.stream(
      (function* () {
        for (const simpler of simplerParams(params)) yield new fc.Value(simpler, undefined);
      })(),
    );
  }
}
