import { EFER_SLOT } from '../emu/control.js';
import { msrNamed } from '../emu/msr-rows.js';
import { Svm } from '../emu/svm/svm.js';
import { writeMsr } from '../linux/charge.js';
import type { HostCpu } from '../linux/host-cpu.js';

const EFER = msrNamed('IA32_EFER').index;
const HSAVE_PA = msrNamed('MSR_VM_HSAVE_PA').index;
const TSC_RATIO = msrNamed('MSR_TSC_RATIO').index;
const TSC_AUX = msrNamed('IA32_TSC_AUX').index;

const EFER_SVME = 1n << 12n;
const TSC_RATIO_DEFAULT = 1n << 32n;

/** What kvm-amd has on each CPU (`struct svm_cpu_data`): the save area, and which ASID is next. */
export class SvmHostCpu {
  readonly cpu: HostCpu;
  readonly silicon: Svm;
  /** Physical address of the page that VMRUN saves the host in, and VMSAVE of the host too (`save_area_pa`). */
  readonly saveArea: number;
  /** The slot of TSC_AUX among the user-return MSRs; -1 without RDTSCP. */
  readonly tscAuxSlot: number;
  private nextAsid = 1;

  private constructor(cpu: HostCpu) {
    const { core, memory } = cpu;
    this.cpu = cpu;
    this.silicon = new Svm(core);
    this.saveArea = memory.allocate(1);
    this.tscAuxSlot = cpu.userReturn.add(TSC_AUX);
    // svm_enable_virtualization_cpu()
    const efer = (BigInt(core.msrs.hi[EFER_SLOT]! >>> 0) << 32n) | BigInt(core.msrs.lo[EFER_SLOT]! >>> 0);
    writeMsr(core, EFER, efer | EFER_SVME);
    writeMsr(core, HSAVE_PA, BigInt(this.saveArea));
    if (core.msrs.has(TSC_RATIO)) writeMsr(core, TSC_RATIO, TSC_RATIO_DEFAULT);
  }

  /** That of a CPU; virtualization is turned on there when it is first asked for. */
  static of(cpu: HostCpu): SvmHostCpu {
    const known = byCpu.get(cpu) ?? new SvmHostCpu(cpu);
    byCpu.set(cpu, known);
    return known;
  }

  /** `new_asid()`: those of SEV come first and are not modelled; there are more than anybody uses. */
  newAsid(): number {
    return this.nextAsid++;
  }
}

const byCpu = new WeakMap<HostCpu, SvmHostCpu>();
