import { featureNamed } from '../../cpuid/features.js';
import { CPUID2_HEADER_SIZE, EAX, EBX, ENTRY2_WORDS, FUNCTION } from '../../kvm/abi.js';
import type { TableLaw } from '../law.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

/** Features that only a TD has, because the TDX module fixes them to 1. */
const FIXED_IN_TDS = ['DTES64', 'DSCPL', 'DS', 'CORE_CAPABILITIES'].map(featureNamed);
/**
 * What the TDX module answers is left alone: CPUID.1AH:EAX (hybrid), CPUID.1EH:EBX (TMUL, in every sub-leaf what others
 * have in sub-leaf 0), leaf 21H (the module's name).
 */
const HYBRID = 0x1a;
const TMUL = 0x1e;
const TDX_ENUMERATION = 0x21;

export const overlayContainment: TableLaw = {
  name: 'overlay-containment',
  says: 'what a TD may have, any VM of the host may have, but for bits that the TDX module fixes to 1',
  share: 1,
  where: ({ vmType }) => vmType === 'tdx',
  judge(place) {
    const { module, rules, words, scratch } = place;
    const others = module.allowed(module.defaultOverlay, place.process);
    const entry = scratch + HEADER_WORDS;
    return (at, count) => {
      const start = at + HEADER_WORDS;
      for (let position = 0; position < count; position++) {
        const from = start + position * ENTRY2_WORDS;
        if (words[from + FUNCTION] === TDX_ENUMERATION || rules.refuses(words, from)) continue;
        words.copyWithin(entry, from, from + ENTRY2_WORDS);
        for (const { word, mask } of FIXED_IN_TDS) {
          if (words[entry + FUNCTION] === word.function) words[entry + EAX + word.registerIndex]! &= ~mask;
        }
        if (words[entry + FUNCTION] === HYBRID) words[entry + EAX] = 0;
        if (words[entry + FUNCTION] === TMUL) words[entry + EBX] = 0;
        if (others.refuses(words, entry)) return false;
      }
      return true;
    };
  },
};
