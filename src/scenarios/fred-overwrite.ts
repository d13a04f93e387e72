import type { Assembler } from '../emu/isa/asm.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { FRED_SOURCES } from './fred-future-module.js';
import { tdHalt, writeMsr } from './guest-image.js';
import { kernelMemoryProbe, userExceptionProbe } from './probes.js';
import type { Scenario } from './scenario.js';

/** In the direct map, where nothing of the simulated kernel's own lies; with five-level paging it is elsewhere. */
const TARGET = 0xff11_0000_0900_1000n;

/** Names the place in the host's memory where the next event is to be written. */
function aims(a: Assembler): void {
  writeMsr(a, msrIndex('IA32_FRED_RSP0'), TARGET);
  a.label('again');
  tdHalt(a);
  a.jmp('again');
}

export const fredOverwrite: Scenario = {
  name: 'fred-overwrite',
  title: "a TD chooses where in the host's memory the next event from user mode is written",
  story:
    "As fred-future-module under fred-b, but the guest writes IA32_FRED_RSP0 with an address of the host's kernel. It stays there at exit. The " +
    'next event from user mode finds a stack, and the host survives: silently, 64 bytes and whatever the handler pushes have ' +
    'been written where the guest wanted them.',
  guest: 'td',
  host: 'emerald-rapids',
  boot: { cmdline: 'fred=on' },
  kernels: ['7.3'],
  modules: ['fred-b'],
  watch: ['IA32_FRED_RSP0'],
  limits: 'Lists of what is allowed prevent it, at KVM_TDX_INIT_VM.',
  sources: FRED_SOURCES,
  play(stage) {
    const memory = kernelMemoryProbe(TARGET - 64n, 8);
    stage.probe(memory);
    stage.probe(userExceptionProbe);
    stage.td(['FRED', 'LKGS'], aims).run();
    stage.probe(userExceptionProbe);
    stage.probe(memory);
  },
};
