// A whole story: a host is booted, a VM made, its guest run and left.
import { bootKvm, builtInHost, describeBuiltIn, Vmm } from '../dist/index.js';
import { KVM_RUN } from '../dist/kvm/abi.js';
import { guestImage } from '../dist/scenarios/guest-image.js';
import { makeVm } from '../dist/scenarios/vm-guest.js';
import { VENDORS } from './lib/exits.mjs';
import { measure, quick } from './lib/measure.mjs';
import { figure, finish, measured } from './lib/report.mjs';

/** From a host's description to the first exit of a guest that userspace sees. */
function story(vendor) {
  const described = describeBuiltIn(builtInHost(VENDORS[vendor]));
  const image = guestImage((a) => {
    a.cpuid();
    a.hlt();
  });
  return () => {
    const vmm = new Vmm(bootKvm(described));
    const { fd } = makeVm(vmm, vmm.supported().entries, image, 0n);
    return vmm.process.ioctl(fd, KVM_RUN, 0);
  };
}

const BOOT = 'boot alone';
const stories = {
  [BOOT]: () => bootKvm(describeBuiltIn(builtInHost(VENDORS.vmx))).kernel.machine.cpus.length,
  vmx: story('vmx'),
  svm: story('svm'),
};
const told = measure(stories, BOOT, 1, { sample: 20, warm: quick ? 500 : 2000 });
measured('a story: boot, VM, run, exit', told, BOOT, 'stories');
for (const vendor of Object.keys(VENDORS)) {
  figure(`${vendor}: boot, VM, run, exit`, told[vendor].ns / 1e6, 'ms', ['<=', 2]);
  figure(`${vendor}: boot, VM, run, exit / boot alone`, told[vendor].ratio, 'x');
}
finish('story');
