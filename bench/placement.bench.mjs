// Verification as a pass of its own, or combined with the setting up of capabilities: what KVM_SET_CPUID2 takes.
import { VM_TYPES, Vmm } from '../dist/index.js';
import * as abi from '../dist/kvm/abi.js';
import { measure, quick } from './lib/measure.mjs';
import { figure, finish, measured } from './lib/report.mjs';
import { reportedTables, rulesOf } from './lib/tables.mjs';

const PAGES = 4096 * 4;
const CALLS = 64;
const SIZES = quick ? [16, 256] : [16, 32, 64, 128, 192, 256];
const made = Object.fromEntries(
  ['separate', 'combined'].map((placement) => [placement, rulesOf('sapphire-rapids', undefined, { placement })]),
);

/** KVM_SET_CPUID2 of so many entries, and what a guest may use then: the capabilities are set up with it. */
function set(rules, nent, paranoid) {
  const vmm = new Vmm(rules.module, { guestPermissions: [18] });
  const fd = vmm.createVcpu(paranoid ? vmm.prepareVm(VM_TYPES.default) : vmm.createVm(VM_TYPES.default));
  const { process } = vmm;
  const vcpu = process.file(fd);
  const address = process.memory.mmap(PAGES);
  const place = new Uint32Array(process.memory.bytes.buffer, address - process.memory.base, 2 + nent * 10);
  place[0] = nent;
  place.set(reportedTables(rules, nent, 1)[0], 2);
  return () => {
    let sum = 0;
    for (let n = 0; n < CALLS; n++) {
      sum += process.ioctl(fd, abi.KVM_SET_CPUID2, address);
      sum += vcpu.guestCaps.maxPhysicalAddressBits === 0 ? 1 : 0;
    }
    if (sum !== 0) throw new Error('the ioctl failed');
    return sum;
  };
}

for (const nent of SIZES) {
  const cases = {
    off: set(made.separate, nent, false),
    separate: set(made.separate, nent, true),
    combined: set(made.combined, nent, true),
  };
  const result = measure(cases, 'off', CALLS, { sample: 1, warm: 60 });
  measured(`KVM_SET_CPUID2 and capabilities, ${nent} entries`, result, 'off');
  figure(`${nent} entries: separate / off`, result.separate.ratio, 'x');
  figure(`${nent} entries: combined / off`, result.combined.ratio, 'x');
}
finish('placement');
