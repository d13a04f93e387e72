import { type ByKernel, type KernelLine, onLine } from '../cpuid/kernel-line.js';

/** What differs between kernel lines and is no row of a table elsewhere. */
export interface LineParameters {
  /**
   * How `kvm_cpu_caps[]` comes about. `mask`: the host kernel's words, ANDed with KVM's lists and raw CPUID;
   * `macro`: built from KVM's lists, where each entry says what it takes to contribute.
   */
  readonly capModel: 'mask' | 'macro';
  /** Raw CPUID counts as zero above the maximum of its range when the caps are built. */
  readonly rawMaxLeafCheck: boolean;
  /** A SYNTHESIZED bit contributes only if the host kernel has the flag. */
  readonly synthesizedNeedsKernelFlag: boolean;
  readonly maxBasicLeaf: number;
  readonly maxExtendedLeaf: number;
  readonly maxCentaurLeaf: number;
  /** Host vendors for which the range from 0xC0000000 is answered. */
  readonly centaurRangeVendors: readonly string[];
  /** Without permission for XTILEDATA, XTILECFG is not offered either. */
  readonly xtileCfgFollowsXtileData: boolean;
  /** KVM computes capabilities per vCPU; before, most checks read the guest's table. */
  readonly guestCapsArray: boolean;
  /** Emulated features are looked up by function and index, not by function alone. */
  readonly emulatedLookupBySubleaf: boolean;
  /** A refused table is swapped out again; before, the incoming array was edited and then installed. */
  readonly swapAndRestore: boolean;
  /** KVM_GET_CPUID2 writes the stored count back. */
  readonly getWritesNentBack: boolean;
  /** OSXSAVE and OSPKE follow CR4 only when the host kernel has XSAVE and PKU. */
  readonly runtimeBitsNeedKernelFlag: boolean;
  /** The PV_UNHALT quirk finds the signature base in the table set before, not in the incoming one. */
  readonly pvBaseFromPreviousTable: boolean;
  /** KVM edits the guest's CPUID.(EAX=12H,ECX=1) to its XCR0. */
  readonly rewritesSgxXfrm: boolean;
  /** The compacted XSAVE size that the guest reads counts IA32_XSS. */
  readonly compactedSizeCountsXss: boolean;
  /**
   * IA32_XSS is for guests with XSAVES, from userspace too, and takes what the guest's table offers; before, userspace
   * could write whatever KVM supports.
   */
  readonly xssFollowsGuest: boolean;
  /** Runtime bits are marked stale and rewritten when somebody looks; before, at each change of state. */
  readonly lazyRuntimeUpdates: boolean;
  /** Setting IA32_APIC_BASE to the value that it has succeeds without any check. */
  readonly apicBaseUnchangedAccepted: boolean;
  /** MSRs that describe features are frozen, as CPUID is, once the vCPU has run. */
  readonly featureMsrsFreeze: boolean;
}

const PARAMETERS: { readonly [P in keyof LineParameters]: ByKernel<LineParameters[P]> } = {
  capModel: { '6.1': 'mask', '6.18': 'macro' },
  rawMaxLeafCheck: { '6.1': false, '6.18': true },
  synthesizedNeedsKernelFlag: { '6.1': false, '7.1': true },
  maxBasicLeaf: { '6.1': 0x1f, '6.12': 0x24 },
  maxExtendedLeaf: { '6.1': 0x8000_0021, '6.12': 0x8000_0022 },
  maxCentaurLeaf: { '6.1': 0xc000_0004 },
  centaurRangeVendors: { '6.1': ['centaur'], '6.18': ['centaur', 'zhaoxin'] },
  xtileCfgFollowsXtileData: { '6.1': false, '6.12': true },
  guestCapsArray: { '6.1': false, '6.18': true },
  emulatedLookupBySubleaf: { '6.1': false, '7.3': true },
  swapAndRestore: { '6.1': false, '6.18': true },
  getWritesNentBack: { '6.1': false, '6.12': true },
  runtimeBitsNeedKernelFlag: { '6.1': true, '6.18': false },
  pvBaseFromPreviousTable: { '6.1': true, '6.12': false },
  rewritesSgxXfrm: { '6.1': true, '6.12': false },
  compactedSizeCountsXss: { '6.1': false, '6.18': true },
  xssFollowsGuest: { '6.1': false, '6.18': true },
  lazyRuntimeUpdates: { '6.1': false, '6.18': true },
  apicBaseUnchangedAccepted: { '6.1': false, '6.18': true },
  featureMsrsFreeze: { '6.1': false, '6.12': true },
};

/** The parameters of a kernel line. */
export function lineParameters(line: KernelLine): LineParameters {
  const entries = Object.entries(PARAMETERS).map(([name, by]) => [name, onLine(by as ByKernel<unknown>, line)]);
  return Object.fromEntries(entries) as LineParameters;
}
