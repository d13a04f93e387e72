/** A guest of four HLT instructions in real mode, and nothing else. */
import {
  KVM_GET_SREGS,
  KVM_GET_VCPU_MMAP_SIZE,
  KVM_RUN,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_USER_MEMORY_REGION,
  MEMORY_REGION_SIZE,
  REGS_SIZE,
  RFLAGS,
  RIP,
  RUN,
  SEGMENT,
  SREGS_SEGMENTS,
  SREGS_SIZE,
} from '../kvm/abi.js';
import { type Mapping, PAGE_SIZE, withMapping } from './buffers.js';
import type { KvmDevice, LiveVm } from './device.js';
import { errnoOf, MAP_SHARED, PROT_READ, PROT_WRITE, SYS_SETITIMER } from './ffi.js';

const MEMORY_SIZE = 16 * PAGE_SIZE;
const ENTRY_POINT = 0x1000;
const HLT = 0xf4;

/** Seconds after which a run that does not come back is interrupted by SIGALRM. */
const WATCHDOG_SECONDS = 5;

const ITIMER_REAL = 0;
/** `struct itimerval`: interval and value, seconds and microseconds each. */
const ITIMERVAL_SIZE = 32;
const ITIMERVAL_VALUE = 16;

/** A vCPU at its HLT. Small structures travel in the device's scratch memory. */
export class Guest {
  /** How preparing went: the errno of the step that failed, or `OK`. */
  readonly prepared: string;
  private readonly kvm: KvmDevice;
  private readonly vm: LiveVm;
  private readonly memory: Mapping;
  /** Where `struct kvm_run` is mapped, or a negative errno. */
  private readonly runAddress: number;

  constructor(kvm: KvmDevice, vm: LiveVm, memory: Mapping, runAddress: number) {
    this.kvm = kvm;
    this.vm = vm;
    this.memory = memory;
    this.runAddress = runAddress;
    memory.bytes.fill(HLT, ENTRY_POINT, ENTRY_POINT + 4);
    this.prepared = runAddress < 0 ? errnoOf(runAddress) : this.addMemory();
  }

  private addMemory(): string {
    return this.kvm.askWith(this.vm.vm, KVM_SET_USER_MEMORY_REGION, MEMORY_REGION_SIZE, (region) => {
      region.setBigUint64(16, BigInt(this.memory.size), true);
      region.setBigUint64(24, BigInt(this.memory.address), true);
    });
  }

  private get run(): DataView {
    const { buffer, byteOffset } = this.kvm.libc.view(this.runAddress, PAGE_SIZE);
    return new DataView(buffer, byteOffset, PAGE_SIZE);
  }

  /** Changes the special registers. Returns the errno. */
  changeSregs(change: (sregs: DataView) => void): string {
    const { kvm, vm } = this;
    const got = kvm.askWith(vm.vcpu, KVM_GET_SREGS, SREGS_SIZE, () => {});
    if (got !== 'OK') return got;
    change(kvm.scratch.view);
    return kvm.ask(vm.vcpu, KVM_SET_SREGS, kvm.scratch.address);
  }

  /** Points CS:IP to the HLT. Returns the errno. */
  reset(): string {
    const segment = this.changeSregs((sregs) => {
      sregs.setBigUint64(SREGS_SEGMENTS.cs + SEGMENT.base, 0n, true);
      sregs.setUint16(SREGS_SEGMENTS.cs + SEGMENT.selector, 0, true);
    });
    if (segment !== 'OK') return segment;
    return this.kvm.askWith(this.vm.vcpu, KVM_SET_REGS, REGS_SIZE, (regs) => {
      regs.setBigUint64(RIP * 8, BigInt(ENTRY_POINT), true);
      regs.setBigUint64(RFLAGS * 8, 2n, true);
    });
  }

  /** KVM_RUN, bounded in time. Returns the errno and, when it came back by itself, the exit reason. */
  enter(): { readonly run: string; readonly exit_reason?: number } {
    const run = this.withWatchdog(() => this.kvm.ask(this.vm.vcpu, KVM_RUN));
    return run === 'OK' ? { run, exit_reason: this.run.getUint32(RUN.exitReason, true) } : { run };
  }

  /** KVM_RUN that is told to come back before it has entered the guest. Returns the errno. */
  enterNot(): string {
    this.run.setUint8(RUN.immediateExit, 1);
    try {
      return this.enter().run;
    } finally {
      this.run.setUint8(RUN.immediateExit, 0);
    }
  }

  private withWatchdog<T>(body: () => T): T {
    const ignore = () => {};
    process.on('SIGALRM', ignore);
    this.setTimer(WATCHDOG_SECONDS);
    try {
      return body();
    } finally {
      this.setTimer(0);
      process.off('SIGALRM', ignore);
    }
  }

  private setTimer(seconds: number): void {
    const { scratch, libc } = this.kvm;
    scratch.bytes.fill(0, 0, ITIMERVAL_SIZE);
    scratch.view.setBigInt64(ITIMERVAL_VALUE, BigInt(seconds), true);
    libc.syscall(SYS_SETITIMER, ITIMER_REAL, scratch.address, 0);
  }
}

/** Runs with a guest whose memory is given back afterwards. The VM's own descriptors are closed by whoever made it. */
export function withGuest<T>(kvm: KvmDevice, vm: LiveVm, body: (guest: Guest) => T): T {
  return withMapping(kvm.libc, MEMORY_SIZE, (memory) =>
    withRunPage(kvm, vm.vcpu, (runAddress) => body(new Guest(kvm, vm, memory, runAddress))),
  );
}

function withRunPage<T>(kvm: KvmDevice, vcpu: number, body: (address: number) => T): T {
  const size = kvm.ioctl(kvm.fd, KVM_GET_VCPU_MMAP_SIZE);
  const address = size < 0 ? size : kvm.libc.mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu);
  try {
    return body(address);
  } finally {
    if (address >= 0) kvm.libc.munmap(address, size);
  }
}
