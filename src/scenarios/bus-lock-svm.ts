import type { HostCpu } from '../linux/host-cpu.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { busLockGuest, DB_COUNT } from './bus-lock-guest.js';
import { writeMsr } from './guest-image.js';
import { busLockProbe } from './probes.js';
import type { Scenario } from './scenario.js';
import type { Stage } from './stage.js';
import { vmGuest } from './vm-guest.js';

const guest = busLockGuest(null);

function lockOn(stage: Stage, cpu: HostCpu): void {
  const vm = vmGuest(stage, [], guest, { cpu });
  vm.run();
  stage.guestFinds('a bus lock in its user mode', { '#DB': String(vm.register(DB_COUNT)) }, cpu);
}

export const busLockSvm: Scenario = {
  name: 'bus-lock-svm',
  title: 'an AMD host that traps bus locks traps those of its guests, which have not asked for it',
  story:
    'Two CPUs run the same guest, whose user mode has a locked instruction across two cache lines. One of the CPUs traps bus locks, as Linux does ' +
    'by default where the CPU can (DEBUGCTL[2]). SVM switches DEBUGCTL only together with the records of branches; KVM did not do it either. So the guest on that ' +
    'CPU runs with the host’s DEBUGCTL, and gets #DB for an instruction for which it gets none on the other one.',
  guest: 'vm',
  host: 'turin',
  cpus: 2,
  kernels: ['7.3'],
  modules: [],
  defects: ['svm-debugctl-not-switched'],
  watch: ['IA32_DEBUGCTL'],
  limits:
    'Paranoid mode does not prevent it, nor does any other policy: the guest’s CPUID does not have the feature, and it is not about CPUID. KVM has to ' +
    'switch the MSR, and does since 433265870ab3. The harm is the guest’s; in the host, DR6.BLD stays as the guest’s #DB has left it, until the ' +
    'next #DB: SVM does not save DR6 of the host.',
  sources: [
    '433265870ab3 "KVM: SVM: Manually context switch DEBUGCTL if LBR virtualization is disabled"; bugzilla 219787',
    'APM volume 2, 13.1.3.6 (bus lock trap); arch/x86/kernel/cpu/bus_lock.c',
  ],
  play(stage) {
    const [trapping, quiet] = stage.machine.cpus as [HostCpu, HostCpu];
    stage.host(
      'bus locks are not trapped on this CPU',
      (cpu) => {
        cpu.runKernel((a) => writeMsr(a, msrIndex('IA32_DEBUGCTL'), 0));
      },
      quiet,
    );
    stage.probe(busLockProbe, quiet);
    stage.probe(busLockProbe, trapping);
    lockOn(stage, quiet);
    lockOn(stage, trapping);
    stage.probe(busLockProbe, quiet);
    stage.probe(busLockProbe, trapping);
  },
};
