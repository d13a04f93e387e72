import { CPUID2_HEADER_SIZE, EAX, ENTRY2_WORDS, FUNCTION } from '../../kvm/abi.js';
import { ERRNO } from '../../linux/errno.js';
import type { TableLaw } from '../law.js';
import type { Place } from '../place.js';
import { sameTable, VcpuUser } from '../user.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

/** Functions in which KVM writes bits of its own before it compares. */
const REWRITTEN = [1, 7, 0xd, 0x12];
const isRewritten = (fn: number): boolean => REWRITTEN.includes(fn) || fn >>> 28 === 4;

export const setAfterRun: TableLaw = {
  name: 'set-after-run',
  says: 'once a vCPU has run it accepts its own table, and refuses another with EINVAL, which changes nothing',
  share: 1,
  // A TD's CPUID is the TDX module's, and not set again.
  where: ({ vmType }) => vmType !== 'tdx',
  judge(place) {
    const user = new VcpuUser(place);
    const { words, scratch, second } = place;
    return (at, count, chance) => {
      user.renew();
      if (user.set(at) !== 0) return true;
      user.run();
      if (user.get(scratch, count) !== 0 || user.set(scratch) !== 0) return false;
      user.get(second, count);
      if (!sameTable(words, scratch, second)) return false;
      if (!changeOne(place, scratch, count, chance)) return true;
      if (user.set(scratch) !== -ERRNO.EINVAL) return false;
      user.get(scratch, count);
      return sameTable(words, scratch, second);
    };
  },
};

/** Flips a bit that KVM does not rewrite, if there is one. */
function changeOne({ words }: Place, table: number, count: number, chance: number): boolean {
  const position = (chance >>> 8) % count;
  const at = table + HEADER_WORDS + position * ENTRY2_WORDS;
  if (isRewritten(words[at + FUNCTION]!)) return false;
  words[at + EAX + (chance & 3)]! ^= 1 << ((chance >>> 2) & 31);
  return true;
}
