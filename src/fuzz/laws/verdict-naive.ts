import { CPUID2_HEADER_SIZE } from '../../kvm/abi.js';
import type { TableLaw } from '../law.js';
import { factsOf } from '../naive/facts.js';
import type { Overlay } from '../naive/rules.js';
import { naiveScan } from '../naive/verify.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

const OVERLAYS: Readonly<Record<string, Overlay>> = { DEFAULT: 'vmx', SVM: 'svm', TDX: 'tdx' };

export const verdictNaive: TableLaw = {
  name: 'verdict-naive',
  says: 'a slow verifier that was written from the rules alone refuses the same entry first',
  share: 4,
  // Linux 6.1 writes bits of its own, for which its rules make room; the naive ones are those of later kernels.
  where: ({ host }) => host.inputs.kernel !== '6.1',
  judge(place) {
    const { verifier, rules, words, spec } = place;
    const scan = naiveScan(factsOf(place), OVERLAYS[place.overlay]!, {
      reserved: spec.options.reserved ?? 'zero',
      guestPermAmx: spec.amx,
    });
    return (at, count) => {
      const start = at + HEADER_WORDS;
      return verifier.firstRefused(rules, start * 4, count) === scan(words, start, count);
    };
  },
};
