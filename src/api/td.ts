import { bitName } from '../cpuid/architecture.js';
import { type CpuidEntry2, REGISTERS } from '../cpuid/entry.js';
import { inOverlay, kvmClass, wordAt } from '../cpuid/features.js';
import type { KvmModule } from '../kvm/module.js';
import type { Finding, Reason, RefusedBit } from '../kvm/paranoid/findings.js';
import type { Policy } from '../kvm/policy.js';
import { KVM_CPUID_SIGNATURE } from '../kvm/pv.js';
import type { RefusedConfig } from '../tdx/kvm-policy.js';

/** How a TD is to be: the arguments of KVM_TDX_INIT_VM. */
export interface TdConfiguration {
  /** Bits of the leaves that KVM_TDX_CAPABILITIES names. There must be an entry 0x80000008, with 48 or 52 in EAX[23:16]. */
  readonly cpuid: readonly CpuidEntry2[];
  readonly attributes?: bigint;
  readonly xfam?: bigint;
}

const ADDRESS_SIZES = 0x8000_0008;
const guestWidth = (bits: 48 | 52): number => bits << 16;

/**
 * What KVM_TDX_INIT_VM takes on every module: nothing configured but guest-physical addresses of 48 bits. Where the module
 * lets MAXPHYADDR be configured the guest's is 0 then, with which no vCPU can be initialised: {@link minimalConfiguration}.
 */
export const MINIMAL_TD: TdConfiguration = {
  cpuid: [{ function: ADDRESS_SIZES, index: 0, flags: 0, eax: guestWidth(48), ebx: 0, ecx: 0, edx: 0 }],
};

/**
 * What QEMU asks for with `-cpu host`: of what KVM_GET_SUPPORTED_CPUID reports, the leaves that KVM_TDX_CAPABILITIES names
 * and the bits that it offers there. Flags are those of KVM_GET_SUPPORTED_CPUID: an entry must not answer more than one
 * sub-leaf.
 *
 * @param capabilities masks of configurable bits
 * @param supported what KVM reports
 * @param width of guest-physical addresses
 */
export function hostConfiguration(
  capabilities: readonly CpuidEntry2[],
  supported: readonly CpuidEntry2[],
  width: 48 | 52 = 48,
): readonly CpuidEntry2[] {
  return supported.flatMap((entry) => {
    const mask = capabilities.find((item) => item.function === entry.function && item.index === entry.index);
    if (!mask) return [];
    const [eax = 0, ebx = 0, ecx = 0, edx = 0] = REGISTERS.map((name) => (entry[name] & mask[name]) >>> 0);
    const sizes = mask.function === ADDRESS_SIZES;
    return [{ ...entry, eax: sizes ? ((eax & 0xff) | guestWidth(width)) >>> 0 : eax, ebx, ecx, edx }];
  });
}

/** As little as a TD needs to run: the widths of addresses. Parameters as of {@link hostConfiguration}. */
export function minimalConfiguration(
  capabilities: readonly CpuidEntry2[],
  supported: readonly CpuidEntry2[],
  width: 48 | 52 = 48,
): readonly CpuidEntry2[] {
  const sizes = capabilities.filter((entry) => entry.function === ADDRESS_SIZES);
  return hostConfiguration(sizes, supported, width).map((entry) => ({ ...entry, ebx: 0 }));
}

/**
 * The table that QEMU hands to KVM_SET_CPUID2 for a TD: what the module says that the guest has, and KVM's own leaves,
 * with the features that make sense in a TD.
 *
 * @param stored what KVM_TDX_GET_CPUID answered
 * @param supported what KVM_GET_SUPPORTED_CPUID reports
 */
export function mergeTdCpuid(stored: readonly CpuidEntry2[], supported: readonly CpuidEntry2[]): CpuidEntry2[] {
  const inTds = (wordAt(KVM_CPUID_SIGNATURE + 1, 0, 0)?.features ?? [])
    .filter((feature) => inOverlay(feature, 'TDX'))
    .reduce((mask, feature) => mask | feature.mask, 0);
  const own = supported
    .filter((entry) => entry.function === KVM_CPUID_SIGNATURE || entry.function === KVM_CPUID_SIGNATURE + 1)
    .map((entry) => (entry.function === KVM_CPUID_SIGNATURE ? entry : { ...entry, eax: (entry.eax & inTds) >>> 0 }));
  return [...stored, ...own];
}

/** Who says so, and why, when a policy refuses a bit of a TD's configuration. */
const REFUSALS: Readonly<Record<Policy, readonly [source: string, why: string]>> = {
  off: ['', ''],
  denylist: ['tdx_unsupported_cpuid()', 'a hardcoded list of features that clobber host state'],
  paranoid: ['RFC v1, patches 26 and 27', "outside the TDX overlay's allowed values"],
  allowlist: ['RFC v2', 'outside the list of directly configurable bits that KVM knows'],
};

/** What KVM's policy refused in a TD's configuration, with names. */
export function configFindings(module: KvmModule, refused: readonly RefusedConfig[]): Finding[] {
  const [source, why] = REFUSALS[module.policy];
  return refused.map(({ leaf, subleaf, entry, register, value, bits }) => ({
    entry,
    function: leaf,
    index: subleaf ?? 0,
    register,
    value,
    allowed: (value & ~bits).toString(16),
    offending: bits,
    rule: 'mask',
    bits: [...Array(32).keys()]
      .filter((bit) => ((bits >>> bit) & 1) !== 0)
      .map((bit) => refusedBit(module, { function: leaf, index: subleaf ?? 0, register, bit })),
    source,
    why,
  }));
}

function refusedBit(
  module: KvmModule,
  place: Pick<Finding, 'function' | 'index'> & { readonly register: (typeof REGISTERS)[number]; readonly bit: number },
): RefusedBit {
  const { function: fn, index, register, bit } = place;
  const feature = wordAt(fn, index, REGISTERS.indexOf(register))?.features.find((item) => item.bit === bit);
  const name = bitName(fn, index, register, bit);
  const { line } = module.caps(module.defaultOverlay).scope;
  let reason: Reason = name === null ? 'unknown' : 'unsupported-by-kvm';
  if (feature && kvmClass(feature, line) !== null) {
    reason = inOverlay(feature, 'TDX') ? 'unsupported-by-host' : 'not-in-overlay';
  }
  return { bit, name, reason, clobbers: feature?.clobbers ?? [] };
}
