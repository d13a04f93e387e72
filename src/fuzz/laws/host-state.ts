import type { HostChange } from '../../index.js';
import { GuestGenerator } from '../guest-case.js';
import { GuestHost } from '../guest-host.js';
import type { GuestLaw } from '../law.js';

export const hostState: GuestLaw = {
  name: 'host-state',
  says: 'no state of the host is changed by any guest that KVM and the TDX module allow, once the VMM is in user mode again',
  share: 1,
  where: ({ vmType }) => vmType === 'tdx' || vmType === 'default',
  judgeGuests(place) {
    const host = new GuestHost(place.spec);
    const generator = new GuestGenerator(place);
    return ({ entries, guest }) => {
      const { changes } = host.run({ entries: generator.complete(entries), guest });
      return new Map(changes.map((change) => [change.name, changeText(change)]));
    };
  },
};

const hex = (value: bigint): string => `0x${value.toString(16)}`;

const changeText = ({ name, before, after }: HostChange): string => `${name} ${hex(before)} -> ${hex(after)}`;
