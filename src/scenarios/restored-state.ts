import { stateAccess } from '../tdx/td-state.js';
import { guestHalts } from './guests.js';
import { systemCallProbe } from './probes.js';
import type { Scenario } from './scenario.js';

/** Breakpoints that nothing hits, and a shadow stack that nobody uses. */
const OCCUPIED: readonly (readonly [state: string, value: bigint])[] = [
  ['DR0', 0x1000n],
  ['DR1', 0x2000n],
  ['DR2', 0x3000n],
  ['DR3', 0x4000n],
  ['DR7', 0x6aan],
  ['IA32_U_CET', 2n],
  ['IA32_PL3_SSP', 0x7000_0000n],
];

export const restoredState: Scenario = {
  name: 'restored-state',
  title: 'what else a TD takes away: KVM brings it all back',
  story:
    'A host that uses hardware breakpoints, bus lock detection, AMX only on request, protection keys and a GS base in user ' +
    'mode runs two TDs, one with no extended state but SSE and one with all that KVM offers. At exit the TDX module leaves INIT ' +
    'values in XCR0, IA32_XSS, PKRU, IA32_XFD, IA32_DEBUGCTL, the debug registers and IA32_KERNEL_GS_BASE. KVM writes the ' +
    "host's values back, some right after the exit, some when the vCPU's context is left.",
  guest: 'td',
  host: 'emerald-rapids',
  kernels: ['7.3'],
  modules: ['2.0.8', '1.5.28', '1.5.01'],
  permissions: [18],
  control: true,
  watch: ['XCR0', 'IA32_XSS', 'PKRU', 'IA32_XFD', 'IA32_DEBUGCTL', 'DR7', 'IA32_KERNEL_GS_BASE'],
  limits:
    'No check of CPUID can do anything about it: save and restore is what helps, whatever the policy. It is there, so the host is whole.',
  sources: ['TDX module 1.5.01, TD exit', 'arch/x86/kvm/vmx/tdx.c: tdx_vcpu_run(), tdx_prepare_switch_to_host()'],
  play(stage) {
    stage.host('the host uses breakpoints, a shadow stack and a GS base in user mode', (cpu) => {
      cpu.switchTo(stage.machine.newTask('vmm', { gs: 0x1234_5000n }));
      for (const [state, value] of OCCUPIED) stateAccess(state)?.write(cpu.core, value);
    });
    stage.probe(systemCallProbe);
    stage.td([], guestHalts).run();
    stage.td([], guestHalts, { xfam: 'all' }).run();
    stage.probe(systemCallProbe);
  },
};
