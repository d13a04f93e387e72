import { type CpuidEntry2, REGISTERS } from '../cpuid/entry.js';
import { inOverlay, wordAt } from '../cpuid/features.js';
import { KVM_CPUID_SIGNATURE } from '../kvm/pv.js';

/** How a TD is to be: the arguments of KVM_TDX_INIT_VM. */
export interface TdConfiguration {
  /** Bits of the leaves that KVM_TDX_CAPABILITIES names. There must be an entry 0x80000008, with 48 or 52 in EAX[23:16]. */
  readonly cpuid: readonly CpuidEntry2[];
  readonly attributes?: bigint;
  readonly xfam?: bigint;
}

const ADDRESS_SIZES = 0x8000_0008;
const guestWidth = (bits: 48 | 52): number => bits << 16;

/** A TD with nothing configured but what must be: guest-physical addresses of 48 bits. */
export const MINIMAL_TD: TdConfiguration = {
  cpuid: [{ function: ADDRESS_SIZES, index: 0, flags: 0, eax: guestWidth(48), ebx: 0, ecx: 0, edx: 0 }],
};

/**
 * What QEMU asks for with `-cpu host`: of the bits that KVM_TDX_CAPABILITIES offers, those that KVM_GET_SUPPORTED_CPUID
 * reports.
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
  return capabilities.map((mask) => {
    const wanted = supported.find((entry) => entry.function === mask.function && entry.index === mask.index);
    const [eax = 0, ebx = 0, ecx = 0, edx = 0] = REGISTERS.map((name) => ((wanted?.[name] ?? 0) & mask[name]) >>> 0);
    const sizes = mask.function === ADDRESS_SIZES;
    return { ...mask, eax: sizes ? ((eax & 0xff) | guestWidth(width)) >>> 0 : eax, ebx, ecx, edx };
  });
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
