import { KVM_SET_CPUID, KVM_SET_CPUID2, SREGS_CR4 } from '../../kvm/abi.js';
import { FOREIGN_MASKS, type Replay } from './context.js';
import { Deltas } from './deltas.js';
import { replayFlips } from './flips.js';
import { CODE_HLT, Guest, readbackOf } from './guest.js';
import type { Recorded } from './recorded.js';
import { legacyBase, replaySetExperiment } from './set-sections.js';
import { VcpuSetters } from './setters.js';
import type { Tally } from './tally.js';
import type { Errno } from './userspace.js';

const EBX_OF_FIRST_ENTRY = 4;
const CR4_OSXSAVE = 1n << 18n;

/** `run` and `flips_after_run`: what may be set before, after and without a KVM_RUN of a real-mode HLT. */
export function replayRun(replay: Replay): void {
  const recorded = replay.document.at('run');
  if (!recorded.there) return;
  const section = new RunSection(replay, replay.section('run'), recorded);
  section.neverSet();
  section.main();
}

class RunSection {
  private readonly replay: Replay;
  private readonly tally: Tally;
  private readonly recorded: Recorded;

  constructor(replay: Replay, tally: Tally, recorded: Recorded) {
    this.replay = replay;
    this.tally = tally;
    this.recorded = recorded;
  }

  /** Compares one outcome, if it was recorded. */
  private check(key: string, got: unknown): void {
    const recorded = this.recorded.at(key);
    if (recorded.there) this.tally.check(key, recorded.json, got);
  }

  /** Compares the outcomes of a group that were recorded. */
  private checkGroup(group: string, got: Readonly<Record<string, unknown>>): void {
    const recorded = this.recorded.at(group);
    if (!recorded.there) return;
    for (const key of recorded.keys) this.tally.check(`${group}: ${key}`, recorded.at(key).json, got[key]);
  }

  /** KVM_SET_CPUID2 of what is in the work buffer. */
  private set(guest: Guest): Errno {
    return this.replay.user.ioctl(guest.fds.vcpu, KVM_SET_CPUID2, this.replay.user.work.address);
  }

  /** A vCPU that ran without any CPUID. */
  neverSet(): void {
    const { replay } = this;
    const guest = new Guest(replay);
    const prepared = guest.prepare(CODE_HLT);
    const prepare = prepared === 'OK' ? guest.setRegisters(0, 0) : prepared;
    const run = guest.run();
    replay.fresh();
    const supported = this.set(guest);
    replay.fresh().nent = 0;
    const empty = this.set(guest);
    this.checkGroup('never_set', { prepare, ...run, set_supported_after: supported, set_empty_after: empty });
    guest.close();
  }

  /** A vCPU with the supported set: a run that is cut short, then a real one, and what it leaves open. */
  main(): void {
    const { replay } = this;
    const guest = new Guest(replay);
    this.check('prepare', guest.prepare(CODE_HLT));
    replay.fresh();
    this.check('set', this.set(guest));
    this.check('setregs', guest.setRegisters(0, 0));
    this.cutShort(guest);
    if (replay.foreign) this.storeRecordedReadback(guest);
    this.checkGroup('hlt', { ...guest.run() });
    replay.user.readBack(guest.fds.vcpu);
    replay.rememberReadback();
    const { words, nent } = readbackOf(replay);
    this.afterwards(guest, words, nent);
    replayFlips(replay, 'flips_after_run', guest.fds.vcpu, words, nent);
    guest.close();
  }

  /** `immediate_exit`: KVM_RUN returns before it has entered the guest. */
  private cutShort(guest: Guest): void {
    const { replay } = this;
    guest.immediateExit = true;
    const { run } = guest.run();
    guest.immediateExit = false;
    replay.fresh().entries[EBX_OF_FIRST_ENTRY]! ^= 1;
    const changed = this.set(guest);
    replay.fresh();
    this.checkGroup('immediate_exit', { run, set_changed_after: changed, set_supported_after: this.set(guest) });
  }

  /** A third vendor adds to the table; the experiments after the run need what it had then. */
  private storeRecordedReadback(guest: Guest): void {
    const after = this.recorded.at('after');
    const readback = after.there && after.list.find((experiment) => experiment.at('id').json === 'the readback');
    if (!readback) return;
    this.replay.input(readback);
    this.set(guest);
    this.tally.note(`the vCPU is given the recorded readback: ${FOREIGN_MASKS}`);
  }

  private afterwards(guest: Guest, readback: Uint32Array, nent: number): void {
    const { replay, tally, recorded } = this;
    const { vcpu } = guest.fds;
    const experiments = recorded.at('after');
    if (experiments.there)
      for (const experiment of experiments.list) replaySetExperiment(replay, tally, vcpu, experiment);
    this.check('efault_after', replay.user.ioctl(vcpu, KVM_SET_CPUID2, 0));
    legacyBase(replay);
    this.check('legacy_after', replay.user.ioctl(vcpu, KVM_SET_CPUID, replay.user.scratch));
    this.checkGroup('after_sregs_osxsave', this.osxsave(guest, readback, nent));
  }

  /** CR4.OSXSAVE changes after the run: old and new readback are both accepted. */
  private osxsave(guest: Guest, readback: Uint32Array, nent: number): Record<string, unknown> {
    const { user } = this.replay;
    const setters = new VcpuSetters(this.replay, guest.fds.vcpu);
    const sregs = setters.sregs();
    sregs.setBigUint64(SREGS_CR4, sregs.getBigUint64(SREGS_CR4, true) | CR4_OSXSAVE, true);
    const errno = setters.setSregs(sregs);
    user.work.load(readback, nent);
    const old = this.set(guest);
    user.readBack(guest.fds.vcpu);
    const deltas = new Deltas();
    deltas.compare(readback, nent, user.got.entries, user.got.nent);
    user.work.load(user.got.entries, user.got.nent);
    const now = this.set(guest);
    sregs.setBigUint64(SREGS_CR4, sregs.getBigUint64(SREGS_CR4, true) & ~CR4_OSXSAVE, true);
    setters.setSregs(sregs);
    return {
      sregs: errno,
      set_old_readback: old,
      diff_from_old_readback: deltas.toJSON(),
      set_new_readback: now,
    };
  }
}
