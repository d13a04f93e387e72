import { type CpuidEntry2, formatEntry } from '../cpuid/entry.js';
import { ENTRY2_WORDS, KVM_GET_CPUID2 } from '../kvm/abi.js';
import { deltasOf, editsOf } from './deltas.js';
import type { KvmDevice } from './device.js';
import { sizesOf } from './get-sections.js';
import { randomCases } from './random-cases.js';
import type { Recording, Section } from './recording.js';
import { positionOf, type SetCase, setCases, withSizeByte } from './set-cases.js';

/** A vCPU whose stored table is watched: what it becomes, and that a refusal keeps it. */
export class WatchedVcpu {
  private readonly kvm: KvmDevice;
  private readonly vcpu: number;
  private readonly supported: readonly CpuidEntry2[];
  private stored: { readonly words: Uint32Array; readonly nent: number } | null = null;

  constructor(kvm: KvmDevice, vcpu: number, supported: readonly CpuidEntry2[]) {
    this.kvm = kvm;
    this.vcpu = vcpu;
    this.supported = supported;
  }

  /** Reads the stored table and keeps it to compare with. Returns the errno. */
  remember(): string {
    const errno = this.kvm.readBack(this.vcpu);
    const { words, nent } = this.kvm.output;
    if (errno === 'OK') this.stored = { words: words.slice(0, nent * ENTRY2_WORDS), nent };
    return errno;
  }

  /** One KVM_SET_CPUID2 experiment. */
  experiment({ id, entries, headPadding = 0 }: SetCase): Section {
    const set = this.kvm.set(this.vcpu, entries, headPadding);
    return {
      id,
      nent: entries.length,
      ...(headPadding !== 0 && { head_padding: headPadding.toString(16) }),
      edits: editsOf(this.supported, entries),
      set,
      ...this.outcome(set, this.kvm.input.words, entries.length),
    };
  }

  /** What the table is after a set: its differences from the input, or whether the one before was kept. */
  outcome(set: string, input: Uint32Array, nent: number): Section {
    const before = this.stored;
    const get = this.remember();
    if (get !== 'OK') return { get };
    const after = this.stored!;
    if (set === 'OK') return { get, diff: deltasOf(input, nent, after.words, after.nent) };
    if (!before) return { get, kept: `nent=${after.nent}` };
    const changes = deltasOf(before.words, before.nent, after.words, after.nent);
    this.stored = before;
    return { get, kept: changes.length === 0 ? 1 : changes };
  }
}

/** `fresh_vcpu`, `set`, `sweep_80000008_eax` and `get_cpuid2_sizes`, on one vCPU. */
export function setSections({ kvm, supported, runs, seed, progress }: Recording, vcpu: number): Section {
  const watched = new WatchedVcpu(kvm, vcpu, supported);
  const get = kvm.readBack(vcpu);
  const fresh = { get, nent: kvm.output.nent, entries: kvm.output.entries().map(formatEntry) };
  const cases = [...setCases(supported), ...randomCases(supported, runs, seed)];
  const set = cases.map((item, n) => {
    progress(`sets ${n + 1}/${cases.length}`);
    return watched.experiment(item);
  });
  const sweep = positionOf(supported, 0x8000_0008) < 0 ? {} : { sweep_80000008_eax: sweepSizes(kvm, vcpu, supported) };
  kvm.set(vcpu, supported);
  return {
    fresh_vcpu: fresh,
    set,
    ...sweep,
    get_cpuid2_sizes: sizesOf(kvm, vcpu, KVM_GET_CPUID2, supported.length),
  };
}

/** All 256 values of each byte of 80000008 EAX. */
function sweepSizes(kvm: KvmDevice, vcpu: number, supported: readonly CpuidEntry2[]): Section {
  const bytes = [0, 1, 2, 3].map((byte) => {
    const errnos = Array.from({ length: 256 }, (_, value) => kvm.set(vcpu, withSizeByte(supported, byte, value)));
    return [`byte${byte}`, sweepRow(errnos)] as const;
  });
  return Object.fromEntries(bytes);
}

/** The values that were accepted, and the errno of all others. */
export function sweepRow(errnos: readonly string[]): Section {
  const refused = new Set(errnos.filter((errno) => errno !== 'OK'));
  const [only = 'none'] = refused;
  return {
    ok: errnos.flatMap((errno, value) => (errno === 'OK' ? [value] : [])),
    rest: refused.size > 1 ? 'mixed' : only,
  };
}
