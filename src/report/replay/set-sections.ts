import { ENTRY_SIZE, ENTRY2_WORDS, FUNCTION, KVM_SET_CPUID, KVM_SET_CPUID2 } from '../../kvm/abi.js';
import { FOREIGN_MASKS, type Replay } from './context.js';
import type { Recorded } from './recorded.js';
import type { Tally } from './tally.js';
import { CAPACITY, type VmFds } from './userspace.js';

const EAX_WORD = 3;

/** `fresh_vcpu`: KVM_GET_CPUID2 before any set. */
export function replayFreshVcpu(replay: Replay, { vcpu }: VmFds): void {
  const recorded = replay.document.at('fresh_vcpu');
  if (!recorded.there) return;
  const get = replay.user.readBack(vcpu);
  const expected = [recorded.at('get').json, recorded.at('nent').json];
  replay.section('fresh_vcpu').check('KVM_GET_CPUID2', expected, [get, replay.user.got.nent]);
}

/** `set`: the KVM_SET_CPUID2 experiments, in order on one vCPU. */
export function replaySet(replay: Replay, { vcpu }: VmFds): void {
  replay.forgetReadback();
  const recorded = replay.document.at('set');
  if (!recorded.there) return;
  const tally = replay.section('set');
  if (replay.foreign) tally.note(`only verdicts are compared: ${FOREIGN_MASKS}`);
  for (const experiment of recorded.list) replaySetExperiment(replay, tally, vcpu, experiment);
}

/** One KVM_SET_CPUID2 and what reads back after it. */
export function replaySetExperiment(replay: Replay, tally: Tally, vcpu: number, experiment: Recorded): void {
  const { address } = replay.input(experiment);
  const set = replay.user.ioctl(vcpu, KVM_SET_CPUID2, address);
  tally.check(
    experiment.at('id').text,
    { set: experiment.at('set').json, ...replay.recordedReadBack(experiment) },
    { set, ...replay.readBack(vcpu, set) },
  );
}

/** `sweep_80000008_eax`: all values of each byte of 80000008.EAX. */
export function replaySweep(replay: Replay, { vcpu }: VmFds): void {
  const recorded = replay.document.at('sweep_80000008_eax');
  if (!recorded.there) return;
  const tally = replay.section('sweep_80000008_eax');
  const position = replay.fresh().find(0x8000_0008, 0);
  for (const byte of recorded.keys) {
    const accepted = new Set(
      recorded
        .at(byte)
        .at('ok')
        .list.map((value) => value.number),
    );
    const rest = recorded.at(byte).at('rest').text;
    const shift = 8 * Number(byte.replace('byte', ''));
    for (let value = 0; value < 256; value++) {
      const { entries, address } = replay.fresh();
      const at = position * ENTRY2_WORDS + EAX_WORD;
      entries[at] = (entries[at]! & ~(0xff << shift)) | (value << shift);
      const set = replay.user.ioctl(vcpu, KVM_SET_CPUID2, address);
      // "mixed" means several errnos; which value gave which is not recorded.
      const refused = rest === 'mixed' && set !== 'OK' ? set : rest;
      tally.check(`${byte} = ${value}`, accepted.has(value) ? 'OK' : refused, set);
    }
  }
}

/** `struct kvm_cpuid_entry`, in words. */
const LEGACY_WORDS = ENTRY_SIZE / 4;
const LEGACY_PADDING = 5;

/** What the recorder changed in the legacy array, by experiment. */
const LEGACY_CHANGES: Readonly<Record<string, (replay: Replay, entries: Uint32Array) => number>> = {
  'supported set, index dropped': ({ baseCount }) => baseCount,
  'nent 0': () => 0,
  'nent 256': (replay, entries) => fillLegacy(replay, entries, 256),
  'nent 257': (replay, entries) => fillLegacy(replay, entries, 257),
  'padding non-zero': ({ baseCount }, entries) => {
    for (let i = 0; i < baseCount; i++) entries[i * LEGACY_WORDS + LEGACY_PADDING] = 0xfeed;
    return baseCount;
  },
  'bad vaddr width 52': (replay, entries) => setLegacyWidth(replay, entries, 52),
  'vaddr width 57': (replay, entries) => setLegacyWidth(replay, entries, 57),
  'nent 0xffffffff': () => 0xffff_ffff,
};

function fillLegacy({ baseCount }: Replay, entries: Uint32Array, nent: number): number {
  for (let i = baseCount; i < 257; i++) entries.set([0x5000_0000 + i, 0, 0, 0, i], i * LEGACY_WORDS);
  return nent;
}

function setLegacyWidth({ baseCount }: Replay, entries: Uint32Array, width: number): number {
  for (let i = 0; i < baseCount; i++) {
    const at = i * LEGACY_WORDS;
    if (entries[at] === 0x8000_0008) entries[at + 1] = (entries[at + 1]! & 0xffff_00ff) | (width << 8);
  }
  return baseCount;
}

/** The supported set as `struct kvm_cpuid`, in the scratch area. Returns its header and its entries. */
export function legacyBase(replay: Replay): { header: Uint32Array; entries: Uint32Array } {
  const { user, base, baseCount } = replay;
  const view = user.bytesAt(user.scratch, 8 + CAPACITY * ENTRY_SIZE);
  const header = new Uint32Array(view.buffer, view.byteOffset, 2);
  const entries = new Uint32Array(view.buffer, view.byteOffset + 8, CAPACITY * LEGACY_WORDS);
  for (let i = 0; i < baseCount; i++) {
    const from = i * ENTRY2_WORDS;
    entries[i * LEGACY_WORDS] = base[from + FUNCTION]!;
    entries.set(base.subarray(from + EAX_WORD, from + EAX_WORD + 4), i * LEGACY_WORDS + 1);
  }
  header[0] = baseCount;
  return { header, entries };
}

/** `legacy`: KVM_SET_CPUID on a fresh vCPU. Its readback is compared with the same table without index and flags. */
export function replayLegacy(replay: Replay): void {
  const recorded = replay.document.at('legacy');
  if (!recorded.there) return;
  const tally = replay.section('legacy');
  if (replay.foreign) tally.note(`only verdicts are compared: ${FOREIGN_MASKS}`);
  const { user } = replay;
  const fds = user.createBoth();
  replay.forgetReadback();
  for (const experiment of recorded.list) {
    const change = LEGACY_CHANGES[experiment.at('id').text];
    if (!change) {
      tally.skip(1, `the experiment ${experiment.at('id').text} is not known`);
      continue;
    }
    const { header, entries } = legacyBase(replay);
    header[0] = change(replay, entries);
    const set = user.ioctl(fds.vcpu, KVM_SET_CPUID, user.scratch);
    expectLegacy(replay, header[0], entries);
    tally.check(
      experiment.at('id').text,
      { set: experiment.at('set').json, ...replay.recordedReadBack(experiment) },
      { set, ...replay.readBack(fds.vcpu, set) },
    );
  }
  user.close(fds);
}

function expectLegacy({ user }: Replay, nent: number, legacy: Uint32Array): void {
  const { work } = user;
  work.clear();
  for (let i = 0; i < Math.min(nent, CAPACITY); i++) {
    work.entries[i * ENTRY2_WORDS + FUNCTION] = legacy[i * LEGACY_WORDS]!;
    work.entries.set(legacy.subarray(i * LEGACY_WORDS + 1, i * LEGACY_WORDS + 5), i * ENTRY2_WORDS + EAX_WORD);
  }
  work.nent = nent;
}
