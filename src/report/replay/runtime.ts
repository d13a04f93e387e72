import {
  ENTRY2_WORDS,
  KVM_CAP_DISABLE_QUIRKS2,
  KVM_CAP_X86_DISABLE_EXITS,
  KVM_SET_CPUID2,
  SREGS_APIC_BASE,
  SREGS_CR4,
} from '../../kvm/abi.js';
import { FOREIGN_MASKS, type Replay } from './context.js';
import { Deltas, MAX_DELTAS_OF_FLIP } from './deltas.js';
import type { Recorded } from './recorded.js';
import { VcpuSetters } from './setters.js';
import type { Tally } from './tally.js';
import type { Errno } from './userspace.js';

const EAX = 3;
const EBX = 4;
const ECX = 5;
const EDX = 6;

const CR4_OSXSAVE = 1n << 18n;
const CR4_PKE = 1n << 22n;
const APIC_BASE_ENABLE = 0x800n;
const MISC_ENABLE_MWAIT = 1n << 18n;
const MWAIT = 1 << 3;
const DISABLE_EXITS_HLT = 2n;
const QUIRK_MISC_ENABLE_NO_MWAIT = 1n << 4n;

const MSR_APIC_BASE = 0x1b;
const MSR_MISC_ENABLE = 0x1a0;
const MSR_XSS = 0xda0;

/**
 * `runtime`: state is set through SREGS, XCRS and MSRs, and the table is read back after each step. The steps are made
 * again as the recorder made them, and their names, which hold values, are compared too.
 */
export function replayRuntime(replay: Replay): void {
  const recorded = replay.document.at('runtime');
  if (!recorded.there) return;
  const tally = replay.section('runtime');
  if (replay.foreign) {
    tally.skip(recorded.list.length, `what a vCPU's state may be depends on its masks: ${FOREIGN_MASKS}`);
    return;
  }
  const steps = new Steps(replay, tally, recorded.list);
  stateSteps(steps);
  quirkSteps(steps);
  disabledExitSteps(steps, false);
  disabledExitSteps(steps, true);
  steps.finish();
}

/** The steps so far, against the recorded ones. */
class Steps {
  readonly replay: Replay;
  private readonly tally: Tally;
  private readonly rows: readonly Recorded[];
  private position = 0;
  private readonly deltas = new Deltas();

  constructor(replay: Replay, tally: Tally, rows: readonly Recorded[]) {
    this.replay = replay;
    this.tally = tally;
    this.rows = rows;
  }

  /** A step on a VM, without a readback. */
  vm(step: string, errno: Errno): void {
    this.compare({ step, errno });
  }

  /** A step on a vCPU, and how its table then differs from what is in the work buffer. */
  vcpu(vcpu: number, step: string, errno: Errno): void {
    const { user } = this.replay;
    const { work, got } = user;
    user.readBack(vcpu);
    this.deltas.compare(work.entries, work.nent, got.entries, got.nent, MAX_DELTAS_OF_FLIP);
    this.compare({ step, errno, diff: this.deltas.toJSON() });
  }

  private compare(got: { step: string; errno: Errno; diff?: unknown }): void {
    const row = this.rows[this.position++];
    if (!row) {
      this.tally.differs(got.step, 'no more steps', got.errno);
      return;
    }
    this.tally.check(row.at('step').text, row.json, got);
  }

  /** Recorded steps that are left over were not made here. */
  finish(): void {
    for (const row of this.rows.slice(this.position)) this.tally.check(row.at('step').text, row.json, 'not made');
  }
}

/** Where the runtime bits are in the table of the work buffer; -1: nowhere. */
interface Places {
  readonly leaf1: number;
  readonly standard: number;
  readonly compacted: number;
}

/** The supported set without the bits that follow the vCPU's state. */
function clearedInput({ replay }: Steps): Places {
  const work = replay.fresh();
  const place = (fn: number, index: number) => {
    const position = work.find(fn, index);
    return position < 0 ? -1 : position * ENTRY2_WORDS;
  };
  const places = { leaf1: place(1, 0), standard: place(0xd, 0), compacted: place(0xd, 1) };
  const leaf7 = place(7, 0);
  const { entries } = work;
  if (places.leaf1 >= 0) {
    entries[places.leaf1 + ECX]! &= ~((1 << 27) | MWAIT);
    entries[places.leaf1 + EDX]! &= ~(1 << 9);
  }
  if (leaf7 >= 0) entries[leaf7 + ECX]! &= ~(1 << 4);
  if (places.standard >= 0) entries[places.standard + EBX] = 0;
  if (places.compacted >= 0) entries[places.compacted + EBX] = 0;
  return places;
}

function setWork({ replay }: Steps, vcpu: number): Errno {
  return replay.user.ioctl(vcpu, KVM_SET_CPUID2, replay.user.work.address);
}

const hex = (value: bigint): string => value.toString(16);

function components({ replay }: Steps, at: number, low: number): bigint {
  const { entries } = replay.user.work;
  return at < 0 ? 0n : (BigInt(entries[at + EDX]!) << 32n) | BigInt(entries[at + low]!);
}

/** The first vCPU: CR4, APIC base, XCR0, XSS, and MISC_ENABLE with the quirk on. */
function stateSteps(steps: Steps): void {
  const { replay } = steps;
  const fds = replay.user.createBoth();
  const { vcpu } = fds;
  const setters = new VcpuSetters(replay, vcpu);
  const places = clearedInput(steps);
  steps.vcpu(vcpu, 'set: supported with OSXSAVE MWAIT APIC OSPKE 0 and d.0 d.1 EBX 0', setWork(steps, vcpu));
  sregsSteps(steps, vcpu, setters);
  const supported = components(steps, places.standard, EAX);
  xcr0Steps(steps, vcpu, setters, supported);
  const xss = components(steps, places.compacted, ECX);
  steps.vcpu(vcpu, `MSR XSS=${hex(xss)}`, setters.setMsr(MSR_XSS, xss));
  steps.vcpu(vcpu, 'XCRS xcr0=all supported, XSS as above', setters.setXcr0(supported));
  steps.vcpu(vcpu, 'MSR XSS=0', setters.setMsr(MSR_XSS, 0n));
  steps.vcpu(vcpu, 'MSR XSS=1<<40', setters.setMsr(MSR_XSS, 1n << 40n));
  miscEnableSteps(steps, vcpu, setters);
  if (places.leaf1 >= 0) replay.user.work.entries[places.leaf1 + ECX]! |= MWAIT;
  steps.vcpu(vcpu, 'set with MWAIT bit 1, MISC_ENABLE 0 (quirk on)', setWork(steps, vcpu));
  replay.user.close(fds);
}

function sregsSteps(steps: Steps, vcpu: number, setters: VcpuSetters): void {
  const start = setters.sregs();
  const apicBase = start.getBigUint64(SREGS_APIC_BASE, true);
  const changed = (offset: number, change: (value: bigint) => bigint) => {
    const sregs = new DataView(start.buffer.slice(0));
    sregs.setBigUint64(offset, change(start.getBigUint64(offset, true)), true);
    return setters.setSregs(sregs);
  };
  const back = () => steps.vcpu(vcpu, 'SREGS back', setters.setSregs(start));
  const off = apicBase & ~APIC_BASE_ENABLE;
  steps.vcpu(
    vcpu,
    'SREGS cr4 OSXSAVE',
    changed(SREGS_CR4, (cr4) => cr4 | CR4_OSXSAVE),
  );
  steps.vcpu(
    vcpu,
    'SREGS cr4 OSXSAVE PKE',
    changed(SREGS_CR4, (cr4) => cr4 | CR4_OSXSAVE | CR4_PKE),
  );
  back();
  steps.vcpu(
    vcpu,
    'SREGS cr4 PKE alone',
    changed(SREGS_CR4, (cr4) => cr4 | CR4_PKE),
  );
  back();
  steps.vcpu(
    vcpu,
    `SREGS apic_base ${hex(off)} (enable bit off)`,
    changed(SREGS_APIC_BASE, () => off),
  );
  back();
  steps.vcpu(vcpu, 'MSR APIC_BASE enable bit off', setters.setMsr(MSR_APIC_BASE, off));
  steps.vcpu(vcpu, 'MSR APIC_BASE back', setters.setMsr(MSR_APIC_BASE, apicBase));
}

function xcr0Steps(steps: Steps, vcpu: number, setters: VcpuSetters, supported: bigint): void {
  const values = [
    1n,
    3n,
    7n,
    supported & 0xe7n,
    supported & 0x207n,
    supported,
    supported & ~6n,
    2n,
    5n,
    supported | (1n << 62n),
    1n,
  ];
  for (const value of values) steps.vcpu(vcpu, `XCRS xcr0=${hex(value)}`, setters.setXcr0(value));
}

function miscEnableSteps(steps: Steps, vcpu: number, setters: VcpuSetters): void {
  steps.vcpu(vcpu, 'MSR MISC_ENABLE MWAIT on', setters.setMsr(MSR_MISC_ENABLE, MISC_ENABLE_MWAIT));
  steps.vcpu(vcpu, 'MSR MISC_ENABLE MWAIT off', setters.setMsr(MSR_MISC_ENABLE, 0n));
}

/** The second vCPU: MISC_ENABLE with the quirk disabled. */
function quirkSteps(steps: Steps): void {
  const { replay } = steps;
  const { user } = replay;
  const vm = user.createVm();
  const disabled = user.enableCap(vm, KVM_CAP_DISABLE_QUIRKS2, QUIRK_MISC_ENABLE_NO_MWAIT);
  steps.vm('new VM, KVM_CAP_DISABLE_QUIRKS2 MISC_ENABLE_NO_MWAIT', disabled);
  const vcpu = user.createVcpu(vm);
  const setters = new VcpuSetters(replay, vcpu);
  const places = clearedInput(steps);
  steps.vcpu(vcpu, 'set as above', setWork(steps, vcpu));
  miscEnableSteps(steps, vcpu, setters);
  if (places.leaf1 >= 0) user.work.entries[places.leaf1 + ECX]! |= MWAIT;
  steps.vcpu(vcpu, 'set with MWAIT bit 1, MISC_ENABLE 0', setWork(steps, vcpu));
  const on = setters.setMsr(MSR_MISC_ENABLE, MISC_ENABLE_MWAIT);
  steps.vcpu(vcpu, 'MSR MISC_ENABLE MWAIT on', on);
  user.close({ vm, vcpu });
}

const KVM_BASE = 0x4000_0000;
const MOVED_BASE = 0x4000_0100;

/** PV_UNHALT with HLT exits disabled; `moved`: KVM's leaves are elsewhere, and something else is where they were. */
function disabledExitSteps(steps: Steps, moved: boolean): void {
  const { replay } = steps;
  const { user } = replay;
  const vm = user.createVm();
  const disabled = user.enableCap(vm, KVM_CAP_X86_DISABLE_EXITS, DISABLE_EXITS_HLT);
  steps.vm('new VM, KVM_CAP_X86_DISABLE_EXITS HLT', disabled);
  const vcpu = user.createVcpu(vm);
  const work = replay.fresh();
  const base = work.find(KVM_BASE, 0);
  const features = work.find(KVM_BASE + 1, 0);
  if (moved && base >= 0 && features >= 0) {
    work.entries[base * ENTRY2_WORDS] = MOVED_BASE;
    work.entries[base * ENTRY2_WORDS + EAX] = MOVED_BASE + 1;
    work.entries[features * ENTRY2_WORDS] = MOVED_BASE + 1;
    work.add(KVM_BASE + 1, 0, 0, 0xffff_ffff, 0, 0, 0);
  }
  const step = moved ? 'set: KVM leaves at 40000100, a foreign 40000001 all ones behind' : 'set: supported';
  steps.vcpu(vcpu, step, setWork(steps, vcpu));
  user.close({ vm, vcpu });
}
