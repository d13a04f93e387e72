import type { ByKernel } from '../cpuid/kernel-line.js';

/**
 * What the host is beyond its CPUID: MSRs, VMX controls, microcode, firmware settings, as far as the kernel's or KVM's
 * answers depend on it. Each row has a default in the language of `cpuid/expression.ts`, for hosts of which only a
 * dump is known; every row can be set by name.
 *
 * `leaf(f,i,reg)` is a register of a leaf within range, else 0; `raw_reg(f,i,reg)` is the instruction as executed.
 */
export interface FactRow {
  readonly name: string;
  /** `null`: boot derives it, from rows of its own. */
  readonly default: string | ByKernel<string> | null;
  readonly meaning: string;
}

const AMD_ZEN1 = 'family == 0x17 && (model <= 0x2f || (model >= 0x50 && model <= 0x5f))';
const AMD_ZEN2 =
  'family == 0x17 && ((model >= 0x30 && model <= 0x4f) || (model >= 0x60 && model <= 0x7f) || (model >= 0x90 && model <= 0x91) || (model >= 0xa0 && model <= 0xaf))';

// biome-ignore format: one row per fact
export const FACT_ROWS: readonly FactRow[] = [
  // Identification, from raw CPUID.
  { name: 'x86_64', default: '1', meaning: 'the host kernel is 64-bit' },
  { name: 'x86_power', default: 'leaf(0x80000007,0,"edx")', meaning: 'boot_cpu_data.x86_power' },
  { name: 'zen12', default: `vendor == "amd" && (${AMD_ZEN1} || ${AMD_ZEN2})`, meaning: 'AMD Zen 1 or Zen 2, by model' },
  { name: 'zen5', default: { '6.1': '0', '7.3': 'vendor == "amd" && family == 0x1a && (model <= 0x2f || (model >= 0x40 && model <= 0x4f) || (model >= 0x60 && model <= 0x7f))' }, meaning: 'AMD Zen 5, by model; kernels before 7.3 do not ask' },

  // Settings of kernel and firmware.
  { name: 'host_la57', default: '(leaf(0x7,0,"ecx") & 0x10000) && !cmdline(no5lvl)', meaning: 'the host kernel itself runs with five page-table levels' },
  { name: 'mitigations_off', default: 'cmdline("mitigations=off")', meaning: 'mitigations=off' },
  { name: 'sme_active', default: '0', meaning: 'the host kernel encrypts its own memory (AMD SME)' },
  { name: 'sev_bios_enabled', default: '0', meaning: 'SYSCFG[23] and the SMM lock allow SEV' },
  { name: 'feat_ctl_vmx', default: '1', meaning: 'IA32_FEATURE_CONTROL enables VMX' },
  { name: 'feat_ctl_sgx', default: '1', meaning: 'IA32_FEATURE_CONTROL enables SGX' },
  { name: 'svm_disabled_by_bios', default: '0', meaning: 'VM_CR.SVMDIS' },
  { name: 'tdx_platform', default: '0', meaning: 'the platform has a TDX module that initialises' },
  { name: 'sched_info', default: '1', meaning: 'the host kernel has scheduler statistics (STEAL_TIME)' },

  // What boot derives from CPUID and flags unless it is given.
  { name: 'host_xcr0', default: null, meaning: 'XCR0[31:0] of the host' },
  { name: 'host_xss', default: null, meaning: 'IA32_XSS[31:0] of the host' },
  { name: 'host_phys_bits', default: null, meaning: 'boot_cpu_data.x86_phys_bits' },

  // MSRs of the host.
  { name: 'arch_capabilities', default: '(leaf(0x7,0,"edx") & 0x20000000) ? msr(0x10a) : 0', meaning: 'IA32_ARCH_CAPABILITIES[31:0]' },
  { name: 'arch_cap_ibrs_all', default: '(arch_capabilities & 0x2) != 0', meaning: 'IA32_ARCH_CAPABILITIES[1]' },
  { name: 'arch_cap_ssb_no', default: '(arch_capabilities & 0x10) != 0', meaning: 'IA32_ARCH_CAPABILITIES[4]' },
  { name: 'arch_cap_pbrsb_no', default: '(arch_capabilities & 0x1000000) != 0', meaning: 'IA32_ARCH_CAPABILITIES[24]' },
  { name: 'tsx_disabled', default: '(leaf(0x7,0,"edx") & 0x800) || ((arch_capabilities & 0x80) && (cmdline("tsx=off") || (cmdline("tsx=auto") && !(arch_capabilities & 0x100))))', meaning: 'the kernel turned TSX off: RTM_ALWAYS_ABORT, or TSX_CTRL with tsx=off, or tsx=auto on a part with the TAA bug' },
  { name: 'misc_enable_fast_string', default: '1', meaning: 'IA32_MISC_ENABLE[0]' },
  { name: 'misc_enable_pebs_unavail', default: '0', meaning: 'IA32_MISC_ENABLE[12]' },
  { name: 'msr_ls_cfg_readable', default: '1', meaning: 'AMD family 15h to 17h and Hygon: MSR 0xC0011020 does not fault' },
  { name: 'msr_pred_cmd_sbpb', default: '1', meaning: 'AMD family 19h and later: PRED_CMD takes SBPB' },
  { name: 'msr_topoext_enabled', default: '0', meaning: 'AMD family 15h: TOPOEXT was switched on in MSR 0xC0011005' },
  { name: 'msr_tsc_aux_writable', default: '1', meaning: 'IA32_TSC_AUX works as a user-return MSR' },

  // Errata, by model and microcode.
  { name: 'microcode', default: '0', meaning: 'microcode revision; 0: not known' },
  { name: 'erratum_1386_microcode', default: 'family == 0x17 && ((model == 0x1 && stepping == 2 && (microcode == 0 || microcode >= 0x0800126e)) || (model == 0x31 && stepping == 0 && (microcode == 0 || microcode >= 0x08301052)))', meaning: 'Zen 1/2: the microcode fixes XSAVES (erratum 1386)' },
  { name: 'null_seg_clears_base_measured', default: `vendor == "amd" && ${AMD_ZEN2}`, meaning: 'AMD family 17h/18h: loading a null selector clears the base (probed at boot)' },
  { name: 'tsa_microcode', default: '1', meaning: 'Zen 3/4: the microcode has the TSA mitigation' },
  { name: 'bug_srso', default: 'vendor == "amd" && family >= 0x17 && family <= 0x19', meaning: 'speculative return stack overflow' },
  { name: 'no_ssb_model', default: 'family <= 5 || (vendor == "amd" && family >= 0xf && family <= 0x12) || (vendor == "intel" && family == 6 && (model == 0xe || model == 0x37 || model == 0x4a || model == 0x4d || model == 0x4c || model == 0x5a || model == 0x57 || model == 0x85 || model == 0x27 || model == 0x35 || model == 0x36 || model == 0x1c || model == 0x26))', meaning: 'models without speculative store bypass' },
  { name: 'no_pbrsb_model', default: 'vendor == "intel" && family == 6 && (model == 0x7a || model == 0x86 || model == 0x96 || model == 0x9c)', meaning: 'Goldmont Plus and Tremont: no post-barrier RSB problem' },
  { name: 'tsc_deadline_errata', default: '0', meaning: 'Haswell to Kaby Lake with old microcode' },
  { name: 'bad_spectre_microcode', default: '0', meaning: 'Intel microcode of January 2018' },
  { name: 'invlpg_miss_microcode', default: '0', meaning: 'Alder Lake family: INVLPG misses global pages with PCID' },
  { name: 'old_microcode_20e', default: '0', meaning: 'Atom 1Ch before microcode 20Eh' },
  { name: 'rdrand_hidden_by_msr', default: '0', meaning: 'AMD family 15h/16h: the kernel hid RDRAND after resume trouble' },
  { name: 'rdrand_selftest_fails', default: '0', meaning: 'RDRAND returns constants at boot' },
  { name: 'zen5_rdseed_broken', default: '0', meaning: 'Zen 5 without the RDSEED fix' },
  { name: 'gds_force_no_microcode', default: '0', meaning: 'gather_data_sampling=force without microcode' },
  { name: 'smt_impossible', default: '0', meaning: 'SMT can never be turned on' },

  // VMX controls of the host CPU: there when the raw feature bit is there.
  { name: 'vmx_virtual_nmis', default: '1', meaning: 'pin-based control "virtual NMIs"' },
  { name: 'vmx_ept', default: '1', meaning: 'secondary control "enable EPT"' },
  { name: 'vmx_ept_5level', default: '(leaf(0x7,0,"ecx") & 0x10000) != 0', meaning: 'EPT with five levels' },
  { name: 'vmx_unrestricted_guest', default: '1', meaning: 'secondary control "unrestricted guest"' },
  { name: 'vmx_desc_exiting', default: '1', meaning: 'secondary control "descriptor-table exiting"' },
  { name: 'vmx_rdtscp', default: '(leaf(0x80000001,0,"edx") & 0x8000000) || (leaf(0x7,0,"ecx") & 0x400000)', meaning: 'secondary control "enable RDTSCP"' },
  { name: 'vmx_invpcid', default: '(leaf(0x7,0,"ebx") & 0x400) != 0', meaning: 'secondary control "enable INVPCID"' },
  { name: 'vmx_encls_exiting', default: '(leaf(0x7,0,"ebx") & 0x4) != 0', meaning: 'secondary control "enable ENCLS exiting"' },
  { name: 'vmx_xsaves', default: '(leaf(0xd,1,"eax") & 0x8) != 0', meaning: 'secondary control "enable XSAVES/XRSTORS"' },
  { name: 'vmx_waitpkg', default: '(leaf(0x7,0,"ecx") & 0x20) != 0', meaning: 'secondary control "enable user wait and pause"' },
  { name: 'vmx_tsc_scaling', default: '1', meaning: 'secondary control "use TSC scaling"' },
  { name: 'vmx_mpx', default: '(leaf(0x7,0,"ebx") & 0x4000) != 0', meaning: 'entry and exit controls for IA32_BNDCFGS' },
  { name: 'vmx_load_cet', default: '(leaf(0x7,0,"ecx") & 0x80) || (leaf(0x7,0,"edx") & 0x100000)', meaning: 'entry control "load CET state"' },
  { name: 'vmx_intel_pt', default: '(leaf(0x7,0,"ebx") & 0x2000000) != 0', meaning: 'IA32_VMX_MISC[14] and the PT controls' },
  { name: 'vmx_basic_no_hw_errcode', default: '(leaf(0x7,0,"ecx") & 0x80) || (leaf(0x7,0,"edx") & 0x100000)', meaning: 'IA32_VMX_BASIC[56]' },

  // The PMU as perf sees it.
  { name: 'pmu_hybrid', default: '(leaf(0x7,0,"edx") & 0x8000) != 0', meaning: 'hybrid CPU: KVM switches its PMU off' },
  { name: 'pmu_version', default: 'vendor == "intel" ? min(leaf(0xa,0,"eax") & 0xff, 2) : vendor == "amd" || vendor == "hygon" ? ((leaf(0x80000022,0,"eax") & 1) ? 2 : 1) : 0', meaning: 'version, at most 2' },
  { name: 'pmu_gp', default: 'vendor == "intel" ? min((leaf(0xa,0,"eax") >> 8) & 0xff, 8) : vendor == "amd" || vendor == "hygon" ? (pmu_version == 2 ? min(leaf(0x80000022,0,"ebx") & 0xf, 6) : kernel(PERFCTR_CORE) ? 6 : 4) : 0', meaning: 'general-purpose counters, at most 8 (Intel) or 6 (AMD)' },
  { name: 'pmu_gp_width', default: 'vendor == "intel" ? (leaf(0xa,0,"eax") >> 16) & 0xff : 48', meaning: 'width of a general-purpose counter in bits' },
  { name: 'pmu_fixed', default: 'vendor == "intel" && pmu_version > 1 ? min(leaf(0xa,0,"edx") & 0x1f, 3) : 0', meaning: 'fixed counters, at most 3' },
  { name: 'pmu_fixed_width', default: 'vendor == "intel" ? (leaf(0xa,0,"edx") >> 5) & 0xff : 0', meaning: 'width of a fixed counter in bits' },
  { name: 'pmu_mask_len', default: 'vendor == "intel" ? leaf(0xa,0,"eax") >> 24 : 0', meaning: 'length of the event mask' },
  { name: 'pmu_events_mask', default: 'pmu_mask_len >= 32 ? leaf(0xa,0,"ebx") : leaf(0xa,0,"ebx") & ((1 << pmu_mask_len) - 1)', meaning: 'architectural events that are not available' },
  { name: 'pmu_pebs_ept', default: { '6.1': 'vendor == "intel" && family == 6 && (model == 0x6a || model == 0x6c)', '6.12': 'vendor == "intel" && family == 6 && (model == 0x6a || model == 0x6c || model == 0x8f || model == 0xcf || model == 0xad || model == 0xae)' }, meaning: 'PEBS through EPT: Ice Lake servers; from Sapphire Rapids on since 6.2 (seen in tables of 6.1 and 6.18 hosts)' },
];
