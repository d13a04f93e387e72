import {
  KVM_GET_SREGS,
  KVM_SET_MSRS,
  KVM_SET_SREGS,
  KVM_SET_XCRS,
  MSR_DATA,
  MSR_ENTRY_SIZE,
  MSRS_HEADER_SIZE,
  SREGS_SIZE,
  XCR_VALUE,
  XCRS_FIRST,
  XCRS_SIZE,
} from '../../kvm/abi.js';
import { errnoName } from '../../linux/errno.js';
import type { Replay } from './context.js';
import type { Errno } from './userspace.js';

/** KVM_SET_SREGS, KVM_SET_XCRS and KVM_SET_MSRS on one vCPU, with the structures in the scratch area. */
export class VcpuSetters {
  private readonly replay: Replay;
  private readonly vcpu: number;

  constructor(replay: Replay, vcpu: number) {
    this.replay = replay;
    this.vcpu = vcpu;
  }

  /** A copy of the special registers. */
  sregs(): DataView {
    const { user } = this.replay;
    const view = user.bytesAt(user.scratch, SREGS_SIZE);
    user.ioctl(this.vcpu, KVM_GET_SREGS, user.scratch);
    return new DataView(view.buffer.slice(view.byteOffset, view.byteOffset + SREGS_SIZE));
  }

  setSregs(sregs: DataView): Errno {
    const { user } = this.replay;
    const view = user.bytesAt(user.scratch, SREGS_SIZE);
    new Uint8Array(view.buffer, view.byteOffset, SREGS_SIZE).set(new Uint8Array(sregs.buffer));
    return user.ioctl(this.vcpu, KVM_SET_SREGS, user.scratch);
  }

  setXcr0(value: bigint): Errno {
    const { user } = this.replay;
    const view = user.bytesAt(user.scratch, XCRS_SIZE);
    view.setUint32(0, 1, true);
    view.setBigUint64(XCRS_FIRST + XCR_VALUE, value, true);
    return user.ioctl(this.vcpu, KVM_SET_XCRS, user.scratch);
  }

  /** ENXIO stands for an MSR that was refused, which KVM_SET_MSRS does not call an error. */
  setMsr(index: number, value: bigint): Errno {
    const { user } = this.replay;
    const view = user.bytesAt(user.scratch, MSRS_HEADER_SIZE + MSR_ENTRY_SIZE);
    view.setUint32(0, 1, true);
    view.setUint32(MSRS_HEADER_SIZE, index, true);
    view.setBigUint64(MSRS_HEADER_SIZE + MSR_DATA, value, true);
    const done = user.process.ioctl(this.vcpu, KVM_SET_MSRS, user.scratch);
    return done === 0 ? 'ENXIO' : errnoName(done);
  }
}
