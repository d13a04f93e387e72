import { CR4_LA57 } from '../emu/control.js';
import type { Assembler } from '../emu/isa/asm.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { msrProbe } from './probes.js';
import type { Scenario } from './scenario.js';
import { vmGuest } from './vm-guest.js';

const KERNEL_GS_BASE = 'IA32_KERNEL_GS_BASE';
const probe = msrProbe(KERNEL_GS_BASE);

/** Canonical with 57 bits, not with 48. */
const WIDE = 0x0080_0000_0000_0000n;

function halts(a: Assembler): void {
  a.hlt();
}

export const la57Vm: Scenario = {
  name: 'la57-vm',
  title: 'an ordinary VM with CR4.LA57 on a CPU without it lets the host take #GP at VM entry',
  story:
    'Userspace sets LA57, CPUID.(EAX=7,ECX=0):ECX[16], on a CPU that has 48-bit addresses. KVM asked the guest’s CPUID alone which bits of ' +
    'CR4 are reserved, so that KVM_SET_SREGS takes CR4.LA57, and from then on an address is canonical with 57 bits: KVM_SET_MSRS takes such a ' +
    'one for IA32_KERNEL_GS_BASE. KVM_RUN loads it with WRMSR, which faults in the host, and the VM entry fails for ' +
    'CR4. Since b11306b53b25 what KVM itself does not have is reserved as well. Since 6.13 MSRs take what the CPU can do, whatever CR4 says: the ' +
    'second lock, at KVM_SET_MSRS.',
  guest: 'vm',
  host: 'cascade-lake',
  kernels: ['7.3', '6.1'],
  modules: [],
  defects: ['cr4-guest-cpuid-only'],
  watch: [KERNEL_GS_BASE],
  limits:
    'Paranoid mode prevents it at KVM_SET_CPUID2, with the defect too: the CPU does not have the bit, and KVM does not report it. The other policies do ' +
    'not look at ordinary VMs.',
  sources: [
    'b11306b53b25 "KVM: x86: Don\'t let userspace set host-reserved cr4 bits" (5.6)',
    'vmx_prepare_switch_to_guest(): wrmsrl(MSR_KERNEL_GS_BASE); ex_handler_msr()',
    '"KVM: x86: model canonical checks more precisely" (6.13); recalled, not read',
  ],
  play(stage) {
    stage.probe(probe);
    const guest = vmGuest(stage, ['LA57'], halts, {
      cr4: BigInt(CR4_LA57),
      msrs: [[msrIndex(KERNEL_GS_BASE), WIDE]],
    });
    guest.run();
    stage.probe(probe);
  },
};
