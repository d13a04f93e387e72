import type { KvmModule } from '../kvm/module.js';
import { type HostScope, readVariable } from '../linux/scope.js';
import type { TdxModule } from './module.js';

/** Attributes that KVM supports (`KVM_SUPPORTED_TD_ATTRS`): SEPT_VE_DISABLE. */
const KVM_SUPPORTED_ATTRIBUTES = 1n << 28n;

/** `tdx_get_supported_attrs()`: what KVM and the module agree on; 0 when the module insists on more than KVM supports. */
export function supportedAttributes({ attributesFixed0, attributesFixed1 }: TdxModule): bigint {
  return agreed(KVM_SUPPORTED_ATTRIBUTES, attributesFixed0, attributesFixed1);
}

/** `tdx_get_supported_xfam()`: the same of XFAM, with the XSAVE components that KVM supports. */
export function supportedXfam(kvm: KvmModule, { xfamFixed0, xfamFixed1 }: TdxModule): bigint {
  const { supportedXcr0, supportedXss } = kvm.caps(kvm.defaultOverlay);
  return agreed(BigInt((supportedXcr0 | supportedXss) >>> 0), xfamFixed0, xfamFixed1);
}

/** @param fixed0 bits that may be 1 @param fixed1 bits that must be 1 */
function agreed(supported: bigint, fixed0: bigint, fixed1: bigint): bigint {
  return (fixed1 & ~supported) === 0n ? supported & fixed0 : 0n;
}

/** Whether the CPU has EPT with five levels (`cpu_has_vmx_ept_5levels()`). */
export function hasFiveLevelEpt(scope: HostScope): boolean {
  return readVariable(scope, 'vmx_ept_5level') !== 0;
}

/** TD_PARAMS counts in units of 25 MHz, and takes 4 to 400 of them. */
const UNIT_HZ = 25_000_000;
/** Of a host whose CPUID does not tell: 2 GHz. An assumption, which nothing but the guest's leaf 15H shows. */
const ASSUMED_UNITS = 80;

const answer = new Uint32Array(4);

/** The host's TSC frequency in units of 25 MHz (`TDX_TSC_KHZ_TO_25MHZ(default_tsc_khz)`), by CPUID leaf 15H. */
export function tscFrequency({ kernel }: KvmModule): number {
  const { cpuid } = kernel.machine.bootCpu;
  if (cpuid.maximum(0x15) < 0x15) return ASSUMED_UNITS;
  cpuid.execute(0x15, 0, answer);
  const [denominator = 0, numerator = 0, crystal = 0] = answer;
  const units = denominator === 0 ? 0 : Math.floor((crystal * numerator) / denominator / UNIT_HZ);
  return units >= 4 && units <= 400 ? units : ASSUMED_UNITS;
}
