import { CPUID2_HEADER_SIZE } from '../../kvm/abi.js';
import { ERRNO } from '../../linux/errno.js';
import type { TableLaw } from '../law.js';
import { mainlineErrno } from '../naive/mainline.js';
import { VcpuUser } from '../user.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

const NUMBERS = { OK: 0, E2BIG: -ERRNO.E2BIG, EINVAL: -ERRNO.EINVAL, EPERM: -ERRNO.EPERM } as const;

export const errnoOnly: TableLaw = {
  name: 'errno-only',
  says: 'whatever is handed to KVM_SET_CPUID2 is answered with 0 or the errno that the rules say, never otherwise',
  share: 4,
  judge(place) {
    const user = new VcpuUser(place);
    const { words, verifier, rules, module, spec } = place;
    // Memory that is not mapped: the guard page in front of the table.
    const hole = place.address(place.table) - 8;
    const paranoid = module.policy === 'paranoid';
    const combined = module.placement === 'combined';
    return (at, count, chance) => {
      const kind = chance & 31;
      if (kind === 0) return user.setAt(hole) === -ERRNO.EFAULT;
      if (kind === 1) {
        words[at] = 257 + (chance >>> 8);
        const answer = user.set(at);
        words[at] = count;
        return answer === -ERRNO.E2BIG;
      }
      const start = at + HEADER_WORDS;
      const mainline = NUMBERS[mainlineErrno(words, start, count, spec.amx)];
      const refused = paranoid && verifier.firstRefused(rules, start * 4, count) >= 0;
      const expected = refused && !(combined && mainline !== 0) ? -ERRNO.EINVAL : mainline;
      return user.set(at) === expected;
    };
  },
};
