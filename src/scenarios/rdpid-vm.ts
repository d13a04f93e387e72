import { EVENT } from '../emu/core/status.js';
import type { Assembler } from '../emu/isa/asm.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { writeMsr } from './guest-image.js';
import { cpuNumberProbe, kernelCpuNumberProbe } from './probes.js';
import type { Scenario } from './scenario.js';
import { vmGuest } from './vm-guest.js';

const TSC_AUX = 'IA32_TSC_AUX';
/** CPU 5 of node 0, as the guest numbers its CPUs. */
const GUEST_CPU = 5;
/** An interrupt for the host, some time after the guest has begun. */
const DEVICE_VECTOR = 0x41;
const DELAY = 30_000;
const ROUNDS = 50_000;

/** Says which CPU it is, as a kernel does that boots, and computes for a while. */
function guestCounts(a: Assembler): void {
  writeMsr(a, msrIndex(TSC_AUX), GUEST_CPU);
  a.mov('ecx', ROUNDS);
  a.label('again');
  a.dec('ecx');
  a.jne('again');
  a.hlt();
}

export const rdpidVm: Scenario = {
  name: 'rdpid-vm',
  title: 'while KVM has the CPU, RDPID in the host kernel answers with a number of the guest’s',
  story:
    'IA32_TSC_AUX is a user-return MSR: the guest’s value stays until the CPU goes back to user mode, because the kernel does not need its own. ' +
    'Then its entry code for NMI, #MC and #DB began to ask RDPID which CPU it is on, to find its per-CPU data. In an interrupt after a VM ' +
    'exit, that is what the guest has written: the kernel uses the data of another CPU. Back in user mode all is well.',
  guest: 'vm',
  host: 'ice-lake-sp',
  kernels: ['7.3'],
  modules: [],
  watch: [TSC_AUX],
  limits:
    'Paranoid mode does not prevent it, nor does any other policy: RDPID is a feature that KVM supports, reports and switches; what is wrong is when the ' +
    'host’s value comes back. Entry code that does not use RDPID is the cure, and Linux took it before 5.9 was released. The ' +
    'RDPID in the kernel here is the probe’s own.',
  sources: [
    'arch/x86/kvm/x86.c: kvm_set_user_return_msr(), kvm_on_user_return()',
    '"x86/entry/64: Do not use RDPID in paranoid entry to accomodate KVM" (August 2020)',
  ],
  play(stage) {
    const { cpu } = stage;
    stage.probe(cpuNumberProbe);
    stage.probe(kernelCpuNumberProbe);
    const guest = vmGuest(stage, ['RDPID'], guestCounts);
    cpu.interruptWork = () => stage.probe(kernelCpuNumberProbe);
    cpu.core.events.push(cpu.core.clock.now[0]! + DELAY, EVENT.INTERRUPT, DEVICE_VECTOR);
    guest.run();
    cpu.interruptWork = null;
    stage.probe(cpuNumberProbe);
    stage.probe(kernelCpuNumberProbe);
  },
};
