/** How a stored table follows the vCPU's state: CR4, APIC base, XCR0, XSS, MISC_ENABLE, disabled quirks and exits. */
import type { CpuidEntry2 } from '../cpuid/entry.js';
import {
  ENABLE_CAP_ARGS,
  ENABLE_CAP_SIZE,
  KVM_CAP_DISABLE_QUIRKS2,
  KVM_CAP_X86_DISABLE_EXITS,
  KVM_ENABLE_CAP,
  KVM_GET_SREGS,
  KVM_SET_MSRS,
  KVM_SET_SREGS,
  KVM_SET_XCRS,
  MSR_DATA,
  MSR_ENTRY_SIZE,
  MSRS_HEADER_SIZE,
  SREGS_APIC_BASE,
  SREGS_CR4,
  SREGS_SIZE,
  XCR_VALUE,
  XCRS_FIRST,
  XCRS_SIZE,
} from '../kvm/abi.js';
import { deltasOf, wordsOf } from './deltas.js';
import type { KvmDevice } from './device.js';
import { errnoOf } from './ffi.js';
import type { Recording, Section } from './recording.js';
import { changed, leaf, positionOf, withRuntimeBits } from './set-cases.js';

type Entries = readonly CpuidEntry2[];

const CR4_OSXSAVE = 1n << 18n;
const CR4_PKE = 1n << 22n;
const APIC_BASE_ENABLE = 1n << 11n;
const MISC_ENABLE_MWAIT = 1n << 18n;
const MSR_APIC_BASE = 0x1b;
const MSR_MISC_ENABLE = 0x1a0;
const MSR_XSS = 0xda0;
const MWAIT = 1 << 3;
const QUIRK_MISC_ENABLE_NO_MWAIT = 1n << 4n;
const DISABLE_EXITS_HLT = 2n;

/** The `runtime` section. Whoever replays a recording knows the steps by their names, which hold the values. */
export function runtimeRows({ kvm, supported }: Recording): Section[] {
  return [
    ...stateRows(kvm, supported),
    ...quirkRows(kvm, supported),
    ...disabledExitRows(kvm, 'set: supported', supported),
    ...disabledExitRows(kvm, 'set: KVM leaves at 40000100, a foreign 40000001 all ones behind', movedBase(supported)),
  ];
}

/** A vCPU that is taken through states, and what its table then is. */
class Steps {
  readonly rows: Section[] = [];
  private readonly kvm: KvmDevice;
  private readonly vcpu: number;
  private input: Entries = [];

  constructor(kvm: KvmDevice, vcpu: number) {
    this.kvm = kvm;
    this.vcpu = vcpu;
  }

  /** After a step: its errno, and the differences from the table that was set last. */
  private add(step: string, errno: string): void {
    const get = this.kvm.readBack(this.vcpu);
    const { words, nent } = this.kvm.output;
    const diff = get === 'OK' ? deltasOf(wordsOf(this.input), this.input.length, words, nent) : [];
    this.rows.push({ step, errno, diff });
  }

  set(step: string, entries: Entries): void {
    this.input = entries;
    this.add(step, this.kvm.set(this.vcpu, entries));
  }

  /** The special registers as they are. */
  sregs(): Uint8Array {
    this.kvm.askWith(this.vcpu, KVM_GET_SREGS, SREGS_SIZE, () => {});
    return this.kvm.scratch.bytes.slice(0, SREGS_SIZE);
  }

  setSregs(step: string, sregs: Uint8Array, change: (view: DataView) => void = () => {}): void {
    const errno = this.kvm.askWith(this.vcpu, KVM_SET_SREGS, SREGS_SIZE, (view) => {
      this.kvm.scratch.bytes.set(sregs, 0);
      change(view);
    });
    this.add(step, errno);
  }

  setXcr0(step: string, value: bigint): void {
    const errno = this.kvm.askWith(this.vcpu, KVM_SET_XCRS, XCRS_SIZE, (view) => {
      view.setUint32(0, 1, true);
      view.setBigUint64(XCRS_FIRST + XCR_VALUE, value, true);
    });
    this.add(step, errno);
  }

  /** KVM_SET_MSRS answers how many it took; ENXIO stands for none. */
  setMsr(step: string, index: number, value: bigint): void {
    const { scratch } = this.kvm;
    scratch.bytes.fill(0, 0, MSRS_HEADER_SIZE + MSR_ENTRY_SIZE);
    scratch.view.setUint32(0, 1, true);
    scratch.view.setUint32(MSRS_HEADER_SIZE, index, true);
    scratch.view.setBigUint64(MSRS_HEADER_SIZE + MSR_DATA, value, true);
    const taken = this.kvm.ioctl(this.vcpu, KVM_SET_MSRS, scratch.address);
    this.add(step, taken === 0 ? 'ENXIO' : errnoOf(taken));
  }
}

/** The first vCPU: all state, one piece after the other. */
function stateRows(kvm: KvmDevice, supported: Entries): Section[] {
  return kvm.withVcpu(({ vcpu }) => {
    const steps = new Steps(kvm, vcpu);
    const cleared = withRuntimeBits(supported, false, 0);
    steps.set('set: supported with OSXSAVE MWAIT APIC OSPKE 0 and d.0 d.1 EBX 0', cleared);
    const sregs = steps.sregs();
    cr4Steps(steps, sregs);
    apicSteps(steps, sregs);
    xsaveSteps(steps, cleared);
    mwaitSteps(steps);
    steps.set('set with MWAIT bit 1, MISC_ENABLE 0 (quirk on)', withMwait(cleared));
    return steps.rows;
  });
}

function cr4Steps(steps: Steps, sregs: Uint8Array): void {
  const or = (bits: bigint) => (view: DataView) =>
    view.setBigUint64(SREGS_CR4, view.getBigUint64(SREGS_CR4, true) | bits, true);
  steps.setSregs('SREGS cr4 OSXSAVE', sregs, or(CR4_OSXSAVE));
  steps.setSregs('SREGS cr4 OSXSAVE PKE', sregs, or(CR4_OSXSAVE | CR4_PKE));
  steps.setSregs('SREGS back', sregs);
  steps.setSregs('SREGS cr4 PKE alone', sregs, or(CR4_PKE));
  steps.setSregs('SREGS back', sregs);
}

function apicSteps(steps: Steps, sregs: Uint8Array): void {
  const base = new DataView(sregs.buffer, sregs.byteOffset).getBigUint64(SREGS_APIC_BASE, true);
  const off = base & ~APIC_BASE_ENABLE;
  steps.setSregs(`SREGS apic_base ${off.toString(16)} (enable bit off)`, sregs, (view) =>
    view.setBigUint64(SREGS_APIC_BASE, off, true),
  );
  steps.setSregs('SREGS back', sregs);
  steps.setMsr('MSR APIC_BASE enable bit off', MSR_APIC_BASE, off);
  steps.setMsr('MSR APIC_BASE back', MSR_APIC_BASE, base);
}

/** XCR0 and XSS: what is supported, parts of it, and what never is. */
function xsaveSteps(steps: Steps, table: Entries): void {
  const standard = table[positionOf(table, 0xd, 0)];
  const compacted = table[positionOf(table, 0xd, 1)];
  const xcr0 = standard ? (BigInt(standard.edx) << 32n) | BigInt(standard.eax) : 0n;
  const xss = compacted ? (BigInt(compacted.edx) << 32n) | BigInt(compacted.ecx) : 0n;
  const values = [1n, 3n, 7n, xcr0 & 0xe7n, xcr0 & 0x207n, xcr0, xcr0 & ~6n, 2n, 5n, xcr0 | (1n << 62n), 1n];
  for (const value of values) steps.setXcr0(`XCRS xcr0=${value.toString(16)}`, value);
  steps.setMsr(`MSR XSS=${xss.toString(16)}`, MSR_XSS, xss);
  steps.setXcr0('XCRS xcr0=all supported, XSS as above', xcr0);
  steps.setMsr('MSR XSS=0', MSR_XSS, 0n);
  steps.setMsr('MSR XSS=1<<40', MSR_XSS, 1n << 40n);
}

function mwaitSteps(steps: Steps): void {
  steps.setMsr('MSR MISC_ENABLE MWAIT on', MSR_MISC_ENABLE, MISC_ENABLE_MWAIT);
  steps.setMsr('MSR MISC_ENABLE MWAIT off', MSR_MISC_ENABLE, 0n);
}

const withMwait = (entries: Entries): Entries => changed(entries, 1, 0, ({ ecx }) => ({ ecx: (ecx | MWAIT) >>> 0 }));

/** KVM_ENABLE_CAP on a VM as a row of its own. */
function enableCap(kvm: KvmDevice, vm: number, name: string, capability: number, value: bigint): Section {
  const errno = kvm.askWith(vm, KVM_ENABLE_CAP, ENABLE_CAP_SIZE, (view) => {
    view.setUint32(0, capability, true);
    view.setBigUint64(ENABLE_CAP_ARGS, value, true);
  });
  return { step: `new VM, ${name}`, errno };
}

/** The second vCPU: CPUID follows MISC_ENABLE only with the quirk disabled. */
function quirkRows(kvm: KvmDevice, supported: Entries): Section[] {
  const rows: Section[] = [];
  const prepare = (vm: number) => {
    const name = 'KVM_CAP_DISABLE_QUIRKS2 MISC_ENABLE_NO_MWAIT';
    rows.push(enableCap(kvm, vm, name, KVM_CAP_DISABLE_QUIRKS2, QUIRK_MISC_ENABLE_NO_MWAIT));
  };
  return kvm.withVcpu(({ vcpu }) => {
    const steps = new Steps(kvm, vcpu);
    const cleared = withRuntimeBits(supported, false, 0);
    steps.set('set as above', cleared);
    mwaitSteps(steps);
    steps.set('set with MWAIT bit 1, MISC_ENABLE 0', withMwait(cleared));
    steps.setMsr('MSR MISC_ENABLE MWAIT on', MSR_MISC_ENABLE, MISC_ENABLE_MWAIT);
    return [...rows, ...steps.rows];
  }, prepare);
}

/** PV_UNHALT is withdrawn where HLT does not exit. */
function disabledExitRows(kvm: KvmDevice, step: string, entries: Entries): Section[] {
  const rows: Section[] = [];
  const prepare = (vm: number) => {
    const name = 'KVM_CAP_X86_DISABLE_EXITS HLT';
    rows.push(enableCap(kvm, vm, name, KVM_CAP_X86_DISABLE_EXITS, DISABLE_EXITS_HLT));
  };
  return kvm.withVcpu(({ vcpu }) => {
    const steps = new Steps(kvm, vcpu);
    steps.set(step, entries);
    return [...rows, ...steps.rows];
  }, prepare);
}

/** KVM's leaves at another base, and something foreign where its features were. */
function movedBase(supported: Entries): Entries {
  if (positionOf(supported, 0x4000_0000) < 0 || positionOf(supported, 0x4000_0001) < 0) return supported;
  const signature = changed(supported, 0x4000_0000, 0, () => ({ function: 0x4000_0100, eax: 0x4000_0101 }));
  const features = changed(signature, 0x4000_0001, 0, () => ({ function: 0x4000_0101 }));
  return [...features, leaf(0x4000_0001, { eax: 0xffff_ffff })];
}
