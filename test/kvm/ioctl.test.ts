import { describe, expect, test } from 'vitest';
import {
  bootKvm,
  type CpuidEntry2,
  formatEntry,
  type HostDescription,
  type KernelLine,
  type KvmModule,
  type KvmOptions,
  POLICIES,
  type Policy,
  type Process,
  type ProcessOptions,
  type VmTypeName,
  withInputs,
} from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import { entryAt, putEntry } from '../../src/kvm/cpuid-table.js';
import { errnoName } from '../../src/linux/errno.js';
import type { OpenFile } from '../../src/linux/process.js';
import type { Address } from '../../src/linux/user-memory.js';
import { hostFor, hostNamed } from '../support/platforms.js';

/**
 * The ioctls as a C program sees them: descriptors, addresses, bytes and errno. One row for each rule.
 */

const PAGE = 4096;
const MARK = 0xa5a5_a5a5;

/** A process with /dev/kvm open, which writes structures to its own memory by hand. */
class Caller {
  readonly module: KvmModule;
  readonly process: Process;
  readonly kvm: number;
  /** What its descriptors refer to. */
  readonly files = new Map<number, OpenFile>();

  constructor(module: KvmModule, options?: ProcessOptions) {
    this.module = module;
    this.process = module.kernel.spawn(options);
    const install = this.process.install.bind(this.process);
    this.process.install = (file) => {
      const fd = install(file);
      this.files.set(fd, file);
      return fd;
    };
    this.kvm = this.process.open('/dev/kvm');
  }

  /** The result of the system call: a number from 0 on, or the name of the errno. */
  result(fd: number, request: number, argument: Address = 0): number | string {
    const result = this.process.ioctl(fd, request, argument);
    return result < 0 ? errnoName(result) : result;
  }

  /** `OK` or the name of the errno. */
  errno(fd: number, request: number, argument: Address = 0): string {
    return errnoName(this.process.ioctl(fd, request, argument));
  }

  vm(type: VmTypeName = 'default'): number {
    return this.process.ioctl(this.kvm, abi.KVM_CREATE_VM, abi.VM_TYPES[type]);
  }

  vcpu(vm = this.vm(), id = 0): number {
    return this.process.ioctl(vm, abi.KVM_CREATE_VCPU, id);
  }

  map(bytes: number, protection: 'rw' | 'r' = 'rw'): number {
    return this.process.memory.mmap(bytes, protection);
  }

  /** The address of `bytes` bytes that end where a page that is not mapped begins. */
  mapAtEdge(bytes: number, protection: 'rw' | 'r' = 'rw'): number {
    return this.map(bytes, protection) + Math.ceil(bytes / PAGE) * PAGE - bytes;
  }

  put(address: number, ...words: readonly number[]): void {
    const { view, base } = this.process.memory;
    for (const [at, word] of words.entries()) view.setUint32(address - base + at * 4, word, true);
  }

  word(address: number): number {
    const { view, base } = this.process.memory;
    return view.getUint32(address - base, true);
  }

  bytes(address: number, length: number): Uint8Array {
    const { bytes, base } = this.process.memory;
    return bytes.slice(address - base, address - base + length);
  }

  /** Writes `struct kvm_cpuid2`. */
  putTable(address: number, entries: readonly CpuidEntry2[], nent = entries.length, padding = 0): void {
    const words = new Uint32Array(entries.length * abi.ENTRY2_WORDS);
    for (const [position, entry] of entries.entries()) putEntry(words, position, entry);
    this.put(address, nent, padding, ...words);
  }

  /** A `struct kvm_cpuid2` with room for some entries, all of their words marked but for the padding. */
  marked(nent: number, room: number, padding = 0): number {
    const address = this.mapAtEdge(abi.CPUID2_HEADER_SIZE + room * abi.ENTRY2_SIZE);
    const entry = [...Array(abi.PADDING).fill(MARK), 0, 0, 0];
    this.put(address, nent, padding, ...Array.from({ length: room }, () => entry).flat());
    return address;
  }

  entries(address: number, count: number): CpuidEntry2[] {
    const bytes = this.bytes(address + abi.CPUID2_HEADER_SIZE, count * abi.ENTRY2_SIZE);
    const words = new Uint32Array(bytes.buffer);
    return Array.from({ length: count }, (_, position) => entryAt(words, position));
  }

  /** What a GET answers with room for everything. */
  get(fd: number, request: number): CpuidEntry2[] {
    const address = this.marked(256, 256);
    expect(this.errno(fd, request, address)).toBe('OK');
    return this.entries(address, this.word(address));
  }

  set(vcpu: number, entries: readonly CpuidEntry2[]): string {
    const address = this.map(abi.CPUID2_HEADER_SIZE + entries.length * abi.ENTRY2_SIZE);
    this.putTable(address, entries);
    return this.errno(vcpu, abi.KVM_SET_CPUID2, address);
  }

  enableCap(fd: number, cap: number, value: bigint, flags = 0): string {
    const address = this.map(abi.ENABLE_CAP_SIZE);
    this.put(address, cap, flags, Number(value & 0xffff_ffffn), Number(value >> 32n));
    return this.errno(fd, abi.KVM_ENABLE_CAP, address);
  }

  /** KVM_TDX_INIT_VM with nothing configured but the width of guest-physical addresses. */
  initTd(vm: number): string {
    const address = this.map(512);
    this.put(address, abi.KVM_TDX_INIT_VM, 0, address + abi.TDX_CMD_SIZE, 0, 0, 0);
    this.put(address + abi.TDX_CMD_SIZE + abi.TDX_INIT_VM_CPUID, 1, 0, 0x8000_0008, 0, 0, 48 << 16);
    return this.errno(vm, abi.KVM_MEMORY_ENCRYPT_OP, address);
  }
}

const INTEL = hostNamed('sapphire-rapids');
const AMD = hostNamed('genoa');

interface Setting extends KvmOptions {
  readonly host?: HostDescription;
  readonly kernel?: KernelLine;
  readonly vmType?: VmTypeName;
  readonly process?: ProcessOptions;
}

/** Boots a host (Sapphire Rapids, Linux 7.3) with what a VM type needs, and starts a process on it. */
function caller(setting: Setting = {}): Caller {
  const { host = INTEL, kernel = '7.3', vmType = 'default', process, ...options } = setting;
  const implied = hostFor(host, kernel, vmType);
  return new Caller(bootKvm(implied.host, { ...implied.options, ...options }), process);
}

const entry = (fn: number, more: Partial<CpuidEntry2> = {}): CpuidEntry2 => ({
  ...{ function: fn, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 },
  ...more,
});

const tableOf = (count: number): CpuidEntry2[] =>
  Array.from({ length: count }, (_, n) => entry(0x4000_0200 + n, { eax: n }));

/** A table that no paranoid VM takes: CPUID.(EAX=7,ECX=1):EBX is PPIN and other things that no guest has. */
const UNKNOWN_BIT = [entry(7, { index: 1, flags: 1, ebx: 1 })];

// The GETs -------------------------------------------------------------------------------------------------------------

interface Getter {
  readonly name: string;
  readonly kernel?: KernelLine;
  /** The descriptor to ask, of a process. */
  readonly fd: (user: Caller) => number;
  readonly request: number;
  /** How many entries beyond those that it returns it wants room for. */
  readonly spare: number;
  /** Whether `nent` comes back as the number of entries. */
  readonly writesNent: boolean;
}

const filled = (user: Caller): number => {
  const vcpu = user.vcpu();
  expect(user.set(vcpu, user.get(user.kvm, abi.KVM_GET_SUPPORTED_CPUID))).toBe('OK');
  return vcpu;
};

const system = (user: Caller) => user.kvm;
const SUPPORTED = { request: abi.KVM_GET_SUPPORTED_CPUID, spare: 0, writesNent: true };
const EMULATED = { request: abi.KVM_GET_EMULATED_CPUID, spare: 1, writesNent: true };
const CPUID2 = { request: abi.KVM_GET_CPUID2, spare: 0, writesNent: true };

const GETTERS: readonly Getter[] = [
  { name: 'KVM_GET_SUPPORTED_CPUID', fd: system, ...SUPPORTED },
  { name: 'KVM_GET_SUPPORTED_CPUID of a VM', fd: (user) => user.vm(), ...SUPPORTED },
  { name: 'KVM_GET_EMULATED_CPUID', fd: system, ...EMULATED },
  { name: 'KVM_GET_EMULATED_CPUID of a VM', fd: (user) => user.vm(), ...EMULATED },
  { name: 'KVM_GET_CPUID2', fd: filled, ...CPUID2 },
  { name: 'KVM_GET_CPUID2 of Linux 6.1', kernel: '6.1', fd: filled, ...CPUID2, writesNent: false },
  { name: 'KVM_GET_CPUID2 of Linux 6.12', kernel: '6.12', fd: filled, ...CPUID2 },
];

const paranoidCaller = (kernel: KernelLine = '7.3') => caller({ policy: 'paranoid', kernel });

describe('nent of the GETs', () => {
  const rows: readonly (readonly [nent: string, value: (needed: number) => number, errno: string])[] = [
    ['0', () => 0, 'E2BIG'],
    ['1', () => 1, 'E2BIG'],
    ['n - 1', (needed) => needed - 1, 'E2BIG'],
    ['n', (needed) => needed, 'OK'],
    ['n + 1', (needed) => needed + 1, 'OK'],
    ['255', () => 255, 'OK'],
    ['256', () => 256, 'OK'],
    ['257', () => 257, 'OK'],
    ['2^32 - 1', () => 0xffff_ffff, 'OK'],
  ];

  test.each(
    GETTERS.flatMap((getter) =>
      rows.map(([nent, value, errno]) => ({ name: getter.name, nent, value, errno, getter })),
    ),
  )('$name, nent $nent: $errno', ({ value, errno, getter }) => {
    const user = paranoidCaller(getter.kernel);
    const fd = getter.fd(user);
    const count =
      getter.kernel === '6.1' ? user.get(user.kvm, SUPPORTED.request).length : user.get(fd, getter.request).length;
    const nent = value(count + getter.spare);
    const address = user.marked(nent, 256, 0xdead_beef);
    const before = user.bytes(address, 8 + 256 * abi.ENTRY2_SIZE);
    expect(user.errno(fd, getter.request, address)).toBe(errno);
    const after = user.bytes(address, 8 + 256 * abi.ENTRY2_SIZE);
    const written = errno === 'OK' ? 8 + count * abi.ENTRY2_SIZE : 0;
    expect(after.slice(written)).toEqual(before.slice(written));
    expect(user.word(address + 4)).toBe(0xdead_beef);
    if (errno === 'OK') {
      expect(user.word(address)).toBe(getter.writesNent ? count : nent);
      expect(user.entries(address, count).every((item) => item.function !== MARK && !item.padding)).toBe(true);
    }
  });

  test('an empty table needs no room at all', () => {
    const user = caller();
    const address = user.marked(0, 0);
    expect(user.errno(user.vcpu(), abi.KVM_GET_CPUID2, address)).toBe('OK');
    expect(user.word(address)).toBe(0);
  });
});

// Addresses ------------------------------------------------------------------------------------------------------------

/** All ioctls that take a pointer, each on a descriptor that has it. */
const POINTER_IOCTLS: readonly (readonly [name: string, request: number, fd: (user: Caller) => number])[] = [
  ['KVM_GET_SUPPORTED_CPUID', abi.KVM_GET_SUPPORTED_CPUID, system],
  ['KVM_GET_EMULATED_CPUID', abi.KVM_GET_EMULATED_CPUID, system],
  ['KVM_GET_SUPPORTED_CPUID of a VM', abi.KVM_GET_SUPPORTED_CPUID, (user) => user.vm('tdx')],
  ['KVM_GET_CPUID2', abi.KVM_GET_CPUID2, (user) => user.vcpu()],
  ['KVM_SET_CPUID2', abi.KVM_SET_CPUID2, (user) => user.vcpu()],
  ['KVM_SET_CPUID', abi.KVM_SET_CPUID, (user) => user.vcpu()],
  ['KVM_ENABLE_CAP of a VM', abi.KVM_ENABLE_CAP, (user) => user.vm()],
  ['KVM_ENABLE_CAP of a vCPU', abi.KVM_ENABLE_CAP, (user) => user.vcpu()],
  ['KVM_MEMORY_ENCRYPT_OP', abi.KVM_MEMORY_ENCRYPT_OP, (user) => user.vm('tdx')],
];

describe('addresses that fault', () => {
  const addresses: readonly (readonly [name: string, address: (user: Caller) => Address])[] = [
    ['NULL', () => 0],
    ['NULL as bigint', () => 0n],
    ['1', () => 1],
    ['the page below the arena', ({ process }) => process.memory.base - PAGE],
    ['4 bytes below the first mapping', (user) => user.map(PAGE) - 4],
    ['a guard page', (user) => user.map(PAGE) + PAGE],
    ['a header of which the second half is not mapped', (user) => user.mapAtEdge(4)],
    ['a page that was mapped', (user) => unmapped(user)],
    ['the end of the arena', ({ process }) => process.memory.base + process.memory.bytes.length],
    ['beyond the arena', ({ process }) => process.memory.base + process.memory.bytes.length + PAGE],
    ['2^32', () => 2 ** 32],
    ['the last user page', () => 0x7fff_ffff_f000n],
    ['not canonical', () => 0x8000_0000_0000n],
    ['not canonical, high', () => 0xffff_0000_0000_0000n],
    ['the direct map of the kernel', () => 0xffff_8880_0000_0000n],
    ['an address whose low half is in the arena', ({ process }) => BigInt(process.memory.base) + 2n ** 32n],
    ['an address whose low half is in the arena, high', ({ process }) => BigInt(process.memory.base) + 2n ** 63n],
    ['2^64 - 8', () => 2n ** 64n - 8n],
    ['2^64 - 1', () => 2n ** 64n - 1n],
  ];

  function unmapped(user: Caller): number {
    const address = user.map(PAGE);
    user.process.memory.mprotect(address, PAGE, 'none');
    return address;
  }

  test.each(POINTER_IOCTLS)('%s: EFAULT', (_, request, fd) => {
    const user = caller({ policy: 'paranoid', vmType: 'tdx' });
    const descriptor = fd(user);
    const answers = addresses.map(([name, address]) => [name, user.errno(descriptor, request, address(user))]);
    expect(answers).toEqual(addresses.map(([name]) => [name, 'EFAULT']));
  });
});

describe('addresses that do not fault', () => {
  const offsets: readonly (readonly [name: string, shift: number, as: (address: number) => Address])[] = [
    ['aligned', 0, (address) => address],
    ['as bigint', 0, BigInt],
    ['odd', 1, (address) => address],
    ['2 bytes on', 2, (address) => address],
    ['7 bytes on, as bigint', 7, BigInt],
    ['across a page boundary', PAGE - 4, (address) => address],
  ];

  test.each(offsets)('%s: what is set comes back', (_, shift, as) => {
    const user = caller();
    const vcpu = user.vcpu();
    const address = user.map(3 * PAGE) + shift;
    user.putTable(address, tableOf(20));
    expect(user.errno(vcpu, abi.KVM_SET_CPUID2, as(address))).toBe('OK');
    user.put(address, 256, ...Array(200).fill(0));
    expect(user.errno(vcpu, abi.KVM_GET_CPUID2, as(address))).toBe('OK');
    expect(user.entries(address, user.word(address))).toEqual(tableOf(20));
  });

  test('at the end of the arena: what fits is read, one byte more is not', () => {
    const user = caller();
    const vcpu = user.vcpu();
    const { memory } = user.process;
    const end = memory.base + memory.bytes.length;
    memory.mprotect(end - PAGE, PAGE, 'rw');
    const address = end - 8 - 3 * abi.ENTRY2_SIZE;
    user.putTable(address, tableOf(3));
    expect(user.errno(vcpu, abi.KVM_SET_CPUID2, address)).toBe('OK');
    expect(user.errno(vcpu, abi.KVM_GET_CPUID2, address)).toBe('OK');
    user.put(address, 4);
    expect(user.errno(vcpu, abi.KVM_SET_CPUID2, address)).toBe('EFAULT');
    user.put(end - 8, 0, 0);
    expect(user.errno(vcpu, abi.KVM_SET_CPUID2, end - 8)).toBe('OK');
    expect(user.errno(vcpu, abi.KVM_SET_CPUID2, end - 7)).toBe('EFAULT');
  });
});

describe('entries and protection', () => {
  /** A header in one page and its entries in the next. */
  function split(user: Caller, header: 'rw' | 'r', entries: 'rw' | 'r' | 'none', nent: number): number {
    const { memory } = user.process;
    const address = user.map(2 * PAGE) + PAGE - 8;
    user.put(address, nent, 0);
    memory.mprotect(address + 8 - PAGE, PAGE, header);
    memory.mprotect(address + 8, PAGE, entries);
    return address;
  }

  type Row = readonly [
    what: string,
    request: number,
    header: 'rw' | 'r',
    entries: 'rw' | 'r' | 'none',
    nent: number,
    errno: string,
  ];
  const rows: readonly Row[] = [
    ['SUPPORTED, entries not mapped', abi.KVM_GET_SUPPORTED_CPUID, 'rw', 'none', 256, 'EFAULT'],
    ['SUPPORTED, entries read-only', abi.KVM_GET_SUPPORTED_CPUID, 'rw', 'r', 256, 'EFAULT'],
    ['SUPPORTED, header read-only', abi.KVM_GET_SUPPORTED_CPUID, 'r', 'rw', 100, 'EFAULT'],
    ['SUPPORTED, too little room comes first', abi.KVM_GET_SUPPORTED_CPUID, 'r', 'none', 3, 'E2BIG'],
    ['SUPPORTED, no room comes first', abi.KVM_GET_SUPPORTED_CPUID, 'r', 'none', 0, 'E2BIG'],
    ['EMULATED, entries not mapped: their padding is asked for', abi.KVM_GET_EMULATED_CPUID, 'rw', 'none', 4, 'EINVAL'],
    ['EMULATED, the padding comes before the room', abi.KVM_GET_EMULATED_CPUID, 'rw', 'none', 1, 'EINVAL'],
    ['EMULATED, no room comes before the padding', abi.KVM_GET_EMULATED_CPUID, 'rw', 'none', 0, 'E2BIG'],
    ['EMULATED, entries read-only', abi.KVM_GET_EMULATED_CPUID, 'rw', 'r', 4, 'EFAULT'],
    ['EMULATED, header read-only', abi.KVM_GET_EMULATED_CPUID, 'r', 'rw', 4, 'EFAULT'],
    ['EMULATED, more entries than the pages hold', abi.KVM_GET_EMULATED_CPUID, 'rw', 'rw', 103, 'EINVAL'],
    ['SET_CPUID2, entries not mapped', abi.KVM_SET_CPUID2, 'rw', 'none', 1, 'EFAULT'],
    ['SET_CPUID2, no entries, so none is read', abi.KVM_SET_CPUID2, 'rw', 'none', 0, 'OK'],
    ['SET_CPUID2, too many come before they are read', abi.KVM_SET_CPUID2, 'rw', 'none', 257, 'E2BIG'],
    ['SET_CPUID2, read-only', abi.KVM_SET_CPUID2, 'r', 'r', 100, 'OK'],
    ['SET_CPUID2, the last entry is cut off', abi.KVM_SET_CPUID2, 'rw', 'rw', 103, 'EFAULT'],
    ['SET_CPUID, entries not mapped', abi.KVM_SET_CPUID, 'rw', 'none', 1, 'EFAULT'],
    ['SET_CPUID, too many come before they are read', abi.KVM_SET_CPUID, 'rw', 'none', 257, 'E2BIG'],
    ['SET_CPUID, smaller entries fit where the others do not', abi.KVM_SET_CPUID, 'r', 'r', 103, 'OK'],
    ['SET_CPUID, the last entry is cut off', abi.KVM_SET_CPUID, 'r', 'r', 171, 'EFAULT'],
    ['GET_CPUID2, entries not mapped', abi.KVM_GET_CPUID2, 'rw', 'none', 256, 'EFAULT'],
    ['GET_CPUID2, entries read-only', abi.KVM_GET_CPUID2, 'rw', 'r', 256, 'EFAULT'],
    ['GET_CPUID2, header read-only', abi.KVM_GET_CPUID2, 'r', 'rw', 256, 'EFAULT'],
    ['GET_CPUID2, too little room comes first', abi.KVM_GET_CPUID2, 'r', 'none', 2, 'E2BIG'],
  ];

  test.each(rows)('%s', (_, request, header, entries, nent, errno) => {
    const user = caller();
    const vcpu = user.vcpu();
    expect(user.set(vcpu, tableOf(3))).toBe('OK');
    const address = split(user, header, entries, nent);
    const fd = request === abi.KVM_GET_SUPPORTED_CPUID || request === abi.KVM_GET_EMULATED_CPUID ? user.kvm : vcpu;
    expect(user.errno(fd, request, address)).toBe(errno);
    expect(user.word(address)).toBe(nent);
  });

  test('Linux 6.1 does not write the header of KVM_GET_CPUID2, so that it may be read-only', () => {
    const user = caller({ kernel: '6.1' });
    const vcpu = user.vcpu();
    expect(user.set(vcpu, tableOf(3))).toBe('OK');
    const address = split(user, 'r', 'rw', 100);
    expect(user.errno(vcpu, abi.KVM_GET_CPUID2, address)).toBe('OK');
    expect(user.entries(address, 3)).toEqual(tableOf(3));
  });

  test('what a SET could not read leaves the table as it was', () => {
    const user = caller();
    const vcpu = user.vcpu();
    expect(user.set(vcpu, tableOf(3))).toBe('OK');
    expect(user.errno(vcpu, abi.KVM_SET_CPUID2, split(user, 'rw', 'none', 5))).toBe('EFAULT');
    expect(user.errno(vcpu, abi.KVM_SET_CPUID, split(user, 'rw', 'none', 300))).toBe('E2BIG');
    expect(user.get(vcpu, abi.KVM_GET_CPUID2)).toEqual(tableOf(3));
  });
});

describe('padding', () => {
  /** Room for 256 entries, with one word of the padding of one entry set. */
  function padded(user: Caller, nent: number, position: number, word: number, room = 256): number {
    const address = user.marked(nent, room);
    user.put(address + 8 + position * abi.ENTRY2_SIZE + (abi.PADDING + word) * 4, 1);
    return address;
  }

  const rows: readonly (readonly [nent: number, position: number, word: number, errno: string])[] = [
    [4, 0, 0, 'EINVAL'],
    [4, 0, 2, 'EINVAL'],
    [4, 3, 1, 'EINVAL'],
    [4, 4, 0, 'OK'],
    [1, 0, 0, 'EINVAL'],
    [0, 0, 0, 'E2BIG'],
    [256, 255, 2, 'EINVAL'],
    [257, 255, 2, 'EINVAL'],
    [0xffff_ffff, 255, 0, 'EINVAL'],
    [0xffff_ffff, 256, 0, 'OK'],
    [257, 256, 0, 'OK'],
  ];

  test.each(rows)('KVM_GET_EMULATED_CPUID, nent %i, entry %i, word %i: %s', (nent, position, word, errno) => {
    const user = caller();
    const address = padded(user, nent, position, word, 257);
    expect(user.errno(user.kvm, abi.KVM_GET_EMULATED_CPUID, address)).toBe(errno);
  });

  test('KVM_GET_SUPPORTED_CPUID does not look at it, and clears that of the entries that it writes', () => {
    const user = caller();
    const address = padded(user, 256, 0, 1);
    expect(user.errno(user.kvm, abi.KVM_GET_SUPPORTED_CPUID, address)).toBe('OK');
    expect(user.entries(address, 1)[0]!.padding).toBeUndefined();
  });

  test('KVM_SET_CPUID2 keeps it, in a paranoid VM too; KVM_SET_CPUID has none', () => {
    const user = caller({ policy: 'paranoid' });
    const vm = user.vm();
    expect(user.enableCap(vm, abi.KVM_CAP_X86_CPUID_PARANOID, 1n)).toBe('OK');
    const vcpu = user.vcpu(vm);
    const table = [entry(0, { eax: 7, padding: [1, 2, 3] })];
    expect(user.set(vcpu, table)).toBe('OK');
    expect(user.get(vcpu, abi.KVM_GET_CPUID2)).toEqual(table);
    const legacy = user.map(PAGE);
    user.put(legacy, 1, 0, 0, 7, 0, 0, 0, 0xffff_ffff);
    expect(user.errno(vcpu, abi.KVM_SET_CPUID, legacy)).toBe('OK');
    expect(user.get(vcpu, abi.KVM_GET_CPUID2)).toEqual([entry(0, { eax: 7 })]);
  });
});

describe('nent of the SETs', () => {
  const rows: readonly (readonly [nent: number, errno: string])[] = [
    [0, 'OK'],
    [1, 'OK'],
    [255, 'OK'],
    [256, 'OK'],
    [257, 'E2BIG'],
    [0x8000_0000, 'E2BIG'],
    [0xffff_ffff, 'E2BIG'],
  ];
  const requests = [
    ['KVM_SET_CPUID2', abi.KVM_SET_CPUID2, abi.ENTRY2_SIZE],
    ['KVM_SET_CPUID', abi.KVM_SET_CPUID, abi.ENTRY_SIZE],
  ] as const;

  test.each(
    requests.flatMap(([name, request, size]) => rows.map(([nent, errno]) => ({ name, request, size, nent, errno }))),
  )('$name, nent $nent: $errno', ({ request, size, nent, errno }) => {
    const user = caller();
    const vcpu = user.vcpu();
    const address = user.mapAtEdge(8 + Math.min(nent, 257) * size);
    user.put(address, nent, 0xffff_ffff);
    expect(user.errno(vcpu, request, address)).toBe(errno);
    expect(user.word(address)).toBe(nent);
    expect(user.get(vcpu, abi.KVM_GET_CPUID2)).toHaveLength(errno === 'OK' ? nent : 0);
  });

  test('KVM_SET_CPUID takes function and registers; index and flags become 0', () => {
    const user = caller();
    const vcpu = user.vcpu();
    const address = user.map(PAGE);
    user.put(address, 2, 0, ...[0x4000_0200, 1, 2, 3, 4, 5], ...[7, 6, 7, 8, 9, 10]);
    expect(user.errno(vcpu, abi.KVM_SET_CPUID, address)).toBe('OK');
    expect(user.get(vcpu, abi.KVM_GET_CPUID2).map(formatEntry)).toEqual([
      '40000200 00000000 0 00000001 00000002 00000003 00000004',
      '00000007 00000000 0 00000006 00000007 00000008 00000009',
    ]);
  });
});

describe('what KVM_SET_CPUID2 refuses in mainline', () => {
  const ALL = [...Array(256).keys()];
  const errnos = (user: Caller, tables: readonly (readonly CpuidEntry2[])[]) => {
    const vcpu = user.vcpu();
    return tables.map((table) => user.set(vcpu, table));
  };

  test('linear address widths but 0, 48 and 57, of 256', () => {
    const user = caller({ process: { arena: 8 << 20 } });
    const answers = errnos(
      user,
      ALL.map((bits) => [entry(0x8000_0008, { eax: 0xff00_00ff | (bits << 8) })]),
    );
    expect(ALL.filter((bits) => answers[bits] === 'OK')).toEqual([0, 48, 57]);
    expect(new Set(answers)).toEqual(new Set(['OK', 'EINVAL']));
  });

  const good = entry(0x8000_0008, { eax: 48 << 8 });
  const bad = entry(0x8000_0008, { eax: 52 << 8 });
  const tiles = { eax: 1 << 18 };
  const rows: readonly (readonly [what: string, table: readonly CpuidEntry2[], errno: string])[] = [
    ['the first 0x80000008 counts, and it is good', [good, bad], 'OK'],
    ['the first 0x80000008 counts, and it is bad', [bad, good], 'EINVAL'],
    ['whatever its index and flags', [{ ...bad, index: 7, flags: 1 }, good], 'EINVAL'],
    ['XTILEDATA in 0DH.0', [entry(0xd, { ...tiles, flags: 1 })], 'EPERM'],
    ['XTILEDATA in 0DH.1', [entry(0xd, { ...tiles, flags: 1, index: 1 })], 'OK'],
    ['XTILEDATA in 0DH of any index', [entry(0xd, { ...tiles, index: 1 })], 'EPERM'],
    ['another flag does not make the index count', [entry(0xd, { ...tiles, index: 1, flags: 2 })], 'EPERM'],
    ['the first 0DH.0 counts', [entry(0xd, { flags: 1 }), entry(0xd, { ...tiles, flags: 1 })], 'OK'],
    ['XTILECFG alone', [entry(0xd, { eax: 1 << 17, flags: 1 })], 'OK'],
    ['XTILEDATA in EDX', [entry(0xd, { edx: 1 << 18, flags: 1 })], 'OK'],
    ['the width comes before the permission', [entry(0xd, tiles), bad], 'EINVAL'],
    ['nothing else', [...UNKNOWN_BIT, entry(0xffff_ffff, { eax: 1, index: 9, flags: 0xffff_ffff })], 'OK'],
  ];

  test.each(rows)('%s', (_, table, errno) => {
    expect(errnos(caller(), [table])).toEqual([errno]);
    const withPermission = errnos(caller({ process: { guestPermissions: [18] } }), [table]);
    expect(withPermission).toEqual([errno === 'EPERM' ? 'OK' : errno]);
  });
});

describe('what KVM_GET_CPUID2 returns that was not written, after RESET', () => {
  test.each(['6.1', '6.12', '6.18', '7.1', '7.3'] as const)('Linux %s', (kernel) => {
    const user = caller({ kernel });
    const vcpu = user.vcpu();
    const ones = { eax: 0xffff_ffff, ebx: 0xffff_ffff, ecx: 0xffff_ffff, edx: 0xffff_ffff };
    const table = [
      entry(0x1, { ...ones, edx: 0 }),
      entry(0x7, { ...ones, flags: 1 }),
      entry(0x7, { ...ones, flags: 1, index: 1 }),
      entry(0xd, { ...ones, flags: 1, eax: 7 }),
      entry(0xd, { ...ones, flags: 1, index: 1 }),
      entry(0xd, { ...ones, flags: 1, index: 1 }),
    ];
    expect(user.set(vcpu, table)).toBe('OK');
    const address = user.marked(table.length, table.length);
    expect(user.errno(vcpu, abi.KVM_GET_CPUID2, address)).toBe('OK');
    expect(user.entries(address, table.length)).toEqual([
      { ...table[0]!, ecx: 0xf7ff_ffff, edx: 0x200 }, // CR4.OSXSAVE is 0, the APIC is on
      { ...table[1]!, ecx: 0xffff_ffef }, // CR4.PKE is 0
      table[2],
      { ...table[3]!, ebx: 0x240 }, // x87 alone
      { ...table[4]!, ebx: 0x240 },
      table[5], // only the first match is rewritten
    ]);
  });
});

describe('PV_UNHALT, when HLT does not exit', () => {
  const SIGNATURE = { ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d };
  const FEATURES = 0x0100_7efb;

  /** Whether bit 7 of a features leaf is left, of a table with KVM's signature in some places. */
  function unhaltOf(user: Caller, table: readonly CpuidEntry2[], fn: number, sets = 1): boolean {
    const vm = user.vm();
    expect(user.enableCap(vm, abi.KVM_CAP_X86_DISABLE_EXITS, 2n)).toBe('OK');
    const vcpu = user.vcpu(vm);
    for (let i = 0; i < sets; i++) expect(user.set(vcpu, table)).toBe('OK');
    const address = user.marked(table.length, table.length);
    expect(user.errno(vcpu, abi.KVM_GET_CPUID2, address)).toBe('OK');
    const { eax } = user.entries(address, table.length).find((item) => item.function === fn)!;
    expect(eax & ~0x80).toBe(FEATURES & ~0x80);
    return (eax & 0x80) !== 0;
  }

  const features = (fn: number) => entry(fn, { eax: FEATURES });
  const hyperV = entry(0x4000_0000, { eax: 0x4000_0005, ebx: 0x7263_694d, ecx: 0x666f_736f, edx: 0x7648_2074 });

  type Row = readonly [what: string, base: number, signature: Partial<CpuidEntry2>, left: boolean];
  const rows: readonly Row[] = [
    ['the usual base', 0x4000_0000, SIGNATURE, false],
    ['behind Hyper-V', 0x4000_0100, SIGNATURE, false],
    ['the last base', 0x4000_ff00, SIGNATURE, false],
    ['beyond the last base', 0x4001_0000, SIGNATURE, true],
    ['a base that is none', 0x4000_0080, SIGNATURE, true],
    ['another EBX', 0x4000_0000, { ...SIGNATURE, ebx: 0 }, true],
    ['another ECX', 0x4000_0000, { ...SIGNATURE, ecx: 0 }, true],
    ['another EDX', 0x4000_0000, { ...SIGNATURE, edx: 0 }, true],
    ['another EAX does not matter', 0x4000_0000, { ...SIGNATURE, eax: 7 }, false],
  ];

  test.each(rows)('%s', (_, base, signature, left) => {
    const others = base === 0x4000_0000 ? [] : [hyperV];
    const table = [...others, entry(base, signature), features(base + 1)];
    expect(unhaltOf(caller(), table, base + 1)).toBe(left);
  });

  test('of two signatures the lower counts', () => {
    const table = [0x4000_0200, 0x4000_0100].flatMap((base) => [entry(base, SIGNATURE), features(base + 1)]);
    expect([0x4000_0101, 0x4000_0201].map((fn) => unhaltOf(caller(), table, fn))).toEqual([false, true]);
  });

  test('Linux 6.1 knows the base of the table before', () => {
    const table = [entry(0x4000_0000, SIGNATURE), features(0x4000_0001)];
    expect([1, 2].map((sets) => unhaltOf(caller({ kernel: '6.1' }), table, 0x4000_0001, sets))).toEqual([true, false]);
  });

  test('when HLT exits, the bit stays', () => {
    const user = caller();
    const vcpu = user.vcpu();
    const table = [entry(0x4000_0000, SIGNATURE), features(0x4000_0001)];
    expect(user.set(vcpu, table)).toBe('OK');
    expect(user.get(vcpu, abi.KVM_GET_CPUID2)).toEqual(table);
  });
});

// Descriptors ----------------------------------------------------------------------------------------------------------

describe('kinds of descriptors', () => {
  type Row = readonly [name: string, request: number, system: string, vm: string, vcpu: string];
  const rows: readonly Row[] = [
    ['KVM_GET_API_VERSION', abi.KVM_GET_API_VERSION, 'OK', 'ENOTTY', 'EINVAL'],
    ['KVM_CREATE_VM', abi.KVM_CREATE_VM, 'OK', 'ENOTTY', 'EINVAL'],
    ['KVM_CHECK_EXTENSION', abi.KVM_CHECK_EXTENSION, 'OK', 'OK', 'EINVAL'],
    ['KVM_GET_VCPU_MMAP_SIZE', abi.KVM_GET_VCPU_MMAP_SIZE, 'OK', 'ENOTTY', 'EINVAL'],
    ['KVM_GET_SUPPORTED_CPUID', abi.KVM_GET_SUPPORTED_CPUID, 'OK', 'ENOTTY', 'EINVAL'],
    ['KVM_GET_EMULATED_CPUID', abi.KVM_GET_EMULATED_CPUID, 'OK', 'ENOTTY', 'EINVAL'],
    ['KVM_CREATE_VCPU', abi.KVM_CREATE_VCPU, 'EINVAL', 'OK', 'EINVAL'],
    ['KVM_CREATE_IRQCHIP', abi.KVM_CREATE_IRQCHIP, 'EINVAL', 'OK', 'EINVAL'],
    ['KVM_SET_CPUID', abi.KVM_SET_CPUID, 'EINVAL', 'ENOTTY', 'OK'],
    ['KVM_SET_CPUID2', abi.KVM_SET_CPUID2, 'EINVAL', 'ENOTTY', 'OK'],
    ['KVM_GET_CPUID2', abi.KVM_GET_CPUID2, 'EINVAL', 'ENOTTY', 'OK'],
    ['KVM_MEMORY_ENCRYPT_OP', abi.KVM_MEMORY_ENCRYPT_OP, 'EINVAL', 'ENOTTY', 'EINVAL'],
    ['KVM_GET_SUPPORTED_CPUID of another size', 0xc010_ae05, 'EINVAL', 'ENOTTY', 'EINVAL'],
    ['KVM_SET_CPUID2 of another direction', 0x8008_ae90, 'EINVAL', 'ENOTTY', 'EINVAL'],
    ['KVM_SET_CPUID2 of another type', 0x4008_af90, 'EINVAL', 'ENOTTY', 'EINVAL'],
    ['request 0', 0, 'EINVAL', 'ENOTTY', 'EINVAL'],
    ['request 2^32 - 1', 0xffff_ffff, 'EINVAL', 'ENOTTY', 'EINVAL'],
  ];

  /** Arguments that are numbers, not addresses. */
  const NUMBERS: ReadonlySet<number> = new Set([
    ...[abi.KVM_GET_API_VERSION, abi.KVM_CREATE_VM, abi.KVM_CHECK_EXTENSION, abi.KVM_GET_VCPU_MMAP_SIZE],
    ...[abi.KVM_CREATE_VCPU, abi.KVM_CREATE_IRQCHIP],
  ]);

  test.each(rows)('%s', (_, request, onSystem, onVm, onVcpu) => {
    const user = caller();
    const vcpu = user.vcpu();
    const address = user.marked(256, 256);
    const ask = (fd: number) => user.errno(fd, request, NUMBERS.has(request) ? 0 : address);
    const closed = user.vm();
    user.process.close(closed);
    expect([ask(vcpu), ask(user.vm()), ask(user.kvm)]).toEqual([onVcpu, onVm, onSystem]);
    expect([closed + 100, -1, 0, 1, 2, 2 ** 31].map(ask)).toEqual(Array(6).fill('EBADF'));
  });

  test('the request is 32 bits wide', () => {
    const user = caller();
    expect(user.result(user.kvm, 2 ** 32 + abi.KVM_GET_API_VERSION)).toBe(12);
  });

  test.each([
    ['KVM_GET_API_VERSION', abi.KVM_GET_API_VERSION, 12],
    ['KVM_GET_VCPU_MMAP_SIZE', abi.KVM_GET_VCPU_MMAP_SIZE, 3 * PAGE],
  ] as const)('%s takes no argument', (_, request, answer) => {
    const user = caller();
    expect([0, 0n].map((argument) => user.result(user.kvm, request, argument))).toEqual([answer, answer]);
    expect([1, -1, 2n ** 32n, 2n ** 63n].map((argument) => user.result(user.kvm, request, argument))).toEqual(
      Array(4).fill('EINVAL'),
    );
  });

  test('/dev/kvm is the only device', () => {
    const { process } = caller();
    expect(['/dev/kvm ', '/dev/sev', '', '/dev/kvm/'].map((path) => errnoName(process.open(path)))).toEqual(
      Array(4).fill('ENOENT'),
    );
  });
});

describe('close()', () => {
  test('a descriptor is free again: 0, then EBADF, then it is the next to be given out', () => {
    const user = caller();
    expect(user.kvm).toBe(3);
    const vm = user.vm();
    const later = user.vm();
    expect(user.process.close(vm)).toBe(0);
    expect(errnoName(user.process.close(vm))).toBe('EBADF');
    expect(user.errno(vm, abi.KVM_CHECK_EXTENSION, 7)).toBe('EBADF');
    expect([user.vm(), user.vm()]).toEqual([vm, later + 1]);
    expect([-1, 0, 1023, 2 ** 31].map((fd) => errnoName(user.process.close(fd)))).toEqual(Array(4).fill('EBADF'));
  });

  test('a VM lives as long as its vCPUs, and a vCPU without the descriptors that led to it', () => {
    const user = caller();
    const vm = user.vm();
    const vcpu = user.vcpu(vm);
    user.process.close(vm);
    user.process.close(user.kvm);
    expect(user.set(vcpu, tableOf(2))).toBe('OK');
    expect(user.get(vcpu, abi.KVM_GET_CPUID2)).toEqual(tableOf(2));
  });

  test('a process has 1024 descriptors, and a vCPU that got none does not take its id', () => {
    const user = caller();
    const vm = user.vm();
    let last = vm;
    for (let fd = user.process.open('/dev/kvm'); fd >= 0; fd = user.process.open('/dev/kvm')) last = fd;
    expect(last).toBe(1023);
    expect(errnoName(user.process.open('/dev/kvm'))).toBe('EMFILE');
    expect(user.errno(user.kvm, abi.KVM_CREATE_VM, 0)).toBe('EMFILE');
    expect(user.errno(vm, abi.KVM_CREATE_VCPU, 0)).toBe('EMFILE');
    user.process.close(last);
    expect(user.result(vm, abi.KVM_CREATE_VCPU, 0)).toBe(last);
  });
});

describe('another process', () => {
  /** Hands a descriptor over, as SCM_RIGHTS does. */
  const pass = (from: Caller, fd: number, to: Caller): number => to.process.install(from.files.get(fd)!);

  test('does not have the descriptors of the first', () => {
    const owner = caller();
    const vcpu = owner.vcpu();
    const other = new Caller(owner.module);
    expect([vcpu, vcpu - 1].map((fd) => other.errno(fd, abi.KVM_CHECK_EXTENSION, 7))).toEqual(['EBADF', 'EBADF']);
  });

  test('may use a /dev/kvm that it was handed', () => {
    const owner = caller();
    const other = new Caller(owner.module);
    const kvm = pass(owner, owner.kvm, other);
    expect(other.get(kvm, abi.KVM_GET_SUPPORTED_CPUID)).toEqual(owner.get(owner.kvm, abi.KVM_GET_SUPPORTED_CPUID));
  });

  test('gets EIO from a vCPU of another address space', () => {
    const owner = caller();
    const vcpu = owner.vcpu();
    const other = new Caller(owner.module);
    const handed = pass(owner, vcpu, other);
    for (const request of [abi.KVM_SET_CPUID2, abi.KVM_GET_CPUID2, abi.KVM_SET_CPUID, 0]) {
      expect(other.errno(handed, request, other.marked(0, 0))).toBe('EIO');
    }
    expect(owner.set(vcpu, tableOf(1))).toBe('OK');
  });

  test('gets EIO from a VM of another address space', () => {
    const owner = caller({ policy: 'paranoid' });
    const vm = owner.vm();
    const other = new Caller(owner.module);
    const handed = pass(owner, vm, other);
    const requests = [abi.KVM_CREATE_VCPU, abi.KVM_CHECK_EXTENSION, abi.KVM_CREATE_IRQCHIP, 0];
    expect(requests.map((request) => other.errno(handed, request, 0))).toEqual(requests.map(() => 'EIO'));
    expect(other.errno(handed, abi.KVM_GET_SUPPORTED_CPUID, other.marked(256, 256))).toBe('EIO');
    expect(other.enableCap(handed, abi.KVM_CAP_X86_CPUID_PARANOID, 1n)).toBe('EIO');
  });

  test('is answered by its own permissions', () => {
    const owner = caller();
    const other = new Caller(owner.module, { guestPermissions: [18] });
    const xcr0 = (user: Caller) =>
      user.get(user.kvm, abi.KVM_GET_SUPPORTED_CPUID).find((item) => item.function === 0xd && item.index === 0)!.eax;
    expect(xcr0(other) & ~xcr0(owner)).toBe(0x6_0000);
  });
});

// VMs and vCPUs --------------------------------------------------------------------------------------------------------

describe('KVM_CREATE_VM', () => {
  const withParameters = (
    host: HostDescription,
    parameters: Record<string, number>,
    facts: Record<string, number> = {},
  ) => withInputs(host, { parameters: new Map(Object.entries(parameters)), facts: new Map(Object.entries(facts)) });
  const sevHost = (parameters: Record<string, number> = {}) => withParameters(AMD, parameters, { sev_bios_enabled: 1 });
  const tdxHost = (parameters: Record<string, number> = {}) =>
    withParameters(INTEL, { 'kvm_intel.tdx': 1, ...parameters }, { tdx_platform: 1 });

  type Row = readonly [
    what: string,
    host: HostDescription,
    kernel: KernelLine,
    options: KvmOptions,
    types: readonly number[],
  ];
  const rows: readonly Row[] = [
    ['Intel', INTEL, '7.3', {}, [0]],
    ['Intel, 6.1', INTEL, '6.1', {}, [0]],
    ['Intel, CONFIG_KVM_SW_PROTECTED_VM=y', INTEL, '7.3', { swProtectedVm: true }, [0, 1]],
    ['Intel, 6.1 has no such VMs', INTEL, '6.1', { swProtectedVm: true }, [0]],
    [
      'Intel, protected VMs without EPT',
      withParameters(INTEL, { 'kvm_intel.ept': 0 }),
      '7.3',
      { swProtectedVm: true },
      [0],
    ],
    ['Intel, TDX', tdxHost(), '7.3', {}, [0, 5]],
    ['Intel, TDX, the first kernel that has it', tdxHost(), '6.18', {}, [0, 5]],
    ['Intel, TDX, a kernel without it', tdxHost(), '6.12', {}, [0]],
    ['Intel, TDX without EPT', tdxHost({ 'kvm_intel.ept': 0 }), '7.3', {}, [0]],
    ['Intel, TDX without a module', withParameters(INTEL, { 'kvm_intel.tdx': 1 }), '7.3', {}, [0]],
    ['AMD', AMD, '7.3', {}, [0]],
    ['AMD, SEV', sevHost(), '7.3', {}, [0, 2, 3, 4]],
    ['AMD, SEV, 6.12', sevHost(), '6.12', {}, [0, 2, 3, 4]],
    ['AMD, SEV, 6.1: its SEV is no VM type', sevHost(), '6.1', {}, [0]],
    ['AMD, sev=0', sevHost({ 'kvm_amd.sev': 0 }), '7.3', {}, [0]],
    ['AMD, sev_es=0', sevHost({ 'kvm_amd.sev_es': 0 }), '7.3', {}, [0, 2]],
    ['AMD, sev_snp=0', sevHost({ 'kvm_amd.sev_snp': 0 }), '7.3', {}, [0, 2, 3]],
    ['AMD, npt=0', sevHost({ 'kvm_amd.npt': 0 }), '7.3', {}, [0]],
    ['AMD, TDX', withParameters(AMD, { 'kvm_intel.tdx': 1 }, { tdx_platform: 1 }), '7.3', {}, [0]],
  ];

  test.each(rows)('%s', (_, host, kernel, options, types) => {
    const user = new Caller(bootKvm(withInputs(host, { kernel }), options));
    const offered = [...Array(40).keys()].filter((type) => user.errno(user.kvm, abi.KVM_CREATE_VM, type) === 'OK');
    expect(offered).toEqual(types);
    if (kernel === '6.1') return; // no KVM_CAP_VM_TYPES yet
    expect(user.result(user.kvm, abi.KVM_CHECK_EXTENSION, abi.KVM_CAP_VM_TYPES)).toBe(
      types.reduce((mask, type) => mask | (1 << type), 0),
    );
  });

  test.each([-1, 32, 64, 2 ** 31, 2 ** 32, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n])('type %s: EINVAL', (type) => {
    const user = caller({ swProtectedVm: true });
    expect(user.errno(user.kvm, abi.KVM_CREATE_VM, type)).toBe('EINVAL');
  });

  test('VMs do not know each other: the same vCPU id in each', () => {
    const user = caller();
    const [one, two] = [user.vm(), user.vm()];
    const [first, second] = [user.vcpu(one), user.vcpu(two)];
    expect(user.set(first, tableOf(2))).toBe('OK');
    expect(user.get(second, abi.KVM_GET_CPUID2)).toEqual([]);
  });
});

describe('KVM_CREATE_VCPU', () => {
  test.each(['6.1', '6.12', '7.3'] as const)('%s: ids below KVM_CAP_MAX_VCPU_ID, each once', (kernel) => {
    const user = caller({ kernel });
    const vm = user.vm();
    const limit = user.result(vm, abi.KVM_CHECK_EXTENSION, 128) as number;
    const ids: readonly (readonly [Address, string])[] = [
      [0, 'OK'],
      [0, 'EEXIST'],
      [1n, 'OK'],
      [1, 'EEXIST'],
      [limit - 1, 'OK'],
      [limit - 1, 'EEXIST'],
      [limit, 'EINVAL'],
      [2 ** 31, 'EINVAL'],
      [2n ** 32n, 'EINVAL'],
      [-1, 'EINVAL'],
      [2n ** 64n - 1n, 'EINVAL'],
    ];
    expect(ids.map(([id]) => [id, user.errno(vm, abi.KVM_CREATE_VCPU, id)])).toEqual(ids);
  });
});

describe('KVM_CREATE_IRQCHIP and the split irqchip', () => {
  const SPLIT = abi.KVM_CAP_SPLIT_IRQCHIP;
  type Step = readonly ['irqchip' | 'vcpu' | bigint, string];
  const rows: readonly (readonly [what: string, steps: readonly Step[]])[] = [
    [
      'once',
      [
        ['irqchip', 'OK'],
        ['irqchip', 'EEXIST'],
        [24n, 'EEXIST'],
      ],
    ],
    [
      'split, once',
      [
        [24n, 'OK'],
        [24n, 'EEXIST'],
        ['irqchip', 'EEXIST'],
      ],
    ],
    ['split, no routes', [[0n, 'OK']]],
    [
      'split, too many routes',
      [
        [1025n, 'EINVAL'],
        [2n ** 63n, 'EINVAL'],
        [1024n, 'OK'],
      ],
    ],
    [
      'not after the first vCPU',
      [
        ['vcpu', 'OK'],
        ['irqchip', 'EINVAL'],
        [24n, 'EEXIST'],
      ],
    ],
    [
      'then vCPUs',
      [
        ['irqchip', 'OK'],
        ['vcpu', 'OK'],
      ],
    ],
  ];

  test.each(rows)('%s', (_, steps) => {
    const user = caller();
    const vm = user.vm();
    const run = ([step]: Step) => {
      if (step === 'irqchip') return user.errno(vm, abi.KVM_CREATE_IRQCHIP);
      return step === 'vcpu' ? user.errno(vm, abi.KVM_CREATE_VCPU, 0) : user.enableCap(vm, SPLIT, step);
    };
    expect(steps.map(run)).toEqual(steps.map(([, errno]) => errno));
  });
});

// Capabilities ---------------------------------------------------------------------------------------------------------

describe('KVM_ENABLE_CAP', () => {
  type Row = readonly [what: string, cap: number, value: bigint, flags: number, before: string, after: string];
  const rows: readonly Row[] = [
    ['DISABLE_QUIRKS2, all that it answers', abi.KVM_CAP_DISABLE_QUIRKS2, 0xdffn, 0, 'OK', 'OK'],
    ['DISABLE_QUIRKS2, an unknown quirk', abi.KVM_CAP_DISABLE_QUIRKS2, 0x8000_0000n, 0, 'EINVAL', 'EINVAL'],
    ['DISABLE_QUIRKS2, beyond 32 bits', abi.KVM_CAP_DISABLE_QUIRKS2, 1n << 40n, 0, 'EINVAL', 'EINVAL'],
    ['DISABLE_QUIRKS never fails', abi.KVM_CAP_DISABLE_QUIRKS, 2n ** 64n - 1n, 0, 'OK', 'OK'],
    ['X86_DISABLE_EXITS', abi.KVM_CAP_X86_DISABLE_EXITS, 0xen, 0, 'OK', 'EINVAL'],
    ['X86_DISABLE_EXITS, unknown', abi.KVM_CAP_X86_DISABLE_EXITS, 0x100n, 0, 'EINVAL', 'EINVAL'],
    ['PMU_CAPABILITY', abi.KVM_CAP_PMU_CAPABILITY, 1n, 0, 'OK', 'EINVAL'],
    ['PMU_CAPABILITY, unknown', abi.KVM_CAP_PMU_CAPABILITY, 2n, 0, 'EINVAL', 'EINVAL'],
    ['an unknown capability', 9999, 0n, 0, 'EINVAL', 'EINVAL'],
    ['one that cannot be enabled', 7, 1n, 0, 'EINVAL', 'EINVAL'],
    ['2^32 - 1', 0xffff_ffff, 0n, 0, 'EINVAL', 'EINVAL'],
    ['flags', abi.KVM_CAP_DISABLE_QUIRKS, 0n, 1, 'EINVAL', 'EINVAL'],
    ['flags come first', 9999, 0n, 0x8000_0000, 'EINVAL', 'EINVAL'],
  ];

  test.each(rows)('%s', (_, cap, value, flags, before, after) => {
    const user = caller();
    const fresh = user.vm();
    expect(user.enableCap(fresh, cap, value, flags)).toBe(before);
    const used = user.vm();
    user.vcpu(used);
    expect(user.enableCap(used, cap, value, flags)).toBe(after);
  });

  test('PMU_CAPABILITY is refused where there is no PMU', () => {
    const user = caller({ host: withInputs(INTEL, { parameters: new Map([['kvm.enable_pmu', 0]]) }) });
    expect(user.enableCap(user.vm(), abi.KVM_CAP_PMU_CAPABILITY, 0n)).toBe('EINVAL');
  });

  test('the whole structure must be readable, and no more', () => {
    const user = caller();
    const vm = user.vm();
    const at = (bytes: number) => {
      const address = user.mapAtEdge(bytes);
      user.put(address, abi.KVM_CAP_DISABLE_QUIRKS, 0);
      return user.errno(vm, abi.KVM_ENABLE_CAP, address);
    };
    expect([104, 103, 40, 8].map(at)).toEqual(['OK', 'EFAULT', 'EFAULT', 'EFAULT']);
  });
});

describe('KVM_CAP_X86_CPUID_PARANOID', () => {
  const CAP = abi.KVM_CAP_X86_CPUID_PARANOID;
  const verifies = (user: Caller, vm: number, id = 0) => user.set(user.vcpu(vm, id), UNKNOWN_BIT) === 'EINVAL';

  test('is 252', () => {
    expect(CAP).toBe(252);
  });

  test.each(POLICIES)('%s: whether KVM_CHECK_EXTENSION and KVM_ENABLE_CAP know it', (policy: Policy) => {
    const user = caller({ policy });
    const vm = user.vm();
    const knows = policy === 'paranoid';
    expect([user.kvm, vm].map((fd) => user.result(fd, abi.KVM_CHECK_EXTENSION, CAP))).toEqual(knows ? [1, 1] : [0, 0]);
    expect(user.enableCap(vm, CAP, 1n)).toBe(knows ? 'OK' : 'EINVAL');
    expect(verifies(user, vm)).toBe(knows);
  });

  test('has the number that the kernel was built with', () => {
    const user = caller({ policy: 'paranoid', paranoidCapability: 300 });
    expect([CAP, 300].map((cap) => user.result(user.kvm, abi.KVM_CHECK_EXTENSION, cap))).toEqual([0, 1]);
    const [one, two] = [user.vm(), user.vm()];
    expect([user.enableCap(one, CAP, 1n), user.enableCap(two, 300, 1n)]).toEqual(['EINVAL', 'OK']);
    expect([verifies(user, one), verifies(user, two)]).toEqual([false, true]);
  });

  test('is for one VM, which has to ask for it', () => {
    const user = caller({ policy: 'paranoid' });
    const [one, two] = [user.vm(), user.vm()];
    expect(user.enableCap(one, CAP, 1n)).toBe('OK');
    expect([verifies(user, one), verifies(user, two)]).toEqual([true, false]);
  });

  test.each([0n, 2n, 3n, 1n << 32n, (1n << 32n) + 1n, 2n ** 64n - 1n])('args[0] = %s: EINVAL', (value) => {
    const user = caller({ policy: 'paranoid' });
    const vm = user.vm();
    expect(user.enableCap(vm, CAP, value)).toBe('EINVAL');
    expect(verifies(user, vm)).toBe(false);
  });

  test('flags: EINVAL', () => {
    const user = caller({ policy: 'paranoid' });
    const vm = user.vm();
    expect(user.enableCap(vm, CAP, 1n, 1)).toBe('EINVAL');
    expect(verifies(user, vm)).toBe(false);
  });

  test('cannot be turned off again', () => {
    const user = caller({ policy: 'paranoid' });
    const vm = user.vm();
    expect([1n, 1n, 0n].map((value) => user.enableCap(vm, CAP, value))).toEqual(['OK', 'OK', 'EINVAL']);
    expect(verifies(user, vm)).toBe(true);
  });

  test('comes too late after the first vCPU', () => {
    const user = caller({ policy: 'paranoid' });
    const vm = user.vm();
    user.vcpu(vm);
    expect(user.enableCap(vm, CAP, 1n)).toBe('EINVAL');
    expect(verifies(user, vm, 1)).toBe(false);
  });

  test('is no capability of a vCPU, nor of /dev/kvm', () => {
    const user = caller({ policy: 'paranoid' });
    expect(user.enableCap(user.vcpu(), CAP, 1n)).toBe('EINVAL');
    expect(user.enableCap(user.kvm, CAP, 1n)).toBe('EINVAL');
  });

  test.each(POLICIES)('%s: a TD is verified under paranoid only, always and without asking', (policy: Policy) => {
    const user = caller({ policy, vmType: 'tdx' });
    const td = user.vm('tdx');
    expect(user.enableCap(td, CAP, 1n)).toBe(policy === 'paranoid' ? 'OK' : 'EINVAL');
    const another = user.vm('tdx');
    expect(user.initTd(another)).toBe('OK');
    expect(user.enableCap(another, abi.KVM_CAP_SPLIT_IRQCHIP, 24n)).toBe('OK');
    expect(verifies(user, another)).toBe(policy === 'paranoid');
  });
});

describe('KVM_CHECK_EXTENSION', () => {
  test.each([261, 9999, 2 ** 31, 2 ** 32 + 7, -1, 2n ** 32n + 7n, 2n ** 64n - 1n])('%s is 0', (cap) => {
    const user = caller({ policy: 'paranoid' });
    expect([user.kvm, user.vm()].map((fd) => user.result(fd, abi.KVM_CHECK_EXTENSION, cap))).toEqual([0, 0]);
  });

  test('takes a bigint too', () => {
    const user = caller();
    expect(user.result(user.kvm, abi.KVM_CHECK_EXTENSION, 7n)).toBe(1);
  });
});

describe('the GETs on a VM', () => {
  const requests = [abi.KVM_GET_SUPPORTED_CPUID, abi.KVM_GET_EMULATED_CPUID];

  test.each(POLICIES)('%s: answered under paranoid, ENOTTY elsewhere', (policy: Policy) => {
    const user = caller({ policy });
    const vm = user.vm();
    for (const request of requests) {
      const errno = user.errno(vm, request, user.marked(256, 256));
      expect(errno).toBe(policy === 'paranoid' ? 'OK' : 'ENOTTY');
      // ENOTTY comes before the address is looked at.
      expect(user.errno(vm, request, 0)).toBe(policy === 'paranoid' ? 'EFAULT' : 'ENOTTY');
    }
  });

  test.each([INTEL, AMD])('$name: an ordinary VM says what /dev/kvm says', (host) => {
    const user = caller({ policy: 'paranoid', host });
    const vm = user.vm();
    for (const request of requests) expect(user.get(vm, request)).toEqual(user.get(user.kvm, request));
  });

  test('a TD says less: no feature that would clobber the host', () => {
    const user = caller({ policy: 'paranoid', vmType: 'tdx' });
    const leaf7 = (fd: number) =>
      user.get(fd, abi.KVM_GET_SUPPORTED_CPUID).find((item) => item.function === 7 && item.index === 0)!;
    const [vm, td] = [leaf7(user.vm()), leaf7(user.vm('tdx'))];
    expect([vm.ebx & ~td.ebx, vm.ecx & ~td.ecx]).toEqual([0x810, 0x20]); // HLE, RTM; WAITPKG
    expect([td.ebx & ~vm.ebx, td.ecx & ~vm.ecx, td.edx & ~vm.edx]).toEqual([0, 0, 0]);
  });
});

describe('a process that runs on another CPU', () => {
  test("is told that CPU's ids", () => {
    const rows = INTEL.cpus[0]!.map((row) => (row.function === 1 ? { ...row, ebx: row.ebx | 0x0300_0000 } : row));
    const module = bootKvm({ ...INTEL, cpus: [INTEL.cpus[0]!, rows] });
    const apicId = (cpu: number) => {
      const user = new Caller(module, { cpu });
      return user.get(user.kvm, abi.KVM_GET_SUPPORTED_CPUID).find((item) => item.function === 1)!.ebx >>> 24;
    };
    expect([apicId(0), apicId(1)]).toEqual([0, 3]);
  });
});
