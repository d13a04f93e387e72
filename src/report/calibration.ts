import { bootKvm, describeBuiltIn, withInputs } from '../api/host.js';
import { Vmm } from '../api/vmm.js';
import type { Core } from '../emu/core/core.js';
import { type CostRow, FAMILY_COSTS, VENDOR_COSTS } from '../emu/cost-rows.js';
import type { Assembler } from '../emu/isa/asm.js';
import { builtInHost } from '../hosts/index.js';
import { KVM_RUN, VM_TYPES } from '../kvm/abi.js';
import type { Placement, Policy } from '../kvm/policy.js';
import { guestImage } from '../scenarios/guest-image.js';
import { makeVm } from '../scenarios/vm-guest.js';

/**
 * What the cycle model says beside what was published. Some figures are inputs: the model was made with them, and they
 * prove nothing. The others are predictions: they come out of parts that were set without them.
 */
export interface Calibration {
  readonly what: string;
  readonly kind: 'input' | 'prediction';
  /** Cycles, or a ratio. */
  readonly published: number;
  readonly model: number;
  readonly source: string;
  /** A prediction that has to hold within this share; `null`: for orientation only. */
  readonly within: number | null;
}

const ROUNDS = 400;

/** A guest that does something over and over, on a core whose clock can be read. */
class Loop {
  readonly core: Core;
  private readonly vmm: Vmm;
  private readonly fd: number;

  constructor(host: string, body: (a: Assembler) => void, rounds: number) {
    // The figures are older than most mitigations, which write MSRs at every exit.
    const described = withInputs(describeBuiltIn(builtInHost(host)!), { cmdline: 'mitigations=off' });
    const module = bootKvm(described);
    this.vmm = new Vmm(module);
    this.core = module.kernel.hardware.cpus[0]!.core;
    const program = (a: Assembler): void => {
      // XCR0 as the host has it, or every entry and exit would write it.
      a.mov('ecx', 0);
      a.mov('eax', this.core.control.xcr0[0]! >>> 0);
      a.mov('edx', 0);
      a.xsetbv();
      a.label('start');
      a.mov('r12d', rounds);
      a.label('again');
      body(a);
      a.dec('r12');
      a.jne('again');
      a.hlt();
      a.jmp('start');
    };
    const { fd, errno } = makeVm(this.vmm, this.vmm.supported().entries, guestImage(program), 0n);
    if (errno !== 'OK') throw new Error(`the guest cannot be made: ${errno}`);
    this.fd = fd;
    // Pages are mapped and code is decoded in the first run.
    this.run();
  }

  /** One KVM_RUN. @returns its cycles */
  run(): number {
    const began = this.core.clock.now[0]!;
    this.vmm.process.ioctl(this.fd, KVM_RUN, 0);
    return this.core.clock.now[0]! - began;
  }
}

/** Cycles of one round of a guest's loop, without the loop. */
function perRound(host: string, body: (a: Assembler) => void): number {
  const full = new Loop(host, body, ROUNDS).run();
  const empty = new Loop(host, () => {}, ROUNDS).run();
  return (full - empty) / ROUNDS;
}

function cpuid(a: Assembler): void {
  a.mov('eax', 0);
  a.mov('ecx', 0);
  a.cpuid();
}

function vmcall(a: Assembler): void {
  a.mov('eax', 1);
  a.vmcall();
}

const published = (row: CostRow): number => row[0];

/**
 * KVM in KVM on Emerald Rapids: what a round trip of the inner guest takes when the outer kernel asks the CPU for the sizes
 * of XSAVE components again and again (`kvm_update_cpuid_runtime()`, twice a round trip, both formats of the area), in units
 * of what it takes when it does not.
 */
function nestedRatio(cached: number): number {
  const { core } = new Loop('emerald-rapids', () => {}, 1);
  // x87 to PKRU: what a guest without permission for AMX has.
  const components = [2, 5, 6, 7, 9];
  const sizes = components.reduce((sum, component) => sum + core.costs.cpuid(0xd, component), 0);
  return (cached + 4 * sizes) / cached;
}

/** All of it, measured on the simulated machine now. */
export function calibrate(): readonly Calibration[] {
  const { intel, amd } = VENDOR_COSTS;
  const emr = FAMILY_COSTS.spr;
  const cached = published(emr.nested_cpuid_roundtrip_cached!);
  const uncached = published(emr.nested_cpuid_roundtrip_uncached!);
  const idle = new Loop('rome', () => {}, 1);
  idle.run();
  return [
    {
      what: 'VMX: VMCALL, guest to KVM and back',
      kind: 'input',
      published: published(intel.vmx_world_switch_roundtrip_vmcall),
      model: perRound('skylake-sp', vmcall),
      source: 'kvm-unit-tests vmexit, Intel, 2017',
      within: 0.1,
    },
    {
      what: 'VMX: CPUID, guest to KVM and back',
      kind: 'prediction',
      published: published(intel.vmx_cpuid_roundtrip),
      model: perRound('skylake-sp', cpuid),
      source: 'kvm-unit-tests vmexit, Intel, 2017',
      within: 0.15,
    },
    {
      what: 'SVM: VMRUN and #VMEXIT around a guest that does nothing',
      kind: 'input',
      published: published(amd.svm_world_switch_roundtrip),
      model: idle.core.costs.of('vmrun') + idle.core.costs.of('vmexit'),
      source: 'KVM thread, EPYC, December 2020',
      within: 0.05,
    },
    {
      what: 'SVM: a whole KVM_RUN around it',
      kind: 'prediction',
      published: published(amd.kvm_run_ioctl_roundtrip),
      model: idle.run(),
      source: 'KVM thread, EPYC, December 2020',
      within: 0.15,
    },
    {
      what: 'nested CPUID on Emerald Rapids: leaf 0DH asked for each time / cached (ratio)',
      kind: 'prediction',
      published: uncached / cached,
      model: nestedRatio(cached),
      source: 'KVM patch 1201f226c863, December 2024',
      within: 0.15,
    },
  ];
}

/** Cycles of one ioctl with that many entries. */
export interface IoctlCycles {
  readonly nent: number;
  /** KVM_SET_CPUID2 as mainline has it, and in paranoid mode with each place where it may verify. */
  readonly off: number;
  readonly separate: number;
  readonly combined: number;
}

const SIZES = [16, 32, 64, 128, 256];

/** What KVM_SET_CPUID2 costs on Sapphire Rapids, by the number of entries. Its rows are estimates: look at differences. */
export function setCpuidCycles(): readonly IoctlCycles[] {
  const off = setter('off', 'separate');
  const separate = setter('paranoid', 'separate');
  const combined = setter('paranoid', 'combined');
  return SIZES.map((nent) => ({ nent, off: off(nent), separate: separate(nent), combined: combined(nent) }));
}

function setter(policy: Policy, placement: Placement): (nent: number) => number {
  const module = bootKvm(describeBuiltIn(builtInHost('sapphire-rapids')!), { policy, placement });
  const { core } = module.kernel.hardware.cpus[0]!;
  const vmm = new Vmm(module);
  const vcpu = vmm.createVcpu(vmm.prepareVm(VM_TYPES.default));
  const supported = vmm.supported().entries;
  return (nent) => {
    const began = core.clock.now[0]!;
    vmm.setCpuid2(
      vcpu,
      Array.from({ length: nent }, (_, at) => supported[at % supported.length]!),
    );
    return core.clock.now[0]! - began;
  };
}

/** What KVM_GET_SUPPORTED_CPUID costs on a host, most of it real CPUID instructions; and how many entries it has. */
export function getSupportedCycles(host: string): { readonly nent: number; readonly cycles: number } {
  const module = bootKvm(describeBuiltIn(builtInHost(host)!));
  const { core } = module.kernel.hardware.cpus[0]!;
  const vmm = new Vmm(module);
  const began = core.clock.now[0]!;
  const { entries } = vmm.supported();
  return { nent: entries.length, cycles: core.clock.now[0]! - began };
}
