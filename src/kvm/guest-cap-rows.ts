import type { KernelLine } from '../cpuid/kernel-line.js';

/**
 * A capability of a vCPU that is not simply "KVM supports it and the guest's table has it"
 * (`kvm_vcpu_after_set_cpuid()` and the vendor's callback). In `value`, `guest(NAME)` is the vCPU's capability so far;
 * otherwise the language of KVM's rows. Kernels before 6.18 kept such features apart and read the table for the rest.
 */
export interface GuestCapRow {
  readonly feature: string;
  readonly value: string;
  readonly since?: KernelLine;
  readonly until?: KernelLine;
  readonly note?: string;
}

// biome-ignore format: one row per fact
export const COMMON_GUEST_ROWS: readonly GuestCapRow[] = [
  { feature: 'GBPAGES', value: 'tdp_enabled ? kernel(GBPAGES) : guest(GBPAGES)', since: '6.18', note: 'the hardware page walker cannot be told' },
];
