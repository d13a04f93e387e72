/** The legacy KVM_SET_CPUID, whose entries have neither index nor flags. */
import type { CpuidEntry2 } from '../cpuid/entry.js';
import { CPUID2_HEADER_SIZE, ENTRY_SIZE, KVM_SET_CPUID } from '../kvm/abi.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';
import { type Mapping, withMapping } from './buffers.js';
import { wordsOf } from './deltas.js';
import type { KvmDevice } from './device.js';
import type { Recording, Section } from './recording.js';
import { filled, withSizeByte } from './set-cases.js';
import { WatchedVcpu } from './set-sections.js';

type Entries = readonly CpuidEntry2[];

interface LegacyCase {
  readonly id: string;
  readonly entries: Entries;
  /** Default: the number of entries. */
  readonly nent?: number;
  /** `padding` of every entry. */
  readonly padding?: number;
}

/** The cases; whoever replays a recording knows them by their names. */
function legacyCases(supported: Entries): LegacyCase[] {
  const dropped = withoutKeys(supported);
  const filledTo = (nent: number): Entries => [
    ...dropped,
    ...filled(dropped, nent)
      .slice(dropped.length)
      .map((entry) => ({ ...entry, eax: 0, ebx: 0, ecx: 0 })),
  ];
  return [
    { id: 'supported set, index dropped', entries: dropped },
    { id: 'nent 0', entries: [] },
    { id: 'nent 256', entries: filledTo(KVM_MAX_CPUID_ENTRIES) },
    { id: 'nent 257', entries: filledTo(KVM_MAX_CPUID_ENTRIES + 1) },
    { id: 'padding non-zero', entries: dropped, padding: 0xfeed },
    { id: 'bad vaddr width 52', entries: withSizeByte(dropped, 1, 52) },
    { id: 'vaddr width 57', entries: withSizeByte(dropped, 1, 57) },
    { id: 'nent 0xffffffff', entries: dropped, nent: 0xffff_ffff },
  ];
}

/** The `legacy` section, on a vCPU of its own. Differences are against flags, index and padding zero. */
export function legacyRows({ kvm, supported }: Recording, vcpu: number): Section[] {
  const watched = new WatchedVcpu(kvm, vcpu, supported);
  return legacyCases(supported).map((item) => {
    const { id, entries, nent = entries.length } = item;
    const set = setLegacy(kvm, vcpu, item);
    return { id, nent, set, ...watched.outcome(set, wordsOf(entries), nent) };
  });
}

const withoutKeys = (entries: Entries): Entries =>
  entries.map(({ padding: _, ...entry }) => ({ ...entry, index: 0, flags: 0 }));

/** KVM_SET_CPUID of a table, whose indices and flags are dropped. */
export function setLegacy(
  kvm: KvmDevice,
  vcpu: number,
  { entries, nent = entries.length, padding = 0 }: Omit<LegacyCase, 'id'>,
): string {
  return withMapping(kvm.libc, CPUID2_HEADER_SIZE + entries.length * ENTRY_SIZE, (memory) => {
    memory.view.setUint32(0, nent, true);
    for (const [position, entry] of entries.entries()) putLegacy(memory, position, entry, padding);
    return kvm.ask(vcpu, KVM_SET_CPUID, memory.address);
  });
}

function putLegacy(memory: Mapping, position: number, entry: CpuidEntry2, padding: number): void {
  const { function: fn, eax, ebx, ecx, edx } = entry;
  const words = [fn, eax, ebx, ecx, edx, padding];
  memory.words(CPUID2_HEADER_SIZE + position * ENTRY_SIZE, words.length).set(words);
}
