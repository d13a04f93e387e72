import type { KernelLine } from '../cpuid/kernel-line.js';

/**
 * How KVM's capabilities come about, as ordered rows walked by the engine in `caps.ts`. Read in `arch/x86/kvm/` of Linux
 * 6.1.176, 6.12.107, 6.18.15, 7.1.8 and 7.3.4 and checked bit by bit against recordings of those kernels (7.1 has no
 * recording). Conditions in the language of `cpuid/expression.ts`.
 *
 * - `init` fills a word from the classes of the feature table (`kvm_cpu_cap_init()`);
 * - `set`, `clear` change one bit (`kvm_cpu_cap_set()`, `kvm_cpu_cap_clear()`), in the overlays that contain it;
 * - `assign` computes a variable that later rows use.
 */
export type CapStep = (
  | { readonly op: 'init'; readonly word: string }
  | { readonly op: 'set' | 'clear'; readonly feature: string }
  | { readonly op: 'assign'; readonly variable: string; readonly value: string }
) & {
  readonly when?: string;
  readonly since?: KernelLine;
  readonly until?: KernelLine;
  readonly note?: string;
};

/** What the vendor modules find computed. */
// biome-ignore format: one row per fact
export const COMMON_VARIABLES: readonly CapStep[] = [
  { op: 'assign', variable: 'supported_xcr0', value: 'kernel(XSAVE) ? host_xcr0 & KVM_XCR0 : 0' },
  { op: 'assign', variable: 'supported_xss', value: 'kernel(XSAVES) ? host_xss & xfeatures(11, 12) : 0' },
  { op: 'assign', variable: 'tsc_aux_user_return', value: 'msr_tsc_aux_writable' },
  { op: 'assign', variable: 'enable_pmu', value: 'param_enable_pmu && !pmu_hybrid && pmu_gp && (vendor != "intel" || pmu_version)', note: 'kvm_init_pmu_capability()' },
];

/** `kvm_initialize_cpu_caps()`, `kvm_set_cpu_caps()` before 7.1. */
// biome-ignore format: one row per fact
export const INIT_PROGRAM: readonly CapStep[] = [
  { op: 'init', word: 'CPUID_1_ECX' },
  { op: 'set', feature: 'X2APIC', until: '6.12', note: 'emulated; class EMULATED from 6.18' },
  { op: 'init', word: 'CPUID_1_EDX' },
  { op: 'init', word: 'CPUID_7_0_EBX' },
  { op: 'init', word: 'CPUID_7_ECX' },
  { op: 'set', feature: 'LA57', when: 'raw_bit(0x7,0,"ecx",16)', until: '6.12', note: 'CPUID 7 executed without a maximum-leaf check; class PASSTHROUGH from 6.18' },
  { op: 'clear', feature: 'PKU', when: '!tdp_enabled || !kernel(OSPKE)' },
  { op: 'clear', feature: 'SHSTK', when: '!tdp_enabled', since: '6.18' },
  { op: 'init', word: 'CPUID_7_EDX' },
  { op: 'set', feature: 'TSC_ADJUST', until: '6.12' },
  { op: 'set', feature: 'ARCH_CAPABILITIES', until: '6.12' },
  { op: 'clear', feature: 'SHSTK', when: 'allow_smaller_maxphyaddr', since: '6.18' },
  { op: 'clear', feature: 'IBT', when: 'allow_smaller_maxphyaddr', since: '6.18' },
  { op: 'set', feature: 'SPEC_CTRL', when: 'kernel(IBPB) && kernel(IBRS)', until: '6.12' },
  { op: 'set', feature: 'SPEC_CTRL', when: 'kernel(AMD_IBPB_RET) && kernel(AMD_IBPB) && kernel(AMD_IBRS)', since: '6.18' },
  { op: 'set', feature: 'INTEL_STIBP', when: 'kernel(STIBP)' },
  { op: 'set', feature: 'SPEC_CTRL_SSBD', when: 'kernel(AMD_SSBD)' },
  { op: 'init', word: 'CPUID_7_1_EAX' },
  { op: 'init', word: 'CPUID_7_1_ECX', since: '6.18' },
  { op: 'init', word: 'CPUID_7_1_EDX', since: '6.12' },
  { op: 'init', word: 'CPUID_7_2_EDX' },
  { op: 'init', word: 'CPUID_D_1_EAX' },
  { op: 'init', word: 'CPUID_12_EAX' },
  { op: 'init', word: 'CPUID_1E_1_EAX', since: '7.1' },
  { op: 'init', word: 'CPUID_24_0_EBX', since: '6.12' },
  { op: 'init', word: 'CPUID_24_1_ECX', since: '7.1' },
  { op: 'init', word: 'CPUID_8000_0001_ECX' },
  { op: 'init', word: 'CPUID_8000_0001_EDX' },
  { op: 'set', feature: 'GBPAGES', when: '!tdp_enabled && x86_64' },
  { op: 'set', feature: 'CONSTANT_TSC', when: 'leaf(0x80000007,0,"edx") & 0x100', until: '6.1', note: '6.1 has no such word; its leaf rule reports the same' },
  { op: 'init', word: 'CPUID_8000_0007_EDX', since: '6.12' },
  { op: 'init', word: 'CPUID_8000_0008_EBX' },
  { op: 'set', feature: 'AMD_IBPB', when: 'kernel(IBPB)' },
  { op: 'set', feature: 'AMD_IBPB_RET', when: 'kernel(IBPB) && kernel(SPEC_CTRL) && !bug(EIBRS_PBRSB)', since: '6.18' },
  { op: 'set', feature: 'AMD_IBRS', when: 'kernel(IBRS)' },
  { op: 'set', feature: 'AMD_STIBP', when: 'kernel(STIBP)' },
  { op: 'set', feature: 'AMD_SSBD', when: 'kernel(SPEC_CTRL_SSBD)' },
  { op: 'set', feature: 'AMD_SSB_NO', when: '!bug(SPEC_STORE_BYPASS)' },
  { op: 'set', feature: 'VIRT_SSBD', when: 'kernel(LS_CFG_SSBD) && !kernel(AMD_SSBD)' },
  { op: 'init', word: 'CPUID_8000_000A_EDX' },
  { op: 'init', word: 'CPUID_8000_001F_EAX' },
  { op: 'init', word: 'CPUID_8000_0021_EAX' },
  { op: 'set', feature: 'SBPB', when: 'kernel(SBPB)', since: '6.12', until: '6.12', note: 'SYNTHESIZED from 6.18' },
  { op: 'set', feature: 'IBPB_BRTYPE', when: 'kernel(IBPB_BRTYPE)', since: '6.12', until: '6.12' },
  { op: 'set', feature: 'SRSO_NO', when: 'kernel(SRSO_NO)', until: '6.12' },
  { op: 'set', feature: 'VERW_CLEAR', when: 'kernel(VERW_CLEAR)', until: '6.12' },
  { op: 'init', word: 'CPUID_8000_0021_ECX' },
  { op: 'set', feature: 'TSA_SQ_NO', when: 'kernel(TSA_SQ_NO)', until: '6.12' },
  { op: 'set', feature: 'TSA_L1_NO', when: 'kernel(TSA_L1_NO)', until: '6.12' },
  { op: 'init', word: 'CPUID_8000_0022_EAX', since: '6.12' },
  { op: 'set', feature: 'LFENCE_RDTSC', when: 'kernel(LFENCE_RDTSC)', until: '6.12' },
  { op: 'set', feature: 'NULL_SEL_CLR_BASE', when: '!bug(NULL_SEG)' },
  { op: 'set', feature: 'NO_SMM_CTL_MSR', until: '6.12' },
  { op: 'init', word: 'CPUID_C000_0001_EDX' },
  { op: 'clear', feature: 'RDTSCP', when: '(cap(RDTSCP) || cap(RDPID)) && !tsc_aux_user_return', note: 'with RDPID, evaluated once; kernel WARNs' },
  { op: 'clear', feature: 'RDPID', when: '!tsc_aux_user_return', note: 'same test as the previous step' },
];

/** `kvm_setup_xss_caps()`, `kvm_finalize_cpu_caps()`. */
// biome-ignore format: one row per fact
export const XSS_PROGRAM: readonly CapStep[] = [
  { op: 'assign', variable: 'supported_xss', value: '0', until: '6.12', note: 'both vendor modules force 0 before 6.18' },
  { op: 'assign', variable: 'supported_xss', value: '0', when: '!cap(XSAVES)', since: '6.18' },
  { op: 'assign', variable: 'supported_xss', value: 'supported_xss & ~xfeatures(11, 12)', when: '!cap(SHSTK) && !cap(IBT)', since: '6.18' },
  { op: 'clear', feature: 'SHSTK', when: '(supported_xss & xfeatures(11, 12)) != xfeatures(11, 12)', since: '6.18' },
  { op: 'clear', feature: 'IBT', when: '(supported_xss & xfeatures(11, 12)) != xfeatures(11, 12)', since: '6.18' },
  { op: 'assign', variable: 'supported_xss', value: 'supported_xss & ~xfeatures(11, 12)', when: '(supported_xss & xfeatures(11, 12)) != xfeatures(11, 12)', since: '6.18' },
];
