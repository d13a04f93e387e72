import type { TableLaw } from '../law.js';
import { VcpuUser } from '../user.js';

export const acceptWhatYouAdvertise: TableLaw = {
  name: 'accept-what-you-advertise',
  says: 'entries that KVM_GET_SUPPORTED_CPUID and KVM_GET_EMULATED_CPUID report are accepted, in any number and order',
  share: 1,
  tables: 'reported',
  judge(place) {
    const user = new VcpuUser(place);
    return (at) => user.set(at) === 0;
  },
};
