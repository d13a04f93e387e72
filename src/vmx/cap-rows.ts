import type { CapStep } from '../kvm/cap-rows.js';
import type { GuestCapRow } from '../kvm/guest-cap-rows.js';

/** What `vmx_hardware_setup()` makes of parameters, controls and flags. */
// biome-ignore format: one row per fact
export const VMX_VARIABLES: readonly CapStep[] = [
  { op: 'assign', variable: 'tdp_enabled', value: 'param_ept && vmx_ept' },
  { op: 'assign', variable: 'nested', value: 'param_nested' },
  { op: 'assign', variable: 'supported_xcr0', value: 'vmx_mpx ? supported_xcr0 : supported_xcr0 & ~xfeatures(3, 4)' },
  { op: 'assign', variable: 'enable_unrestricted_guest', value: 'param_unrestricted_guest && tdp_enabled && vmx_unrestricted_guest' },
  { op: 'assign', variable: 'enable_cet', value: 'vmx_load_cet', since: '6.18', until: '6.18' },
  { op: 'assign', variable: 'enable_cet', value: 'param_cet && vmx_load_cet', since: '7.1' },
  { op: 'assign', variable: 'allow_smaller_maxphyaddr', value: 'param_allow_smaller_maxphyaddr || !tdp_enabled' },
  { op: 'assign', variable: 'enable_sgx', value: 'param_sgx && vmx_encls_exiting' },
  { op: 'assign', variable: 'pt_mode_host_guest', value: 'param_pt_mode == 1 && tdp_enabled && enable_pmu && vmx_intel_pt' },
  { op: 'assign', variable: 'pebs_supported', value: 'kernel(PEBS) && enable_pmu && pmu_pebs_ept', until: '6.18' },
  { op: 'assign', variable: 'pebs_supported', value: 'kernel(PEBS) && enable_pmu && pmu_pebs_ept && !param_enable_mediated_pmu', since: '7.1' },
  { op: 'assign', variable: 'has_tsc_control', value: 'vmx_tsc_scaling' },
  { op: 'assign', variable: 'max_tdp_level', value: 'vmx_ept_5level ? 5 : 4' },
  { op: 'assign', variable: 'tdx_enabled', value: 'param_tdx && tdx_platform && tdp_enabled', since: '6.18', note: '6.16 and later' },
];

/** `vmx_set_cpu_caps()` */
// biome-ignore format: one row per fact
export const VMX_PROGRAM: readonly CapStep[] = [
  { op: 'set', feature: 'VMX', when: 'nested' },
  { op: 'set', feature: 'MPX', when: '(supported_xcr0 & xfeatures(3, 4)) == xfeatures(3, 4) && kernel(MPX)' },
  { op: 'clear', feature: 'INVPCID', when: '!vmx_invpcid' },
  { op: 'set', feature: 'INTEL_PT', when: 'pt_mode_host_guest && kernel(INTEL_PT)' },
  { op: 'set', feature: 'DS', when: 'pebs_supported && kernel(DS)' },
  { op: 'set', feature: 'DTES64', when: 'pebs_supported && kernel(DTES64)' },
  { op: 'clear', feature: 'PDCM', when: '!enable_pmu' },
  { op: 'clear', feature: 'SGX', when: '!enable_sgx' },
  { op: 'clear', feature: 'SGX_LC', when: '!enable_sgx' },
  { op: 'clear', feature: 'SGX1', when: '!enable_sgx' },
  { op: 'clear', feature: 'SGX2', when: '!enable_sgx' },
  { op: 'clear', feature: 'SGX_EDECCSSA', when: '!enable_sgx', since: '6.12' },
  { op: 'set', feature: 'UMIP', when: '!kernel(UMIP) && vmx_desc_exiting', note: 'emulated UMIP' },
  { op: 'clear', feature: 'XSAVES', when: '!vmx_xsaves' },
  { op: 'clear', feature: 'RDTSCP', when: '!vmx_rdtscp' },
  { op: 'clear', feature: 'RDPID', when: '!vmx_rdtscp' },
  { op: 'set', feature: 'WAITPKG', when: 'vmx_waitpkg && kernel(WAITPKG)' },
  { op: 'clear', feature: 'SHSTK', when: '!enable_cet || !enable_unrestricted_guest || !vmx_basic_no_hw_errcode', since: '6.18' },
  { op: 'clear', feature: 'IBT', when: '!enable_cet || !enable_unrestricted_guest || !vmx_basic_no_hw_errcode', since: '6.18' },
];

/** `vmx_vcpu_after_set_cpuid()` */
// biome-ignore format: one row per fact
export const VMX_GUEST_ROWS: readonly GuestCapRow[] = [
  { feature: 'XSAVES', value: 'guest(XSAVE) && guest(XSAVES)', since: '6.18' },
];
