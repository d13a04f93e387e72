import { featureNamed } from '../cpuid/features.js';
import type { XsaveLayout } from '../kvm/xsave.js';
import { HLE, RTM } from './cpuid-configure.js';
import type { LeafRules, Registers } from './cpuid-rules.js';
import { valuesOf } from './cpuid-values.js';
import type { CpuidValues } from './params.js';

/** What a CPUID executed in the TD depends on beside the TD. */
export interface GuestCpuidState {
  readonly vcpuIndex: number;
  readonly cr4: { readonly osxsave: boolean; readonly pke: boolean };
  /** IA32_TSX_CTRL.CPUID_CLEAR as the guest set it. */
  readonly tsxCpuidClear: boolean;
  readonly xcr0: bigint;
  readonly xss: bigint;
  /** The guest is in 64-bit mode. */
  readonly longMode: boolean;
  /** The guest has asked for #VE on every CPUID at its privilege level (TDG.VP.CPUIDVE.SET); no when not given. */
  readonly alwaysVe?: boolean;
}

/** The four registers, or the exception that the guest gets instead. */
export type TdCpuidResult = CpuidValues | '#VE';

/** Where the ranges end that the module virtualises. */
const LAST_BASIC = 0x23;
const EXTENDED = 0x8000_0000;
const LAST_EXTENDED = 0x8000_0008;

const isHypervisorLeaf = (leaf: number) => leaf >= 0x4000_0000 && leaf <= 0x4fff_ffff;

/**
 * CPUID in the TD, as the module's exit handler answers it. #VE lets the guest ask KVM by TDVMCALL.
 *
 * @param stored per rule: what TDH.MNG.INIT computed
 */
export function executeCpuid(
  rules: LeafRules,
  stored: readonly Registers[],
  layout: XsaveLayout,
  eax: number,
  ecx: number,
  guest: GuestCpuidState,
): TdCpuidResult {
  if (isHypervisorLeaf(eax) || guest.alwaysVe === true) return '#VE';
  const isAbove = eax > LAST_EXTENDED || (eax > LAST_BASIC && eax < EXTENDED);
  const leaf = isAbove ? LAST_BASIC : eax;
  const rule = rules.find(leaf, ecx);
  if (!rule || rule.faults) return '#VE';
  const values = stored[rules.indexOf(rule)]!.slice();
  LIVE[rule.name]?.(values, guest, layout);
  return valuesOf(values);
}

type Live = (values: Registers, guest: GuestCpuidState, layout: XsaveLayout) => void;

const OSXSAVE = featureNamed('OSXSAVE');
const OSPKE = featureNamed('OSPKE');
const SYSCALL = featureNamed('SYSCALL');

/** What is computed when CPUID is executed, by the leaf's name: the `live` bits of the rules, and TSX. */
const LIVE: Readonly<Record<string, Live>> = {
  1: (values, { vcpuIndex, cr4 }) => {
    values[1]! |= vcpuIndex << 24;
    if (cr4.osxsave) values[2]! |= OSXSAVE.mask;
  },
  '7.0': (values, { cr4, tsxCpuidClear }) => {
    if (tsxCpuidClear) values[1]! &= ~(HLE.mask | RTM.mask);
    if (cr4.pke) values[2]! |= OSPKE.mask;
  },
  'd.0': (values, { xcr0 }, layout) => {
    values[1] = layout.size(Number(xcr0 & 0xffff_ffffn), false);
  },
  'd.1': (values, { xcr0, xss }, layout) => {
    values[1] = layout.size(Number((xcr0 | xss) & 0xffff_ffffn), true);
  },
  80000001: (values, { longMode }) => {
    if (longMode) values[3]! |= SYSCALL.mask;
  },
};
