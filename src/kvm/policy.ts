/**
 * What the kernel does about CPUID bits that it does not know:
 *
 * - `off`: nothing, as mainline. With a TD this is a counterfactual kernel without any check;
 * - `denylist`: TDs may not have HLE, RTM and WAITPKG, by checks in the vendor's code, as in 6.16 to 7.3; other VMs as
 *   `off`;
 * - `paranoid`: the April 2026 RFC (v1): overlays, allowed values, KVM_CAP_X86_CPUID_PARANOID; always on for TDs;
 * - `allowlist`: the June 2026 RFC (v2): only TDs, only directly configurable bits; other VMs as `off`.
 */
export const POLICIES = ['off', 'denylist', 'paranoid', 'allowlist'] as const;
export type Policy = (typeof POLICIES)[number];

/** Whether reserved registers must be zero under `paranoid`, or are not looked at: an open question of the RFC. */
export type Reserved = 'zero' | 'ignore';

/**
 * Where paranoid mode verifies: another open question of the RFC.
 *
 * - `separate`: a pass of its own, first in `kvm_check_cpuid()`; when it refuses, nothing has happened yet;
 * - `combined`: while the vCPU's capabilities are set up (`kvm_vcpu_after_set_cpuid()`), as the RFC does: the checks of
 *   `kvm_check_cpuid()` speak first, and the FPU buffer may have grown for AMX when EINVAL comes.
 */
export const PLACEMENTS = ['separate', 'combined'] as const;
export type Placement = (typeof PLACEMENTS)[number];

/**
 * Known defects that can be switched on, to see what they do:
 *
 * - `emulated-index-blind`: emulated features are looked up by function only, as before the fix that the RFC's patch 1
 *   became (8835a24a5608): RDPID of 7.0.ECX is allowed in 7.1.ECX too;
 * - `flagless-first-row`: an entry without KVM_CPUID_FLAG_SIGNIFCANT_INDEX is checked against sub-leaf 0 alone, although
 *   it answers every sub-leaf;
 * - `tdx-nent-double-fetch`: KVM_TDX_INIT_VM reads `nent` again after it has checked it, as before the fix of 2026:
 *   userspace that changes it in between makes the entry search run beyond the kernel's copy;
 * - `stale-user-return`: after a TD exit KVM tells its cache of user-return MSRs the values that the TDX module may have
 *   written, whether it has or not, as until the fix of 6.19;
 * - `svm-debugctl-not-switched`: kvm-amd leaves DEBUGCTL alone unless hardware switches it, as before 433265870ab3 (6.14):
 *   a host that traps bus locks traps those of its guests;
 * - `cr4-guest-cpuid-only`: which bits of CR4 are reserved follows the guest's CPUID alone, as before b11306b53b25 (5.6): a
 *   guest may have CR4.LA57 on a CPU without it;
 * - `umwait-passthrough`: kvm-intel lets guests reach IA32_UMWAIT_CONTROL, and nobody restores the host's value. No kernel
 *   was ever like that: it shows what the shadow is for.
 */
export const DEFECTS = [
  'emulated-index-blind',
  'flagless-first-row',
  'tdx-nent-double-fetch',
  'stale-user-return',
  'svm-debugctl-not-switched',
  'cr4-guest-cpuid-only',
  'umwait-passthrough',
] as const;
export type Defect = (typeof DEFECTS)[number];
