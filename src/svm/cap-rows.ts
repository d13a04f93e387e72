import type { CapStep } from '../kvm/cap-rows.js';
import type { GuestCapRow } from '../kvm/guest-cap-rows.js';

/** What `svm_hardware_setup()` and `sev_hardware_setup()` make of parameters and flags. */
// biome-ignore format: one row per fact
export const SVM_VARIABLES: readonly CapStep[] = [
  { op: 'assign', variable: 'npt_enabled', value: 'param_npt && kernel(NPT)' },
  { op: 'assign', variable: 'tdp_enabled', value: 'npt_enabled' },
  { op: 'assign', variable: 'nested', value: 'param_nested' },
  { op: 'assign', variable: 'supported_xcr0', value: 'supported_xcr0 & ~xfeatures(3, 4)' },
  { op: 'assign', variable: 'nrips', value: 'param_nrips && kernel(NRIPS)' },
  { op: 'assign', variable: 'tsc_scaling', value: 'param_tsc_scaling && kernel(TSCRATEMSR)' },
  { op: 'assign', variable: 'has_tsc_control', value: 'tsc_scaling' },
  { op: 'assign', variable: 'vls', value: 'param_vls && npt_enabled && kernel(V_VMSAVE_VMLOAD)' },
  { op: 'assign', variable: 'lbrv', value: 'param_lbrv && kernel(LBRV)' },
  { op: 'assign', variable: 'vgif', value: 'param_vgif && kernel(VGIF)' },
  { op: 'assign', variable: 'vnmi', value: 'vgif && param_vnmi && kernel(VNMI)', since: '6.12' },
  { op: 'assign', variable: 'gmet_enabled', value: 'param_gmet && npt_enabled && kernel(GMET)', since: '7.3' },
  { op: 'assign', variable: 'allow_smaller_maxphyaddr', value: '!npt_enabled' },
  { op: 'assign', variable: 'max_tdp_level', value: 'host_la57 ? 5 : 4' },
  { op: 'assign', variable: 'sev_enabled', value: 'param_sev && npt_enabled && kernel(SEV)' },
  { op: 'assign', variable: 'sev_es_enabled', value: 'sev_enabled && param_sev_es && kernel(SEV_ES)' },
  { op: 'assign', variable: 'sev_snp_enabled', value: 'sev_es_enabled && param_sev_snp && kernel(SEV_SNP)', since: '6.12' },
];

/** `svm_set_cpu_caps()` */
// biome-ignore format: one row per fact
export const SVM_PROGRAM: readonly CapStep[] = [
  { op: 'clear', feature: 'IBT', since: '6.18' },
  { op: 'set', feature: 'SVM', when: 'nested' },
  { op: 'set', feature: 'VMCBCLEAN', when: 'nested' },
  { op: 'set', feature: 'FLUSHBYASID', when: 'nested', since: '6.12' },
  { op: 'set', feature: 'NRIPS', when: 'nested && nrips' },
  { op: 'set', feature: 'NPT', when: 'nested && npt_enabled' },
  { op: 'set', feature: 'TSCRATEMSR', when: 'nested && tsc_scaling' },
  { op: 'set', feature: 'V_VMSAVE_VMLOAD', when: 'nested && vls' },
  { op: 'set', feature: 'LBRV', when: 'nested && lbrv' },
  { op: 'set', feature: 'PAUSEFILTER', when: 'nested && kernel(PAUSEFILTER)' },
  { op: 'set', feature: 'PFTHRESHOLD', when: 'nested && kernel(PFTHRESHOLD)' },
  { op: 'set', feature: 'GMET', when: 'nested && gmet_enabled', since: '7.3', note: "bit is not in the word's feature list" },
  { op: 'set', feature: 'VGIF', when: 'nested && vgif' },
  { op: 'set', feature: 'VNMI', when: 'nested && vnmi', since: '6.12' },
  { op: 'set', feature: 'SVME_ADDR_CHK', when: 'nested' },
  { op: 'set', feature: 'VIRT_SSBD', when: 'kernel(LS_CFG_SSBD) || kernel(AMD_SSBD)' },
  { op: 'set', feature: 'PERFCTR_CORE', when: 'enable_pmu && kernel(PERFCTR_CORE)', until: '6.1' },
  { op: 'set', feature: 'PERFCTR_CORE', when: 'enable_pmu && pmu_gp >= 6 && kernel(PERFCTR_CORE)', since: '6.12' },
  { op: 'assign', variable: 'pmu_gp', value: 'min(pmu_gp, 4)', when: 'enable_pmu && pmu_gp < 6', since: '6.12' },
  { op: 'clear', feature: 'PERFMON_V2', when: 'enable_pmu && (pmu_version != 2 || !cap(PERFCTR_CORE))', since: '6.12' },
  { op: 'clear', feature: 'SEV', when: '!sev_enabled', until: '6.1' },
  { op: 'clear', feature: 'SEV_ES', when: '!sev_es_enabled', until: '6.1' },
  { op: 'set', feature: 'SEV', when: 'sev_enabled', since: '6.12' },
  { op: 'set', feature: 'SEV_ES', when: 'sev_es_enabled', since: '6.12' },
  { op: 'set', feature: 'SEV_SNP', when: 'sev_snp_enabled', since: '6.12', note: "bit is not in the word's feature list" },
  { op: 'clear', feature: 'BUS_LOCK_DETECT' },
  { op: 'clear', feature: 'MSR_IMM', since: '6.18' },
];

/** `svm_vcpu_after_set_cpuid()` */
// biome-ignore format: one row per fact
export const SVM_GUEST_ROWS: readonly GuestCapRow[] = [
  { feature: 'XSAVES', value: 'kernel(XSAVES) && guest(XSAVE)', since: '6.18', note: 'SVM cannot take XSAVES away from a guest that has XSAVE' },
];
