import type { Register } from '../cpuid/entry.js';
import type { Overlay } from '../cpuid/features.js';
import type { ByKernel, KernelLine } from '../cpuid/kernel-line.js';

/**
 * What KVM_GET_SUPPORTED_CPUID reports, one row per function: `__do_cpuid_func()` of Linux 6.1.176 to 7.3.4, checked bit
 * by bit against recordings. A register without an expression is zero; a function without a row is one all-zero entry.
 *
 * In expressions, `raw` is the same register of the host's CPUID; `caps(WORD)` and `cap(NAME)` are KVM's capabilities.
 */
export type RegisterRules = { readonly [R in Register]?: string | ByKernel<string> };

export interface LeafRow extends RegisterRules {
  readonly function: number;
  readonly since?: KernelLine;
  /** When false, the function is one all-zero entry. */
  readonly gate?: string;
  /** Overlays in which the function is one all-zero entry whatever the gate says. */
  readonly zeroIn?: readonly Overlay[];
  /**
   * - `cache`: raw sub-leaves up to and including the first with EAX[4:0] = 0;
   * - `raw-range`: raw sub-leaves 0 to EAX of sub-leaf 0;
   * - `xsave`: the rules of CPUID.0DH, which depend on the process's permissions.
   */
  readonly walk?: 'cache' | 'raw-range' | 'xsave';
  readonly sub?: readonly SubleafRow[];
}

export interface SubleafRow extends RegisterRules {
  readonly index: number;
  readonly since?: KernelLine;
  /** Emitted only when EAX of sub-leaf 0, as reported, is at least this. */
  readonly parentEaxAtLeast?: number;
}

/** The functions at which the walk starts; each range ends at EAX of the entry that its base gave. */
export const BASE_FUNCTIONS: readonly number[] = [0x0, 0x8000_0000, 0xc000_0000, 0x4000_0000];

/** In the Centaur range, the walk asks for the host's vendor. */
export const CENTAUR_BASE = 0xc000_0000;

const EXTENDED_MAXIMUM = 'min(raw, max_extended_leaf)';

// biome-ignore format: one row per fact
export const LEAF_ROWS: readonly LeafRow[] = [
  { function: 0x0, eax: 'min(raw, max_basic_leaf)', ebx: 'raw', ecx: 'raw', edx: 'raw' },
  { function: 0x1, eax: 'raw', ebx: 'raw', ecx: 'caps(CPUID_1_ECX)', edx: 'caps(CPUID_1_EDX)' },
  { function: 0x2, eax: 'raw', ebx: 'raw', ecx: 'raw', edx: 'raw' },
  { function: 0x4, walk: 'cache' },
  { function: 0x6, eax: '0x4' }, // ARAT, although the word CPUID_6_EAX of the caps is empty
  { function: 0x7, eax: 'min(raw, 2)', ebx: 'caps(CPUID_7_0_EBX)', ecx: 'caps(CPUID_7_ECX)', edx: 'caps(CPUID_7_EDX)', sub: [
    { index: 1, parentEaxAtLeast: 1, eax: 'caps(CPUID_7_1_EAX)', ecx: { '6.18': 'caps(CPUID_7_1_ECX)' }, edx: { '6.12': 'caps(CPUID_7_1_EDX)' } },
    { index: 2, parentEaxAtLeast: 2, edx: 'caps(CPUID_7_2_EDX)' },
  ] },
  { function: 0xa, gate: 'enable_pmu && kernel(ARCH_PERFMON)', zeroIn: ['TDX'],
    eax: 'pmu_version | (pmu_gp << 8) | (pmu_gp_width << 16) | (pmu_mask_len << 24)', ebx: 'pmu_events_mask',
    edx: 'pmu_fixed | (pmu_fixed_width << 5) | (pmu_version ? 0x8000 : 0)' },
  { function: 0xb, edx: 'raw' },
  { function: 0xd, walk: 'xsave' },
  { function: 0x12, gate: 'cap(SGX)', zeroIn: ['TDX'], eax: 'caps(CPUID_12_EAX)', ebx: 'raw & caps(CPUID_12_EBX)', ecx: 'raw', edx: 'raw', sub: [
    { index: 1, eax: 'raw & caps(CPUID_12_1_EAX)', ecx: 'raw', edx: 'raw' },
  ] },
  { function: 0x14, gate: 'cap(INTEL_PT)', zeroIn: ['TDX'], walk: 'raw-range' },
  { function: 0x1d, gate: 'cap(AMX_TILE)', walk: 'raw-range' },
  { function: 0x1e, gate: 'cap(AMX_TILE)', eax: { '6.1': 'raw', '7.1': 'min(raw, 1)' }, ebx: 'raw', ecx: 'raw', edx: 'raw', sub: [
    { index: 1, since: '7.1', parentEaxAtLeast: 1, eax: 'caps(CPUID_1E_1_EAX)' },
  ] },
  { function: 0x1f, edx: 'raw' },
  { function: 0x24, since: '6.12', gate: 'cap(AVX10)', eax: { '7.1': 'min(raw, 1)' },
    ebx: { '6.12': 'caps(CPUID_24_0_EBX) | min(raw & 0xff, 1)', '7.1': 'caps(CPUID_24_0_EBX) | min(raw & 0xff, 2)' }, sub: [
    { index: 1, since: '7.1', parentEaxAtLeast: 1, ecx: 'caps(CPUID_24_1_ECX)' },
  ] },

  { function: 0x4000_0000, eax: '0x40000001', ebx: '0x4b4d564b', ecx: '0x564b4d56', edx: '0x4d' }, // "KVMKVMKVM"
  { function: 0x4000_0001, eax: 'caps(KVM_FEATURES)' },

  { function: 0x8000_0000, ebx: 'raw', ecx: 'raw', edx: 'raw',
    eax: `${EXTENDED_MAXIMUM} >= 0x8000001d && (kernel(LFENCE_RDTSC) || !bug(NULL_SEG)) ? max(${EXTENDED_MAXIMUM}, 0x80000021) : ${EXTENDED_MAXIMUM}` },
  { function: 0x8000_0001, eax: 'raw', ebx: 'raw & 0xf000ffff', ecx: 'caps(CPUID_8000_0001_ECX)', edx: 'caps(CPUID_8000_0001_EDX)' },
  { function: 0x8000_0005, since: '6.12', eax: 'raw', ebx: 'raw', ecx: 'raw', edx: 'raw' },
  { function: 0x8000_0006, eax: 'raw', ebx: 'raw', ecx: 'raw', edx: 'raw & 0xfffcffff' },
  { function: 0x8000_0007, edx: 'caps(CPUID_8000_0007_EDX) & x86_power' },
  { function: 0x8000_0008, ebx: 'caps(CPUID_8000_0008_EBX)', ecx: 'raw & 0xf0ff', eax: {
    '6.1': '(tdp_enabled ? raw & 0xff : host_phys_bits) | (max((raw >> 8) & 0xff, 48) << 8)',
    '6.12': '(tdp_enabled ? raw & 0xff : host_phys_bits) | (max((raw >> 8) & 0xff, 48) << 8) | ((tdp_enabled ? (max_tdp_level < 5 ? min(raw & 0xff, 48) : raw & 0xff) : 0) << 16)',
  } },
  { function: 0x8000_000a, gate: 'cap(SVM)', eax: '1', ebx: '8', edx: 'caps(CPUID_8000_000A_EDX)' },
  { function: 0x8000_0019, eax: 'raw', ebx: 'raw' },
  { function: 0x8000_001a, eax: 'raw & caps(CPUID_8000_001A_EAX)' },
  { function: 0x8000_001d, walk: 'cache' },
  { function: 0x8000_001f, gate: 'cap(SEV)', eax: 'caps(CPUID_8000_001F_EAX)', ebx: 'raw & 0x3f', ecx: 'raw', edx: 'raw' },
  { function: 0x8000_0021, eax: 'caps(CPUID_8000_0021_EAX)', ebx: { '7.1': 'cap(ERAPS) ? raw & 0xff0000 : 0' }, ecx: 'caps(CPUID_8000_0021_ECX)' },
  { function: 0x8000_0022, since: '6.12', gate: 'enable_pmu && cap(PERFMON_V2)', eax: 'caps(CPUID_8000_0022_EAX)', ebx: 'pmu_gp & 0xf' },

  { function: 0xc000_0000, eax: 'min(raw, max_centaur_leaf)', ebx: 'raw', ecx: 'raw', edx: 'raw' },
  { function: 0xc000_0001, eax: 'raw', ebx: 'raw', ecx: 'raw', edx: 'caps(CPUID_C000_0001_EDX)' },
];

/** KVM_GET_EMULATED_CPUID: `__do_cpuid_func_emulated()`. The same on every modelled kernel. */
export interface EmulatedRow extends RegisterRules {
  readonly function: number;
  readonly flags?: number;
  /** Bits that count for the vCPU's capabilities only, since they are emulated in part (MWAIT). */
  readonly partial?: RegisterRules;
}

// biome-ignore format: one row per fact
export const EMULATED_ROWS: readonly EmulatedRow[] = [
  { function: 0x0, eax: '7' },
  { function: 0x1, ecx: 'bit(MOVBE)', partial: { ecx: 'bit(MWAIT)' } },
  { function: 0x7, flags: 1, ecx: 'cap(RDTSCP) ? bit(RDPID) : 0' },
];
