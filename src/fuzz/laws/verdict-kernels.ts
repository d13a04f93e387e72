import { CPUID2_HEADER_SIZE, ENTRY2_WORDS } from '../../kvm/abi.js';
import { firstRefusedAt } from '../../kvm/paranoid/verify.js';
import type { Judge, TableLaw } from '../law.js';
import type { Place } from '../place.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

export const verdictKernels: TableLaw = {
  name: 'verdict-kernels',
  says: 'the kernel with vectors and the portable one stop at the same entry, and the rules refuse it',
  share: 12,
  judge(place: Place): Judge {
    const { verifier, rules, words } = place;
    return (at, count) => {
      const start = at + HEADER_WORDS;
      const first = verifier.firstRefused(rules, start * 4, count);
      if (first >= 0 && !rules.refuses(words, start + first * ENTRY2_WORDS)) return false;
      return first === firstRefusedAt(rules, words, start, count);
    };
  },
};
