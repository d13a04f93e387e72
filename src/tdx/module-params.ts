import type { NativeCpuid } from './cpuid-init.js';
import {
  attributeMask,
  invalidOperand,
  isVersionIn,
  type TdParams,
  type TdxError,
  type TdxModuleVersion,
} from './params.js';
import { ATTRIBUTE_CONFLICTS, ATTRIBUTE_ROWS, XFAM_ALWAYS, XFAM_COMPONENTS, XFAM_RULES } from './rows/limit-rows.js';

/** What may (`fixed0`) and what must (`fixed1`) be set in ATTRIBUTES and XFAM: global metadata of the module. */
export interface Limits {
  readonly attributesFixed0: bigint;
  readonly attributesFixed1: bigint;
  readonly xfamFixed0: bigint;
  readonly xfamFixed1: bigint;
}

/** The limits of a version on a CPU. */
export function limitsOf(version: TdxModuleVersion, native: NativeCpuid, has: (feature: string) => boolean): Limits {
  const attributes = ATTRIBUTE_ROWS.filter(
    ([, since, needs]) => isVersionIn(version, since) && (needs === null || has(needs)),
  );
  return {
    attributesFixed0: attributes.reduce((mask, [name]) => mask | attributeMask(name), 0n),
    attributesFixed1: 0n,
    xfamFixed0: componentMask(XFAM_COMPONENTS) & native.components,
    xfamFixed1: componentMask(XFAM_ALWAYS),
  };
}

function componentMask(components: readonly number[]): bigint {
  return components.reduce((mask, component) => mask | (1n << BigInt(component)), 0n);
}

/** The least MAXPHYADDR for a secure EPT with five levels. */
const LEAST_FOR_FIVE_LEVELS = 49;
const TSC_FREQUENCY = { least: 4, most: 400 };
const MOST_VCPUS = 0xffff;

type Check = (params: TdParams, limits: Limits, native: NativeCpuid) => TdxError | null | false;

/** The checks of TDH.MNG.INIT in front of CPUID, in their order. */
const CHECKS: readonly Check[] = [
  ({ attributes }, { attributesFixed0, attributesFixed1 }) =>
    !fits(attributes, attributesFixed0, attributesFixed1) && invalidOperand('attributes-fixed', 'ATTRIBUTES'),
  ({ attributes }) =>
    ATTRIBUTE_CONFLICTS.some((names) => names.every((name) => (attributes & attributeMask(name)) !== 0n)) &&
    invalidOperand('attributes-combination', 'ATTRIBUTES'),
  ({ xfam }, { xfamFixed0, xfamFixed1 }) => !fits(xfam, xfamFixed0, xfamFixed1) && invalidOperand('xfam-fixed', 'XFAM'),
  ({ xfam }) =>
    XFAM_RULES.some(({ any, needs }) => (xfam & componentMask(any)) !== 0n && !includes(xfam, componentMask(needs))) &&
    invalidOperand('xfam-combination', 'XFAM'),
  ({ maxVcpus = 1 }) => !(maxVcpus >= 1 && maxVcpus <= MOST_VCPUS) && invalidOperand('max-vcpus', 'MAX_VCPUS'),
  ({ eptLevels }, _, { physicalBits }) =>
    eptLevels === 5 && physicalBits < LEAST_FOR_FIVE_LEVELS && invalidOperand('ept-levels', 'EPTP_CONTROLS'),
  ({ eptLevels, gpaw52 }) => gpaw52 && eptLevels < 5 && invalidOperand('gpaw', 'EPTP_CONTROLS'),
  ({ tscFrequency }) =>
    !(tscFrequency >= TSC_FREQUENCY.least && tscFrequency <= TSC_FREQUENCY.most) &&
    invalidOperand('tsc-frequency', 'TSC_FREQUENCY'),
];

function includes(value: bigint, mask: bigint): boolean {
  return (value & mask) === mask;
}

function fits(value: bigint, fixed0: bigint, fixed1: bigint): boolean {
  return (value & ~fixed0) === 0n && includes(value, fixed1);
}

/** What is wrong with TD_PARAMS beside CPUID_CONFIG; `null` when nothing is. */
export function checkParams(params: TdParams, limits: Limits, native: NativeCpuid): TdxError | null {
  for (const check of CHECKS) {
    const error = check(params, limits, native);
    if (error) return error;
  }
  return null;
}
