import { featureNamed } from '../cpuid/features.js';
import { EAX, EBX, ECX, EDX } from './abi.js';
import type { OverlayCaps } from './caps.js';
import { ANY_INDEX, type CpuidTable } from './cpuid-table.js';
import { KVM_FEATURE_PV_UNHALT } from './pv.js';
import type { XsaveLayout } from './xsave.js';

/** The state of a vCPU that shows in its CPUID. */
export interface RuntimeState {
  /** CR4[31:0]. */
  readonly cr4: number;
  /** XCR0 and IA32_XSS; no component above 31 is modelled. */
  readonly xcr0: number;
  readonly xss: number;
  /** IA32_APIC_BASE[11]. */
  readonly apicEnabled: boolean;
  /** IA32_MISC_ENABLE[18]. */
  readonly mwaitEnabled: boolean;
}

/** What host, VM and kernel line decide about runtime bits. */
export interface RuntimeRules {
  readonly caps: OverlayCaps;
  readonly layout: XsaveLayout;
  /** 1.ECX[27] and 7.0.ECX[4] follow CR4; before 6.18 only if the host kernel has XSAVE and PKU. */
  readonly osxsaveFollowsCr4: boolean;
  readonly ospkeFollowsCr4: boolean;
  /** The quirk KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT is disabled: 1.ECX[3] follows IA32_MISC_ENABLE. */
  readonly mwaitFollowsMiscEnable: boolean;
  readonly hltExitsDisabled: boolean;
}

export const CR4_OSXSAVE = 1 << 18;
export const CR4_PKE = 1 << 22;

const OSXSAVE = featureNamed('OSXSAVE').mask;
const OSPKE = featureNamed('OSPKE').mask;
const APIC = featureNamed('APIC').mask;
const MWAIT = featureNamed('MWAIT').mask;
const COMPACTING = featureNamed('XSAVEC').mask | featureNamed('XSAVES').mask;

function put(words: Uint32Array, at: number, mask: number, on: boolean): void {
  words[at] = on ? words[at]! | mask : words[at]! & ~mask;
}

/**
 * `kvm_update_cpuid_runtime()`: writes the bits that follow the vCPU's state into a table, at the first entry that
 * matches. What userspace wrote there is lost.
 */
export function updateRuntimeBits(table: CpuidTable, state: RuntimeState, rules: RuntimeRules): void {
  const { words } = table;
  const { parameters } = rules.caps.scope;

  const leaf1 = table.find(1, ANY_INDEX);
  if (leaf1 >= 0) {
    if (rules.osxsaveFollowsCr4) put(words, leaf1 + ECX, OSXSAVE, (state.cr4 & CR4_OSXSAVE) !== 0);
    put(words, leaf1 + EDX, APIC, state.apicEnabled);
    if (rules.mwaitFollowsMiscEnable) put(words, leaf1 + ECX, MWAIT, state.mwaitEnabled);
  }
  const leaf7 = table.find(7, 0);
  if (leaf7 >= 0 && rules.ospkeFollowsCr4) put(words, leaf7 + ECX, OSPKE, (state.cr4 & CR4_PKE) !== 0);

  const standard = table.find(0xd, 0);
  if (standard >= 0) words[standard + EBX] = rules.layout.size(state.xcr0, false);
  const compacted = table.find(0xd, 1);
  if (compacted >= 0 && (words[compacted + EAX]! & COMPACTING) !== 0) {
    const components = parameters.compactedSizeCountsXss ? state.xcr0 | state.xss : state.xcr0;
    words[compacted + EBX] = rules.layout.size(components, true);
  }
  if (parameters.rewritesSgxXfrm) rewriteSgxXfrm(table, rules.caps);
}

/** Linux 6.1: XFRM of CPUID.(EAX=12H,ECX=1) is cut to the guest's XCR0, x87 and SSE always set. */
function rewriteSgxXfrm(table: CpuidTable, caps: OverlayCaps): void {
  const at = table.find(0x12, 1);
  if (at < 0) return;
  table.words[at + ECX] = (table.words[at + ECX]! & guestSupportedXcr0(table, caps)) | 3;
  table.words[at + EDX] = 0;
}

/** `guest_supported_xcr0`: what the guest's table offers of what KVM supports; no permission is asked here. */
export function guestSupportedXcr0(table: CpuidTable, caps: OverlayCaps): number {
  const at = table.find(0xd, 0);
  return at < 0 ? 0 : (table.words[at + EAX]! & caps.supportedXcr0) >>> 0;
}

/** `guest_supported_xss`: the same of CPUID.(EAX=0DH,ECX=1):ECX. */
export function guestSupportedXss(table: CpuidTable, caps: OverlayCaps): number {
  const at = table.find(0xd, 1);
  return at < 0 ? 0 : (table.words[at + ECX]! & caps.supportedXss) >>> 0;
}

/** The PV_UNHALT quirk: with HLT exits disabled the bit is taken out of the guest's table. */
export function stripPvUnhalt(table: CpuidTable, base: number): void {
  if (base === 0) return;
  const at = table.find((base | 0x4000_0001) >>> 0, ANY_INDEX);
  if (at >= 0) table.words[at + EAX]! &= ~KVM_FEATURE_PV_UNHALT;
}
