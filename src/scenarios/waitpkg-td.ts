import { guestHalts } from './guests.js';
import { umwaitProbe } from './probes.js';
import type { Scenario } from './scenario.js';

const probe = umwaitProbe(10_000_000);

export const waitpkgTd: Scenario = {
  name: 'waitpkg-td',
  title: "a TD that has WAITPKG takes away the host's limit on UMWAIT",
  story:
    'The VMM configures CPUID.(EAX=7,ECX=0):ECX[5]. The TDX module gives the TD an IA32_UMWAIT_CONTROL of its own, loads it ' +
    "at entry (0 at first), and leaves the guest's value at exit. Linux wrote 100000 once, caches that, and never writes it " +
    'again. The guest does nothing at all: one entry is enough. A program that waits with UMWAIT then waits for as long as it ' +
    'has asked for.',
  guest: 'td',
  host: 'emerald-rapids',
  kernels: ['7.3'],
  modules: ['2.0.8'],
  watch: ['IA32_UMWAIT_CONTROL'],
  limits: 'Every policy that knows the bit prevents it, at KVM_TDX_INIT_VM.',
  sources: ['TDX module 1.5.01 and 2.0.8, TD entry and exit', 'arch/x86/kernel/cpu/umwait.c', 'RFC v1, cover letter'],
  play(stage) {
    stage.probe(probe);
    const td = stage.td(['WAITPKG'], guestHalts);
    td.run();
    stage.probe(probe);
  },
};
