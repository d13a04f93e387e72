import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../cpuid/entry.js';
import { CPUID2_HEADER_SIZE, EAX, ENTRY2_WORDS, FLAGS, FUNCTION, INDEX } from '../../kvm/abi.js';
import { CHECK, CHECK_WORDS } from '../../kvm/paranoid/rule-arrays.js';
import { isSignatureLeaf } from '../../kvm/paranoid/verify.js';
import type { TableLaw } from '../law.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

export const monotoneRefusal: TableLaw = {
  name: 'monotone-refusal',
  says: 'where the rule is a mask, fewer bits keep a table accepted, and more bits keep it refused',
  share: 2,
  judge(place) {
    const { words, rules, verifier, scratch } = place;
    const start = scratch + HEADER_WORDS;
    /** Whether nothing but a mask decides about the register. */
    const isMask = (at: number, register: number): boolean => {
      const significant = (words[at + FLAGS]! & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0;
      const line = rules.lineOf(words[at + FUNCTION]! | 0, words[at + INDEX]! | 0, significant);
      for (let check = rules.checkStart[line]!; check < rules.checkStart[line + 1]!; check++) {
        if (rules.checks[check * CHECK_WORDS + CHECK.register] === register) return false;
      }
      return true;
    };
    return (at, count, chance) => {
      const register = chance & 3;
      const first = verifier.firstRefused(rules, (at + HEADER_WORDS) * 4, count);
      const position = first < 0 ? (chance >>> 8) % count : first;
      const entry = start + position * ENTRY2_WORDS;
      place.copy(at, scratch);
      // KVM's own leaves may come to belong to another interface, and then anything goes.
      if (!isMask(entry, register) || isSignatureLeaf(words[entry + FUNCTION]! | 0)) return true;
      const bits = Math.imul(chance, 0x9e37_79b9);
      if (first < 0) words[entry + EAX + register]! &= bits;
      else words[entry + EAX + register]! |= bits;
      return verifier.firstRefused(rules, start * 4, count) === first;
    };
  },
};
