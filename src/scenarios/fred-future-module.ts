import { guestHalts } from './guests.js';
import { userExceptionProbe } from './probes.js';
import type { Scenario } from './scenario.js';

export const FRED_SOURCES = [
  'assumed: no public TDX module has FRED; the profiles follow from which state has VMCS fields',
  '"Enable FRED with KVM VMX" v9 (Oct 2025)',
  'arch/x86/kernel/fred.c, arch/x86/include/asm/fred.h',
];

export const fredFutureModule: Scenario = {
  name: 'fred-future-module',
  title: "tomorrow's TDX module with FRED under today's KVM: the next event from user mode kills the host",
  story:
    'The host uses FRED. A TDX module that does not exist yet lets a TD have it, in three profiles: what has no VMCS field is ' +
    "reset at exit (fred-a), keeps the guest's value (fred-b), or everything keeps it (fred-c). The deny list does not know " +
    'the bit. After the exit the host goes on as if nothing were: in the kernel, events use the stack they find. Linux ' +
    'thinks that it knows what IA32_FRED_RSP0 holds, and does not write it on the way to user mode. The next event from ' +
    'there has no stack: a page fault while it is delivered, another one for that, and #DF on a stack of its own, or, where ' +
    'IA32_FRED_CONFIG and the stack levels are lost as well, a triple fault.',
  guest: 'td',
  host: 'emerald-rapids',
  boot: { cmdline: 'fred=on' },
  kernels: ['7.3'],
  modules: ['fred-a', 'fred-b', 'fred-c'],
  watch: ['IA32_FRED_RSP0', 'IA32_FRED_CONFIG'],
  limits:
    'Lists of what is allowed prevent it, at KVM_TDX_INIT_VM: nobody has to have heard of FRED. A list of what is denied cannot.',
  sources: FRED_SOURCES,
  play(stage) {
    stage.probe(userExceptionProbe);
    stage.td(['FRED', 'LKGS'], guestHalts).run();
    stage.probe(userExceptionProbe);
  },
};
