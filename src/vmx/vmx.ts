import type { VendorModule } from '../kvm/vendor.js';
import { hasFlag } from '../linux/scope.js';
import { bringUpTdx } from '../tdx/kvm.js';
import { VMX_GUEST_ROWS, VMX_PROGRAM, VMX_VARIABLES } from './cap-rows.js';
import { VmxHostCpu } from './host-cpu.js';
import { VmxRunner } from './runner.js';

/** kvm-intel: for every CPU with VMX, Centaur and Zhaoxin included. */
export const kvmIntel: VendorModule = {
  name: 'kvm_intel',
  overlays: ['DEFAULT', 'TDX'],
  variables: VMX_VARIABLES,
  program: VMX_PROGRAM,
  guestRows: VMX_GUEST_ROWS,
  vmTypes: [{ type: 5, since: '6.18', overlay: 'TDX', when: 'tdx_enabled' }],
  bringUpTdx,
  enable: (cpu, line) => void VmxHostCpu.of(cpu, line),
  createRunner: (context) => new VmxRunner(context),
  nestedFormat: 'ept',
  nestedStatePages: 2,
  matches: ({ state }) => hasFlag(state, 'VMX'),
  refuses: () => null,
};
