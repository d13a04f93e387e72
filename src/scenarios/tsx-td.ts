import type { Assembler } from '../emu/isa/asm.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { tdHalt, writeMsr } from './guest-image.js';
import { sameCpuidProbe, transactionProbe, tsxCpuidProbe } from './probes.js';
import type { Scenario } from './scenario.js';

/** Its own IA32_TSX_CTRL: what is left is not what it has written but the module's INIT value. */
function writesTsxCtrl(a: Assembler): void {
  writeMsr(a, msrIndex('IA32_TSX_CTRL'), 2);
  a.label('again');
  tdHalt(a);
  a.jmp('again');
}

export const tsxTd: Scenario = {
  name: 'tsx-td',
  title: 'a TD that has TSX switches TSX on again on a host that has switched it off',
  story:
    'The host is booted with tsx=off: IA32_TSX_CTRL is 3 on every CPU, transactions abort at once, and CPUID shows neither ' +
    'HLE nor RTM. The VMM configures both for a TD. At exit the TDX module leaves its INIT value, 0. Transactions begin again on that ' +
    'CPU, CPUID shows HLE and RTM there and nowhere else, and what Linux does about TAA is undone.',
  guest: 'td',
  host: 'emerald-rapids',
  boot: { cmdline: 'tsx=off' },
  cpus: 2,
  kernels: ['7.3'],
  modules: ['2.0.8'],
  watch: ['IA32_TSX_CTRL'],
  limits:
    'Every policy that knows the bits prevents it, at KVM_TDX_INIT_VM. Where the host uses TSX, IA32_TSX_CTRL is 0 anyway and nothing is lost.',
  sources: [
    'TDX module 1.5.01 and 2.0.8, TD exit',
    '"KVM: TDX: Add TSX_CTRL msr into uret_msrs list", "KVM: TDX: Disable support for TSX and WAITPKG" (Dec 2024)',
    'arch/x86/kernel/cpu/tsx.c',
  ],
  play(stage) {
    const [, other] = stage.machine.cpus;
    const same = sameCpuidProbe(stage.machine.cpus, 7, 0);
    const look = () => {
      stage.probe(transactionProbe);
      stage.probe(transactionProbe, other);
      stage.probe(tsxCpuidProbe);
      stage.probe(tsxCpuidProbe, other);
      stage.probe(same);
    };
    look();
    stage.td(['HLE', 'RTM'], writesTsxCtrl).run();
    look();
  },
};
