import type { Register } from './entry.js';
import type { ByKernel } from './kernel-line.js';

/**
 * The feature table: one row per CPUID bit that Linux or KVM gives a meaning. Every mask, index and name in the
 * project is derived from it.
 *
 * A row is `[bit, name, class, options]` below the word (one CPUID register) that holds it. Names are the kernel's,
 * without `X86_FEATURE_`. Sources: `kvm_initialize_cpu_caps()`/`kvm_set_cpu_caps()` and `cpufeatures.h` of Linux 6.1.176,
 * 6.12.107, 6.18.15, 7.1.8 and 7.3.4; overlays from the April 2026 RFC's cover letter (patches 6, 10, 11); what a
 * feature clobbers from the TDX module's TD exit code (1.5.01 and 2.0.8) and the SDM.
 */

/**
 * How KVM lists a bit:
 *
 * - `F` when host kernel and raw CPUID have it; `X86_64` the same on 64-bit kernels (all that are modelled);
 * - `SCATTERED` when the host kernel has it in another word;
 * - `EMULATED` always; `SYNTHESIZED` when the host kernel says so, whatever raw CPUID says;
 * - `PASSTHROUGH` when raw CPUID has it, whatever the host kernel says;
 * - `ALIASED_1_EDX` as `F`, for the copies of 1.EDX in 0x80000001.EDX;
 * - `VENDOR` only if the vendor module sets it; `RUNTIME` never, it follows guest state;
 * - `PV` a KVM paravirtual feature that KVM always reports; `PV_SCHED` with scheduler statistics;
 * - `USER` owned by userspace: KVM never reports it and must not refuse it;
 * - `null` not listed by KVM.
 */
export type KvmClass =
  | 'F'
  | 'X86_64'
  | 'SCATTERED'
  | 'EMULATED'
  | 'SYNTHESIZED'
  | 'PASSTHROUGH'
  | 'ALIASED_1_EDX'
  | 'VENDOR'
  | 'RUNTIME'
  | 'PV'
  | 'PV_SCHED'
  | 'USER';

/** `DEFAULT` is VMX. Chosen by VM type and vendor; an RFC concept, internal to KVM. */
export const OVERLAYS = ['DEFAULT', 'SVM', 'TDX'] as const;
export type Overlay = (typeof OVERLAYS)[number];

/**
 * Where the host kernel keeps the flag: in the same word (`word`), in a word of its own fed from this bit of raw CPUID
 * (`scattered`), in a word of its own with no CPUID source (`synthetic`), or nowhere (`null`).
 */
export type LinuxPlace = 'word' | 'scattered' | 'synthetic' | null;

export interface FeatureOptions {
  /** The name in /proc/cpuinfo, which `clearcpuid=` takes too. */
  readonly cpuinfo?: string;
  /** Default: `word` in words of the host kernel, `null` elsewhere. */
  readonly linux?: LinuxPlace | ByKernel<LinuxPlace>;
  /** Overlays that do not contain the bit although KVM lists it. */
  readonly notIn?: readonly Overlay[];
  /** Host state that a guest with this feature can change unless KVM saves and restores it. */
  readonly clobbers?: readonly string[];
}

export type FeatureClass = KvmClass | null | ByKernel<KvmClass | null>;
type Row = readonly [bit: number, name: string, kvm: FeatureClass, options?: FeatureOptions];

/**
 * - `kernel` a capability word that the host kernel has too;
 * - `kvm_only` a word that only KVM keeps;
 * - `linux` flags without a CPUID source; `pv` KVM's own leaf; `named` bits that rules name, in no capability word.
 */
export type WordKind = 'kernel' | 'kvm_only' | 'linux' | 'pv' | 'named';

export interface WordRows {
  /** The index in `boot_cpu_data.x86_capability[]` and `kvm_cpu_caps[]`; the project's own from 32 on. */
  readonly id: number;
  readonly name: string;
  readonly kind: WordKind;
  readonly function: number;
  readonly index: number;
  readonly register: Register;
  readonly rows: readonly Row[];
}

function word(
  id: number,
  name: string,
  kind: WordKind,
  fn: number,
  index: number,
  register: Register,
  rows: readonly Row[],
): WordRows {
  return { id, name, kind, function: fn, index, register, rows };
}

/** The rows, in the order of KVM's words. */
// biome-ignore format: one row per fact
export const FEATURE_ROWS: readonly WordRows[] = [
  word(0, 'CPUID_1_EDX', 'kernel', 0x1, 0, 'edx', [
    [0, 'FPU', 'F', { cpuinfo: 'fpu' }],
    [1, 'VME', 'F', { cpuinfo: 'vme' }],
    [2, 'DE', 'F', { cpuinfo: 'de' }],
    [3, 'PSE', 'F', { cpuinfo: 'pse' }],
    [4, 'TSC', 'F', { cpuinfo: 'tsc' }],
    [5, 'MSR', 'F', { cpuinfo: 'msr' }],
    [6, 'PAE', 'F', { cpuinfo: 'pae' }],
    [7, 'MCE', 'F', { cpuinfo: 'mce' }],
    [8, 'CX8', 'F', { cpuinfo: 'cx8' }],
    [9, 'APIC', 'F', { cpuinfo: 'apic' }],
    [11, 'SEP', 'F', { cpuinfo: 'sep' }],
    [12, 'MTRR', 'F', { cpuinfo: 'mtrr' }],
    [13, 'PGE', 'F', { cpuinfo: 'pge' }],
    [14, 'MCA', 'F', { cpuinfo: 'mca' }],
    [15, 'CMOV', 'F', { cpuinfo: 'cmov' }],
    [16, 'PAT', 'F', { cpuinfo: 'pat' }],
    [17, 'PSE36', 'F', { cpuinfo: 'pse36' }],
    [19, 'CLFLUSH', 'F', { cpuinfo: 'clflush' }],
    [21, 'DS', { '6.18': 'VENDOR' }, { cpuinfo: 'dts' }],
    [23, 'MMX', 'F', { cpuinfo: 'mmx' }],
    [24, 'FXSR', 'F', { cpuinfo: 'fxsr' }],
    [25, 'XMM', 'F', { cpuinfo: 'sse' }],
    [26, 'XMM2', 'F', { cpuinfo: 'sse2' }],
    [27, 'SELFSNOOP', 'F', { cpuinfo: 'ss' }],
    [28, 'HTT', 'USER', { linux: null }],
  ]),
  word(1, 'CPUID_8000_0001_EDX', 'kernel', 0x80000001, 0, 'edx', [
    [0, 'FPU', 'ALIASED_1_EDX'],
    [1, 'VME', 'ALIASED_1_EDX'],
    [2, 'DE', 'ALIASED_1_EDX'],
    [3, 'PSE', 'ALIASED_1_EDX'],
    [4, 'TSC', 'ALIASED_1_EDX'],
    [5, 'MSR', 'ALIASED_1_EDX'],
    [6, 'PAE', 'ALIASED_1_EDX'],
    [7, 'MCE', 'ALIASED_1_EDX'],
    [8, 'CX8', 'ALIASED_1_EDX'],
    [9, 'APIC', 'ALIASED_1_EDX'],
    [11, 'SYSCALL', 'F', { cpuinfo: 'syscall', clobbers: ['IA32_STAR', 'IA32_LSTAR', 'IA32_FMASK'] }],
    [12, 'MTRR', 'ALIASED_1_EDX'],
    [13, 'PGE', 'ALIASED_1_EDX'],
    [14, 'MCA', 'ALIASED_1_EDX'],
    [15, 'CMOV', 'ALIASED_1_EDX'],
    [16, 'PAT', 'ALIASED_1_EDX'],
    [17, 'PSE36', 'ALIASED_1_EDX'],
    [20, 'NX', 'F', { cpuinfo: 'nx' }],
    [22, 'MMXEXT', 'F', { cpuinfo: 'mmxext' }],
    [23, 'MMX', 'ALIASED_1_EDX'],
    [24, 'FXSR', 'ALIASED_1_EDX'],
    [25, 'FXSR_OPT', 'F', { cpuinfo: 'fxsr_opt' }],
    [26, 'GBPAGES', 'X86_64', { cpuinfo: 'pdpe1gb' }],
    [27, 'RDTSCP', 'F', { cpuinfo: 'rdtscp', clobbers: ['IA32_TSC_AUX'] }],
    [29, 'LM', 'X86_64', { cpuinfo: 'lm' }],
    [30, '3DNOWEXT', 'F', { cpuinfo: '3dnowext' }],
    [31, '3DNOW', 'F', { cpuinfo: '3dnow' }],
  ]),
  word(4, 'CPUID_1_ECX', 'kernel', 0x1, 0, 'ecx', [
    [0, 'XMM3', 'F', { cpuinfo: 'pni' }],
    [1, 'PCLMULQDQ', 'F', { cpuinfo: 'pclmulqdq' }],
    [2, 'DTES64', { '6.18': 'VENDOR' }, { cpuinfo: 'dtes64' }],
    [3, 'MWAIT', { '6.18': 'RUNTIME' }, { cpuinfo: 'monitor' }],
    [4, 'DSCPL', null, { linux: null }],
    [5, 'VMX', { '6.18': 'VENDOR' }, { cpuinfo: 'vmx' }],
    [9, 'SSSE3', 'F', { cpuinfo: 'ssse3' }],
    [12, 'FMA', 'F', { cpuinfo: 'fma' }],
    [13, 'CX16', 'F', { cpuinfo: 'cx16' }],
    [15, 'PDCM', 'F', { cpuinfo: 'pdcm' }],
    [17, 'PCID', 'F', { cpuinfo: 'pcid' }],
    [19, 'XMM4_1', 'F', { cpuinfo: 'sse4_1' }],
    [20, 'XMM4_2', 'F', { cpuinfo: 'sse4_2' }],
    [21, 'X2APIC', { '6.1': 'F', '6.18': 'EMULATED' }, { cpuinfo: 'x2apic' }],
    [22, 'MOVBE', 'F', { cpuinfo: 'movbe' }],
    [23, 'POPCNT', 'F', { cpuinfo: 'popcnt' }],
    [24, 'TSC_DEADLINE_TIMER', { '6.18': 'EMULATED' }, { cpuinfo: 'tsc_deadline_timer' }],
    [25, 'AES', 'F', { cpuinfo: 'aes' }],
    [26, 'XSAVE', 'F', { cpuinfo: 'xsave' }],
    [27, 'OSXSAVE', { '6.18': 'RUNTIME' }],
    [28, 'AVX', 'F', { cpuinfo: 'avx' }],
    [29, 'F16C', 'F', { cpuinfo: 'f16c' }],
    [30, 'RDRAND', 'F', { cpuinfo: 'rdrand' }],
    [31, 'HYPERVISOR', { '6.18': 'EMULATED' }, { cpuinfo: 'hypervisor' }],
  ]),
  word(5, 'CPUID_C000_0001_EDX', 'kernel', 0xc0000001, 0, 'edx', [
    [0, 'SM2', { '7.3': 'F' }, { cpuinfo: 'sm2', linux: { '7.3': 'word' } }],
    [1, 'SM2_EN', { '7.3': 'F' }, { cpuinfo: 'sm2_en', linux: { '7.3': 'word' } }],
    [2, 'XSTORE', 'F', { cpuinfo: 'rng' }],
    [3, 'XSTORE_EN', 'F', { cpuinfo: 'rng_en' }],
    [4, 'CCS', { '7.3': 'F' }, { cpuinfo: 'ccs', linux: { '7.3': 'word' } }],
    [5, 'CCS_EN', { '7.3': 'F' }, { cpuinfo: 'ccs_en', linux: { '7.3': 'word' } }],
    [6, 'XCRYPT', 'F', { cpuinfo: 'ace' }],
    [7, 'XCRYPT_EN', 'F', { cpuinfo: 'ace_en' }],
    [8, 'ACE2', 'F', { cpuinfo: 'ace2' }],
    [9, 'ACE2_EN', 'F', { cpuinfo: 'ace2_en' }],
    [10, 'PHE', 'F', { cpuinfo: 'phe' }],
    [11, 'PHE_EN', 'F', { cpuinfo: 'phe_en' }],
    [12, 'PMM', 'F', { cpuinfo: 'pmm' }],
    [13, 'PMM_EN', 'F', { cpuinfo: 'pmm_en' }],
    [22, 'RNG2', { '7.3': 'F' }, { cpuinfo: 'rng2', linux: { '7.3': 'word' } }],
    [23, 'RNG2_EN', { '7.3': 'F' }, { cpuinfo: 'rng2_en', linux: { '7.3': 'word' } }],
    [25, 'PHE2', { '7.3': 'F' }, { cpuinfo: 'phe2', linux: { '7.3': 'word' } }],
    [26, 'PHE2_EN', { '7.3': 'F' }, { cpuinfo: 'phe2_en', linux: { '7.3': 'word' } }],
    [27, 'RSA', { '7.3': 'F' }, { cpuinfo: 'rsa', linux: { '7.3': 'word' } }],
    [28, 'RSA_EN', { '7.3': 'F' }, { cpuinfo: 'rsa_en', linux: { '7.3': 'word' } }],
  ]),
  word(6, 'CPUID_8000_0001_ECX', 'kernel', 0x80000001, 0, 'ecx', [
    [0, 'LAHF_LM', 'F', { cpuinfo: 'lahf_lm' }],
    [1, 'CMP_LEGACY', 'F', { cpuinfo: 'cmp_legacy' }],
    [2, 'SVM', { '6.18': 'VENDOR' }, { cpuinfo: 'svm' }],
    [4, 'CR8_LEGACY', 'F', { cpuinfo: 'cr8_legacy' }],
    [5, 'ABM', 'F', { cpuinfo: 'abm' }],
    [6, 'SSE4A', 'F', { cpuinfo: 'sse4a' }],
    [7, 'MISALIGNSSE', 'F', { cpuinfo: 'misalignsse' }],
    [8, '3DNOWPREFETCH', 'F', { cpuinfo: '3dnowprefetch' }],
    [9, 'OSVW', 'F', { cpuinfo: 'osvw' }],
    [11, 'XOP', 'F', { cpuinfo: 'xop' }],
    [16, 'FMA4', 'F', { cpuinfo: 'fma4' }],
    [21, 'TBM', 'F', { cpuinfo: 'tbm' }],
    [22, 'TOPOEXT', 'F', { cpuinfo: 'topoext' }],
    [23, 'PERFCTR_CORE', { '6.18': 'VENDOR' }, { cpuinfo: 'perfctr_core' }],
  ]),
  word(9, 'CPUID_7_0_EBX', 'kernel', 0x7, 0, 'ebx', [
    [0, 'FSGSBASE', 'F', { cpuinfo: 'fsgsbase' }],
    [1, 'TSC_ADJUST', { '6.18': 'EMULATED' }, { cpuinfo: 'tsc_adjust' }],
    [2, 'SGX', 'F', { cpuinfo: 'sgx' }],
    [3, 'BMI1', 'F', { cpuinfo: 'bmi1' }],
    [4, 'HLE', 'F', { cpuinfo: 'hle', notIn: ['TDX'], clobbers: ['IA32_TSX_CTRL'] }],
    [5, 'AVX2', 'F', { cpuinfo: 'avx2' }],
    [6, 'FDP_EXCPTN_ONLY', 'F'],
    [7, 'SMEP', 'F', { cpuinfo: 'smep' }],
    [8, 'BMI2', 'F', { cpuinfo: 'bmi2' }],
    [9, 'ERMS', 'F', { cpuinfo: 'erms' }],
    [10, 'INVPCID', 'F', { cpuinfo: 'invpcid' }],
    [11, 'RTM', 'F', { cpuinfo: 'rtm', notIn: ['TDX'], clobbers: ['IA32_TSX_CTRL'] }],
    [13, 'ZERO_FCS_FDS', 'F'],
    [14, 'MPX', { '6.18': 'VENDOR' }, { cpuinfo: 'mpx' }],
    [16, 'AVX512F', 'F', { cpuinfo: 'avx512f' }],
    [17, 'AVX512DQ', 'F', { cpuinfo: 'avx512dq' }],
    [18, 'RDSEED', 'F', { cpuinfo: 'rdseed' }],
    [19, 'ADX', 'F', { cpuinfo: 'adx' }],
    [20, 'SMAP', 'F', { cpuinfo: 'smap' }],
    [21, 'AVX512IFMA', 'F', { cpuinfo: 'avx512ifma' }],
    [23, 'CLFLUSHOPT', 'F', { cpuinfo: 'clflushopt' }],
    [24, 'CLWB', 'F', { cpuinfo: 'clwb' }],
    [25, 'INTEL_PT', { '6.18': 'VENDOR' }, { cpuinfo: 'intel_pt', clobbers: ['IA32_RTIT_CTL'] }],
    [26, 'AVX512PF', 'F', { cpuinfo: 'avx512pf' }],
    [27, 'AVX512ER', 'F', { cpuinfo: 'avx512er' }],
    [28, 'AVX512CD', 'F', { cpuinfo: 'avx512cd' }],
    [29, 'SHA_NI', 'F', { cpuinfo: 'sha_ni' }],
    [30, 'AVX512BW', 'F', { cpuinfo: 'avx512bw' }],
    [31, 'AVX512VL', 'F', { cpuinfo: 'avx512vl' }],
  ]),
  word(10, 'CPUID_D_1_EAX', 'kernel', 0xd, 1, 'eax', [
    [0, 'XSAVEOPT', 'F', { cpuinfo: 'xsaveopt' }],
    [1, 'XSAVEC', 'F', { cpuinfo: 'xsavec' }],
    [2, 'XGETBV1', 'F', { cpuinfo: 'xgetbv1' }],
    [3, 'XSAVES', 'F', { cpuinfo: 'xsaves' }],
    [4, 'XFD', 'X86_64'],
  ]),
  word(12, 'CPUID_7_1_EAX', 'kernel', 0x7, 1, 'eax', [
    [0, 'SHA512', { '6.18': 'F' }, { linux: { '6.18': 'word' } }],
    [1, 'SM3', { '6.18': 'F' }, { linux: { '6.18': 'word' } }],
    [2, 'SM4', { '6.18': 'F' }, { linux: { '6.18': 'word' } }],
    [4, 'AVX_VNNI', 'F', { cpuinfo: 'avx_vnni' }],
    [5, 'AVX512_BF16', 'F', { cpuinfo: 'avx512_bf16' }],
    [6, 'LASS', null, { cpuinfo: 'lass', linux: { '7.1': 'word' } }],
    [7, 'CMPCCXADD', { '6.12': 'F' }, { linux: { '6.12': 'word' } }],
    [10, 'FZRM', { '6.12': 'F' }, { linux: { '6.12': 'word' } }],
    [11, 'FSRS', { '6.12': 'F' }, { linux: { '6.12': 'word' } }],
    [12, 'FSRC', { '6.12': 'F' }, { linux: { '6.12': 'word' } }],
    [17, 'FRED', null, { cpuinfo: 'fred', linux: { '6.12': 'word' }, clobbers: ['IA32_FRED_RSP0', 'IA32_FRED_STKLVLS', 'IA32_FRED_CONFIG', 'IA32_PL0_SSP', 'CR4.FRED'] }],
    [18, 'LKGS', { '6.18': 'X86_64' }, { linux: { '6.12': 'word' }, clobbers: ['IA32_KERNEL_GS_BASE'] }],
    [19, 'WRMSRNS', { '6.18': 'F' }, { linux: { '6.12': 'word' } }],
    [21, 'AMX_FP16', { '6.12': 'F' }, { linux: { '6.12': 'word' } }],
    [23, 'AVX_IFMA', { '6.12': 'F' }, { linux: { '6.12': 'word' } }],
    [26, 'LAM', { '6.12': 'F' }, { cpuinfo: 'lam', linux: { '6.12': 'word' } }],
    [31, 'MOVRS', { '7.1': 'F' }, { linux: { '7.1': 'word' } }],
  ]),
  word(13, 'CPUID_8000_0008_EBX', 'kernel', 0x80000008, 0, 'ebx', [
    [0, 'CLZERO', 'F', { cpuinfo: 'clzero' }],
    [2, 'XSAVEERPTR', 'F', { cpuinfo: 'xsaveerptr' }],
    [3, 'INVLPGB', null, { linux: { '6.18': 'word' } }],
    [9, 'WBNOINVD', 'F', { cpuinfo: 'wbnoinvd' }],
    [12, 'AMD_IBPB', 'F'],
    [14, 'AMD_IBRS', 'F'],
    [15, 'AMD_STIBP', 'F'],
    [17, 'AMD_STIBP_ALWAYS_ON', 'F'],
    [19, 'AMD_IBRS_SAME_MODE', { '6.18': 'F' }, { linux: { '6.18': 'word' } }],
    [20, 'EFER_LMSLE_MBZ', { '7.1': 'PASSTHROUGH' }, { linux: { '7.1': 'word' } }],
    [24, 'AMD_SSBD', 'F'],
    [25, 'VIRT_SSBD', 'F', { cpuinfo: 'virt_ssbd' }],
    [26, 'AMD_SSB_NO', 'F'],
    [28, 'AMD_PSFD', 'F', { linux: { '6.12': 'word' } }],
    [29, 'BTC_NO', null],
    [30, 'AMD_IBPB_RET', { '6.18': 'F' }],
  ]),
  word(14, 'CPUID_6_EAX', 'kernel', 0x6, 0, 'eax', [
    [2, 'ARAT', null, { cpuinfo: 'arat' }],
  ]),
  word(15, 'CPUID_8000_000A_EDX', 'kernel', 0x8000000a, 0, 'edx', [
    [0, 'NPT', { '6.18': 'VENDOR' }, { cpuinfo: 'npt' }],
    [1, 'LBRV', { '6.18': 'VENDOR' }, { cpuinfo: 'lbrv' }],
    [3, 'NRIPS', { '6.18': 'VENDOR' }, { cpuinfo: 'nrip_save' }],
    [4, 'TSCRATEMSR', { '6.18': 'VENDOR' }, { cpuinfo: 'tsc_scale' }],
    [5, 'VMCBCLEAN', { '6.18': 'VENDOR' }, { cpuinfo: 'vmcb_clean' }],
    [6, 'FLUSHBYASID', { '6.18': 'VENDOR' }, { cpuinfo: 'flushbyasid' }],
    [10, 'PAUSEFILTER', { '6.18': 'VENDOR' }, { cpuinfo: 'pausefilter' }],
    [12, 'PFTHRESHOLD', { '6.18': 'VENDOR' }, { cpuinfo: 'pfthreshold' }],
    [15, 'V_VMSAVE_VMLOAD', { '6.18': 'VENDOR' }, { cpuinfo: 'v_vmsave_vmload' }],
    [16, 'VGIF', { '6.18': 'VENDOR' }, { cpuinfo: 'vgif' }],
    [17, 'GMET', { '7.3': 'VENDOR' }, { linux: { '7.3': 'word' } }],
    [25, 'VNMI', { '6.18': 'VENDOR' }, { cpuinfo: 'vnmi' }],
    [28, 'SVME_ADDR_CHK', { '6.18': 'VENDOR' }],
  ]),
  word(16, 'CPUID_7_ECX', 'kernel', 0x7, 0, 'ecx', [
    [1, 'AVX512VBMI', 'F', { cpuinfo: 'avx512vbmi' }],
    [2, 'UMIP', 'F', { cpuinfo: 'umip' }],
    [3, 'PKU', 'F', { cpuinfo: 'pku', clobbers: ['PKRU'] }],
    [4, 'OSPKE', { '6.18': 'RUNTIME' }, { cpuinfo: 'ospke' }],
    [5, 'WAITPKG', { '6.18': 'VENDOR' }, { cpuinfo: 'waitpkg', notIn: ['TDX'], clobbers: ['IA32_UMWAIT_CONTROL'] }],
    [6, 'AVX512_VBMI2', 'F', { cpuinfo: 'avx512_vbmi2' }],
    [7, 'SHSTK', { '6.18': 'X86_64' }, { linux: { '6.12': 'word' }, clobbers: ['IA32_U_CET', 'IA32_PL3_SSP'] }],
    [8, 'GFNI', 'F', { cpuinfo: 'gfni' }],
    [9, 'VAES', 'F', { cpuinfo: 'vaes' }],
    [10, 'VPCLMULQDQ', 'F', { cpuinfo: 'vpclmulqdq' }],
    [11, 'AVX512_VNNI', 'F', { cpuinfo: 'avx512_vnni' }],
    [12, 'AVX512_BITALG', 'F', { cpuinfo: 'avx512_bitalg' }],
    [14, 'AVX512_VPOPCNTDQ', 'F', { cpuinfo: 'avx512_vpopcntdq' }],
    [16, 'LA57', { '6.1': 'F', '6.18': 'PASSTHROUGH' }, { cpuinfo: 'la57' }],
    [22, 'RDPID', 'F', { cpuinfo: 'rdpid', clobbers: ['IA32_TSC_AUX'] }],
    [24, 'BUS_LOCK_DETECT', 'F', { cpuinfo: 'bus_lock_detect', notIn: ['SVM'], clobbers: ['IA32_DEBUGCTL'] }],
    [25, 'CLDEMOTE', 'F', { cpuinfo: 'cldemote' }],
    [27, 'MOVDIRI', 'F', { cpuinfo: 'movdiri' }],
    [28, 'MOVDIR64B', 'F', { cpuinfo: 'movdir64b' }],
    [29, 'ENQCMD', null, { cpuinfo: 'enqcmd' }],
    [30, 'SGX_LC', 'F', { cpuinfo: 'sgx_lc' }],
  ]),
  word(18, 'CPUID_7_EDX', 'kernel', 0x7, 0, 'edx', [
    [2, 'AVX512_4VNNIW', 'F', { cpuinfo: 'avx512_4vnniw' }],
    [3, 'AVX512_4FMAPS', 'F', { cpuinfo: 'avx512_4fmaps' }],
    [4, 'FSRM', 'F', { cpuinfo: 'fsrm' }],
    [8, 'AVX512_VP2INTERSECT', 'F', { cpuinfo: 'avx512_vp2intersect' }],
    [10, 'MD_CLEAR', 'F', { cpuinfo: 'md_clear' }],
    [14, 'SERIALIZE', 'F', { cpuinfo: 'serialize' }],
    [16, 'TSXLDTRK', 'F', { cpuinfo: 'tsxldtrk' }],
    [20, 'IBT', { '6.18': 'F' }, { cpuinfo: 'ibt', notIn: ['SVM'], clobbers: ['IA32_U_CET'] }],
    [22, 'AMX_BF16', 'F', { cpuinfo: 'amx_bf16' }],
    [23, 'AVX512_FP16', 'F', { cpuinfo: 'avx512_fp16' }],
    [24, 'AMX_TILE', 'F', { cpuinfo: 'amx_tile', clobbers: ['IA32_XFD', 'IA32_XFD_ERR'] }],
    [25, 'AMX_INT8', 'F', { cpuinfo: 'amx_int8' }],
    [26, 'SPEC_CTRL', 'F', { clobbers: ['IA32_SPEC_CTRL'] }],
    [27, 'INTEL_STIBP', 'F'],
    [28, 'FLUSH_L1D', { '6.12': 'F' }, { cpuinfo: 'flush_l1d' }],
    [29, 'ARCH_CAPABILITIES', { '6.1': 'F', '6.18': 'EMULATED' }, { cpuinfo: 'arch_capabilities' }],
    [30, 'CORE_CAPABILITIES', null, { linux: null }],
    [31, 'SPEC_CTRL_SSBD', 'F'],
  ]),
  word(19, 'CPUID_8000_001F_EAX', 'kernel', 0x8000001f, 0, 'eax', [
    [0, 'SME', { '6.18': 'VENDOR' }, { cpuinfo: 'sme' }],
    [1, 'SEV', { '6.1': 'F', '6.12': null, '6.18': 'VENDOR' }, { cpuinfo: 'sev' }],
    [3, 'SEV_ES', { '6.1': 'F', '6.12': null, '6.18': 'VENDOR' }, { cpuinfo: 'sev_es' }],
    [4, 'SEV_SNP', { '6.12': 'VENDOR' }, { linux: null }],
    [10, 'SME_COHERENT', 'F'],
  ]),
  word(20, 'CPUID_8000_0021_EAX', 'kernel', 0x80000021, 0, 'eax', [
    [0, 'NO_NESTED_DATA_BP', 'F', { linux: { '6.12': 'word' } }],
    [1, 'WRMSR_XX_BASE_NS', { '6.12': 'F' }, { linux: { '6.12': 'word' } }],
    [2, 'LFENCE_RDTSC', { '6.1': 'F', '6.18': 'SYNTHESIZED' }],
    [5, 'VERW_CLEAR', { '6.1': 'F', '6.18': 'SYNTHESIZED' }],
    [6, 'NULL_SEL_CLR_BASE', 'F', { linux: { '6.12': 'word' } }],
    [8, 'AUTOIBRS', { '6.12': 'F' }],
    [9, 'NO_SMM_CTL_MSR', { '6.18': 'EMULATED' }, { linux: { '6.12': 'word' } }],
    [17, 'GP_ON_USER_CPUID', { '7.3': 'EMULATED' }, { linux: { '6.18': 'word' } }],
    [20, 'PREFETCHI', { '6.18': 'F' }, { linux: { '6.18': 'word' } }],
    [23, 'AVX512_BMM', { '7.1': 'F' }, { linux: { '7.1': 'word' } }],
    [24, 'ERAPS', { '7.1': 'F' }, { linux: { '7.1': 'word' } }],
    [27, 'SBPB', { '6.18': 'SYNTHESIZED' }],
    [28, 'IBPB_BRTYPE', { '6.18': 'SYNTHESIZED' }],
    [29, 'SRSO_NO', { '6.18': 'SYNTHESIZED' }],
    [30, 'SRSO_USER_KERNEL_NO', { '6.12': 'F' }, { linux: { '6.12': 'word' } }],
  ]),
  word(22, 'CPUID_12_EAX', 'kvm_only', 0x12, 0, 'eax', [
    [0, 'SGX1', 'SCATTERED', { linux: 'scattered' }],
    [1, 'SGX2', 'SCATTERED', { linux: 'scattered' }],
    [10, 'SGX_EUPDATESVN', null, { linux: { '7.1': 'scattered' } }],
    [11, 'SGX_EDECCSSA', { '6.12': 'SCATTERED' }, { linux: { '6.12': 'scattered' } }],
  ]),
  word(23, 'CPUID_7_1_EDX', 'kvm_only', 0x7, 1, 'edx', [
    [4, 'AVX_VNNI_INT8', { '6.12': 'F' }],
    [5, 'AVX_NE_CONVERT', { '6.12': 'F' }],
    [8, 'AMX_COMPLEX', { '6.12': 'F' }],
    [10, 'AVX_VNNI_INT16', { '6.18': 'F' }],
    [14, 'PREFETCHITI', { '6.12': 'F' }],
    [15, 'USER_MSR', null],
    [19, 'AVX10', { '6.12': 'F' }],
    [21, 'APX', null, { linux: { '6.18': 'scattered' } }],
  ]),
  word(24, 'CPUID_8000_0007_EDX', 'kvm_only', 0x80000007, 0, 'edx', [
    [8, 'CONSTANT_TSC', { '6.12': 'SCATTERED' }, { cpuinfo: 'constant_tsc', linux: 'synthetic' }],
  ]),
  word(25, 'CPUID_8000_0022_EAX', 'kvm_only', 0x80000022, 0, 'eax', [
    [0, 'PERFMON_V2', { '6.12': 'F' }, { linux: 'scattered' }],
  ]),
  word(26, 'CPUID_7_2_EDX', 'kvm_only', 0x7, 2, 'edx', [
    [0, 'INTEL_PSFD', 'F'],
    [1, 'IPRED_CTRL', 'F'],
    [2, 'RRSBA_CTRL', 'F', { linux: 'scattered' }],
    [3, 'DDPD_U', 'F'],
    [4, 'BHI_CTRL', 'F', { linux: 'scattered' }],
    [5, 'MCDT_NO', 'F'],
  ]),
  word(27, 'CPUID_24_0_EBX', 'kvm_only', 0x24, 0, 'ebx', [
    [16, 'AVX10_128', { '6.12': 'F' }],
    [17, 'AVX10_256', { '6.12': 'F' }],
    [18, 'AVX10_512', { '6.12': 'F' }],
  ]),
  word(28, 'CPUID_8000_0021_ECX', 'kvm_only', 0x80000021, 0, 'ecx', [
    [1, 'TSA_SQ_NO', { '6.1': 'F', '6.18': 'SYNTHESIZED' }, { linux: 'scattered' }],
    [2, 'TSA_L1_NO', { '6.1': 'F', '6.18': 'SYNTHESIZED' }, { linux: 'scattered' }],
    [7, 'TSA_FILL_NO', { '7.3': 'SYNTHESIZED' }, { linux: { '7.3': 'scattered' } }],
  ]),
  word(29, 'CPUID_7_1_ECX', 'kvm_only', 0x7, 1, 'ecx', [
    [5, 'MSR_IMM', { '6.18': 'SCATTERED' }, { linux: { '6.18': 'scattered' }, notIn: ['SVM'] }],
  ]),
  word(30, 'CPUID_1E_1_EAX', 'kvm_only', 0x1e, 1, 'eax', [
    [0, 'AMX_INT8_ALIAS', { '7.1': 'F' }],
    [1, 'AMX_BF16_ALIAS', { '7.1': 'F' }],
    [2, 'AMX_COMPLEX_ALIAS', { '7.1': 'F' }],
    [3, 'AMX_FP16_ALIAS', { '7.1': 'F' }],
    [4, 'AMX_FP8', { '7.1': 'F' }],
    [6, 'AMX_TF32', { '7.1': 'F' }],
    [7, 'AMX_AVX512', { '7.1': 'F' }],
    [8, 'AMX_MOVRS', { '7.1': 'F' }],
  ]),
  word(31, 'CPUID_24_1_ECX', 'kvm_only', 0x24, 1, 'ecx', [
    [2, 'AVX10_VNNI_INT', { '7.1': 'F' }],
  ]),

  // Flags of the host kernel that no CPUID bit feeds directly.
  word(32, 'LINUX', 'linux', 0, 0, 'eax', [
    [0, 'ARCH_PERFMON', null, { cpuinfo: 'arch_perfmon', linux: 'synthetic' }],
    [1, 'IBPB', null, { cpuinfo: 'ibpb', linux: 'synthetic' }],
    [2, 'IBRS', null, { cpuinfo: 'ibrs', linux: 'synthetic' }],
    [3, 'LS_CFG_SSBD', null, { linux: 'synthetic' }],
    [4, 'MSR_SPEC_CTRL', null, { linux: 'synthetic' }],
    [5, 'PEBS', null, { cpuinfo: 'pebs', linux: 'synthetic' }],
    [6, 'SSBD', null, { cpuinfo: 'ssbd', linux: 'synthetic' }],
    [7, 'STIBP', null, { cpuinfo: 'stibp', linux: 'synthetic' }],
  ]),

  // KVM's paravirtual leaf. What a TD may see: the bits that QEMU gives to TDs (target/i386/kvm/tdx.c); a proposal.
  word(33, 'KVM_FEATURES', 'pv', 0x40000001, 0, 'eax', [
    [0, 'CLOCKSOURCE', 'PV', { notIn: ['TDX'] }],
    [1, 'NOP_IO_DELAY', 'PV'],
    [3, 'CLOCKSOURCE2', 'PV', { notIn: ['TDX'] }],
    [4, 'ASYNC_PF', 'PV', { notIn: ['TDX'] }],
    [5, 'STEAL_TIME', 'PV_SCHED', { notIn: ['TDX'] }],
    [6, 'PV_EOI', 'PV', { notIn: ['TDX'] }],
    [7, 'PV_UNHALT', 'PV'],
    [9, 'PV_TLB_FLUSH', 'PV'],
    [10, 'ASYNC_PF_VMEXIT', 'PV', { notIn: ['TDX'] }],
    [11, 'PV_SEND_IPI', 'PV'],
    [12, 'POLL_CONTROL', 'PV'],
    [13, 'PV_SCHED_YIELD', 'PV'],
    [14, 'ASYNC_PF_INT', 'PV', { notIn: ['TDX'] }],
    [15, 'MSI_EXT_DEST_ID', 'USER'],
    [16, 'HC_MAP_GPA_RANGE', 'USER'],
    [17, 'MIGRATION_CONTROL', 'USER', { notIn: ['TDX'] }],
    [24, 'CLOCKSOURCE_STABLE_BIT', 'PV', { notIn: ['TDX'] }],
  ]),
  word(34, 'KVM_HINTS', 'pv', 0x40000001, 0, 'edx', [
    [0, 'HINTS_REALTIME', 'USER'],
  ]),

  word(39, 'CPUID_6_ECX', 'named', 0x6, 0, 'ecx', [
    [0, 'APERFMPERF', null, { cpuinfo: 'aperfmperf', linux: 'scattered' }],
  ]),

  // Registers without a capability word of which KVM or a rule names single bits.
  word(35, 'CPUID_5_ECX', 'named', 0x5, 0, 'ecx', [
    [0, 'MWAIT_EMX', 'USER'],
    [1, 'MWAIT_IBE', 'USER'],
  ]),
  word(36, 'CPUID_12_EBX', 'named', 0x12, 0, 'ebx', [
    [0, 'SGX_MISC_EXINFO', 'F'],
  ]),
  word(37, 'CPUID_12_1_EAX', 'named', 0x12, 1, 'eax', [
    [1, 'SGX_ATTR_DEBUG', 'F'],
    [2, 'SGX_ATTR_MODE64BIT', 'F'],
    [4, 'SGX_ATTR_PROVISIONKEY', 'F'],
    [5, 'SGX_ATTR_EINITTOKENKEY', 'F'],
    [7, 'SGX_ATTR_KSS', 'F'],
    [10, 'SGX_ATTR_ASYNC_EXIT_NOTIFY', { '6.12': 'F' }],
  ]),
  word(38, 'CPUID_8000_001A_EAX', 'named', 0x8000001a, 0, 'eax', [
    [0, 'FP128', 'F'],
    [1, 'MOVU', 'F'],
    [2, 'FP256', 'F'],
  ]),
];
