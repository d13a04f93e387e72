import type { Assembler } from '../emu/isa/asm.js';
import type { HostCpu } from '../linux/host-cpu.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { tdHalt, writeMsr } from './guest-image.js';
import { guestHalts } from './guests.js';
import { type Probe, umwaitProbe, wakeUpsProbe } from './probes.js';
import type { Scenario } from './scenario.js';

const CPUS = 8;

/** The shortest limit. */
function shortest(a: Assembler): void {
  writeMsr(a, msrIndex('IA32_UMWAIT_CONTROL'), 4);
  a.label('again');
  tdHalt(a);
  a.jmp('again');
}

/** What runs where: on the first CPUs a TD that does nothing, then TDs that shorten the limit, then none. */
const TDS: readonly ((a: Assembler) => void)[] = [guestHalts, guestHalts, guestHalts, shortest, shortest, shortest];

/** The sum of what a probe counts on all CPUs. */
function together(probe: Probe, cpus: readonly HostCpu[], counted: readonly string[]): Probe {
  return {
    name: `on ${cpus.length} CPUs together: ${probe.name}`,
    observe() {
      const seen = cpus.map((cpu) => probe.observe(cpu));
      return Object.fromEntries(
        counted.map((name) => [name, String(seen.reduce((sum, item) => sum + Number(item[name] ?? 0), 0))]),
      );
    },
  };
}

export const umwaitMany: Scenario = {
  name: 'umwait-many',
  title: 'what a population of such TDs costs a host: cycles that its CPUs are held, and wake-ups for nothing',
  story:
    `Six of ${CPUS} CPUs run a TD with WAITPKG, once. Three of these guests do nothing, so that the limit is gone on their CPUs; three ` +
    'write 4, the shortest limit. On every CPU, a program then waits with UMWAIT for something that does not happen. Where the ' +
    'limit is gone it holds its CPU until its own deadline, 100 times as long, instead of giving it to somebody else; where it is 4 it wakes up ' +
    'all the time and burns the cycles that it meant to save. The CPUs that ran no TD are as they were.',
  guest: 'td',
  host: 'emerald-rapids',
  cpus: CPUS,
  kernels: ['7.3'],
  modules: ['2.0.8'],
  watch: ['IA32_UMWAIT_CONTROL'],
  limits: 'Every policy that knows the bit prevents it, at KVM_TDX_INIT_VM, on all CPUs at once.',
  sources: ['as waitpkg-td; how many CPUs and TDs there are, and what they do, is made up'],
  play(stage) {
    const { cpus } = stage.machine;
    const held = together(umwaitProbe(10_000_000), cpus, ['cycles']);
    const awake = together(wakeUpsProbe(1_000_000), cpus, ['wake-ups', 'cycles awake']);
    stage.probe(held);
    stage.probe(awake);
    for (const [number, program] of TDS.entries()) stage.td(['WAITPKG'], program, { cpu: cpus[number]! }).run();
    stage.probe(held);
    stage.probe(awake);
  },
};
