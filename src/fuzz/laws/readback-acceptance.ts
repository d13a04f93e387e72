import type { TableLaw } from '../law.js';
import { sameTable, VcpuUser } from '../user.js';

export const readbackAcceptance: TableLaw = {
  name: 'readback-acceptance',
  says: 'what KVM_GET_CPUID2 shows of an accepted table is accepted, and then reads back the same',
  share: 1,
  judge(place) {
    const user = new VcpuUser(place);
    const { words, scratch, second } = place;
    return (at, count) => {
      if (user.set(at) !== 0) return true;
      if (user.get(scratch, count) !== 0 || user.set(scratch) !== 0) return false;
      return user.get(second, count) === 0 && sameTable(words, scratch, second);
    };
  },
};
