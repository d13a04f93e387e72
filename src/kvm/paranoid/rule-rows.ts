import { LINEAR_ADDRESS_WIDTHS } from '../check-cpuid.js';

/**
 * The rule table of paranoid mode: what userspace may write to each CPUID register, per overlay. The first row that
 * covers (function, index, register) decides; what no row covers must be zero.
 *
 * Sources: `S` stated in the April 2026 RFC's cover letter and patch titles ("KVM: x86: Add a paranoid mode for CPUID
 * verification", 27 patches, of which only the cover letter is at hand); `S2` stated in the thread of its June 2026
 * successor; `P` this project's proposal. Most rows are proposals: the RFC's own table is not public text we have read.
 */

/** A rule on one register. Texts are expressions, see `allowed-table.ts` for their names. */
export interface Rule {
  readonly kind: 'ignored' | 'mask' | 'field' | 'fixed' | 'zero';
  /** Bits that may be set, whatever their combination. */
  readonly mask?: string;
  /** A capability word whose bits may be set, and with them the emulated bits of this very function and index. */
  readonly word?: string;
  /** Multi-bit fields, each with its largest value or the list of its values. Bits outside them fall to `mask`/`word`. */
  readonly fields?: readonly Field[];
  /** The only value, or with `orZero` the only one beside zero. */
  readonly value?: string;
  readonly orZero?: boolean;
  /** When false, the register must be zero. */
  readonly when?: string;
}
export type Field = readonly [high: number, low: number, limit: string | readonly number[]];

export type Registers = 'all' | string;
/** One function or a closed range; one index, a closed range, or `any`. */
export interface RuleRow {
  readonly function: number | readonly [number, number];
  readonly index: number | readonly [number, number] | 'any';
  readonly registers: Registers;
  readonly rule: Rule;
  readonly svm?: Rule;
  readonly tdx?: Rule;
  /** The row counts only where this is true. */
  readonly if?: string;
  /** KVM overwrites the register at run time, in the first entry that answers for it, whatever its flags. */
  readonly overwritten?: true;
  readonly why: string;
  readonly source: string;
}

const ignored: Rule = { kind: 'ignored' };
const zero: Rule = { kind: 'zero' };
const mask = (text: string): Rule => ({ kind: 'mask', mask: text });
const word = (name: string, extra?: string): Rule => ({
  kind: 'mask',
  word: name,
  ...(extra !== undefined && { mask: extra }),
});
const fields = (...list: Field[]): Rule => ({ kind: 'field', fields: list });
const wordAndFields = (name: string, ...list: Field[]): Rule => ({ kind: 'field', word: name, fields: list });
const fixed = (value: string): Rule => ({ kind: 'fixed', value });
const fixedOrZero = (value: string): Rule => ({ kind: 'fixed', value, orZero: true });
const when = (condition: string, rule: Rule): Rule => ({ ...rule, when: condition });

function row(
  fn: RuleRow['function'],
  index: RuleRow['index'],
  registers: Registers,
  rule: Rule,
  why: string,
  source: string,
  more: Pick<RuleRow, 'svm' | 'tdx' | 'if' | 'overwritten'> = {},
): RuleRow {
  return { function: fn, index, registers, rule, why, source, ...more };
}

/** Registers with this reason are the ones that `reserved: 'ignore'` leaves alone. */
export const RESERVED = 'reserved or unsupported';

const LAST = 0xffff_ffff;
const CENTAUR = 'vendor == "centaur" || vendor == "zhaoxin"';
const COMPONENT_SUPPORTED = 'index < 32 && (((permitted_xcr0 | supported_xss) >> index) & 1)';

// Bits that KVM_GET_CPUID2 may have shown although KVM does not list them: they follow the vCPU's state (RFC patch 23).
const RUNTIME_1_ECX = '(cap(XSAVE) ? bits(OSXSAVE) : 0) | bits(MWAIT)';
const RUNTIME_7_ECX = 'cap(PKU) ? bits(OSPKE) : 0';

/** PV features that belong to userspace. */
const USER_PV = 'user_bits(KVM_FEATURES)';

/**
 * A TDX module knows leaf 1EH only as a whole: KVM_TDX_GET_CPUID reports it without KVM_CPUID_FLAG_SIGNIFCANT_INDEX, and
 * the entry answers every sub-leaf. With EBX of sub-leaf 0 refused in the others, no TD on a CPU with AMX could be given
 * the table that it came with.
 */
const TMUL_WHOLE = when('cap(AMX_TILE)', fixedOrZero('leaf(0x1e, 0, "ebx")'));

// biome-ignore format: one row per fact
export const RULE_ROWS: readonly RuleRow[] = [
  row(0x0, 0, 'all', ignored, 'maximum leaf and vendor string, userspace-owned', 'P'),
  row(0x1, 0, 'eax', ignored, 'family/model/stepping; never feature bits', 'S2(TDX)/P'),
  row(0x1, 0, 'ebx', ignored, 'brand index, CLFLUSH, APIC ID; never feature bits', 'S2(TDX)/P'),
  row(0x1, 0, 'ecx', word('CPUID_1_ECX', RUNTIME_1_ECX), 'feature word; runtime bits may come back from KVM_GET_CPUID2 (patch 23)', 'S for runtime, P otherwise', { tdx: word('CPUID_1_ECX', `${RUNTIME_1_ECX} | bits(DTES64, DSCPL)`) }),
  row(0x1, 0, 'edx', word('CPUID_1_EDX', 'bits(HTT)'), 'HTT is topology: every SMP VMM sets it, KVM never lists it', 'P', { tdx: word('CPUID_1_EDX', 'bits(HTT, DS)') }),
  row(0x2, 0, 'all', ignored, 'cache/TLB descriptors', 'P'),
  row(0x3, 0, 'all', zero, 'processor serial number is never supported', 'P'),
  row(0x4, 'any', 'eax', ignored, 'cache topology, per vCPU', 'S2(TDX)/P'),
  row(0x4, 'any', 'ebx ecx edx', ignored, 'cache geometry', 'S2(TDX)/P'),
  row(0x5, 0, 'eax', mask('span(15, 0)'), 'smallest monitor line; userspace fills it when MWAIT is exposed', 'P'),
  row(0x5, 0, 'ebx', mask('span(15, 0)'), 'largest monitor line', 'P'),
  row(0x5, 0, 'ecx', word('CPUID_5_ECX'), 'EMX, IBE', 'P'),
  row(0x5, 0, 'edx', mask('raw'), 'number of C-sub-states (8 x 4 bits): raw-based, patch 14 style', 'P'),
  row(0x6, 0, 'eax', mask('bits(ARAT)'), 'ARAT is reported by KVM although caps(6_EAX) is empty; everything else (HWP, HFI, turbo) is host power management', 'P'),
  row(0x6, 0, 'ebx ecx edx', zero, 'thermal/power features not virtualized', 'P'),
  row(0x7, 0, 'eax', fields([31, 0, '2']), 'number of sub-leaves KVM knows', 'P'),
  row(0x7, 0, 'ebx', word('CPUID_7_0_EBX', 'bits(FDP_EXCPTN_ONLY, ZERO_FCS_FDS)'), '6 and 13 mean "feature absent"; errata.rst tells VMMs to set them always. HLE/RTM clobber host state in TDs', 'S for HLE/RTM, P otherwise'),
  row(0x7, 0, 'ecx', word('CPUID_7_ECX', RUNTIME_7_ECX), 'feature word; overlays differ', 'S for WAITPKG, BUS_LOCK_DETECT, OSPKE'),
  row(0x7, 0, 'edx', word('CPUID_7_EDX'), 'feature word; IBT has no SVM support', 'S for IBT', { tdx: word('CPUID_7_EDX', 'bits(CORE_CAPABILITIES)') }),
  row(0x7, 1, 'eax', word('CPUID_7_1_EAX'), 'feature word', 'P'),
  row(0x7, 1, 'ebx', zero, 'PPIN etc. not virtualized', 'P'),
  row(0x7, 1, 'ecx', word('CPUID_7_1_ECX'), 'must NOT inherit the emulated RDPID bit 22 of 7.0 (patch 1)', 'S'),
  row(0x7, 1, 'edx', word('CPUID_7_1_EDX'), 'feature word', 'P'),
  row(0x7, 2, 'eax ebx ecx', zero, 'reserved or unsupported', 'P'),
  row(0x7, 2, 'edx', word('CPUID_7_2_EDX'), 'feature word', 'P'),
  row(0x7, [3, LAST], 'all', zero, 'beyond the sub-leaf limit', 'P'),
  row(0x8, 0, 'all', zero, 'reserved or unsupported', 'P'),
  row(0x9, 0, 'all', zero, 'DCA not supported', 'P'),
  row(0xa, 0, 'eax', fields([7, 0, 'enable_pmu ? pmu_version : 0'], [15, 8, 'enable_pmu ? pmu_gp : 0'], [23, 16, 'enable_pmu ? pmu_gp_width : 0'], [31, 24, 'enable_pmu ? pmu_mask_len : 0']), 'multi-bit fields (patch 13); version is otherwise unclamped in KVM', 'P', { svm: zero, tdx: zero }),
  row(0xa, 0, 'ebx', mask('enable_pmu && pmu_mask_len ? span(pmu_mask_len - 1, 0) : 0'), '1 = event NOT available, so setting bits is harmless', 'P', { svm: zero, tdx: zero }),
  row(0xa, 0, 'ecx', zero, 'fixed-counter bitmap needs PMU v5', 'P'),
  row(0xa, 0, 'edx', fields([4, 0, 'enable_pmu ? pmu_fixed : 0'], [12, 5, 'enable_pmu ? pmu_fixed_width : 0'], [15, 15, '1']), 'multi-bit fields', 'P', { svm: zero, tdx: zero }),
  row(0xb, 'any', 'all', ignored, 'CPU topology, per vCPU; all values userspace-owned', 'P'),
  row(0x1f, 'any', 'all', ignored, 'CPU topology, per vCPU; all values userspace-owned', 'S2(TDX, 0x1F)/P'),
  row(0xc, 0, 'all', zero, 'reserved or unsupported', 'P'),
  row(0xd, 0, 'eax', mask('permitted_xcr0'), 'XCR0 bits KVM supports for this process', 'P'),
  row(0xd, 0, 'ebx', ignored, 'overwritten at run time with the size for the current XCR0', 'P', { overwritten: true }),
  row(0xd, 0, 'ecx', ignored, 'size for all supported features; a number, not features', 'P'),
  row(0xd, 0, 'edx', mask('0'), 'XCR0 high bits (none today)', 'P'),
  row(0xd, 1, 'eax', word('CPUID_D_1_EAX'), 'feature word', 'P'),
  row(0xd, 1, 'ebx', ignored, 'overwritten at run time', 'P', { overwritten: true }),
  row(0xd, 1, 'ecx', mask('supported_xss'), 'supervisor states', 'P'),
  row(0xd, 1, 'edx', mask('0'), 'supervisor states', 'P'),
  row(0xd, [2, 62], 'eax', fixedOrZero('raw'), 'component size is hardware; 0 when the VMM disabled the component', 'P', { if: COMPONENT_SUPPORTED }),
  row(0xd, [2, 62], 'ebx', fixedOrZero('raw'), 'component offset (0 for supervisor states)', 'P', { if: COMPONENT_SUPPORTED }),
  row(0xd, [2, 62], 'ecx', mask('raw & span(2, 0)'), 'supervisor, align64, XFD bits', 'P', { if: COMPONENT_SUPPORTED }),
  row(0xd, [2, 62], 'edx', zero, 'reserved', 'P', { if: COMPONENT_SUPPORTED }),
  row(0xd, [2, 63], 'all', zero, 'component KVM does not support', 'P'),
  row(0xe, 0, 'all', zero, 'reserved or unsupported', 'P'),
  row(0xf, 'any', 'all', zero, 'RDT not virtualized', 'P'),
  row(0x10, 'any', 'all', zero, 'RDT not virtualized', 'P'),
  row(0x11, 0, 'all', zero, 'reserved or unsupported', 'P'),
  row(0x12, [0, 1], 'ecx', mask('(cap(SGX) ? raw : 0) | sgx_xfrm_forced'), 'Linux 6.1 writes x87 and SSE into XFRM by itself', 'P', { if: 'sgx_xfrm_forced' }),
  row(0x12, [2, LAST], 'ecx', mask('sgx_xfrm_forced'), 'Linux 6.1 writes x87 and SSE into XFRM by itself', 'P', { if: 'sgx_xfrm_forced && !cap(SGX)' }),
  row(0x12, 0, 'eax', word('CPUID_12_EAX'), 'SGX sub-features', 'P', { svm: zero, tdx: zero }),
  row(0x12, 0, 'ebx', when('cap(SGX)', word('CPUID_12_EBX')), 'MISCSELECT: EXINFO only', 'P', { svm: zero, tdx: zero }),
  row(0x12, 0, 'ecx', when('cap(SGX)', mask('raw')), 'reported raw (0 on known parts)', 'P', { svm: zero, tdx: zero }),
  row(0x12, 0, 'edx', when('cap(SGX)', mask('span(15, 0)')), 'max enclave sizes (two 8-bit exponents)', 'P', { svm: zero, tdx: zero }),
  row(0x12, 1, 'eax', when('cap(SGX)', word('CPUID_12_1_EAX')), 'SECS.ATTRIBUTES KVM reports', 'P', { svm: zero, tdx: zero }),
  row(0x12, 1, 'ebx', zero, 'reserved', 'P'),
  row(0x12, 1, 'ecx', when('cap(SGX)', mask('raw')), 'XFRM low: KVM reports it raw (unfiltered by XCR0), ECREATE is checked separately', 'P', { svm: zero, tdx: zero }),
  row(0x12, 1, 'edx', when('cap(SGX)', mask('raw')), 'XFRM high', 'P', { svm: zero, tdx: zero }),
  row(0x12, [2, LAST], 'eax', when('cap(SGX)', ignored), 'EPC section base, chosen by the VMM', 'P', { svm: zero, tdx: zero }),
  row(0x12, [2, LAST], 'ebx ecx edx', when('cap(SGX)', ignored), 'EPC section base/size', 'P', { svm: zero, tdx: zero }),
  row(0x13, 0, 'all', zero, 'reserved or unsupported', 'P'),
  row(0x14, 0, 'eax', when('cap(INTEL_PT)', fields([31, 0, 'raw'])), 'max sub-leaf', 'P', { svm: zero, tdx: zero }),
  row(0x14, 0, 'ebx ecx edx', when('cap(INTEL_PT)', mask('raw')), 'Intel PT capabilities are copied raw into KVM state: raw-based (patch 14)', 'P', { svm: zero, tdx: zero }),
  row(0x14, [1, LAST], 'all', when('cap(INTEL_PT)', mask('raw')), 'Intel PT ranges/periods', 'P', { if: 'index <= leaf(0x14, 0, "eax")', svm: zero, tdx: zero }),
  row(0x14, [1, LAST], 'all', zero, 'reserved or unsupported', 'P'),
  row(0x15, 0, 'eax ebx ecx', ignored, 'TSC/crystal ratio, filled by VMMs', 'P'),
  row(0x15, 0, 'edx', zero, 'reserved or unsupported', 'P'),
  row(0x16, 0, 'eax ebx ecx', ignored, 'frequencies', 'P'),
  row(0x16, 0, 'edx', zero, 'reserved or unsupported', 'P'),
  row(0x17, 'any', 'all', zero, 'SoC vendor: not reported', 'P'),
  row(0x18, 'any', 'all', ignored, 'deterministic TLB parameters; numbers only', 'S2(TDX)/P', { svm: zero }),
  row(0x19, 0, 'all', zero, 'Key Locker', 'P'),
  row(0x1a, 0, 'eax', zero, 'hybrid; TDX modules 1.5.28 and 2.0.8 return the native core type', 'P', { tdx: ignored }),
  row(0x1a, 0, 'ebx ecx edx', zero, 'hybrid', 'P'),
  row(0x1b, 'any', 'all', zero, 'PCONFIG', 'P'),
  row(0x1c, 0, 'all', zero, 'architectural LBR', 'P'),
  row(0x1d, 0, 'eax', when('cap(AMX_TILE)', fields([31, 0, 'raw'])), 'max palette', 'P', { svm: zero }),
  row(0x1d, 0, 'ebx ecx edx', when('cap(AMX_TILE)', mask('raw')), 'reported raw (0 on known parts)', 'P', { svm: zero }),
  row(0x1d, [1, LAST], 'all', when('cap(AMX_TILE)', fixedOrZero('raw')), 'palette geometry is hardware', 'P', { if: 'index <= leaf(0x1d, 0, "eax")', svm: zero }),
  row(0x1d, [1, LAST], 'all', zero, 'reserved or unsupported', 'P'),
  row(0x1e, 0, 'eax', when('cap(AMX_TILE)', fields([31, 0, '1'])), 'max sub-leaf', 'P', { svm: zero }),
  row(0x1e, 0, 'ebx', when('cap(AMX_TILE)', fixedOrZero('raw')), 'TMUL maxima are hardware', 'P', { svm: zero }),
  row(0x1e, 0, 'ecx edx', when('cap(AMX_TILE)', mask('raw')), 'reported raw (0 on known parts)', 'P', { svm: zero }),
  row(0x1e, 1, 'eax', word('CPUID_1E_1_EAX'), 'feature word; unknown bits rejected', 'S2(TDX)/P', { svm: zero }),
  row(0x1e, [1, LAST], 'ebx', zero, 'reserved or unsupported', 'P', { tdx: TMUL_WHOLE }),
  row(0x1e, 1, 'ecx edx', zero, 'reserved or unsupported', 'P'),
  row(0x1e, [2, LAST], 'eax ecx edx', zero, 'reserved or unsupported', 'P'),
  row(0x20, 'any', 'all', zero, 'HRESET', 'P'),
  row(0x21, 0, 'eax', zero, 'TDX guest identification: provided by the module', 'P', { tdx: ignored }),
  row(0x21, 0, 'ebx ecx edx', zero, 'module string "IntelTDX    "', 'P', { tdx: ignored }),
  row(0x22, 0, 'all', zero, 'reserved or unsupported', 'P'),
  row(0x23, 'any', 'all', zero, 'ArchPerfmonExt', 'P'),
  row(0x24, 0, 'eax', when('cap(AVX10)', fields([31, 0, '1'])), 'max sub-leaf', 'P', { svm: zero }),
  row(0x24, 0, 'ebx', wordAndFields('CPUID_24_0_EBX', [7, 0, 'min(raw & 0xff, 2)']), 'vector lengths plus version: a mixed register (patch 13)', 'P', { svm: zero }),
  row(0x24, 0, 'ecx edx', zero, 'reserved or unsupported', 'P'),
  row(0x24, 1, 'ecx', word('CPUID_24_1_ECX'), 'feature word', 'P', { svm: zero }),
  row(0x24, 1, 'eax ebx edx', zero, 'reserved or unsupported', 'P'),
  row(0x24, [2, LAST], 'all', zero, 'reserved or unsupported', 'P'),
  row([0x25, 0x3fffffff], 'any', 'all', zero, 'unknown basic leaf', 'P'),
  row(0x40000000, 0, 'eax', ignored, 'VMMs raise it to 0x40000010 for the timing leaf; only when the KVM signature is at 0x40000000 (patch 24)', 'S for skip'),
  row(0x40000000, 0, 'ebx', fixed('0x4b4d564b'), 'KVM signature, true by construction; only when the KVM signature is at 0x40000000 (patch 24)', 'S for skip'),
  row(0x40000000, 0, 'ecx', fixed('0x564b4d56'), 'KVM signature, true by construction; only when the KVM signature is at 0x40000000 (patch 24)', 'S for skip'),
  row(0x40000000, 0, 'edx', fixed('0x4d'), 'KVM signature, true by construction; only when the KVM signature is at 0x40000000 (patch 24)', 'S for skip'),
  row(0x40000001, 0, 'eax', word('KVM_FEATURES', USER_PV), 'PV features; 15..17 are userspace-owned. TDX mask from QEMU\'s list', 'P'),
  row(0x40000001, 0, 'ebx ecx', zero, 'reserved or unsupported', 'P'),
  row(0x40000001, 0, 'edx', mask('user_bits(KVM_HINTS)'), 'HINTS_REALTIME', 'P'),
  row([0x40000002, 0x400000ff], 'any', 'all', ignored, 'timing leaf 0x40000010 and other VMM conventions', 'P'),
  row([0x40000100, 0x4fffffff], 'any', 'all', ignored, 'Hyper-V, Xen or relocated KVM leaves; own enforcement', 'P'),
  row([0x50000000, 0x7fffffff], 'any', 'all', zero, 'unknown class', 'P'),
  row(0x80000000, 0, 'all', ignored, 'maximum leaf, vendor string', 'P'),
  row(0x80000001, 0, 'eax', ignored, 'AMD family/model', 'P'),
  row(0x80000001, 0, 'ebx', ignored, 'brand / package type', 'P'),
  row(0x80000001, 0, 'ecx', word('CPUID_8000_0001_ECX', 'bits(CMP_LEGACY)'), 'CMP_LEGACY/TOPOEXT are topology', 'P', { svm: word('CPUID_8000_0001_ECX', 'bits(CMP_LEGACY, TOPOEXT)') }),
  row(0x80000001, 0, 'edx', word('CPUID_8000_0001_EDX'), 'feature word incl. aliased 1.EDX bits; TDX: SYSCALL reads 0 outside 64-bit mode, accept it', 'P'),
  row(0x80000002, 0, 'all', ignored, 'brand string', 'P'),
  row(0x80000003, 0, 'all', ignored, 'brand string', 'P'),
  row(0x80000004, 0, 'all', ignored, 'brand string', 'P'),
  row(0x80000005, 0, 'all', ignored, 'cache/TLB numbers', 'P'),
  row(0x80000006, 0, 'all', ignored, 'cache/TLB numbers', 'P'),
  row(0x80000007, 0, 'eax ebx ecx', zero, 'RAS / power features not virtualized', 'P'),
  row(0x80000007, 0, 'edx', word('CPUID_8000_0007_EDX'), 'invariant TSC only', 'P'),
  row(0x80000008, 0, 'eax', fields([7, 0, '52'], [15, 8, LINEAR_ADDRESS_WIDTHS], [23, 16, '52']), 'address widths; [15:8] is already enforced by kvm_check_cpuid; TDX: [23:16] is the GPAW knob (48 or 52)', 'P'),
  row(0x80000008, 0, 'ebx', word('CPUID_8000_0008_EBX'), 'feature word (non-empty on Intel too)', 'P'),
  row(0x80000008, 0, 'ecx', mask('span(15, 12) | span(7, 0)'), 'core count and APIC ID size; [17:16] perf-TSC size and the rest not reported', 'P'),
  row(0x80000008, 0, 'edx', zero, 'RDPRU/INVLPGB limits', 'P'),
  row(0x80000009, 0, 'all', zero, 'reserved or unsupported', 'P'),
  row(0x8000000a, 0, 'eax', zero, 'SVM revision', 'P', { svm: when('cap(SVM)', fixedOrZero('1')) }),
  row(0x8000000a, 0, 'ebx', zero, 'number of ASIDs: KVM reports 8, QEMU passes 16', 'P', { svm: when('cap(SVM)', ignored) }),
  row(0x8000000a, 0, 'ecx', zero, 'reserved or unsupported', 'P'),
  row(0x8000000a, 0, 'edx', zero, 'nested SVM features', 'P', { svm: word('CPUID_8000_000A_EDX') }),
  row([0x8000000b, 0x80000018], 0, 'all', zero, 'reserved or unsupported', 'P'),
  row(0x80000019, 0, 'eax ebx', ignored, '1G TLB numbers', 'P'),
  row(0x80000019, 0, 'ecx edx', zero, 'reserved or unsupported', 'P'),
  row(0x8000001a, 0, 'eax', word('CPUID_8000_001A_EAX'), 'FP width hints', 'P'),
  row(0x8000001a, 0, 'ebx ecx edx', zero, 'reserved or unsupported', 'P'),
  row(0x8000001b, 0, 'all', zero, 'IBS', 'P'),
  row(0x8000001c, 0, 'all', zero, 'LWP', 'P'),
  row(0x8000001d, 'any', 'all', ignored, 'AMD cache topology', 'P'),
  row(0x8000001e, 0, 'eax ebx ecx', ignored, 'AMD topology', 'P'),
  row(0x8000001e, 0, 'edx', zero, 'reserved or unsupported', 'P'),
  row(0x8000001f, 0, 'eax', zero, 'memory encryption features', 'P', { svm: word('CPUID_8000_001F_EAX') }),
  row(0x8000001f, 0, 'ebx', zero, 'C-bit position [5:0] and PA reduction [11:6]; NumVMPL not supported. C-bit is trusted for reserved GPA bits', 'P', { svm: mask('span(11, 0)') }),
  row(0x8000001f, 0, 'ecx', zero, 'ASID counts', 'P', { svm: ignored }),
  row(0x8000001f, 0, 'edx', zero, 'minimum ASID', 'P', { svm: ignored }),
  row(0x80000020, 'any', 'all', zero, 'QoS', 'P'),
  row(0x80000021, 0, 'eax', word('CPUID_8000_0021_EAX'), 'feature word', 'P'),
  row(0x80000021, 0, 'ebx', zero, 'RAP size', 'P', { svm: when('cap(ERAPS)', mask('span(23, 16)')) }),
  row(0x80000021, 0, 'ecx', word('CPUID_8000_0021_ECX'), 'feature word (TSA)', 'P'),
  row(0x80000021, 0, 'edx', zero, 'reserved or unsupported', 'P'),
  row(0x80000022, 0, 'eax', zero, 'PerfMonV2', 'P', { svm: word('CPUID_8000_0022_EAX') }),
  row(0x80000022, 0, 'ebx', zero, 'core PMC count', 'P', { svm: fields([3, 0, 'enable_pmu ? pmu_gp : 0']) }),
  row(0x80000022, 0, 'ecx edx', zero, 'reserved or unsupported', 'P'),
  row([0x80000023, 0x80000025], 0, 'all', zero, 'reserved or unsupported', 'P'),
  row(0x80000026, 'any', 'all', zero, 'AMD extended topology', 'P', { svm: ignored }),
  row([0x80000027, 0x8fffffff], 'any', 'all', zero, 'unknown extended leaf (includes Transmeta 0x80860000)', 'P'),
  row([0x90000000, 0xbfffffff], 'any', 'all', zero, 'reserved or unsupported', 'P'),
  row(0xc0000000, 0, 'eax', when(CENTAUR, ignored), 'maximum leaf', 'S for range', { svm: zero, tdx: zero }),
  row(0xc0000000, 0, 'ebx ecx edx', when(CENTAUR, mask('raw')), 'reported raw', 'P', { svm: zero, tdx: zero }),
  row(0xc0000001, 0, 'eax ebx ecx', when(CENTAUR, mask('raw')), 'KVM reports it raw: raw-based', 'P', { svm: zero, tdx: zero }),
  row(0xc0000001, 0, 'edx', when(CENTAUR, word('CPUID_C000_0001_EDX')), 'PadLock features', 'S for range', { svm: zero, tdx: zero }),
  row(0xc0000002, 0, 'all', zero, 'KVM reports zero', 'P'),
  row(0xc0000003, 0, 'all', zero, 'KVM reports zero', 'P'),
  row(0xc0000004, 0, 'all', zero, 'KVM reports zero', 'P'),
  row([0xc0000005, 0xffffffff], 'any', 'all', zero, 'unknown', 'P'),
];
