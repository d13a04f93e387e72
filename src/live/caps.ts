import { KVM_CHECK_EXTENSION } from '../kvm/abi.js';
import type { KvmDevice } from './device.js';
import { errnoOf } from './ffi.js';
import type { Section } from './recording.js';

/** The highest capability that is asked. */
const LAST_CAPABILITY = 260;

/** KVM_CHECK_EXTENSION on the system descriptor and on a VM; zeros are left out. */
export function capabilities(kvm: KvmDevice, vm: number): Section {
  return { system: capabilitiesOf(kvm, kvm.fd), vm: capabilitiesOf(kvm, vm) };
}

function capabilitiesOf(kvm: KvmDevice, fd: number): Record<string, number | string> {
  const found: Record<string, number | string> = {};
  for (let capability = 0; capability <= LAST_CAPABILITY; capability++) {
    const answer = kvm.ioctl(fd, KVM_CHECK_EXTENSION, capability);
    if (answer !== 0) found[capability] = answer < 0 ? errnoOf(answer) : answer;
  }
  return found;
}
