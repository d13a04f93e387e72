/** The ioctls that fill a table: what they answer, on which descriptors, and to which sizes. */

import { formatEntry } from '../cpuid/entry.js';
import {
  EAX,
  ENTRY2_WORDS,
  FLAGS,
  FUNCTION,
  KVM_GET_EMULATED_CPUID,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_SUPPORTED_HV_CPUID,
  PADDING,
} from '../kvm/abi.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';
import type { KvmDevice, LiveVm } from './device.js';
import type { Section } from './recording.js';

/** The three system ioctls that fill a table. */
export const SYSTEM_GETS = {
  supported: KVM_GET_SUPPORTED_CPUID,
  emulated: KVM_GET_EMULATED_CPUID,
  hv_supported: KVM_GET_SUPPORTED_HV_CPUID,
} as const;

/** One of them with room for all that KVM may have; leaves the table in the output area. */
export function getTable(kvm: KvmDevice, request: number): Section {
  const { output, fd } = kvm;
  output.clear(KVM_MAX_CPUID_ENTRIES);
  const errno = kvm.ask(fd, request, output.address);
  const { nent } = output;
  return errno === 'OK' ? { errno, nent, entries: output.entries().map(formatEntry) } : { errno, nent };
}

/** Each of them on each kind of descriptor. */
export function gettersByFd(kvm: KvmDevice, { vm, vcpu }: LiveVm): Section {
  const ask = (fd: number, request: number) => {
    kvm.output.clear(KVM_MAX_CPUID_ENTRIES);
    return kvm.ask(fd, request, kvm.output.address);
  };
  const everywhere = (request: number) => ({
    system: ask(kvm.fd, request),
    vm: ask(vm, request),
    vcpu: ask(vcpu, request),
  });
  return {
    GET_SUPPORTED_CPUID: everywhere(KVM_GET_SUPPORTED_CPUID),
    GET_EMULATED_CPUID: everywhere(KVM_GET_EMULATED_CPUID),
    GET_SUPPORTED_HV_CPUID: everywhere(KVM_GET_SUPPORTED_HV_CPUID),
  };
}

/** Lies in the header's padding, which no ioctl writes. */
const HEAD_PADDING = 0x5a5a_5a5a;

/** What is put into the entries handed in; no ioctl that only answers should look at it. */
const GARBAGE: readonly (readonly [what: string, put: (words: Uint32Array, at: number, last: boolean) => void])[] = [
  [
    'function,flags,eax of all',
    (words, at) => {
      for (const field of [FUNCTION, FLAGS, EAX]) words[at + field] = 0x1111_1111;
    },
  ],
  [
    'padding[2] of all',
    (words, at) => {
      words[at + PADDING + 2] = 7;
    },
  ],
  [
    'padding[0] of entry 255',
    (words, at, last) => {
      if (last) words[at + PADDING] = 1;
    },
  ],
];

/** Errno and nent for rooms around `nent`, around the limit and beyond it; then with garbage in the room. */
export function sizesOf(kvm: KvmDevice, fd: number, request: number, nent: number): Section[] {
  const rooms = [0, 1, Math.max(nent - 1, 0), nent, nent + 1, 255, 256, 257, 1000, 0x7fff_ffff, 0xffff_ffff];
  return [
    ...rooms.map((room) => sizeRow(kvm, fd, request, room)),
    ...GARBAGE.map(([garbage, put]) => garbageRow(kvm, fd, request, garbage, put)),
  ];
}

function sizeRow(kvm: KvmDevice, fd: number, request: number, room: number): Section {
  const { output } = kvm;
  output.clear(room);
  output.header[1] = HEAD_PADDING;
  const errno = kvm.ask(fd, request, output.address);
  const [nentOut, headPadding] = output.header;
  return {
    nent_in: room,
    errno,
    nent_out: nentOut,
    wrote: output.countNonZero(),
    ...(headPadding !== HEAD_PADDING && { head_padding_out: headPadding!.toString(16) }),
  };
}

function garbageRow(
  kvm: KvmDevice,
  fd: number,
  request: number,
  garbage: string,
  put: (words: Uint32Array, at: number, last: boolean) => void,
): Section {
  const { output } = kvm;
  output.clear(KVM_MAX_CPUID_ENTRIES);
  for (let position = 0; position < KVM_MAX_CPUID_ENTRIES; position++) {
    put(output.words, position * ENTRY2_WORDS, position === KVM_MAX_CPUID_ENTRIES - 1);
  }
  const errno = kvm.ask(fd, request, output.address);
  const row = { garbage, nent_in: KVM_MAX_CPUID_ENTRIES, errno, nent_out: output.nent };
  return errno === 'OK' ? { ...row, padding_or: paddingOf(output.words, output.nent).toString(16) } : row;
}

/** All padding of a table, ORed. */
function paddingOf(words: Uint32Array, nent: number): number {
  return words
    .subarray(0, nent * ENTRY2_WORDS)
    .reduce((all, word, at) => (at % ENTRY2_WORDS >= PADDING ? (all | word) >>> 0 : all), 0);
}
