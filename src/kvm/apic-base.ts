import { featureNamed } from '../cpuid/features.js';
import type { VcpuCpuid } from './vcpu-cpuid.js';
import { APICBASE_ENABLE, APICBASE_X2APIC, type VcpuState } from './vcpu-state.js';

const X2APIC = featureNamed('X2APIC');

/** Bits 7:0 and 9 of IA32_APIC_BASE. */
const APICBASE_RESERVED = 0x2ffn;

/**
 * `kvm_apic_set_base()` on behalf of userspace, through KVM_SET_SREGS or KVM_SET_MSRS.
 *
 * @returns whether the value was taken: no reserved bits, no address beyond the guest's MAXPHYADDR, x2APIC mode only
 *   for a guest that has it and only with the APIC enabled
 */
export function setApicBase(state: VcpuState, cpuid: VcpuCpuid, value: bigint): boolean {
  const old = state.apicBase;
  if (value === old && cpuid.caps.scope.parameters.apicBaseUnchangedAccepted) return true;
  const { guestCaps } = cpuid;
  const reserved = APICBASE_RESERVED | guestCaps.reservedGpaBits | (guestCaps.has(X2APIC) ? 0n : APICBASE_X2APIC);
  if ((value & reserved) !== 0n) return false;
  if ((value & APICBASE_X2APIC) !== 0n && (value & APICBASE_ENABLE) === 0n) return false;
  state.apicBase = value;
  if (((old ^ value) & APICBASE_ENABLE) !== 0n) cpuid.stateChanged();
  return true;
}
