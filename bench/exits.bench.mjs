// VM exits a second, as the simulated KVM deals with them: the guest's instruction, the way out, what KVM does, the way
// in. And a whole story: a host is booted, a VM made, its guest run and left.
import { bootKvm, builtInHost, describeBuiltIn, Vmm } from '../dist/index.js';
import { KVM_RUN } from '../dist/kvm/abi.js';
import { guestImage } from '../dist/scenarios/guest-image.js';
import { makeVm } from '../dist/scenarios/vm-guest.js';
import { measure } from './lib/measure.mjs';
import { bennyRows, figure, finish, measured } from './lib/report.mjs';

const ROUNDS = 1000;
const BARE = 'bare switch loop';

/** What the guest does over and over; each exits once. */
const BODIES = {
  cpuid: (a) => {
    a.mov('eax', 0);
    a.mov('ecx', 0);
    a.cpuid();
  },
  hypercall: (a, vendor) => {
    a.mov('eax', 1);
    a[vendor === 'vmx' ? 'vmcall' : 'vmmcall']();
  },
  rdmsr: (a) => {
    a.mov('ecx', 0x10);
    a.rdmsr();
  },
};

function loop(host, body) {
  const vmm = new Vmm(bootKvm(describeBuiltIn(builtInHost(host))));
  const image = guestImage((a) => {
    a.label('start');
    a.mov('r12d', ROUNDS);
    a.label('again');
    body(a);
    a.dec('r12');
    a.jne('again');
    a.hlt();
    a.jmp('start');
  });
  const { fd, errno } = makeVm(vmm, vmm.supported().entries, image, 0n);
  if (errno !== 'OK') throw new Error(errno);
  return () => vmm.process.ioctl(fd, KVM_RUN, 0);
}

/** The switches of the same instructions, and nothing else. */
function bareLoop() {
  const ops = Uint8Array.of(0, 0, 1, 2, 3);
  const words = new Int32Array(64);
  return () => {
    let left = ROUNDS;
    let at = 0;
    for (;;) {
      switch (ops[at++]) {
        case 0:
          words[at] = 0;
          break;
        case 1:
          for (let n = 0; n < 4; n++) words[n] = words[32 + n] + left;
          break;
        case 2:
          left--;
          break;
        default:
          if (left === 0) return words[0];
          at = 0;
      }
    }
  };
}

for (const [vendor, host] of [
  ['vmx', 'sapphire-rapids'],
  ['svm', 'genoa'],
]) {
  const cases = { [BARE]: bareLoop() };
  for (const [name, body] of Object.entries(BODIES)) cases[name] = loop(host, (a) => body(a, vendor));
  const result = measure(cases, BARE, ROUNDS, { sample: 4 });
  measured(`${vendor}: exits`, result, BARE, 'exits');
  for (const name of Object.keys(BODIES)) figure(`${vendor}: ${name}`, 1e3 / result[name].ns, 'M exits/s', ['>=', 1.5]);
}

function story(host) {
  const described = describeBuiltIn(builtInHost(host));
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
const stories = { 'sapphire-rapids': story('sapphire-rapids'), genoa: story('genoa') };
const told = measure(stories, 'genoa', 1, { sample: 20 });
for (const name of Object.keys(stories)) figure(`story on ${name}`, told[name].ns / 1e6, 'ms', ['<=', 2]);
finish('exits');
