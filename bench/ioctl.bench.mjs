// A whole KVM_SET_CPUID2 through process.ioctl, and what the kernel of this machine takes for one, where it can be asked.
import { VM_TYPES, Vmm } from '../dist/index.js';
import * as abi from '../dist/kvm/abi.js';
import { simdMemory } from '../dist/kvm/paranoid/simd.js';
import { firstRefused } from '../dist/kvm/paranoid/verify.js';
import { loadLibc, MAP_ANONYMOUS, MAP_PRIVATE, O_RDWR, PROT_READ, PROT_WRITE } from '../dist/live/ffi.js';
import { allocated, measure } from './lib/measure.mjs';
import { figure, finish, measured, say } from './lib/report.mjs';
import { layOut, mixedTables, reportedTables, rulesOf } from './lib/tables.mjs';

const PAGES = 4096 * 4;
const CALLS = 64;
const calls = (ioctl) => () => {
  let sum = 0;
  for (let n = 0; n < CALLS; n++) sum += ioctl();
  if (sum !== 0) throw new Error('the ioctl failed');
  return sum;
};

const rules = rulesOf('sapphire-rapids');
const nent = rules.reported.length;
const [words] = reportedTables(rules, nent, 1);

/** KVM_SET_CPUID2 of what KVM reports, on a vCPU of a simulated VM. */
function simulated(paranoid, block = null) {
  const vmm = new Vmm(rules.module, { guestPermissions: [18], block });
  const vm = paranoid ? vmm.prepareVm(VM_TYPES.default) : vmm.createVm(VM_TYPES.default);
  const vcpu = vmm.createVcpu(vm);
  const { process } = vmm;
  const file = process.file(vcpu);
  const address = process.memory.mmap(PAGES);
  // Tables with every kind of rule, each at an address of its own.
  const size = CALLS * (8 + nent * 40);
  const many = process.memory.mmap(size);
  const from = many - process.memory.base;
  const addresses = Array.from(
    layOut(process.memory.bytes.subarray(from, from + size), mixedTables(rules, nent, CALLS)),
    (offset) => many + offset,
  );
  const place = new Uint32Array(process.memory.bytes.buffer, address - process.memory.base, words.length + 2);
  place[0] = nent;
  place.set(words, 2);
  return {
    set: calls(() => process.ioctl(vcpu, abi.KVM_SET_CPUID2, address)),
    capabilities: calls(() => {
      const result = process.ioctl(vcpu, abi.KVM_SET_CPUID2, address);
      return file.guestCaps.maxPhysicalAddressBits === 0 ? 1 : result;
    }),
    setMany: () => {
      let sum = 0;
      for (const one of addresses) sum += process.ioctl(vcpu, abi.KVM_SET_CPUID2, one);
      if (sum !== 0) throw new Error('the ioctl failed');
      return sum;
    },
    supported: calls(() => {
      place[0] = 256;
      return process.ioctl(vmm.kvm, abi.KVM_GET_SUPPORTED_CPUID, address);
    }),
  };
}

/** The same on the real /dev/kvm; `null` with a reason where that does not work. */
function real() {
  try {
    const libc = loadLibc();
    const must = (result, what) => {
      if (result < 0) throw new Error(`${what} fails with errno ${-result}`);
      return result;
    };
    const kvm = must(libc.open('/dev/kvm', O_RDWR), 'opening /dev/kvm');
    const vm = must(libc.ioctl(kvm, abi.KVM_CREATE_VM, 0), 'KVM_CREATE_VM');
    const vcpu = must(libc.ioctl(vm, abi.KVM_CREATE_VCPU, 0), 'KVM_CREATE_VCPU');
    const address = must(libc.mmap(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 'mmap');
    const place = new Uint32Array(libc.view(address, PAGES).buffer);
    const supported = () => {
      place[0] = 256;
      return libc.ioctl(kvm, abi.KVM_GET_SUPPORTED_CPUID, address);
    };
    must(supported(), 'KVM_GET_SUPPORTED_CPUID');
    const count = place[0];
    return {
      count,
      call: calls(() => libc.ioctl(kvm, abi.KVM_GET_API_VERSION, 0) - abi.KVM_API_VERSION),
      supported: calls(supported),
      set: calls(() => {
        place[0] = count;
        return libc.ioctl(vcpu, abi.KVM_SET_CPUID2, address);
      }),
    };
  } catch (error) {
    say(`the real /dev/kvm is left out: ${error.message.split('\n', 1)[0]}`);
    return null;
  }
}

const paranoid = simulated(true);
const vectors = simulated(true, simdMemory(1 << 20));
const off = simulated(false);
const kernel = real();
const cases = {
  'verification alone': calls(() => firstRefused(rules.allowed, words, nent) + 1),
  'KVM_SET_CPUID2, paranoid': paranoid.set,
  'KVM_SET_CPUID2, paranoid, then the capabilities': paranoid.capabilities,
  'KVM_SET_CPUID2, paranoid, every kind of rule': paranoid.setMany,
  'KVM_SET_CPUID2, paranoid, memory of WebAssembly': vectors.set,
  'KVM_SET_CPUID2, off': off.set,
  KVM_GET_SUPPORTED_CPUID: off.supported,
  ...(kernel && {
    [`real KVM_SET_CPUID2, ${kernel.count} entries`]: kernel.set,
    [`real KVM_GET_SUPPORTED_CPUID, ${kernel.count} entries`]: kernel.supported,
    'real ioctl that does nothing': kernel.call,
  }),
};
const result = measure(cases, 'KVM_SET_CPUID2, paranoid', CALLS);
measured(`whole ioctls, ${nent} entries`, result, 'KVM_SET_CPUID2, paranoid');
const ratio = (name, to) => result[name].ratio / result[to].ratio;
figure('KVM_SET_CPUID2 paranoid / verification alone', ratio('KVM_SET_CPUID2, paranoid', 'verification alone'), 'x');
figure('KVM_SET_CPUID2 paranoid / off', ratio('KVM_SET_CPUID2, paranoid', 'KVM_SET_CPUID2, off'), 'x');
const rate = (name) => 1e3 / result[name].ns;
figure('KVM_SET_CPUID2 paranoid', rate('KVM_SET_CPUID2, paranoid'), 'M/s', ['>=', 0.6]);
figure('with the capabilities', rate('KVM_SET_CPUID2, paranoid, then the capabilities'), 'M/s', ['>=', 0.6]);
figure('with every kind of rule', rate('KVM_SET_CPUID2, paranoid, every kind of rule'), 'M/s', ['>=', 0.6]);
figure('in memory of WebAssembly', rate('KVM_SET_CPUID2, paranoid, memory of WebAssembly'), 'M/s', ['>=', 0.6]);
figure('KVM_GET_SUPPORTED_CPUID', rate('KVM_GET_SUPPORTED_CPUID'), 'M/s');
const bytes = allocated(paranoid.set, CALLS);
say(`KVM_SET_CPUID2, paranoid: ${bytes.toFixed(1)} bytes allocated a call`);
figure('KVM_SET_CPUID2 paranoid, allocated a call', bytes, 'bytes');
if (kernel) {
  const name = `real KVM_SET_CPUID2, ${kernel.count} entries`;
  figure(
    'real KVM_SET_CPUID2 / simulated, an entry',
    (ratio(name, 'KVM_SET_CPUID2, paranoid') * nent) / kernel.count,
    'x',
    ['>=', 25],
  );
  const reported = `real KVM_GET_SUPPORTED_CPUID, ${kernel.count} entries`;
  figure('real KVM_GET_SUPPORTED_CPUID / simulated', ratio(reported, 'KVM_GET_SUPPORTED_CPUID'), 'x');
}
finish('ioctl');
