import type { CpuidEntry2 } from '../cpuid/entry.js';
import { OVERLAYS, type Overlay } from '../cpuid/features.js';
import { inRange } from '../cpuid/kernel-line.js';
import type { Cpu } from '../emu/machine.js';
import type { HostKernel } from '../linux/host-kernel.js';
import type { Process } from '../linux/process.js';
import { KVM_CAP_X86_CPUID_PARANOID, VM_TYPES } from './abi.js';
import { buildCaps, type OverlayCaps } from './caps.js';
import { type AllowedOptions, AllowedTable } from './paranoid/allowed-table.js';
import type { Defect, Placement, Policy, Reserved } from './policy.js';
import { assigned } from './scope.js';
import { emulatedCpuid, permittedXcr0, supportedCpuid } from './supported.js';
import type { TdxModel, TdxSupport } from './td.js';
import type { VendorModule, VmTypeRow } from './vendor.js';
import { XsaveLayout } from './xsave.js';

/** How a KVM is built and configured. */
export interface KvmOptions {
  /** Default: `off`, as mainline. */
  readonly policy?: Policy;
  /** Number of KVM_CAP_X86_CPUID_PARANOID. Default: 252. */
  readonly paranoidCapability?: number;
  /** Whether reserved registers must be zero in paranoid mode. Default: `zero`. */
  readonly reserved?: Reserved;
  readonly defects?: readonly Defect[];
  /** Where paranoid mode verifies. Default: `separate`. */
  readonly placement?: Placement;
  /** The host's TDX module, where the platform has one. Default: the newest published version. */
  readonly tdxModule?: TdxModel;
  /** CONFIG_KVM_SW_PROTECTED_VM. Default: no, as distributions have it. */
  readonly swProtectedVm?: boolean;
}

/** KVM, loaded with a vendor module: capabilities per overlay, and what is derived from them once. */
export class KvmModule {
  readonly kernel: HostKernel;
  readonly vendor: VendorModule;
  readonly policy: Policy;
  readonly paranoidCapability: number;
  readonly reserved: Reserved;
  readonly defects: ReadonlySet<Defect>;
  readonly placement: Placement;
  readonly swProtectedVm: boolean;
  /** KVM's TDX half; `null` where it is off or the TDX module does not initialise. */
  readonly tdx: TdxSupport | null;
  /** Why there is no TDX half although the platform and kvm_intel.tdx ask for it; `null` when there is nothing to say. */
  readonly tdxRefusal: string | null;
  private readonly overlays: ReadonlyMap<Overlay, OverlayCaps>;
  private readonly supportedLists = new Map<number, readonly CpuidEntry2[]>();
  private readonly allowedTables = new Map<number, AllowedTable>();
  private readonly layouts = new Map<Cpu, XsaveLayout>();

  constructor(kernel: HostKernel, vendor: VendorModule, options: KvmOptions) {
    const {
      policy = 'off',
      paranoidCapability = KVM_CAP_X86_CPUID_PARANOID,
      reserved = 'zero',
      defects = [],
    } = options;
    this.kernel = kernel;
    this.vendor = vendor;
    this.policy = policy;
    this.paranoidCapability = paranoidCapability;
    this.reserved = reserved;
    this.defects = new Set(defects);
    this.placement = options.placement ?? 'separate';
    this.swProtectedVm = options.swProtectedVm ?? false;
    this.overlays = new Map(vendor.overlays.map((overlay) => [overlay, buildCaps(kernel, vendor, overlay)]));
    const tdx = this.wantsTdx ? (vendor.bringUpTdx?.(this, options.tdxModule) ?? null) : null;
    this.tdx = typeof tdx === 'string' ? null : tdx;
    this.tdxRefusal = typeof tdx === 'string' ? tdx : null;
  }

  /** The overlay of ordinary VMs on this platform. */
  get defaultOverlay(): Overlay {
    return this.vendor.overlays[0];
  }

  /** The capabilities of an overlay. Throws RangeError when the platform does not have it. */
  caps(overlay: Overlay): OverlayCaps {
    const found = this.overlays.get(overlay);
    if (!found) throw new RangeError(`${this.vendor.name} has no overlay ${overlay}`);
    return found;
  }

  private get wantsTdx(): boolean {
    return assigned(this.caps(this.defaultOverlay).scope, 'tdx_enabled') !== 0;
  }

  /**
   * The overlay whose capabilities KVM's own decisions follow. Only the RFC's kernel has one for each kind of VM; the
   * others have one `kvm_cpu_caps[]` for all.
   */
  decidingOverlay(overlay: Overlay): Overlay {
    return this.policy === 'paranoid' ? overlay : this.defaultOverlay;
  }

  /** The overlay of a VM type (KVM_CREATE_VM's argument); `null` when KVM does not offer the type. */
  overlayOfVmType(type: number): Overlay | null {
    if (type === VM_TYPES.default) return this.defaultOverlay;
    const { scope } = this.caps(this.defaultOverlay);
    const row = [...this.vendor.vmTypes, this.swProtectedRow].find((candidate) => candidate.type === type);
    if (!row || !inRange(scope.line, row.since) || assigned(scope, row.when) === 0) return null;
    if (type === VM_TYPES.tdx && this.tdx === null) return null;
    return type === VM_TYPES['sw-protected'] && !this.swProtectedVm ? null : row.overlay;
  }

  /** Software-protected VMs need the TDP MMU, and CONFIG_KVM_SW_PROTECTED_VM. */
  private get swProtectedRow(): VmTypeRow {
    return { type: VM_TYPES['sw-protected'], since: '6.12', overlay: this.defaultOverlay, when: 'tdp_enabled' };
  }

  /** The XSAVE layout of a CPU. */
  layout(cpu: Cpu): XsaveLayout {
    let layout = this.layouts.get(cpu);
    if (!layout) {
      layout = new XsaveLayout(cpu);
      this.layouts.set(cpu, layout);
    }
    return layout;
  }

  /** What KVM_GET_SUPPORTED_CPUID reports to a process; computed once for each CPU and permission. */
  supported(overlay: Overlay, process: Process): readonly CpuidEntry2[] {
    const key = this.cacheKey(overlay, process);
    let list = this.supportedLists.get(key);
    if (!list) {
      const caps = this.caps(overlay);
      list = supportedCpuid(caps, this.vendor, this.kernel.machine.cpus[process.cpu]!, process.guestPermissions);
      this.supportedLists.set(key, list);
    }
    return list;
  }

  /** One number for all that answers depend on beside the module: overlay, CPU, and what the process may give on. */
  private cacheKey(overlay: Overlay, { cpu, guestPermissions }: Process): number {
    const place = OVERLAYS.indexOf(overlay) * this.kernel.machine.cpus.length + cpu;
    return place * 2 ** 32 + permittedXcr0(this.caps(overlay), guestPermissions);
  }

  /** What KVM_GET_EMULATED_CPUID reports. */
  emulated(overlay: Overlay): readonly CpuidEntry2[] {
    return emulatedCpuid(this.caps(overlay), false);
  }

  /** What the allowed values of an overlay depend on, for a process. */
  allowedOptions(overlay: Overlay, process: Process): AllowedOptions {
    return {
      caps: this.caps(overlay),
      vendor: this.vendor,
      cpu: this.kernel.machine.cpus[process.cpu]!,
      guestPermissions: process.guestPermissions,
      reserved: this.reserved,
      defects: this.defects,
      reported: this.supported(overlay, process),
    };
  }

  /** The allowed values of an overlay for a process; compiled once for each CPU and permission. */
  allowed(overlay: Overlay, process: Process): AllowedTable {
    const key = this.cacheKey(overlay, process);
    let table = this.allowedTables.get(key);
    if (!table) {
      table = new AllowedTable(this.allowedOptions(overlay, process));
      this.allowedTables.set(key, table);
    }
    return table;
  }
}
