import {
  CPUID2_HEADER_SIZE,
  ENTRY2_SIZE,
  KVM_GET_CPUID2,
  KVM_GET_EMULATED_CPUID,
  KVM_GET_SUPPORTED_CPUID,
  KVM_SET_CPUID,
  KVM_SET_CPUID2,
} from '../../kvm/abi.js';
import { type Address, PAGE_SIZE } from '../../linux/user-memory.js';
import type { Replay } from './context.js';
import type { Errno, VmFds } from './userspace.js';

/** Rounded up to pages: room for a table of 257 entries. */
const REGION = Math.ceil((CPUID2_HEADER_SIZE + 257 * ENTRY2_SIZE) / PAGE_SIZE) * PAGE_SIZE;

/** Memory that ends at a page without access, and the calls into it. */
class Fence {
  readonly replay: Replay;
  readonly fds: VmFds;
  /** The start of the memory; it ends, and the fence begins, at {@link end}. */
  readonly start: number;
  readonly end: number;

  constructor(replay: Replay, fds: VmFds) {
    this.replay = replay;
    this.fds = fds;
    this.start = replay.user.process.memory.mmap(REGION); // an unmapped page follows every mapping
    this.end = this.start + REGION;
  }

  /** The address of a table whose `entries` entries end at the fence. */
  at(entries: number): number {
    return this.end - CPUID2_HEADER_SIZE - entries * ENTRY2_SIZE;
  }

  /** A header at that address. */
  header(entries: number, nent: number): number {
    const address = this.at(entries);
    const { view, base } = this.replay.user.process.memory;
    view.setUint32(address - base, nent, true);
    view.setUint32(address - base + 4, 0, true);
    return address;
  }

  /** Room for so many entries, zeroed, up to the fence. */
  room(entries: number, nent: number): number {
    const { bytes, base } = this.replay.user.process.memory;
    bytes.fill(0, this.at(entries) - base, this.end - base);
    return this.header(entries, nent);
  }

  /** Copies the supported set to an address, as far as the memory reaches. */
  store(address: number, nent = this.replay.baseCount): number {
    const { bytes, view, base: start } = this.replay.user.process.memory;
    const { base } = this.replay;
    const entries = new Uint8Array(base.buffer, base.byteOffset, base.byteLength);
    view.setUint32(address - start, nent, true);
    view.setUint32(address - start + 4, 0, true);
    const from = address + CPUID2_HEADER_SIZE;
    bytes.set(entries.subarray(0, Math.min(entries.length, this.end - from)), from - start);
    return address;
  }

  /** The memory, read-only, with the supported set at its start; writable again afterwards. */
  readOnly(call: (address: number) => Errno, nent = this.replay.baseCount): Errno {
    const { memory } = this.replay.user.process;
    this.store(this.start, nent);
    memory.mprotect(this.start, REGION, 'r');
    const errno = call(this.start);
    memory.mprotect(this.start, REGION, 'rw');
    return errno;
  }

  vcpu(request: number, argument: Address): Errno {
    return this.replay.user.ioctl(this.fds.vcpu, request, argument);
  }

  system(request: number, argument: Address): Errno {
    return this.replay.user.ioctl(this.replay.user.kvm, request, argument);
  }

  vm(request: number, argument: Address): Errno {
    return this.replay.user.ioctl(this.fds.vm, request, argument);
  }
}

const SET2 = KVM_SET_CPUID2;
const GET2 = KVM_GET_CPUID2;
const SUPPORTED = KVM_GET_SUPPORTED_CPUID;
const EMULATED = KVM_GET_EMULATED_CPUID;
const LEGACY = KVM_SET_CPUID;

const KERNEL_ADDRESS = 0xffff_8880_0000_0000n;
const NON_CANONICAL = 0x1234_5678_0000_0000n;

/** What the recorder did, by the name that it gave to it. */
// biome-ignore format: one row per experiment
const EXPERIMENTS: Readonly<Record<string, (fence: Fence) => Errno>> = {
  'SET_CPUID2 NULL': (f) => f.vcpu(SET2, 0),
  'SET_CPUID2 unmapped': (f) => f.vcpu(SET2, f.end),
  'SET_CPUID2 kernel address': (f) => f.vcpu(SET2, KERNEL_ADDRESS),
  'SET_CPUID2 non-canonical': (f) => f.vcpu(SET2, NON_CANONICAL),
  'SET_CPUID2 nent 0, entries unmapped': (f) => f.vcpu(SET2, f.header(0, 0)),
  'SET_CPUID2 nent 1, entries unmapped': (f) => f.vcpu(SET2, f.header(0, 1)),
  'SET_CPUID2 nent 256, entries unmapped': (f) => f.vcpu(SET2, f.header(0, 256)),
  'SET_CPUID2 nent 257, entries unmapped': (f) => f.vcpu(SET2, f.header(0, 257)),
  'SET_CPUID2 nent ffffffff, entries unmapped': (f) => f.vcpu(SET2, f.header(0, 0xffff_ffff)),
  'SET_CPUID2 last entry ends at the fence': (f) => f.vcpu(SET2, f.store(f.at(f.replay.baseCount))),
  'SET_CPUID2 one entry beyond the fence': (f) => f.vcpu(SET2, f.store(f.at(f.replay.baseCount), f.replay.baseCount + 1)),
  'SET_CPUID2 last 4 bytes (padding) beyond the fence': (f) => f.vcpu(SET2, f.store(f.at(f.replay.baseCount) + 4)),
  'SET_CPUID2 odd address': (f) => f.vcpu(SET2, f.store(f.start + 1)),
  'SET_CPUID2 read-only memory': (f) => f.readOnly((m) => f.vcpu(SET2, m)),
  'GET_CPUID2 read-only memory': (f) => f.readOnly((m) => f.vcpu(GET2, m)),
  'GET_SUPPORTED_CPUID read-only memory': (f) => f.readOnly((m) => f.system(SUPPORTED, m), f.replay.supportedCount),
  'GET_EMULATED_CPUID read-only memory': (f) => f.readOnly((m) => f.system(EMULATED, m)),
  'GET_CPUID2 NULL': (f) => f.vcpu(GET2, 0),
  'GET_CPUID2 nent 256, entries unmapped': (f) => f.vcpu(GET2, f.header(0, 256)),
  'GET_CPUID2 nent 0, entries unmapped': (f) => f.vcpu(GET2, f.header(0, 0)),
  'GET_CPUID2 nent 256, room for exactly the stored ones': (f) => f.vcpu(GET2, f.room(f.replay.baseCount, 256)),
  'GET_SUPPORTED_CPUID NULL': (f) => f.system(SUPPORTED, 0),
  'GET_SUPPORTED_CPUID nent 256, entries unmapped': (f) => f.system(SUPPORTED, f.header(0, 256)),
  'GET_SUPPORTED_CPUID nent 0, entries unmapped': (f) => f.system(SUPPORTED, f.header(0, 0)),
  'GET_SUPPORTED_CPUID nent 1, entries unmapped': (f) => f.system(SUPPORTED, f.header(0, 1)),
  'GET_SUPPORTED_CPUID nent 256, room for exactly the result': (f) => f.system(SUPPORTED, f.room(f.replay.supportedCount, 256)),
  'GET_EMULATED_CPUID NULL': (f) => f.system(EMULATED, 0),
  'GET_EMULATED_CPUID nent 256, entries unmapped': (f) => f.system(EMULATED, f.header(0, 256)),
  'GET_EMULATED_CPUID nent 0, entries unmapped': (f) => f.system(EMULATED, f.header(0, 0)),
  'GET_EMULATED_CPUID nent 256, room for 16': (f) => f.system(EMULATED, f.room(16, 256)),
  'SET_CPUID NULL': (f) => f.vcpu(LEGACY, 0),
  'SET_CPUID nent 1, entries unmapped': (f) => f.vcpu(LEGACY, f.header(0, 1)),
  'SET_CPUID nent 257, entries unmapped': (f) => f.vcpu(LEGACY, f.header(0, 257)),
  'SET_CPUID2 on the VM fd': (f) => f.vm(SET2, f.start),
  'SET_CPUID2 on the system fd': (f) => f.system(SET2, f.start),
  'GET_CPUID2 on the VM fd': (f) => f.vm(GET2, f.start),
  'GET_CPUID2 on the system fd': (f) => f.system(GET2, f.start),
  'SET_CPUID on the VM fd': (f) => f.vm(LEGACY, f.start),
  'SET_CPUID2 on fd -1': (f) => f.replay.user.ioctl(-1, SET2, f.start),
};

/** `pointers`: bad addresses, fences, and ioctls on descriptors that do not have them. */
export function replayPointers(replay: Replay, fds: VmFds): void {
  const recorded = replay.document.at('pointers');
  if (!recorded.there) return;
  const tally = replay.section('pointers');
  const fence = new Fence(replay, fds);
  for (const row of recorded.list) {
    const what = row.item(0).text;
    const experiment = EXPERIMENTS[what];
    if (experiment) tally.check(what, row.item(1).text, experiment(fence));
    else tally.skip(1, `the experiment "${what}" is not known`);
  }
  // What the recorder left behind for the next section.
  replay.user.ioctl(fds.vcpu, KVM_SET_CPUID2, replay.fresh().address);
}
