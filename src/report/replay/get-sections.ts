import { formatEntry } from '../../cpuid/entry.js';
import {
  DEVICE_ATTR_SIZE,
  ENTRY2_WORDS,
  KVM_CAP_NR_VCPUS,
  KVM_CHECK_EXTENSION,
  KVM_GET_API_VERSION,
  KVM_GET_CPUID2,
  KVM_GET_DEVICE_ATTR,
  KVM_GET_EMULATED_CPUID,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_SUPPORTED_HV_CPUID,
  PADDING,
} from '../../kvm/abi.js';
import { entryAt } from '../../kvm/cpuid-table.js';
import { errnoName } from '../../linux/errno.js';
import { FOREIGN_MASKS, type Replay } from './context.js';
import type { Recorded } from './recorded.js';
import type { TableBuffer, VmFds } from './userspace.js';

/** The last capability that the recorder asked for. */
const LAST_CAPABILITY = 260;

/** `api_version` */
export function replayApiVersion(replay: Replay): void {
  const recorded = replay.document.at('api_version');
  if (!recorded.there) return;
  const got = replay.user.process.ioctl(replay.user.kvm, KVM_GET_API_VERSION, 0);
  replay.section('api_version').check('KVM_GET_API_VERSION', recorded.json, got);
}

/** `supported`, `emulated` and `hv_supported`: the three system ioctls with room for 256 entries. */
export function replayLists(replay: Replay): void {
  replayList(replay, 'supported', KVM_GET_SUPPORTED_CPUID);
  replay.supportedCount = replay.user.got.nent;
  replayList(replay, 'emulated', KVM_GET_EMULATED_CPUID);
  replayList(replay, 'hv_supported', KVM_GET_SUPPORTED_HV_CPUID);
}

function replayList(replay: Replay, name: string, request: number): void {
  const recorded = replay.document.at(name);
  const { user } = replay;
  const { got } = user;
  got.clear();
  got.nent = 256;
  const errno = user.ioctl(user.kvm, request, got.address);
  if (!recorded.there) return;
  const tally = replay.section(name);
  if (replay.foreign) {
    tally.skip(1, FOREIGN_MASKS);
    return;
  }
  const differences = [
    ...differing('errno', recorded.at('errno').json, errno),
    ...differing('nent', recorded.at('nent').json, got.nent),
    ...(errno === 'OK' ? differingEntries(recorded.at('entries'), got) : []),
  ];
  tally.count(1, differences.length === 0 ? 1 : 0);
  for (const { what, expected, got: given } of differences) tally.differs(what, expected, given);
}

interface Difference {
  readonly what: string;
  readonly expected: string;
  readonly got: string;
}

function differing(what: string, expected: unknown, got: unknown): Difference[] {
  return expected === got ? [] : [{ what, expected: String(expected), got: String(got) }];
}

function differingEntries(recorded: Recorded, got: TableBuffer): Difference[] {
  const wanted = recorded.there ? recorded.list.map((entry) => entry.text) : [];
  const given = entriesOf(got);
  const length = Math.max(wanted.length, given.length);
  return Array.from({ length }, (_, n) => differing(`entry ${n}`, wanted[n] ?? 'none', given[n] ?? 'none')).flat();
}

function entriesOf(table: TableBuffer): string[] {
  return Array.from({ length: table.nent }, (_, position) => formatEntry(entryAt(table.entries, position)));
}

/** `xcomp_guest_supp`: KVM_X86_XCOMP_GUEST_SUPP. */
export function replayXcompGuestSupp(replay: Replay): void {
  const recorded = replay.document.at('xcomp_guest_supp');
  if (!recorded.there) return;
  const tally = replay.section('xcomp_guest_supp');
  const { user } = replay;
  const view = user.bytesAt(user.scratch, DEVICE_ATTR_SIZE + 8);
  view.setBigUint64(16, BigInt(user.scratch + DEVICE_ATTR_SIZE), true);
  const errno = user.ioctl(user.kvm, KVM_GET_DEVICE_ATTR, user.scratch);
  const value = view.getBigUint64(DEVICE_ATTR_SIZE, true).toString(16);
  tally.check('KVM_X86_XCOMP_GUEST_SUPP', recorded.text, errno === 'OK' ? value : errno);
}

/** `caps`: KVM_CHECK_EXTENSION of every number on both descriptors; what the recording leaves out is zero. */
export function replayCaps(replay: Replay, { vm }: VmFds): void {
  const recorded = replay.document.at('caps');
  if (!recorded.there) return;
  const tally = replay.section('caps');
  const { process, kvm } = replay.user;
  for (const [name, fd] of [
    ['system', kvm],
    ['vm', vm],
  ] as const) {
    const values = recorded.at(name);
    for (let cap = 0; cap <= LAST_CAPABILITY; cap++) {
      const value = values.at(String(cap));
      if (replay.foreign) tally.skip(1, 'a vendor module of its own: its capabilities are not modelled');
      else if (cap === KVM_CAP_NR_VCPUS && isOtherCpuCount(replay, value))
        tally.skip(1, 'KVM_CAP_NR_VCPUS: the recording describes one package, and several are online');
      else {
        const result = process.ioctl(fd, KVM_CHECK_EXTENSION, cap);
        tally.check(`${name} ${cap}`, value.there ? value.json : 0, result < 0 ? errnoName(result) : result);
      }
    }
  }
}

/** The count is of several packages like the one that the rows describe: that is the host's, not KVM's to know. */
function isOtherCpuCount({ user }: Replay, { json }: Recorded): boolean {
  const here = user.process.kernel.machine.cpus.length;
  return typeof json === 'number' && json > here && json % here === 0;
}

/** `ioctl_by_fd`: the three GET ioctls on each kind of descriptor. */
export function replayIoctlByFd(replay: Replay, { vm, vcpu }: VmFds): void {
  const recorded = replay.document.at('ioctl_by_fd');
  if (!recorded.there) return;
  const tally = replay.section('ioctl_by_fd');
  const { user } = replay;
  const requests = [
    ['GET_SUPPORTED_CPUID', KVM_GET_SUPPORTED_CPUID],
    ['GET_EMULATED_CPUID', KVM_GET_EMULATED_CPUID],
    ['GET_SUPPORTED_HV_CPUID', KVM_GET_SUPPORTED_HV_CPUID],
  ] as const;
  const fds = [
    ['system', user.kvm],
    ['vm', vm],
    ['vcpu', vcpu],
  ] as const;
  for (const [ioctl, request] of requests) {
    for (const [name, fd] of fds) {
      user.got.clear();
      user.got.nent = 256;
      if (replay.foreign && request === KVM_GET_SUPPORTED_HV_CPUID) tally.skip(1, 'a kernel without Hyper-V emulation');
      else tally.check(`${ioctl} ${name}`, recorded.at(ioctl).at(name).json, user.ioctl(fd, request, user.got.address));
    }
  }
}

/** `get_supported_sizes` and `get_emulated_sizes` */
export function replaySystemSizes(replay: Replay): void {
  const { kvm } = replay.user;
  const { document } = replay;
  const emulated = document.at('emulated').at('nent');
  replaySizes(replay, 'get_supported_sizes', kvm, KVM_GET_SUPPORTED_CPUID, replay.baseCount, replay.supportedCount);
  if (emulated.there)
    replaySizes(replay, 'get_emulated_sizes', kvm, KVM_GET_EMULATED_CPUID, emulated.number, emulated.number);
}

/** `get_cpuid2_sizes`: with the supported set stored. */
export function replayCpuid2Sizes(replay: Replay, { vcpu }: VmFds): void {
  replaySizes(replay, 'get_cpuid2_sizes', vcpu, KVM_GET_CPUID2, replay.baseCount, replay.baseCount);
}

/** How an ioctl handles `nent`, from 0 to the highest number, and what lies in the array that it is handed. */
function replaySizes(
  replay: Replay,
  name: string,
  fd: number,
  request: number,
  recordedLength: number,
  length: number,
): void {
  const recorded = replay.document.at(name);
  if (!recorded.there) return;
  const tally = replay.section(name);
  // A third vendor's list has another length than the one here; the sizes around it mean the same.
  const shift = (nent: number) => (Math.abs(nent - recordedLength) <= 1 ? nent - recordedLength + length : nent);
  for (const row of recorded.list) {
    const { json } = row;
    if (typeof json !== 'object' || json === null) continue;
    const garbage = row.at('garbage');
    const nent = shift(row.at('nent_in').number);
    const expected = { ...json, nent_in: nent, nent_out: shift(row.at('nent_out').number) };
    if (garbage.there)
      tally.check(`garbage in ${garbage.text}`, expected, getGarbage(replay, fd, request, garbage.text));
    else tally.check(`nent ${nent}`, withShiftedWrote(expected, shift), getSize(replay, fd, request, nent));
  }
}

function withShiftedWrote(
  row: { readonly wrote?: unknown; readonly nent_in: number },
  shift: (nent: number) => number,
): unknown {
  return typeof row.wrote === 'number' && row.wrote !== 0 ? { ...row, wrote: shift(row.wrote) } : row;
}

const HEAD_PADDING = 0x5a5a_5a5a;

function getSize({ user }: Replay, fd: number, request: number, nent: number): unknown {
  const { got } = user;
  got.clear();
  got.nent = nent;
  got.padding = HEAD_PADDING;
  const errno = user.ioctl(fd, request, got.address);
  const written = got.entries.findLastIndex((word) => word !== 0);
  const row = { nent_in: nent, errno, nent_out: got.nent, wrote: Math.floor(written / ENTRY2_WORDS) + 1 };
  return got.padding === HEAD_PADDING ? row : { ...row, head_padding_out: got.padding.toString(16) };
}

function getGarbage({ user }: Replay, fd: number, request: number, garbage: string): unknown {
  const { got } = user;
  got.clear();
  got.nent = 256;
  for (let position = 0; position < 256; position++) {
    const at = position * ENTRY2_WORDS;
    if (garbage === 'function,flags,eax of all') for (const word of [0, 2, 3]) got.entries[at + word] = 0x1111_1111;
    else if (garbage === 'padding[2] of all') got.entries[at + PADDING + 2] = 7;
    else if (position === 255) got.entries[at + PADDING] = 1;
  }
  const errno = user.ioctl(fd, request, got.address);
  const row = { garbage, nent_in: 256, errno, nent_out: got.nent };
  return errno === 'OK' ? { ...row, padding_or: paddingOf(got) } : row;
}

/** All padding words of a result, ORed. */
function paddingOf({ entries, nent }: TableBuffer): string {
  let all = 0;
  for (let position = 0; position < nent; position++) {
    for (let word = PADDING; word < ENTRY2_WORDS; word++) all |= entries[position * ENTRY2_WORDS + word]!;
  }
  return (all >>> 0).toString(16);
}
