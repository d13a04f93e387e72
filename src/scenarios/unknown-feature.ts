import type { Assembler } from '../emu/isa/asm.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { UNKNOWN_FEATURE } from '../tdx/rows/future-rows.js';
import { tdHalt, writeMsr } from './guest-image.js';
import { msrProbe } from './probes.js';
import type { Scenario } from './scenario.js';
import { withBit } from './td-entries.js';

const STATE = UNKNOWN_FEATURE.states[0]!.state;
const probe = msrProbe(STATE);

function writesIt(a: Assembler): void {
  writeMsr(a, msrIndex(STATE), 0x5a);
  a.label('again');
  tdHalt(a);
  a.jmp('again');
}

export const unknownFeature: Scenario = {
  name: 'unknown-feature',
  title: 'a bit that nobody has given a name brings one MSR, and the guest’s value stays in it',
  story:
    'A TDX module of tomorrow makes a reserved bit configurable, CPUID.(EAX=7,ECX=1):EDX[20], that switches on something with one MSR. A TD ' +
    'has it because its VMM asks for it; at exit the module leaves what the guest wrote. Neither KVM nor this story knows ' +
    'what the MSR does.',
  guest: 'td',
  host: 'granite-rapids',
  kernels: ['7.3'],
  modules: ['unknown-bit'],
  watch: [STATE],
  limits:
    'Lists of what is allowed prevent it, at KVM_TDX_INIT_VM. They refuse every unknown bit, so that a harmless one is refused as well.',
  sources: [
    'assumed: a fictional module and a fictional MSR',
    'RFC v1, cover letter: "KVM can\'t keep a list of bits that it may not know about"',
  ],
  play(stage) {
    stage.probe(probe);
    stage.td([], writesIt, { entries: (base) => withBit(base, UNKNOWN_FEATURE) }).run();
    stage.probe(probe);
  },
};
