/** What the CPUID ioctls say to bad pointers, to arrays that run into unmapped memory, and on the wrong descriptor. */
import type { CpuidEntry2 } from '../cpuid/entry.js';
import {
  CPUID2_HEADER_SIZE,
  ENTRY2_SIZE,
  KVM_GET_CPUID2,
  KVM_GET_EMULATED_CPUID,
  KVM_GET_SUPPORTED_CPUID,
  KVM_SET_CPUID,
  KVM_SET_CPUID2,
} from '../kvm/abi.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';
import { type Mapping, withMapping } from './buffers.js';
import { wordsOf } from './deltas.js';
import type { KvmDevice, LiveVm } from './device.js';
import { type Address, PROT_READ, PROT_WRITE } from './ffi.js';

const NULL = 0;
const KERNEL_ADDRESS = 0xffff_8880_0000_0000n;
const NON_CANONICAL = 0x1234_5678_0000_0000n;
const OVER = KVM_MAX_CPUID_ENTRIES + 1;
const FULL = KVM_MAX_CPUID_ENTRIES;

/** `[what, errno]`; the recordings and whoever replays them know the probes by these names. */
export type PointerRow = readonly [what: string, errno: string];

/** The `pointers` section, on a vCPU of its own. */
export function pointerRows(kvm: KvmDevice, vm: LiveVm, supported: readonly CpuidEntry2[]): PointerRow[] {
  return withMapping(kvm.libc, CPUID2_HEADER_SIZE + OVER * ENTRY2_SIZE, (memory) => {
    const probes = new Probes(kvm, vm, memory, supported);
    return [
      ...setRows(probes),
      ...readOnlyRows(probes),
      ...getRows(probes),
      ...emulatedRows(probes),
      ...legacyRows(probes),
      ...descriptorRows(probes),
    ];
  });
}

/** Places tables so that they end where the mapping ends. */
class Probes {
  readonly kvm: KvmDevice;
  readonly vm: LiveVm;
  readonly memory: Mapping;
  readonly nent: number;
  private readonly table: Uint8Array;

  constructor(kvm: KvmDevice, vm: LiveVm, memory: Mapping, supported: readonly CpuidEntry2[]) {
    this.kvm = kvm;
    this.vm = vm;
    this.memory = memory;
    this.nent = supported.length;
    const header = new Uint32Array([supported.length, 0]);
    this.table = new Uint8Array(CPUID2_HEADER_SIZE + supported.length * ENTRY2_SIZE);
    this.table.set(new Uint8Array(header.buffer), 0);
    this.table.set(new Uint8Array(wordsOf(supported).buffer), CPUID2_HEADER_SIZE);
  }

  private offsetFor(entries: number): number {
    return this.memory.size - CPUID2_HEADER_SIZE - entries * ENTRY2_SIZE;
  }

  /** A zeroed table that claims `nent` entries and has room for `room` before the fence. */
  claiming(nent: number, room = 0): Address {
    const offset = this.offsetFor(room);
    this.memory.bytes.fill(0, offset);
    this.memory.view.setUint32(offset, nent, true);
    return this.memory.address + offset;
  }

  /** The supported set at an offset, as far as it fits. */
  supportedAt(offset: number, claim = this.nent): Address {
    this.memory.bytes.set(this.table.subarray(0, this.memory.size - offset), offset);
    this.memory.view.setUint32(offset, claim, true);
    return this.memory.address + offset;
  }

  /** The supported set with its end at the fence, or `beyond` bytes behind it. */
  supportedAtFence(claim = this.nent, beyond = 0): Address {
    return this.supportedAt(this.offsetFor(this.nent) + beyond, claim);
  }

  set(argument: Address, fd = this.vm.vcpu): string {
    return this.kvm.ask(fd, KVM_SET_CPUID2, argument);
  }

  get(argument: Address, fd = this.vm.vcpu): string {
    return this.kvm.ask(fd, KVM_GET_CPUID2, argument);
  }

  setLegacy(argument: Address, fd = this.vm.vcpu): string {
    return this.kvm.ask(fd, KVM_SET_CPUID, argument);
  }

  supported(argument: Address): string {
    return this.kvm.ask(this.kvm.fd, KVM_GET_SUPPORTED_CPUID, argument);
  }

  emulated(argument: Address): string {
    return this.kvm.ask(this.kvm.fd, KVM_GET_EMULATED_CPUID, argument);
  }
}

function setRows(p: Probes): PointerRow[] {
  return [
    ['SET_CPUID2 NULL', p.set(NULL)],
    ['SET_CPUID2 unmapped', p.set(p.memory.end)],
    ['SET_CPUID2 kernel address', p.set(KERNEL_ADDRESS)],
    ['SET_CPUID2 non-canonical', p.set(NON_CANONICAL)],
    ['SET_CPUID2 nent 0, entries unmapped', p.set(p.claiming(0))],
    ['SET_CPUID2 nent 1, entries unmapped', p.set(p.claiming(1))],
    ['SET_CPUID2 nent 256, entries unmapped', p.set(p.claiming(FULL))],
    ['SET_CPUID2 nent 257, entries unmapped', p.set(p.claiming(OVER))],
    ['SET_CPUID2 nent ffffffff, entries unmapped', p.set(p.claiming(0xffff_ffff))],
    ['SET_CPUID2 last entry ends at the fence', p.set(p.supportedAtFence())],
    ['SET_CPUID2 one entry beyond the fence', p.set(p.supportedAtFence(p.nent + 1))],
    ['SET_CPUID2 last 4 bytes (padding) beyond the fence', p.set(p.supportedAtFence(p.nent, 4))],
    ['SET_CPUID2 odd address', p.set(p.supportedAt(1))],
  ];
}

function readOnlyRows(p: Probes): PointerRow[] {
  const table = p.supportedAt(0);
  p.memory.protect(PROT_READ);
  try {
    return [
      ['SET_CPUID2 read-only memory', p.set(table)],
      ['GET_CPUID2 read-only memory', p.get(table)],
      ['GET_SUPPORTED_CPUID read-only memory', p.supported(table)],
      ['GET_EMULATED_CPUID read-only memory', p.emulated(table)],
    ];
  } finally {
    p.memory.protect(PROT_READ | PROT_WRITE);
  }
}

function getRows(p: Probes): PointerRow[] {
  return [
    ['GET_CPUID2 NULL', p.get(NULL)],
    ['GET_CPUID2 nent 256, entries unmapped', p.get(p.claiming(FULL))],
    ['GET_CPUID2 nent 0, entries unmapped', p.get(p.claiming(0))],
    ['GET_CPUID2 nent 256, room for exactly the stored ones', p.get(p.claiming(FULL, p.nent))],
    ['GET_SUPPORTED_CPUID NULL', p.supported(NULL)],
    ['GET_SUPPORTED_CPUID nent 256, entries unmapped', p.supported(p.claiming(FULL))],
    ['GET_SUPPORTED_CPUID nent 0, entries unmapped', p.supported(p.claiming(0))],
    ['GET_SUPPORTED_CPUID nent 1, entries unmapped', p.supported(p.claiming(1))],
    ['GET_SUPPORTED_CPUID nent 256, room for exactly the result', p.supported(p.claiming(FULL, p.nent))],
  ];
}

function emulatedRows(p: Probes): PointerRow[] {
  return [
    ['GET_EMULATED_CPUID NULL', p.emulated(NULL)],
    ['GET_EMULATED_CPUID nent 256, entries unmapped', p.emulated(p.claiming(FULL))],
    ['GET_EMULATED_CPUID nent 0, entries unmapped', p.emulated(p.claiming(0))],
    ['GET_EMULATED_CPUID nent 256, room for 16', p.emulated(p.claiming(FULL, 16))],
  ];
}

function legacyRows(p: Probes): PointerRow[] {
  return [
    ['SET_CPUID NULL', p.setLegacy(NULL)],
    ['SET_CPUID nent 1, entries unmapped', p.setLegacy(p.claiming(1))],
    ['SET_CPUID nent 257, entries unmapped', p.setLegacy(p.claiming(OVER))],
  ];
}

function descriptorRows(p: Probes): PointerRow[] {
  const table = p.supportedAt(0);
  const system = p.kvm.fd;
  return [
    ['SET_CPUID2 on the VM fd', p.set(table, p.vm.vm)],
    ['SET_CPUID2 on the system fd', p.set(table, system)],
    ['GET_CPUID2 on the VM fd', p.get(table, p.vm.vm)],
    ['GET_CPUID2 on the system fd', p.get(table, system)],
    ['SET_CPUID on the VM fd', p.setLegacy(table, p.vm.vm)],
    ['SET_CPUID2 on fd -1', p.set(table, -1)],
  ];
}
