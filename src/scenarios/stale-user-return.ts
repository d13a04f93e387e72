import { msrIndex } from '../linux/user-return-rows.js';
import { guestHalts } from './guests.js';
import { cpuNumberProbe, systemCallProbe } from './probes.js';
import type { Scenario } from './scenario.js';

const TSC_AUX = msrIndex('IA32_TSC_AUX');
/** The other guest's IA32_TSC_AUX: it thinks that this is its CPU 7. */
const OTHERS = 7n;

export const staleUserReturn: Scenario = {
  name: 'stale-user-return',
  title: 'KVM believes that a TD has run although it has not, and forgets to restore IA32_TSC_AUX',
  story:
    "Another guest's IA32_TSC_AUX is in hardware on CPU 0, as a user-return MSR, when its thread is preempted in the kernel and the thread of a TD, " +
    'which was preempted there too, goes on with TDH.VP.ENTER. The TDX module does not run the TD: its ' +
    'zero-step filter pretends an EPT violation, and then it leaves the MSRs alone. A signal is waiting, so that KVM goes back to user mode. Linux 6.16 to 6.18 tell the cache of ' +
    "user-return MSRs the module's INIT value all the same, 0. The host's value on CPU 0 is 0, so nothing seems to have to be restored: " +
    "user mode runs with the other guest's value, and getcpu() says CPU 7. Since 6.19 KVM writes the INIT values to hardware before it enters, " +
    'so that the cache is right in both cases.',
  guest: 'td',
  host: 'emerald-rapids',
  kernels: ['7.3', '6.18'],
  modules: ['2.0.8'],
  watch: ['IA32_TSC_AUX'],
  limits:
    'Paranoid mode does not prevent it, nor does any other policy: every TD can do it, with the least that a TD can be configured with. ' +
    'Only right bookkeeping of what is in hardware helps.',
  sources: [
    '"KVM: TDX: Explicitly set user-return MSRs that *may* be clobbered by the TDX-Module" (6.19)',
    'TDX module 1.5.01, TDH.VP.ENTER: a synthesised exit does not load INIT values',
  ],
  play(stage) {
    const { userReturn } = stage.cpu;
    stage.probe(cpuNumberProbe);
    stage.probe(systemCallProbe);
    const td = stage.td([], guestHalts);
    stage.tell('kvm', 'another guest was preempted in the kernel: its IA32_TSC_AUX is in hardware');
    userReturn.set(userReturn.find(TSC_AUX), OTHERS);
    td.pretendNextExit();
    td.signal();
    td.run();
    stage.probe(cpuNumberProbe);
    stage.probe(systemCallProbe);
  },
};
