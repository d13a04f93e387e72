import { busLockGuest, DB_COUNT } from './bus-lock-guest.js';
import { busLockProbe } from './probes.js';
import type { Scenario } from './scenario.js';
import { vmGuest } from './vm-guest.js';

const BUS_LOCK_DETECT = 4;
const guest = busLockGuest(BUS_LOCK_DETECT);

export const busLockAdvertised: Scenario = {
  name: 'bus-lock-advertised',
  title: 'an SVM guest is told that it can trap bus locks, and cannot',
  story:
    'CPUID.(EAX=7,ECX=0):ECX[24] was in KVM’s common code, which reported it on AMD too, where KVM had nothing for it. Here userspace sets the bit. ' +
    'The guest sets DEBUGCTL[2], which KVM takes and forgets, locks the bus in user mode, and waits for a #DB that the CPU itself raises for a ' +
    'program of the host.',
  guest: 'vm',
  host: 'turin',
  kernels: ['7.3'],
  modules: [],
  watch: ['IA32_DEBUGCTL'],
  limits:
    'Paranoid mode prevents it at KVM_SET_CPUID2: the overlay of SVM does not have the bit, although the CPU has it. The other policies do not look at ' +
    'ordinary VMs. The harm is the guest’s: the host is as it was.',
  sources: [
    '"KVM: SVM: Don\'t advertise Bus Lock Detect to guest if SVM support is missing" (August 2024)',
    'svm_set_cpu_caps(), svm_set_msr()',
  ],
  play(stage) {
    stage.probe(busLockProbe);
    stage.guestFinds('a bus lock with DEBUGCTL[2]', busLockProbe.observe(stage.cpu));
    const vm = vmGuest(stage, ['BUS_LOCK_DETECT'], guest);
    vm.run();
    stage.guestFinds('a bus lock with DEBUGCTL[2]', { '#DB': String(vm.register(DB_COUNT)) });
    stage.probe(busLockProbe);
  },
};
