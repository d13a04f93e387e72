import type { Overlay } from '../cpuid/features.js';
import type { KernelLine } from '../cpuid/kernel-line.js';
import type { HostCpu } from '../linux/host-cpu.js';
import type { HostKernel } from '../linux/host-kernel.js';
import type { CapStep } from './cap-rows.js';
import type { GuestCapRow } from './guest-cap-rows.js';
import type { GuestContext, GuestRunner } from './guest-run.js';
import type { KvmModule } from './module.js';
import type { TdxModel, TdxSupport } from './td.js';

/** A VM type beside the default one: since when KVM has it, its overlay, and the variable that must be set. */
export interface VmTypeRow {
  readonly type: number;
  readonly since: KernelLine;
  readonly overlay: Overlay;
  readonly when: string;
}

/** What a vendor module (kvm-intel, kvm-amd) brings. Common code knows a vendor only through this. */
export interface VendorModule {
  readonly name: 'kvm_intel' | 'kvm_amd';
  /** The overlay of ordinary VMs, and those that the platform can have besides. */
  readonly overlays: readonly [Overlay, ...Overlay[]];
  /** What `hardware_setup()` computes before the caps are built. */
  readonly variables: readonly CapStep[];
  /** Its own adjustments of the caps (`vmx_set_cpu_caps()`, `svm_set_cpu_caps()`). */
  readonly program: readonly CapStep[];
  /** What it does to a vCPU's capabilities (`vmx_vcpu_after_set_cpuid()`, `svm_vcpu_after_set_cpuid()`). */
  readonly guestRows: readonly GuestCapRow[];
  /** VM types of the vendor's own (KVM_CAP_VM_TYPES). */
  readonly vmTypes: readonly VmTypeRow[];
  /**
   * Its TDX half, for modules that have one (`tdx_bringup()`), on a host that can run TDs. Returns a sentence that says
   * why there will be none.
   */
  readonly bringUpTdx?: (module: KvmModule, model: TdxModel | undefined) => TdxSupport | string;
  /** `enable_virtualization_cpu()`, on a CPU that executes: when the module is loaded there, or when it is first needed. */
  readonly enable?: (cpu: HostCpu, line: KernelLine) => void;
  /** What runs a vCPU's machine code on a CPU that executes; without it KVM_RUN is real mode only. */
  readonly createRunner?: (context: GuestContext) => GuestRunner;
  /** Format of the second set of page tables. */
  readonly nestedFormat: 'ept' | 'npt';
  /** Pages of guest state in `struct kvm_nested_state` (KVM_CAP_NESTED_STATE). */
  readonly nestedStatePages: number;
  /** Whether the module is for this CPU at all. */
  matches(kernel: HostKernel): boolean;
  /** Why the module refuses to load although it matches; `null` when it loads. */
  refuses(kernel: HostKernel): string | null;
}
