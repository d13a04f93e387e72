import type { CpuidEntry2 } from '../cpuid/entry.js';
import { REGISTERS } from '../cpuid/entry.js';
import { EAX, ENTRY2_WORDS, KVM_SET_CPUID2 } from '../kvm/abi.js';
import { type Delta, deltasOf, sameDeltas } from './deltas.js';
import type { KvmDevice } from './device.js';
import type { Section } from './recording.js';

const ALL_BITS = 0xffff_ffff;

/** What is listed of one register: the masks of accepted and refused bits, and bits with other consequences. */
interface FlipRow {
  readonly masks: Map<string, number>;
  readonly special: (readonly [bit: number, deltas: readonly Delta[]])[];
}

/**
 * Flips every bit of every register of every entry, one at a time. Rows where all 32 bits gave `trivial` and left the
 * readback as without a flip are counted only.
 */
export function flips(
  kvm: KvmDevice,
  vcpu: number,
  entries: readonly CpuidEntry2[],
  trivial: 'OK' | 'EINVAL',
  progress: (stage: string) => void,
): Section {
  const unflipped = kvm.set(vcpu, entries);
  const baseline = unflipped === 'OK' ? readDeltas(kvm, vcpu, entries.length) : [];
  const rows: Section[] = [];
  for (const position of entries.keys()) {
    progress(`flips ${position + 1}/${entries.length}`);
    for (const [register, name] of REGISTERS.entries()) {
      const row = flipRegister(kvm, vcpu, entries.length, position * ENTRY2_WORDS + EAX + register, baseline);
      const isTrivial = row.special.length === 0 && (row.masks.get(trivial) ?? 0) === ALL_BITS;
      if (!isTrivial) rows.push(listed(position, name, row));
    }
  }
  const registers = entries.length * REGISTERS.length;
  return {
    unflipped,
    unflipped_diff: baseline,
    trivial,
    rows,
    rows_listed: rows.length,
    rows_trivial: registers - rows.length,
    flips: registers * 32,
  };
}

function readDeltas(kvm: KvmDevice, vcpu: number, nent: number): Delta[] {
  if (kvm.readBack(vcpu) !== 'OK') return [];
  return deltasOf(kvm.input.words, nent, kvm.output.words, kvm.output.nent);
}

/** The kernel only reads the table: it is changed in place and changed back. */
function flipRegister(kvm: KvmDevice, vcpu: number, nent: number, at: number, baseline: readonly Delta[]): FlipRow {
  const { words, address } = kvm.input;
  const row: FlipRow = { masks: new Map([['OK', 0]]), special: [] };
  const original = words[at]!;
  for (let bit = 0; bit < 32; bit++) {
    words[at] = original ^ (1 << bit);
    const errno = kvm.ask(vcpu, KVM_SET_CPUID2, address);
    row.masks.set(errno, ((row.masks.get(errno) ?? 0) | (1 << bit)) >>> 0);
    if (errno !== 'OK') continue;
    const deltas = readDeltas(kvm, vcpu, nent);
    if (!sameDeltas(deltas, baseline)) row.special.push([bit, deltas]);
  }
  words[at] = original;
  return row;
}

function listed(position: number, register: string, { masks, special }: FlipRow): Section {
  const { OK: ok, ...refused } = Object.fromEntries([...masks].map(([errno, mask]) => [errno, mask.toString(16)]));
  return { i: position, r: register, ok, ...refused, ...(special.length > 0 && { special }) };
}
