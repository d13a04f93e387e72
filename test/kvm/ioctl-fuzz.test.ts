import fc, { type Arbitrary } from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bootKvm,
  type CpuidEntry2,
  type KernelLine,
  type KvmModule,
  type Policy,
  type Process,
  type VmTypeName,
} from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import { errnoName } from '../../src/linux/errno.js';
import type { OpenFile } from '../../src/linux/process.js';
import type { Address } from '../../src/linux/user-memory.js';
import { hostFor, hostNamed } from '../support/platforms.js';
import { runs } from '../support/runs.js';
import { wildEntry } from '../support/tables.js';

/**
 * Whatever two processes do to their descriptors and to their memory, a system call returns a number from 0 on or an
 * errno that is modelled, throws nothing, and writes only where the caller may write.
 */

const PAGE = 4096;
/** Pages that are writable, then one that can only be read, then writable ones again. */
const LAYOUT = { writable: 4, total: 8 };
const SECRET = 0x5c;

const NAMED_REQUESTS = new Map(
  Object.entries(abi).flatMap(([name, value]) =>
    name.startsWith('KVM_') && typeof value === 'number' && ((value >>> 8) & 0xff) === 0xae ? [[value, name]] : [],
  ),
);
const REQUESTS = [...NAMED_REQUESTS.keys()];
const nameOf = (request: number): string => NAMED_REQUESTS.get(request) ?? `0x${request.toString(16)}`;

const OWN_REQUESTS = [
  abi.KVM_SET_CPUID2,
  abi.KVM_SET_CPUID,
  abi.KVM_GET_CPUID2,
  abi.KVM_GET_SUPPORTED_CPUID,
  abi.KVM_GET_EMULATED_CPUID,
  abi.KVM_ENABLE_CAP,
];

const u32 = fc.nat(0xffff_ffff);

const request: Arbitrary<number> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...OWN_REQUESTS) },
  { weight: 6, arbitrary: fc.constantFrom(...REQUESTS) },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.constantFrom(...REQUESTS), fc.nat(31)).map(([value, bit]) => (value ^ (1 << bit)) >>> 0),
  },
  { weight: 1, arbitrary: u32 },
);

/** An argument: an offset into the caller's memory, a small number, or any 64 bits. */
type Argument = { readonly offset: number; readonly big: boolean } | { readonly value: Address };

const argument: Arbitrary<Argument> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ offset: fc.nat(LAYOUT.total * 8).map((n) => n * (PAGE / 8)), big: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ offset: fc.nat(LAYOUT.total * PAGE + 8), big: fc.boolean() }) },
  { weight: 2, arbitrary: fc.nat(6).map((value) => ({ value })) },
  { weight: 1, arbitrary: fc.constantFrom(7, 116, 121, 143, 212, 213, 235, 252).map((value) => ({ value })) },
  { weight: 1, arbitrary: u32.map((value) => ({ value })) },
  { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => ({ value })) },
  { weight: 1, arbitrary: fc.constantFrom(2 ** 53, 2 ** 64, -1, -PAGE, Number.MAX_VALUE).map((value) => ({ value })) },
);

/** A descriptor: one of those that the process was given so far, or any number. */
type Descriptor = { readonly nth: number } | { readonly fd: number };

const descriptor: Arbitrary<Descriptor> = fc.oneof(
  { weight: 9, arbitrary: fc.nat(40).map((nth) => ({ nth })) },
  { weight: 1, arbitrary: fc.oneof(fc.integer(), fc.constantFrom(-1, 0, 2, 1024, 2 ** 31)).map((fd) => ({ fd })) },
);

/** Bytes for the caller's memory: any, or a structure that could be meant. */
const bytes: Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 64 }),
  fc
    .tuple(fc.oneof(fc.nat(8), fc.constantFrom(255, 256, 257, 0xffff_ffff)), fc.array(wildEntry, { maxLength: 8 }))
    .map(([nent, entries]) => words(nent, 0, ...entries.flatMap(entryWords))),
  fc
    .tuple(fc.constantFrom(116, 121, 143, 190, 199, 212, 213, 252, 253), fc.constantFrom(0, 0, 0, 1), fc.nat(3))
    .map(([cap, flags, value]) => words(cap, flags, value, 0, 0, 0)),
);

const words = (...list: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(list).buffer);

function entryWords({ function: fn, index, flags, eax, ebx, ecx, edx, padding = [0, 0, 0] }: CpuidEntry2): number[] {
  return [fn, index, flags, eax, ebx, ecx, edx, ...padding];
}

type Step =
  | {
      readonly do: 'ask';
      readonly who: number;
      readonly fd: Descriptor;
      readonly request: number;
      readonly offset: number;
      readonly bytes: Uint8Array;
    }
  | { readonly do: 'open'; readonly who: number; readonly path: string }
  | { readonly do: 'create'; readonly who: number; readonly vm: Descriptor; readonly argument: Address }
  | {
      readonly do: 'ioctl';
      readonly who: number;
      readonly fd: Descriptor;
      readonly request: number;
      readonly argument: Argument;
    }
  | { readonly do: 'poke'; readonly who: number; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly do: 'pass'; readonly who: number; readonly fd: Descriptor }
  | { readonly do: 'close'; readonly who: number; readonly fd: Descriptor };

const who = fc.nat(1);
const offset = fc.oneof(
  fc.nat(LAYOUT.total * 8).map((n) => n * (PAGE / 8)),
  fc.nat(LAYOUT.total * PAGE),
);

const step: Arbitrary<Step> = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('open' as const),
      who,
      path: fc.constantFrom('/dev/kvm', '/dev/kvm', '/dev/sev', ''),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('create' as const), who, vm: descriptor, argument: fc.nat(6) }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant('ioctl' as const), who, fd: descriptor, request, argument }) },
  {
    weight: 12,
    arbitrary: fc.record({ do: fc.constant('ask' as const), who, fd: descriptor, request, offset, bytes }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('poke' as const), who, offset, bytes }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pass' as const), who, fd: descriptor }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const), who, fd: descriptor }) },
);

/** A process with some memory, and what it was given so far. */
class Actor {
  readonly process: Process;
  readonly start: number;
  readonly files: OpenFile[] = [];
  private readonly given: number[] = [];
  private readonly guarded: readonly number[];

  constructor(module: KvmModule) {
    this.process = module.kernel.spawn({ arena: 64 * PAGE });
    const { memory } = this.process;
    this.start = memory.mmap(LAYOUT.total * PAGE);
    this.guarded = [this.start - memory.base + LAYOUT.writable * PAGE, this.start - memory.base + LAYOUT.total * PAGE];
    for (const page of this.guarded) memory.bytes.fill(SECRET, page, page + PAGE);
    memory.mprotect(this.start + LAYOUT.writable * PAGE, PAGE, 'r');
    const install = this.process.install.bind(this.process);
    this.process.install = (file) => {
      const fd = install(file);
      if (fd >= 0) this.given.push(fd);
      this.files[fd] = file;
      return fd;
    };
    // A VM and a vCPU to begin with: most of what can go wrong needs one.
    const kvm = this.process.open('/dev/kvm');
    const vm = this.process.ioctl(kvm, abi.KVM_CREATE_VM, 0);
    this.process.ioctl(vm, abi.KVM_CREATE_VCPU, 0);
  }

  fd(which: Descriptor): number {
    return 'fd' in which ? which.fd : (this.given[which.nth % this.given.length] ?? -1);
  }

  address(argument: Argument): Address {
    if ('value' in argument) return argument.value;
    return argument.big ? BigInt(this.start + argument.offset) : this.start + argument.offset;
  }

  /** Writes as the process itself: where it may. */
  poke(offset: number, bytes: Uint8Array): void {
    this.process.memory.copyOut(this.start + offset, bytes);
  }

  /** Whether the page that is read-only and the one that is not mapped hold what they held. */
  get isUntouched(): boolean {
    const { memory } = this.process;
    return this.guarded.every((page) => memory.bytes.subarray(page, page + PAGE).every((byte) => byte === SECRET));
  }
}

function perform(actors: readonly Actor[], step: Step): number {
  const actor = actors[step.who]!;
  const { process } = actor;
  switch (step.do) {
    case 'open':
      return process.open(step.path);
    case 'create': {
      const fd = actor.fd(step.vm);
      const vm = process.ioctl(fd, abi.KVM_CREATE_VM, step.argument);
      return vm >= 0 ? vm : process.ioctl(fd, abi.KVM_CREATE_VCPU, step.argument);
    }
    case 'ioctl':
      return process.ioctl(actor.fd(step.fd), step.request, actor.address(step.argument));
    case 'ask':
      actor.poke(step.offset, step.bytes);
      return process.ioctl(actor.fd(step.fd), step.request, actor.start + step.offset);
    case 'poke':
      actor.poke(step.offset, step.bytes);
      return 0;
    case 'pass': {
      const file = actor.files[actor.fd(step.fd)];
      return file ? actors[1 - step.who]!.process.install(file) : 0;
    }
    case 'close':
      return process.close(actor.fd(step.fd));
  }
}

describe('no sequence of system calls does what a kernel would not', () => {
  const kernels: readonly (readonly [host: string, line: KernelLine, type: VmTypeName, policy: Policy])[] = [
    ['sapphire-rapids', '7.3', 'tdx', 'paranoid'],
    ['sapphire-rapids', '6.18', 'sw-protected', 'off'],
    ['genoa', '7.1', 'snp', 'paranoid'],
    ['rome', '6.12', 'sev', 'off'],
    ['ice-lake-sp', '6.1', 'default', 'paranoid'],
    ['zhaoxin-kh40000', '7.3', 'default', 'denylist'],
  ];

  test.each(kernels)('%s, Linux %s, %s, %s', (name, line, vmType, policy) => {
    const implied = hostFor(hostNamed(name), line, vmType);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        // A module keeps nothing of its processes, but a fresh one makes sure.
        const module = bootKvm(implied.host, { ...implied.options, policy });
        const actors = [new Actor(module), new Actor(module)];
        for (const item of steps) {
          const result = perform(actors, item);
          expect(Number.isInteger(result)).toBe(true);
          errnoName(result); // throws on what is no errno
        }
        expect(actors.map(({ isUntouched }) => isUntouched)).toEqual([true, true]);
      }),
      runs(250),
    );
  });

  test('the sequences get somewhere: every own ioctl succeeds and fails', () => {
    const outcomes = new Set<string>();
    const module = bootKvm(hostNamed('sapphire-rapids'), { policy: 'paranoid' });
    fc.assert(
      fc.property(fc.array(step, { minLength: 60, maxLength: 60 }), (steps) => {
        const actors = [new Actor(module), new Actor(module)];
        for (const item of steps) {
          const result = perform(actors, item);
          if ('request' in item) outcomes.add(`${nameOf(item.request)}: ${errnoName(result)}`);
        }
      }),
      runs(150),
    );
    for (const request of OWN_REQUESTS) {
      for (const errno of ['OK', 'EFAULT', 'EBADF']) expect(outcomes).toContain(`${nameOf(request)}: ${errno}`);
    }
    for (const errno of ['E2BIG', 'EINVAL', 'ENOTTY']) expect(outcomes).toContain(`KVM_SET_CPUID2: ${errno}`);
  });
});
