import { hex8 } from '../../cpuid/entry.js';
import {
  ENTRY2_WORDS,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_GET_VCPU_MMAP_SIZE,
  KVM_RUN,
  KVM_SET_CPUID2,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_USER_MEMORY_REGION,
  MEMORY_REGION_SIZE,
  RAX,
  RBX,
  RCX,
  RDX,
  REGS_SIZE,
  RFLAGS,
  RIP,
  RUN,
  SEGMENT,
  SREGS_SEGMENTS,
  SREGS_SIZE,
} from '../../kvm/abi.js';
import { errnoName } from '../../linux/errno.js';
import { PAGE_SIZE } from '../../linux/user-memory.js';
import type { Replay } from './context.js';
import type { Recorded } from './recorded.js';
import type { Tally } from './tally.js';
import type { Errno, VmFds } from './userspace.js';

/** `hlt` four times; `cpuid; hlt; hlt`. */
export const CODE_HLT = [0xf4, 0xf4, 0xf4, 0xf4];
const CODE_CPUID = [0x0f, 0xa2, 0xf4, 0xf4];

const GUEST_PAGES = 64;
const CODE_AT = 0x1000;
const STACK_AT = 0x8000n;
const RFLAGS_FIXED = 2n;
const EXIT_HLT = 5;
const RSP = 6;

/** What a KVM_RUN gave. */
export interface RunResult {
  readonly run: Errno;
  readonly exit_reason?: number;
}

/** A VM that runs a few bytes of real-mode code. */
export class Guest {
  readonly fds: VmFds;
  private readonly replay: Replay;
  /** The address of `struct kvm_run`; 0 before {@link prepare}. */
  private runPage = 0;

  constructor(replay: Replay) {
    this.replay = replay;
    this.fds = replay.user.createBoth();
  }

  /** Maps `struct kvm_run` and gives the VM memory with the code in it. */
  prepare(code: readonly number[]): Errno {
    const { user } = this.replay;
    const size = user.process.ioctl(user.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    this.runPage = user.process.mmap(this.fds.vcpu, size);
    if (this.runPage < 0) return errnoName(this.runPage);
    const memory = this.guestMemory(code);
    const region = user.bytesAt(user.scratch, MEMORY_REGION_SIZE);
    region.setBigUint64(16, BigInt(GUEST_PAGES * PAGE_SIZE), true);
    region.setBigUint64(24, BigInt(memory), true);
    return user.ioctl(this.fds.vm, KVM_SET_USER_MEMORY_REGION, user.scratch);
  }

  private guestMemory(code: readonly number[]): number {
    const { user } = this.replay;
    const address = this.replay.guestMemory(GUEST_PAGES * PAGE_SIZE);
    user.bytesAt(address, GUEST_PAGES * PAGE_SIZE);
    const { bytes, base } = user.process.memory;
    bytes.set(code, address - base + CODE_AT);
    return address;
  }

  /** Real mode with a code segment at 0, at the start of the code. */
  setRegisters(rax: number, rcx: number): Errno {
    const { user } = this.replay;
    const sregs = user.bytesAt(user.scratch, SREGS_SIZE);
    const got = user.ioctl(this.fds.vcpu, KVM_GET_SREGS, user.scratch);
    if (got !== 'OK') return got;
    sregs.setBigUint64(SREGS_SEGMENTS.cs + SEGMENT.base, 0n, true);
    sregs.setUint16(SREGS_SEGMENTS.cs + SEGMENT.selector, 0, true);
    const set = user.ioctl(this.fds.vcpu, KVM_SET_SREGS, user.scratch);
    if (set !== 'OK') return set;
    const regs = user.bytesAt(user.scratch, REGS_SIZE);
    const put = (register: number, value: bigint) => regs.setBigUint64(register * 8, value, true);
    put(RIP, BigInt(CODE_AT));
    put(RFLAGS, RFLAGS_FIXED);
    put(RSP, STACK_AT);
    put(RAX, BigInt(rax));
    put(RCX, BigInt(rcx));
    return user.ioctl(this.fds.vcpu, KVM_SET_REGS, user.scratch);
  }

  /** EAX, EBX, ECX, EDX as the guest left them. */
  registers(): number[] {
    const { user } = this.replay;
    const regs = user.bytesAt(user.scratch, REGS_SIZE);
    user.ioctl(this.fds.vcpu, KVM_GET_REGS, user.scratch);
    return [RAX, RBX, RCX, RDX].map((register) => regs.getUint32(register * 8, true));
  }

  set immediateExit(value: boolean) {
    const { bytes, base } = this.replay.user.process.memory;
    bytes[this.runPage - base + RUN.immediateExit] = value ? 1 : 0;
  }

  get exitReason(): number {
    const { view, base } = this.replay.user.process.memory;
    return view.getUint32(this.runPage - base + RUN.exitReason, true);
  }

  run(): RunResult {
    const run = this.replay.user.ioctl(this.fds.vcpu, KVM_RUN);
    return run === 'OK' ? { run, exit_reason: this.exitReason } : { run };
  }

  close(): void {
    this.replay.user.close(this.fds);
  }
}

/** `guest_cpuid`: the CPUID instruction, executed by a guest. */
export function replayGuestCpuid(replay: Replay): void {
  const recorded = replay.document.at('guest_cpuid');
  if (!recorded.there) return;
  const tally = replay.section('guest_cpuid');
  for (const variant of recorded.keys) replayVariant(replay, tally, variant, recorded.at(variant));
}

function replayVariant(replay: Replay, tally: Tally, variant: string, recorded: Recorded): void {
  const guest = new Guest(replay);
  const { user } = replay;
  tally.check(`${variant}: prepare`, recorded.at('prepare').json, guest.prepare(CODE_CPUID));
  const table = recorded.at('edits').there ? replay.input(recorded) : replay.fresh();
  const set = user.ioctl(guest.fds.vcpu, KVM_SET_CPUID2, table.address);
  tally.check(`${variant}: KVM_SET_CPUID2`, recorded.at('set').json, set);
  const rows = recorded.at('rows');
  for (const row of rows.there ? rows.list : []) {
    const [fn = 0, index = 0] = row.text.split(' ', 2).map((word) => Number.parseInt(word, 16));
    tally.check(`${variant}: CPUID ${fn.toString(16)}.${index}`, row.text, executeCpuid(guest, fn, index));
  }
  guest.close();
}

/** A row as the recorder writes it, or what went wrong. */
function executeCpuid(guest: Guest, fn: number, index: number): string {
  const where = `${hex8(fn)} ${hex8(index)}`;
  const set = guest.setRegisters(fn, index);
  if (set !== 'OK') return `setregs ${set}`;
  const { run, exit_reason: exit = -1 } = guest.run();
  if (run !== 'OK' || exit !== EXIT_HLT) return `${where} run ${run} exit ${exit}`;
  return `${where} ${guest.registers().map(hex8).join(' ')}`;
}

/** The words of a table in `got`, for experiments that build on a readback. */
export function readbackOf({ user }: Replay): { words: Uint32Array; nent: number } {
  return { words: user.got.entries.slice(0, user.got.nent * ENTRY2_WORDS), nent: user.got.nent };
}
