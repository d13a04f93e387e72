import type { VendorModule } from '../kvm/vendor.js';
import { hasFlag } from '../linux/scope.js';
import { SVM_GUEST_ROWS, SVM_PROGRAM, SVM_VARIABLES } from './cap-rows.js';
import { SvmHostCpu } from './host-cpu.js';
import { SvmRunner } from './runner.js';

/** kvm-amd: for AMD and Hygon CPUs with SVM. */
export const kvmAmd: VendorModule = {
  name: 'kvm_amd',
  overlays: ['SVM'],
  variables: SVM_VARIABLES,
  program: SVM_PROGRAM,
  guestRows: SVM_GUEST_ROWS,
  vmTypes: [
    { type: 2, since: '6.12', overlay: 'SVM', when: 'sev_enabled' },
    { type: 3, since: '6.12', overlay: 'SVM', when: 'sev_es_enabled' },
    { type: 4, since: '6.12', overlay: 'SVM', when: 'sev_snp_enabled' },
  ],
  enable: (cpu) => void SvmHostCpu.of(cpu),
  createRunner: (context) => new SvmRunner(context),
  nestedFormat: 'npt',
  nestedStatePages: 1,
  matches: ({ state }) => {
    const vendor = state.variables.get('vendor');
    return (vendor === 'amd' || vendor === 'hygon') && hasFlag(state, 'SVM');
  },
  // svm_hardware_setup(): "NX (Execute Disable) not supported"
  refuses: ({ state }) => (hasFlag(state, 'NX') ? null : 'NX (Execute Disable) not supported'),
};
