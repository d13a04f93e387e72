/** What KVM_SET_CPUID2 says once a vCPU has run. */
import type { CpuidEntry2 } from '../cpuid/entry.js';
import { KVM_SET_CPUID2, SREGS_CR4 } from '../kvm/abi.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';
import { deltasOf, wordsOf } from './deltas.js';
import type { KvmDevice, LiveVm } from './device.js';
import { flips } from './flips.js';
import { type Guest, withGuest } from './guest.js';
import { setLegacy } from './legacy.js';
import type { Recording, Section } from './recording.js';
import { leaf, positionOf, type SetCase, withSizeByte } from './set-cases.js';
import { WatchedVcpu } from './set-sections.js';

type Entries = readonly CpuidEntry2[];

/** `run` and `flips_after_run`. */
export function runSections(recording: Recording): Section {
  const { kvm } = recording;
  const never_set = kvm.withVcpu((vm) => neverSetRun(recording, vm));
  const { flips_after_run, ...run } = kvm.withVcpu((vm) => setRun(recording, vm));
  return { run: { never_set, ...run }, ...(flips_after_run !== undefined && { flips_after_run }) };
}

/** A vCPU that ran without any CPUID. */
function neverSetRun({ kvm, supported }: Recording, vm: LiveVm): Section {
  return withGuest(kvm, vm, (guest) => {
    const prepare = prepared(guest);
    if (prepare !== 'OK') return { prepare };
    return {
      prepare,
      ...guest.enter(),
      set_supported_after: kvm.set(vm.vcpu, supported),
      set_empty_after: kvm.set(vm.vcpu, []),
    };
  });
}

const prepared = (guest: Guest): string => (guest.prepared === 'OK' ? guest.reset() : guest.prepared);

/** A vCPU with the supported set: a run that does not enter the guest, then one that does, then sets. */
function setRun(recording: Recording, vm: LiveVm): Section {
  const { kvm, supported } = recording;
  return withGuest(kvm, vm, (guest) => {
    if (guest.prepared !== 'OK') return { prepare: guest.prepared };
    const before = { prepare: guest.prepared, set: kvm.set(vm.vcpu, supported), setregs: guest.reset() };
    const immediate_exit = {
      run: guest.enterNot(),
      set_changed_after: kvm.set(vm.vcpu, withBitOfFirst(supported)),
      set_supported_after: kvm.set(vm.vcpu, supported),
    };
    const hlt = guest.enter();
    return { ...before, immediate_exit, hlt, ...(hlt.run === 'OK' && afterRun(recording, vm.vcpu, guest)) };
  });
}

function afterRun({ kvm, supported, progress }: Recording, vcpu: number, guest: Guest): Section {
  const watched = new WatchedVcpu(kvm, vcpu, supported);
  watched.remember();
  const readback = kvm.output.entries();
  const cases = afterCases(supported, readback);
  return {
    after: cases.map((item) => watched.experiment(item)),
    efault_after: kvm.ask(vcpu, KVM_SET_CPUID2, 0),
    legacy_after: setLegacy(kvm, vcpu, { entries: supported }),
    after_sregs_osxsave: withOsxsave(kvm, vcpu, guest, readback),
    flips_after_run: flips(kvm, vcpu, readback, 'EINVAL', progress),
  };
}

const withBitOfFirst = (entries: Entries): Entries => changedFirst(entries, ({ ebx }) => ({ ebx: ebx ^ 1 }));

function changedFirst(entries: Entries, change: (entry: CpuidEntry2) => Partial<CpuidEntry2>): Entries {
  return entries.map((entry, position) => (position === 0 ? { ...entry, ...change(entry) } : entry));
}

/** Variations of the readback; only padding may differ from it. */
function afterCases(supported: Entries, readback: Entries): SetCase[] {
  const [first, second, ...others] = readback;
  return [
    { id: 'supported again', entries: supported },
    { id: 'the readback', entries: readback },
    { id: 'nent 0', entries: [] },
    { id: 'one entry fewer', entries: readback.slice(0, -1) },
    { id: 'one entry more', entries: [...readback, leaf(0x5000_0000)] },
    { id: 'head padding changed', entries: readback, headPadding: 7 },
    { id: 'padding changed', entries: readback.map((entry) => ({ ...entry, padding: [0, 7, 0] as const })) },
    { id: 'flags of entry 0 changed', entries: changedFirst(readback, ({ flags }) => ({ flags: flags ^ 2 })) },
    { id: 'index of entry 0 changed', entries: changedFirst(readback, ({ index }) => ({ index: index ^ 1 })) },
    ...(first && second ? [{ id: 'entries 0 and 1 swapped', entries: [second, first, ...others] }] : []),
    { id: 'one bit of 0.EBX changed', entries: withBitOfFirst(readback) },
    ...(positionOf(readback, 0x8000_0008) < 0
      ? []
      : [{ id: 'bad vaddr width', entries: withSizeByte(readback, 1, 52) }]),
    {
      id: `nent ${KVM_MAX_CPUID_ENTRIES + 1}`,
      entries: [...readback, ...Array.from({ length: KVM_MAX_CPUID_ENTRIES + 1 }, () => leaf(0x5000_0000))].slice(
        0,
        KVM_MAX_CPUID_ENTRIES + 1,
      ),
    },
  ];
}

const OSXSAVE = 1n << 18n;

/** CR4.OSXSAVE changes the stored table after the run; both the old and the new readback are then set. */
function withOsxsave(kvm: KvmDevice, vcpu: number, guest: Guest, readback: Entries): Section {
  const change = (edit: (cr4: bigint) => bigint) =>
    guest.changeSregs((sregs) => sregs.setBigUint64(SREGS_CR4, edit(sregs.getBigUint64(SREGS_CR4, true)), true));
  const sregs = change((cr4) => cr4 | OSXSAVE);
  const setOld = kvm.set(vcpu, readback);
  kvm.readBack(vcpu);
  const now = kvm.output.entries();
  const difference = deltasOf(wordsOf(readback), readback.length, wordsOf(now), now.length);
  const setNew = kvm.set(vcpu, now);
  change((cr4) => cr4 & ~OSXSAVE);
  return { sregs, set_old_readback: setOld, diff_from_old_readback: difference, set_new_readback: setNew };
}
