// VM exits a second. By hardware alone: out of the guest for an instruction of its, and in again. As the simulated KVM
// deals with them: what it does about the instruction, and its own part of the world switch.

import { VMCB } from '../../dist/emu/svm/vmcb.js';
import { FIELD } from '../../dist/emu/vmx/field-rows.js';
import { bootKvm, builtInHost, describeBuiltIn, Vmm } from '../../dist/index.js';
import { KVM_RUN } from '../../dist/kvm/abi.js';
import { guestImage } from '../../dist/scenarios/guest-image.js';
import { makeVm } from '../../dist/scenarios/vm-guest.js';
import { measure, quick } from './measure.mjs';
import { bennyRows, figure, finish, measured } from './report.mjs';

const ROUNDS = 1000;
const IN_A_ROW = 100;
const BARE = 'bare switch loop';
export const VENDORS = { vmx: 'sapphire-rapids', svm: 'genoa' };
const MISC_ENABLE = 0x1a0;

/** What the guest does over and over; each exits once. */
const BODIES = {
  CPUID: (a) => {
    a.mov('eax', 0);
    a.mov('ecx', 0);
    a.cpuid();
  },
  hypercall: (a, vendor) => {
    a.mov('eax', 1);
    a[vendor === 'vmx' ? 'vmcall' : 'vmmcall']();
  },
  RDMSR: (a) => {
    a.mov('ecx', MISC_ENABLE);
    a.rdmsr();
  },
};

/** A vCPU with a program, and KVM_RUN of it. */
function vm(vendor, program) {
  const module = bootKvm(describeBuiltIn(builtInHost(VENDORS[vendor])));
  const vmm = new Vmm(module);
  const { core } = module.kernel.hardware.cpus[0];
  const { fd, errno } = makeVm(vmm, vmm.supported().entries, guestImage(program), 0n);
  if (errno !== 'OK') throw new Error(`the guest cannot be made: ${errno}`);
  return { core, vcpu: vmm.process.file(fd), run: () => vmm.process.ioctl(fd, KVM_RUN, 0) };
}

/** KVM_RUN with {@link ROUNDS} exits that KVM deals with. */
function handled(vendor, body) {
  const { run } = vm(vendor, (a) => {
    a.label('start');
    a.mov('r12d', ROUNDS);
    a.label('again');
    body(a, vendor);
    a.dec('r12');
    a.jne('again');
    a.hlt();
    a.jmp('start');
  });
  return run;
}

/** One hypercall after the other, as many, without KVM: whoever runs the guest skips the instruction and enters again. */
function hardwareAlone(vendor) {
  const { vcpu, core, run } = vm(vendor, (a) => {
    a.hlt();
    a.label('again');
    for (let n = 0; n < IN_A_ROW; n++) a[vendor === 'vmx' ? 'vmcall' : 'vmmcall']();
    a.jmp('again');
  });
  run();
  const guest = vcpu.guestLoop().runner.hardware;
  guest.load?.();
  const { vmcs, vmcb } = guest;
  const silicon = core.virtualization;
  const enter = {
    vmx: () => {
      vmcs.lo[FIELD.GUEST_RIP] += vmcs.lo[FIELD.EXIT_INSTRUCTION_LENGTH];
      silicon.enter(false);
    },
    svm: () => {
      vmcb.put(VMCB.RIP, vmcb.lo(VMCB.NRIP), vmcb.hi(VMCB.NRIP));
      silicon.vmrun(vmcb.address);
    },
  }[vendor];
  return () => {
    for (let n = 0; n < ROUNDS; n++) {
      enter();
      core.run();
    }
    return core.retired[0];
  };
}

/** The switches that the same instructions come to in any interpreter, and nothing else. */
function bareLoop() {
  const ops = Uint8Array.of(0, 1, 2, 3);
  const registers = new Int32Array(16);
  return () => {
    registers[12] = ROUNDS;
    for (let at = 0; ; ) {
      switch (ops[at++]) {
        case 0:
          registers[0] = 1;
          break;
        case 1:
          registers[0] = registers[0] + registers[12];
          break;
        case 2:
          registers[12]--;
          break;
        default:
          if (registers[12] === 0) return registers[0];
          at = 0;
      }
    }
  };
}

/**
 * Measures the exits of one vendor: each in a process of its own, as a host has one vendor's CPUs.
 *
 * @param subject the name of the benchmark
 */
export async function measureExits(vendor, subject) {
  const cases = { [BARE]: bareLoop(), 'hypercall, hardware alone': hardwareAlone(vendor) };
  for (const [name, body] of Object.entries(BODIES)) cases[name] = handled(vendor, body);
  const name = `${vendor}: exits of ${VENDORS[vendor]}`;
  if (!quick) await bennyRows(name, cases, ROUNDS, 'exits');
  const result = measure(cases, BARE, ROUNDS, { sample: 4 });
  measured(name, result, BARE, 'exits');
  const rate = (wanted) => 1e3 / result[wanted].ns;
  figure(`${vendor}: hypercall, hardware alone`, rate('hypercall, hardware alone'), 'M exits/s', ['>=', 1.5]);
  for (const body of Object.keys(BODIES)) {
    figure(`${vendor}: ${body}, KVM deals with it`, rate(body), 'M exits/s', body === 'CPUID' ? ['>=', 1.5] : null);
  }
  const share = result.CPUID.ratio / result['hypercall, hardware alone'].ratio;
  figure(`${vendor}: CPUID and KVM / hardware alone`, share, 'x');
  finish(subject);
}
