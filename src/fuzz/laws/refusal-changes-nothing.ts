import type { TableLaw } from '../law.js';
import { sameTable, VcpuUser } from '../user.js';

export const refusalChangesNothing: TableLaw = {
  name: 'refusal-changes-nothing',
  says: 'a refused table leaves the vCPU as it was: its table, and the size of its FPU buffer',
  share: 1,
  judge(place) {
    const user = new VcpuUser(place);
    const { words, scratch } = place;
    /** What reads back from the vCPU. */
    const kept = place.newBuffer();
    let count = 0;
    user.get(kept, count);
    return (at, given) => {
      if (user.set(at) === 0) {
        count = given;
        // What has grown does not shrink again, and would hide that it grows.
        if (user.fpuXfeatures !== 0) {
          user.renew();
          count = 0;
        }
        user.get(kept, count);
        return true;
      }
      user.get(scratch, count);
      const held = sameTable(words, scratch, kept) && user.fpuXfeatures === 0;
      if (!held) {
        user.renew();
        count = 0;
        user.get(kept, count);
      }
      return held;
    };
  },
};
