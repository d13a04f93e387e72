import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../cpuid/entry.js';
import { featureNamed } from '../cpuid/features.js';
import { guestHalts } from './guests.js';
import { umwaitProbe } from './probes.js';
import type { Scenario } from './scenario.js';

const probe = umwaitProbe(10_000_000);
const EMPTY = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** Entries for the other sub-leaves come first, so that this one, which answers any, answers 7.0 and nothing else. */
function disguised(base: readonly CpuidEntry2[]): readonly CpuidEntry2[] {
  const flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  return [
    ...base,
    { function: 7, index: 1, flags, ...EMPTY },
    { function: 7, index: 2, flags, ...EMPTY },
    { function: 7, index: 9, flags: 0, ...EMPTY, ecx: featureNamed('WAITPKG').mask >>> 0 },
  ];
}

export const denylistBypass: Scenario = {
  name: 'denylist-bypass',
  title: 'WAITPKG gets past the deny list in an entry that does not say that it is for leaf 7.0',
  story:
    'KVM_TDX_INIT_VM looks entries up by the rules of guest CPUID: one without KVM_CPUID_FLAG_SIGNIFCANT_INDEX answers every ' +
    'sub-leaf of its function, whatever index it carries. The deny list then asks whether the entry itself says function 7, index 0. An entry for ' +
    '7.9 without the flag, behind entries for 7.1 and 7.2 so that each entry is consumed once, answers 7.0 and is not ' +
    'looked at: the TD has WAITPKG on a kernel that denies it. From there on it is waitpkg-td.',
  guest: 'td',
  host: 'emerald-rapids',
  kernels: ['6.18', '7.3'],
  modules: ['2.0.8'],
  watch: ['IA32_UMWAIT_CONTROL'],
  limits:
    'The deny list does not prevent it, because of where it looks. Policies that ask about the leaf of the module, not about the index of the entry, do.',
  sources: [
    'arch/x86/kvm/vmx/tdx.c: setup_tdparams_cpuids(), tdx_unsupported_cpuid(); read, not tried on hardware',
    'arch/x86/kvm/cpuid.c: kvm_find_cpuid_entry2()',
  ],
  play(stage) {
    stage.probe(probe);
    stage.td([], guestHalts, { entries: disguised }).run();
    stage.probe(probe);
  },
};
