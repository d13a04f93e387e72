import type { KernelLine } from '../cpuid/kernel-line.js';
import { CR4_VMXE } from '../emu/control.js';
import { MSR_OK } from '../emu/msrs.js';
import { Vmx } from '../emu/vmx/vmx.js';
import type { HostCpu } from '../linux/host-cpu.js';
import { msrIndex, userReturnRows } from '../linux/user-return-rows.js';

const FEATURE_CONTROL = msrIndex('IA32_FEATURE_CONTROL');
const LOCKED = 1;
const VMX_OUTSIDE_SMX = 1 << 2;

/** What kvm-intel has on each CPU: VMX operation, the user-return MSRs, which VPID is next. */
export class VmxHostCpu {
  readonly cpu: HostCpu;
  readonly silicon: Vmx;
  /** Slots of the user-return MSRs by MSR index; an MSR that the CPU does not have has none. */
  readonly userReturnSlots: ReadonlyMap<number, number>;
  private nextVpid = 1;

  private constructor(cpu: HostCpu, line: KernelLine) {
    const { core, memory } = cpu;
    this.cpu = cpu;
    this.silicon = new Vmx(core);
    this.userReturnSlots = new Map(
      userReturnRows('vmx', line)
        .map(({ msr }) => [msrIndex(msr), cpu.userReturn.add(msrIndex(msr))] as const)
        .filter(([, slot]) => slot >= 0),
    );
    this.enable(memory.allocate(1));
  }

  /** `vmx_enable_virtualization_cpu()`: CR4.VMXE, then VMXON. */
  private enable(region: number): void {
    const { core, memory } = this.cpu;
    const { control, msrs } = core;
    const enabled = LOCKED | VMX_OUTSIDE_SMX;
    if (msrs.read(FEATURE_CONTROL) !== MSR_OK || (msrs.value[0]! & enabled) !== enabled)
      throw new Error(`CPU ${core.id}: VMX is disabled by the firmware`);
    control.writeCr4(control.lo[4]! | CR4_VMXE, control.hi[4]!);
    memory.physical.write(region, 4, this.silicon.capabilities.revision, 0);
    this.silicon.vmxon(region);
  }

  /** That of a CPU; virtualization is turned on there when it is first asked for. */
  static of(cpu: HostCpu, line: KernelLine): VmxHostCpu {
    const known = byCpu.get(cpu) ?? new VmxHostCpu(cpu, line);
    byCpu.set(cpu, known);
    return known;
  }

  /** `allocate_vpid()`: there are more than anybody uses. */
  newVpid(): number {
    return this.nextVpid++;
  }
}

const byCpu = new WeakMap<HostCpu, VmxHostCpu>();
