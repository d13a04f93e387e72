import type { HostChange } from '../../index.js';
import { GuestGenerator } from '../guest-case.js';
import { GuestHost } from '../guest-host.js';
import type { GuestLaw } from '../law.js';

const ADDRESS_SIZES = 0x8000_0008;

export const hostState: GuestLaw = {
  name: 'host-state',
  says: 'no state of the host is changed by any guest that KVM and the TDX module allow, once the VMM is in user mode again',
  share: 1,
  where: ({ vmType }) => vmType === 'tdx' || vmType === 'default',
  judgeGuests(place) {
    const host = new GuestHost(place.spec);
    const { least } = new GuestGenerator(place);
    return ({ entries, guest }) => {
      const complete =
        least.length === 0 || entries.some(({ function: fn }) => fn === ADDRESS_SIZES)
          ? entries
          : [...entries, ...least];
      const { changes } = host.run({ entries: complete, guest });
      return new Map(changes.map((change) => [change.name, changeText(change)]));
    };
  },
};

const hex = (value: bigint): string => `0x${value.toString(16)}`;

const changeText = ({ name, before, after }: HostChange): string => `${name} ${hex(before)} -> ${hex(after)}`;
