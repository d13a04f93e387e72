import { bootKernel, describeDump, type HostDescription, withInputs } from '../api/host.js';
import type { CpuidRow } from '../cpuid/entry.js';
import { FormatError } from '../cpuid/errors.js';
import { featureNamed } from '../cpuid/features.js';
import { type CaptureDocument, isCapture, readCapture } from '../cpuid/formats/capture.js';
import { isObject } from '../cpuid/formats/json.js';
import { KvmNotLoaded, loadKvm } from '../kvm/load.js';
import { errnoName } from '../linux/errno.js';
import type { HostKernel } from '../linux/host-kernel.js';
import { kvmAmd } from '../svm/svm.js';
import { kvmIntel } from '../vmx/vmx.js';
import { Replay } from './replay/context.js';
import { replayFlips } from './replay/flips.js';
import {
  replayApiVersion,
  replayCaps,
  replayCpuid2Sizes,
  replayIoctlByFd,
  replayLists,
  replaySystemSizes,
  replayXcompGuestSupp,
} from './replay/get-sections.js';
import { replayGuestCpuid } from './replay/guest.js';
import { replayPointers } from './replay/pointers.js';
import { Recorded } from './replay/recorded.js';
import { replayRun } from './replay/run.js';
import { replayRuntime } from './replay/runtime.js';
import { replayFreshVcpu, replayLegacy, replaySet, replaySweep } from './replay/set-sections.js';
import type { Mismatch, SectionResult } from './replay/tally.js';
import { Userspace, type VmFds } from './replay/userspace.js';

export type { Mismatch, SectionResult } from './replay/tally.js';

/** How a recording compares with the simulator, section by section. */
export interface ReplayReport {
  /** The name that the recording has. */
  readonly capture: string;
  /** By the recording's own keys. `checked + skipped` is the number of experiments in a section. */
  readonly sections: Readonly<Record<string, SectionResult>>;
  readonly mismatches: readonly Mismatch[];
}

/**
 * Repeats a recording of a real KVM: boots its host, loads KVM there, and makes the recorder's system calls again, in
 * their order, with the bytes that the recorder passed. Everything goes through a process's `open`, `ioctl` and `mmap`.
 *
 * A recording whose KVM did not load expects just that: the module refuses, and there is no /dev/kvm.
 *
 * @param document the recording, parsed
 * @param name what messages call it
 * @throws FormatError when the document is no recording, or a section is not as the recorder writes it
 */
export function replayCapture(document: unknown, name = 'capture'): ReplayReport {
  if (!isCapture(document, name)) throw new FormatError('not a capture', name, 'a recording of a KVM');
  const foreign = isForeign(document);
  const kernel = bootRecordedHost(document, name, foreign);
  const user = new Userspace(kernel.spawn({ guestPermissions: permissionsOf(document) }));
  const replay = new Replay(Recorded.of(document, name), user, foreign);
  replayDocument(replay);
  return {
    capture: typeof document.name === 'string' ? document.name : name,
    sections: Object.fromEntries(replay.tallies.map((tally) => [tally.section, tally.result])),
    mismatches: replay.tallies.flatMap((tally) => tally.mismatches),
  };
}

/** Parts of a recording that are no answers of KVM: what the host is, and how long things took. */
const NO_EXPERIMENTS: readonly string[] = [
  'schema',
  'name',
  'host',
  'raw',
  'raw_out_of_range',
  'xcr0',
  'timing',
  'raw_cpuid_executed',
  'end',
];

/** Answers that the simulator does not have yet, and how many there are. */
const NOT_MODELLED: Readonly<Record<string, (section: Recorded) => number>> = {
  feature_msrs: (section) => section.keys.length - 1 + section.at('values').keys.length,
  msr_index_list: () => 1,
};

function replayDocument(replay: Replay): void {
  const { document, user } = replay;
  const opened = user.kvm < 0 ? errnoName(user.kvm) : 'OK';
  if (document.at('kvm').there) replay.section('kvm').check('open("/dev/kvm")', document.at('kvm').json, opened);
  if (user.kvm >= 0) replaySections(replay);
  const done = new Set([...NO_EXPERIMENTS, ...replay.tallies.map((tally) => tally.section)]);
  for (const key of document.keys.filter((candidate) => !done.has(candidate))) {
    const count = NOT_MODELLED[key];
    const reason = count ? 'the lists and values of MSRs are not modelled' : 'a section that is not known';
    replay.section(key).skip(count ? count(document.at(key)) : 1, user.kvm < 0 ? 'there is no /dev/kvm' : reason);
  }
}

/** The recorder's own order: several sections leave their vCPU to the next. */
function replaySections(replay: Replay): void {
  const { user } = replay;
  replayApiVersion(replay);
  replayLists(replay);
  replayXcompGuestSupp(replay);
  const fds = replayCreate(replay);
  replayCaps(replay, fds);
  replayIoctlByFd(replay, fds);
  replaySystemSizes(replay);
  replayFreshVcpu(replay, fds);
  replaySet(replay, fds);
  replaySweep(replay, fds);
  replayPointers(replay, fds);
  replayCpuid2Sizes(replay, fds);
  user.close(fds);
  replayLegacy(replay);
  replayRuntime(replay);
  replayFlipSections(replay);
  replayRun(replay);
  replayGuestCpuid(replay);
}

/** `create`: a VM and a vCPU, on which the first sections run. */
function replayCreate(replay: Replay): VmFds {
  const { user, document } = replay;
  const fds = user.createBoth();
  const recorded = document.at('create');
  if (recorded.there) {
    const tally = replay.section('create');
    for (const [name, fd] of Object.entries(fds)) {
      if (recorded.at(name).there) tally.check(name, recorded.at(name).json, fd < 0 ? errnoName(fd) : 'OK');
    }
  }
  return fds;
}

function replayFlipSections(replay: Replay): void {
  const { user, base, baseCount } = replay;
  const supported = user.createBoth();
  replayFlips(replay, 'flips', supported.vcpu, base, baseCount);
  user.close(supported);
  const unknown = user.createBoth();
  user.work.clear();
  user.work.add(0x5000_0000, 0, 0, 1, 2, 3, 4);
  replayFlips(replay, 'flips_unknown_leaf', unknown.vcpu, user.work.entries.slice(), 1);
  user.close(unknown);
}

/** Boots the recorded host and loads KVM, if it loads. */
function bootRecordedHost(document: CaptureDocument, name: string, foreign: boolean): HostKernel {
  const described = describeDump(readCapture(document, name), name);
  const [rows = []] = described.cpus;
  const cpus = new Array<readonly CpuidRow[]>(cpusOfPackage(rows)).fill(rows);
  const kernel = bootKernel(foreign ? standIn({ ...described, cpus }) : { ...described, cpus });
  try {
    loadKvm(kernel, [kvmIntel, kvmAmd]);
  } catch (error) {
    if (!(error instanceof KvmNotLoaded)) throw error;
  }
  return kernel;
}

/** The vendor modules that are modelled, as the recorder lists their parameters. */
const MODELLED: readonly string[] = [kvmIntel.name, kvmAmd.name];

/** KVM is there, but neither of the modelled vendor modules is loaded. */
function isForeign({ kvm, host }: CaptureDocument): boolean {
  if (kvm !== 'OK') return false;
  const parameters = isObject(host) && isObject(host.kvm_params) ? Object.keys(host.kvm_params) : [];
  return !parameters.some((name) => MODELLED.includes(name.split('.', 1)[0] ?? ''));
}

/** A third vendor's host may lack VMX and SVM; kvm-amd or kvm-intel stands in for its module there. */
function standIn(host: HostDescription): HostDescription {
  const flag = host.inputs.flags.set;
  return withInputs(host, {
    flags: { ...host.inputs.flags, set: [...flag, featureNamed('SVM'), featureNamed('VMX')] },
  });
}

/**
 * The logical CPUs of the package that CPU 0 is in: of the highest level of CPUID.0BH, or CPUID.1:EBX[23:16]. The
 * recorder stored the rows of CPU 0; the others are taken to be like it.
 */
function cpusOfPackage(rows: readonly CpuidRow[]): number {
  const levels = rows.filter((row) => row.function === 0xb && ((row.ecx >>> 8) & 0xff) !== 0);
  const ofLevels = Math.max(0, ...levels.map((row) => row.ebx & 0xffff));
  if (ofLevels > 0) return ofLevels;
  const one = rows.find((row) => row.function === 1);
  const hasSiblings = one !== undefined && (one.edx & featureNamed('HTT').mask) !== 0;
  return hasSiblings ? Math.max(1, (one.ebx >>> 16) & 0xff) : 1;
}

/** XSAVE components that the recorder could give to guests, as `arch_prctl` told it. */
function permissionsOf({ host }: CaptureDocument): number[] {
  const prctl = isObject(host) && isObject(host.arch_prctl) ? host.arch_prctl.XCOMP_GUEST_PERM : undefined;
  if (typeof prctl !== 'string' || !/^[0-9a-f]{1,16}$/i.test(prctl)) return [];
  const mask = BigInt(`0x${prctl}`);
  return Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => ((mask >> BigInt(bit)) & 1n) !== 0n);
}
