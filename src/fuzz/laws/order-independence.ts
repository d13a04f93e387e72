import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../cpuid/entry.js';
import { kvmIndexedFunctions } from '../../cpuid/indexed.js';
import { CPUID2_HEADER_SIZE, ENTRY2_WORDS, FLAGS, FUNCTION, INDEX } from '../../kvm/abi.js';
import type { TableLaw } from '../law.js';
import { VcpuUser } from '../user.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

export const orderIndependence: TableLaw = {
  name: 'order-independence',
  says: 'the order of entries of different functions, or of flagged sub-leaves of an indexed one, does not matter',
  share: 2,
  judge(place) {
    const user = new VcpuUser(place);
    const { words, scratch } = place;
    const indexed = kvmIndexedFunctions(place.spec.host.inputs.kernel);
    /** Whether no lookup can tell which of two entries comes first. */
    const areFree = (left: number, right: number): boolean => {
      const fn = words[left + FUNCTION]!;
      if (fn !== words[right + FUNCTION]) return true;
      const flags = words[left + FLAGS]! & words[right + FLAGS]!;
      return (
        (flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0 &&
        words[left + INDEX] !== words[right + INDEX] &&
        indexed.has(fn)
      );
    };
    /** Moves an entry towards the end, past as many as it may pass. */
    const sink = (from: number, end: number): void => {
      for (let at = from; at + ENTRY2_WORDS < end && areFree(at, at + ENTRY2_WORDS); at += ENTRY2_WORDS) {
        for (let word = 0; word < ENTRY2_WORDS; word++) {
          const kept = words[at + word]!;
          words[at + word] = words[at + ENTRY2_WORDS + word]!;
          words[at + ENTRY2_WORDS + word] = kept;
        }
      }
    };
    return (at, count, chance) => {
      const answer = user.set(at);
      place.copy(at, scratch);
      const start = scratch + HEADER_WORDS;
      const end = start + count * ENTRY2_WORDS;
      sink(start, end);
      sink(start + ((chance >>> 8) % count) * ENTRY2_WORDS, end);
      sink(start + ((chance >>> 20) % count) * ENTRY2_WORDS, end);
      return user.set(scratch) === answer;
    };
  },
};
