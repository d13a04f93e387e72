import { msrIndex } from '../linux/user-return-rows.js';
import { guestHalts } from './guests.js';
import { msrProbe } from './probes.js';
import type { Scenario } from './scenario.js';

const DOITM = 'IA32_UARCH_MISC_CTL';
const probe = msrProbe(DOITM);

export const doitmTd: Scenario = {
  name: 'doitm-td',
  title: 'every TD switches off the constant-time mode of a host that uses it',
  story:
    'A host that has switched on DOITM, so that the time which some instructions take does not depend on their operands ' +
    '(IA32_UARCH_MISC_CTL[0]), runs any TD. The TDX module gives every TD its own copy of the MSR and leaves 0 at exit. ' +
    'Nothing in KVM brings the bit back. Linux does not set it by itself; an administrator or another kernel may.',
  guest: 'td',
  host: 'emerald-rapids',
  kernels: ['7.3'],
  modules: ['2.0.8', '1.5.01'],
  watch: [DOITM],
  limits:
    'Paranoid mode does not prevent it, nor does any other policy: no CPUID bit belongs to the MSR, so there is nothing to refuse. Save and restore ' +
    'would help, and KVM has none.',
  sources: [
    'TDX module 1.5.01 and 2.0.8, TD exit: INIT value 0, whatever the TD is configured with',
    'Intel, "Data Operand Independent Timing ISA guidance"',
  ],
  play(stage) {
    stage.host('DOITM is switched on', (cpu) => {
      cpu.runKernel((a) => {
        a.mov('ecx', msrIndex(DOITM));
        a.mov('eax', 1);
        a.mov('edx', 0);
        a.wrmsr();
      });
    });
    stage.probe(probe);
    stage.td([], guestHalts).run();
    stage.probe(probe);
  },
};
