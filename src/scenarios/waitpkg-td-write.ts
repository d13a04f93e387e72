import type { Assembler } from '../emu/isa/asm.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { tdHalt, writeMsr } from './guest-image.js';
import { umwaitProbe, wakeUpsProbe } from './probes.js';
import type { Scenario } from './scenario.js';

const waits = umwaitProbe(10_000_000);
const wakes = wakeUpsProbe(1_000_000);

/** The shortest limit there is, and no C0.2. */
function writesControl(a: Assembler): void {
  writeMsr(a, msrIndex('IA32_UMWAIT_CONTROL'), 4 | 1);
  a.label('again');
  tdHalt(a);
  a.jmp('again');
}

export const waitpkgTdWrite: Scenario = {
  name: 'waitpkg-td-write',
  title: "a TD chooses how long the host's programs may wait with UMWAIT, and how deep",
  story:
    'As waitpkg-td, but the guest writes IA32_UMWAIT_CONTROL: a limit of 4 ticks, and bit 0, which forbids C0.2. The TDX ' +
    'module lets the WRMSR through and leaves the value at exit. A program of the host that waits for an event then wakes at ' +
    'once and all the time, and never gets into C0.2: the guest has taken over power management of the CPU, against the ' +
    'other hyperthread too.',
  guest: 'td',
  host: 'emerald-rapids',
  kernels: ['7.3'],
  modules: ['2.0.8', '1.5.01'],
  watch: ['IA32_UMWAIT_CONTROL'],
  limits: 'Every policy that knows the bit prevents it, at KVM_TDX_INIT_VM.',
  sources: [
    'TDX module 1.5.01 and 2.0.8, MSR table, TD entry and exit',
    '"KVM: VMX: Stop context switching MSR_IA32_UMWAIT_CONTROL" (June 2020), which names both harms',
  ],
  play(stage) {
    stage.probe(waits);
    stage.probe(wakes);
    stage.td(['WAITPKG'], writesControl).run();
    stage.probe(waits);
    stage.probe(wakes);
  },
};
