import type { Assembler } from '../emu/isa/asm.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { tdHalt, writeMsr } from './guest-image.js';
import { cpuNumberProbe, systemCallProbe } from './probes.js';
import type { Scenario } from './scenario.js';

/** As any kernel does: where its own system calls begin. */
function setsUpSystemCalls(a: Assembler): void {
  writeMsr(a, msrIndex('IA32_STAR'), 0x23_0010_0000_0000n);
  writeMsr(a, msrIndex('IA32_LSTAR'), 0xffff_8000_0000_1000n);
  writeMsr(a, msrIndex('IA32_FMASK'), 0x4_7700);
  writeMsr(a, msrIndex('IA32_TSC_AUX'), 42);
  a.label('again');
  tdHalt(a);
  a.jmp('again');
}

export const syscallMsrs: Scenario = {
  name: 'syscall-msrs',
  title: 'every TD takes the system call MSRs away, and KVM brings them back',
  story:
    'No feature has to be configured: at every exit the TDX module leaves INIT values in IA32_STAR, IA32_LSTAR, IA32_FMASK and ' +
    'IA32_TSC_AUX. In the kernel nobody needs them. KVM makes them user-return MSRs: before the CPU gets back to user mode ' +
    "the host's values are there again. Without that, the next system call would begin at address 0.",
  guest: 'td',
  host: 'emerald-rapids',
  cpus: 2,
  kernels: ['6.18', '7.3'],
  modules: ['2.0.8', '1.5.01'],
  control: true,
  watch: ['IA32_LSTAR', 'IA32_TSC_AUX'],
  limits:
    'No check of CPUID can do anything about it: save and restore is what helps, whatever the policy. It is there, so the host is whole.',
  sources: ['TDX module 1.5.01, TD exit', 'arch/x86/kvm/vmx/tdx.c: tdx_uret_msrs[]'],
  play(stage) {
    const cpu = stage.machine.cpus[1]!;
    stage.probe(systemCallProbe, cpu);
    stage.probe(cpuNumberProbe, cpu);
    stage.td([], setsUpSystemCalls, { cpu }).run();
    stage.probe(systemCallProbe, cpu);
    stage.probe(cpuNumberProbe, cpu);
  },
};
