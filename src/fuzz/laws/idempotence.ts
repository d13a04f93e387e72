import type { TableLaw } from '../law.js';
import { sameTable, VcpuUser } from '../user.js';

export const idempotence: TableLaw = {
  name: 'idempotence',
  says: 'a table that is set twice gets the same answer twice, and reads back the same',
  share: 1,
  judge(place) {
    const user = new VcpuUser(place);
    const { words, scratch, second } = place;
    return (at, count) => {
      const answer = user.set(at);
      if (answer === 0) user.get(scratch, count);
      if (user.set(at) !== answer) return false;
      if (answer !== 0) return true;
      user.get(second, count);
      return sameTable(words, scratch, second);
    };
  },
};
