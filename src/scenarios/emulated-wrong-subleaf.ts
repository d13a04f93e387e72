import { featureNamed } from '../cpuid/features.js';
import { VM_TYPES } from '../kvm/abi.js';
import { systemCallProbe } from './probes.js';
import type { Scenario } from './scenario.js';
import { withBit } from './td-entries.js';

/** RDPID's bit, one sub-leaf too far. */
const MISPLACED = { leaf: 7, subleaf: 1, register: 'ecx', bit: featureNamed('RDPID').bit } as const;

export const emulatedWrongSubleaf: Scenario = {
  name: 'emulated-wrong-subleaf',
  title: 'an emulated feature is let through in a sub-leaf where it means nothing',
  story:
    'KVM emulates RDPID, CPUID.(EAX=7,ECX=0):ECX[22], on CPUs without it. Before the fix that the RFC begins with, what is ' +
    'emulated was looked up by function alone, so that bit 22 counted as known in CPUID.(EAX=7,ECX=1):ECX too. A paranoid mode built on that lookup lets ' +
    'a VMM set a reserved bit. The guest is told that it has something that has no name. KVM keeps no feature in that ' +
    'place today, so that nothing comes of it for the host; the next feature there would be one that nobody has checked.',
  guest: 'vm',
  host: 'skylake-sp',
  kernels: ['7.3'],
  modules: [],
  defects: ['emulated-index-blind'],
  control: true,
  limits:
    'Only paranoid mode looks at ordinary VMs at all. With the fix it prevents the table, at KVM_SET_CPUID2; without, it accepts it.',
  sources: ['RFC v1, patch 1; 8835a24a5608 "KVM: x86: Fix emulated CPUID features being applied to wrong sub-leaf"'],
  play(stage) {
    stage.probe(systemCallProbe);
    const { vmm } = stage;
    const vcpu = vmm.createVcpu(vmm.prepareVm(VM_TYPES.default));
    const errno = vmm.setCpuid2(vcpu, withBit(vmm.supported().entries, MISPLACED));
    stage.tell('kvm', `KVM_SET_CPUID2: ${errno}`);
    if (errno !== 'OK') stage.refuse('KVM_SET_CPUID2', errno);
    const seen = vmm.getCpuid2(vcpu).entries.find(({ function: fn, index }) => fn === 7 && index === 1);
    stage.tell('guest', `finds CPUID.(EAX=7,ECX=1):ECX = 0x${(seen?.ecx ?? 0).toString(16)}`);
    stage.probe(systemCallProbe);
  },
};
