import type { Assembler } from '../emu/isa/asm.js';
import { writeMsr } from './guest-image.js';
import { umwaitProbe } from './probes.js';
import type { Scenario } from './scenario.js';
import { vmGuest } from './vm-guest.js';

const IA32_UMWAIT_CONTROL = 0xe1;
const probe = umwaitProbe(10_000_000);

/** A limit of 4 quanta without C0.2, read back, and HLT. */
function guestWrites(a: Assembler): void {
  writeMsr(a, IA32_UMWAIT_CONTROL, 5);
  a.rdmsr();
  a.hlt();
}

export const waitpkgVmx: Scenario = {
  name: 'waitpkg-vmx',
  title: "a VMX guest that has WAITPKG writes IA32_UMWAIT_CONTROL, and the host's is what it was",
  story:
    'KVM reports WAITPKG for VMX guests. A guest that writes IA32_UMWAIT_CONTROL exits; KVM keeps the value in a shadow and ' +
    "never loads it (since June 2020). So the host's UMWAIT ends at the same cycle before and after. This is the control " +
    'experiment: with the defect umwait-passthrough the guest reaches the MSR, and the host feels it.',
  guest: 'vm',
  host: 'sapphire-rapids',
  kernels: ['7.3'],
  modules: [],
  control: true,
  watch: ['IA32_UMWAIT_CONTROL'],
  limits: 'There is nothing to prevent: KVM knows the feature and shadows its MSR.',
  sources: [
    'vmx_get_msr(), vmx_set_msr(): msr_ia32_umwait_control',
    '"KVM: VMX: Stop context switching MSR_IA32_UMWAIT_CONTROL", June 2020',
  ],
  play(stage) {
    stage.probe(probe);
    const guest = vmGuest(stage, ['WAITPKG'], guestWrites);
    guest.run();
    stage.probe(probe);
  },
};
