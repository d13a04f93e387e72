import type { CpuidEntry2 } from '../cpuid/entry.js';
import type { Assembler } from '../emu/isa/asm.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { writeMsr } from './guest-image.js';
import { msrProbe } from './probes.js';
import type { Scenario } from './scenario.js';
import { vmGuest } from './vm-guest.js';

const STATUS = 'IA32_RTIT_STATUS';
const probe = msrProbe(STATUS);

/** As many as leaf 14H can say. There are MSRs for two on this CPU, and numbers for four. */
const RANGES = 7;
const OUTPUT = 0x5000;
/** TraceEn, OS, User, ToPA, BranchEn. */
const TRACES = 0x210d;

/** Begins to trace, exits once more, and ends. */
function guestTraces(a: Assembler): void {
  writeMsr(a, msrIndex('IA32_RTIT_OUTPUT_BASE'), OUTPUT);
  writeMsr(a, msrIndex('IA32_RTIT_CTL'), TRACES);
  a.mov('eax', 0);
  a.cpuid();
  a.hlt();
}

function claims(supported: readonly CpuidEntry2[]): readonly CpuidEntry2[] {
  return supported.map((entry) =>
    entry.function === 0x14 && entry.index === 1 ? { ...entry, eax: (entry.eax & ~7) | RANGES } : entry,
  );
}

export const ptVm: Scenario = {
  name: 'pt-vm',
  title: 'a guest that says it has more address ranges of Intel PT than the CPU sends KVM to MSRs that do not exist',
  story:
    'KVM gives guests Intel PT (pt_mode=1). How many pairs of address MSRs there are, it takes from the guest’s leaf 14H, which nobody has ' +
    'compared with the CPU. Once the guest traces, every entry and exit of it saves and loads that many: RDMSR and WRMSR in the host ' +
    'fault. CVE-2024-53135.',
  guest: 'vm',
  host: 'sapphire-rapids',
  boot: { parameters: { 'kvm_intel.pt_mode': 1 } },
  kernels: ['6.1'],
  modules: [],
  watch: ['IA32_RTIT_CTL', STATUS],
  limits:
    'Paranoid mode prevents it at KVM_SET_CPUID2: the number is one of the values that it compares. The other policies do not look at ordinary VMs. ' +
    'The cure was to hide pt_mode behind CONFIG_BROKEN, in 6.12 and the stable kernels; here is a 6.1 from before. What the guest would ' +
    'trace, and what a trace does to the host (the CVE names errors of output tables and a deadlock), is not modelled, nor that KVM has room ' +
    'for four pairs only.',
  sources: [
    'CVE-2024-53135; aa0d42cacf09 "KVM: VMX: Bury Intel PT virtualization (guest/host mode) behind CONFIG_BROKEN"',
    'vmx.c: update_intel_pt_cfg(), pt_guest_enter(), pt_guest_exit()',
  ],
  play(stage) {
    stage.probe(probe);
    vmGuest(stage, [], guestTraces, { entries: claims }).run();
    stage.probe(probe);
  },
};
