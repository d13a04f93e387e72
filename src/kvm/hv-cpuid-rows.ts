import type { ByKernel } from '../cpuid/kernel-line.js';
import type { RegisterRules } from './supported-rows.js';

/**
 * What KVM_GET_SUPPORTED_HV_CPUID reports: the Hyper-V leaves that KVM can emulate (`kvm_get_hv_cpuid()` with
 * CONFIG_KVM_HYPERV), in the kernel's order. Read off recordings of 6.1, 6.12, 6.18 and 7.3; what a vCPU's own answer
 * depends on (`lapic_in_kernel`), and since when, is from the source of 6.16.
 *
 * Names that only these rows use: `evmcs_version` (0: enlightened VMCS is not offered), `lapic_in_kernel` (1 on
 * /dev/kvm), `smt_possible`, `online_cpus`, `max_vcpus` (KVM_CAP_MAX_VCPUS).
 */
export interface HvLeafRow extends RegisterRules {
  readonly function: number;
}

const NO_CORESHARING = '(smt_possible ? 0 : 0x40000)';
const ENLIGHTENED_VMCS = '(evmcs_version ? 0x4000 : 0)';
const DIRECT_TIMERS = '(lapic_in_kernel ? 0x80000 : 0)';

// biome-ignore format: one row per fact
export const HV_LEAF_ROWS: readonly HvLeafRow[] = [
  { function: 0x4000_0000, eax: '0x40000082', ebx: '0x756e694c', ecx: '0x564b2078', edx: '0x7648204d' }, // "Linux KVM Hv"
  { function: 0x4000_0001, eax: '0x31237648' }, // "Hv#1"
  { function: 0x4000_0002, eax: '0x3839', ebx: '0xa0000' }, // Hyper-V 2016
  { function: 0x4000_0003,
    eax: { '6.1': '0x2aff', '6.12': '0xaaff' }, // [15] invariant TSC control
    ebx: { '6.1': '0x830', '6.12': '0x100830' }, // [20] extended hypercalls
    edx: { '6.1': `0xd12 | ${DIRECT_TIMERS}`, '6.12': `0x4d12 | ${DIRECT_TIMERS}` } }, // [14] flush of GVA ranges
  { function: 0x4000_0004, ebx: '0xfff', eax: {
    '6.1': `0xe2c | ${ENLIGHTENED_VMCS} | ${NO_CORESHARING}`,
    '6.18': `0xa2c | (lapic_in_kernel ? 0x400 : 0) | ${ENLIGHTENED_VMCS} | ${NO_CORESHARING}` } }, // [10] cluster IPIs
  { function: 0x4000_0005, eax: 'max_vcpus', ebx: '0x40' },
  { function: 0x4000_0080, ebx: '0x756e694c', ecx: '0x564b2078', edx: '0x7648204d' },
  { function: 0x4000_0081, eax: '0x31235356' }, // "VS#1"
  { function: 0x4000_0082, eax: '0x2' },
  { function: 0x4000_000a, eax: { '6.1': '0x80000 | evmcs_version', '6.12': '0xa0000 | evmcs_version' }, ebx: '0x1' }, // [17] direct flush
];

/** Threads of a core, by CPUID.0BH or, on AMD without it, 0x8000001E. */
const CORES_HAVE_THREADS =
  '((leaf(0xb,0,"ebx") & 0xffff) > 1 || (kernel(TOPOEXT) && ((leaf(0x8000001e,0,"ebx") >> 8) & 0xff) != 0))';
const NOT_RULED_OUT = '!smt_impossible && !cmdline("nosmt=force")';

/** `cpu_smt_possible()`: the cores have several threads. From 6.9 on, CPUs that are there must show it, not CPUID alone. */
export const SMT_POSSIBLE: ByKernel<string> = {
  '6.1': `${NOT_RULED_OUT} && ${CORES_HAVE_THREADS}`,
  '6.12': `${NOT_RULED_OUT} && ${CORES_HAVE_THREADS} && online_cpus > 1`,
};

/** `nested_get_evmcs_version()` without a vCPU: versions 1 to 1. A vCPU has to switch it on first. */
export const EVMCS_VERSION = 'is_vmx && !is_vcpu && cap(VMX) ? 0x101 : 0';
