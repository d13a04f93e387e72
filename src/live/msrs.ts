/** What KVM says about MSRs and XSAVE components on the system descriptor. */
import {
  DEVICE_ATTR_SIZE,
  KVM_GET_DEVICE_ATTR,
  KVM_GET_MSRS,
  KVM_X86_XCOMP_GUEST_SUPP,
  MSR_DATA,
  MSR_ENTRY_SIZE,
  MSRS_HEADER_SIZE,
} from '../kvm/abi.js';
import type { KvmDevice } from './device.js';
import { errnoOf } from './ffi.js';
import type { Section } from './recording.js';

const KVM_GET_MSR_INDEX_LIST = 0xc004ae02;
const KVM_GET_MSR_FEATURE_INDEX_LIST = 0xc004ae0a;

/** More than there are. */
const LIST_ROOM = 1024;

/** `feature_msrs`, `msr_index_list` and `xcomp_guest_supp`. */
export function msrSections(kvm: KvmDevice): Section {
  const none = list(kvm, KVM_GET_MSR_FEATURE_INDEX_LIST, 0);
  const features = list(kvm, KVM_GET_MSR_FEATURE_INDEX_LIST, LIST_ROOM);
  const all = list(kvm, KVM_GET_MSR_INDEX_LIST, LIST_ROOM);
  return {
    feature_msrs: {
      errno_nmsrs0: none.errno,
      nmsrs_after: none.nmsrs,
      errno: features.errno,
      values: Object.fromEntries(features.indices.map((index) => [index.toString(16), featureMsr(kvm, index)])),
    },
    msr_index_list: { errno: all.errno, msrs: all.indices.map((index) => index.toString(16)) },
    xcomp_guest_supp: xcompGuestSupp(kvm),
  };
}

/** `struct kvm_msr_list`: nmsrs, indices. */
function list(kvm: KvmDevice, request: number, room: number): { errno: string; nmsrs: number; indices: number[] } {
  const words = kvm.scratch.words(0, 1 + LIST_ROOM);
  words.fill(0);
  words[0] = room;
  const errno = kvm.ask(kvm.fd, request, kvm.scratch.address);
  const nmsrs = words[0];
  return { errno, nmsrs, indices: errno === 'OK' ? [...words.subarray(1, 1 + nmsrs)] : [] };
}

/** KVM_GET_MSRS of one feature MSR: its value, or why there is none. */
function featureMsr(kvm: KvmDevice, index: number): string {
  const { scratch } = kvm;
  scratch.bytes.fill(0, 0, MSRS_HEADER_SIZE + MSR_ENTRY_SIZE);
  scratch.view.setUint32(0, 1, true);
  scratch.view.setUint32(MSRS_HEADER_SIZE, index, true);
  const count = kvm.ioctl(kvm.fd, KVM_GET_MSRS, scratch.address);
  if (count < 0) return errnoOf(count);
  return count === 1 ? scratch.view.getBigUint64(MSRS_HEADER_SIZE + MSR_DATA, true).toString(16) : 'ret0';
}

/** The value lies right behind the `struct kvm_device_attr` that points to it. */
function xcompGuestSupp(kvm: KvmDevice): string {
  const errno = kvm.askWith(kvm.fd, KVM_GET_DEVICE_ATTR, DEVICE_ATTR_SIZE + 8, (view) => {
    view.setBigUint64(8, BigInt(KVM_X86_XCOMP_GUEST_SUPP), true);
    view.setBigUint64(16, BigInt(kvm.scratch.address + DEVICE_ATTR_SIZE), true);
  });
  return errno === 'OK' ? kvm.scratch.view.getBigUint64(DEVICE_ATTR_SIZE, true).toString(16) : errno;
}
