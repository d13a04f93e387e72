import { type Assembler, asm } from '../../src/emu/isa/asm.js';
import type { CpuidEntry2, KernelLine } from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import type { GuestLoop } from '../../src/kvm/guest-loop.js';
import type { KvmModule, KvmOptions } from '../../src/kvm/module.js';
import type { Vcpu } from '../../src/kvm/vcpu.js';
import type { HostInputs } from '../../src/linux/host-inputs.js';
import { kvmOn, VcpuUser } from './vcpu-user.js';

/** Guest-physical addresses: code, page tables (three pages), IDT, stack; 1 MiB of memory, mapped to itself up to 1 GiB. */
export const CODE = 0x1000;
export const TABLES = 0x2000;
export const IDT = 0x6000;
export const HANDLER = 0x7000;
export const STACK = 0x9000;
const SIZE = 0x10_0000;
const CR0 = 0x8005_0033n;
const CR4 = 0x0620n;
const EFER = 0xd01n;

/** Registers by number, to their place in `struct kvm_regs`. */
const REGS = {
  rax: abi.RAX,
  rbx: abi.RBX,
  rcx: abi.RCX,
  rdx: abi.RDX,
  rsi: 4,
  rdi: 5,
  rsp: 6,
  rbp: 7,
  r8: 8,
  r9: 9,
  r10: 10,
  rip: abi.RIP,
  rflags: abi.RFLAGS,
} as const;
type Reg = keyof typeof REGS;

export interface LongModeOptions extends KvmOptions {
  readonly kernel?: KernelLine;
  readonly inputs?: Partial<HostInputs>;
  /** Changes the table that KVM_GET_SUPPORTED_CPUID gives. */
  readonly cpuid?: (entries: CpuidEntry2[]) => CpuidEntry2[];
  readonly beforeVcpu?: (user: VcpuUser) => void;
  readonly cr4?: bigint;
}

/** A guest in 64-bit mode, set up by ioctls alone, on a built-in host. */
export class LongModeGuest {
  readonly module: KvmModule;
  readonly user: VcpuUser;
  readonly page: DataView;
  readonly ram: number;

  constructor(host: string, program: (a: Assembler) => void, options: LongModeOptions = {}) {
    const { kernel = '7.3', inputs = {}, cpuid = (entries) => entries, beforeVcpu, cr4 = CR4, ...kvm } = options;
    this.module = kvmOn(host, kernel, kvm, inputs);
    this.user = new VcpuUser(this.module, { arena: 4 << 20, ...(beforeVcpu ? { beforeVcpu } : {}) });
    const { user } = this;
    const { memory } = user.process;
    const supported = this.module.supported(this.module.defaultOverlay, user.process);
    ok(user.setCpuid(cpuid(supported.map((entry) => ({ ...entry })))));
    const run = user.process.mmap(user.vcpu, abi.VCPU_MMAP_SIZE);
    this.page = new DataView(memory.bytes.buffer, run - memory.base, 4096);
    this.ram = memory.mmap(SIZE);
    this.write(CODE, asm(program));
    this.write64(TABLES, TABLES + 0x1000 + 7);
    this.write64(TABLES + 0x1000, TABLES + 0x2000 + 7);
    // A page of 1 GiB would do, but not every guest has them.
    for (let n = 0; n < 512; n++) this.write64(TABLES + 0x2000 + n * 8, n * 0x20_0000 + 0x87);
    ok(user.setRegion(0, 0, 0n, BigInt(SIZE), BigInt(this.ram)));
    ok(
      user.setSregs((sregs) => {
        sregs.setBigUint64(abi.SREGS_CR0, CR0, true);
        sregs.setBigUint64(abi.SREGS_CR3, BigInt(TABLES), true);
        sregs.setBigUint64(abi.SREGS_CR4, cr4, true);
        sregs.setBigUint64(abi.SREGS_EFER, EFER, true);
        for (const [at, selector, type] of [
          [abi.SREGS_SEGMENTS.cs, 0x10, 0xb],
          [abi.SREGS_SEGMENTS.ss, 0x18, 0x3],
        ] as const) {
          sregs.setBigUint64(at, 0n, true);
          sregs.setUint16(at + abi.SEGMENT.selector, selector, true);
          sregs.setUint8(at + abi.SEGMENT.type, type);
          sregs.setUint8(at + abi.SEGMENT.present, 1);
          sregs.setUint8(at + abi.SEGMENT.s, 1);
        }
        sregs.setUint8(abi.SREGS_SEGMENTS.cs + abi.SEGMENT.l, 1);
        sregs.setBigUint64(abi.SREGS_IDT, BigInt(IDT), true);
        sregs.setUint16(abi.SREGS_IDT + abi.DTABLE_LIMIT, 0xfff, true);
      }),
    );
    this.set({ rip: CODE, rsp: STACK, rflags: 2 });
  }

  get loop(): GuestLoop {
    return (this.user.process.file(this.user.vcpu) as Vcpu).guestLoop()!;
  }

  /** The CPU on which it runs. */
  get cpu() {
    return this.module.kernel.hardware.cpus[this.user.process.cpu]!;
  }

  get core() {
    return this.cpu.core;
  }

  write(gpa: number, bytes: ArrayLike<number>): void {
    const { memory } = this.user.process;
    memory.bytes.set(bytes, this.ram - memory.base + gpa);
  }

  write64(gpa: number, value: number): void {
    const { memory } = this.user.process;
    memory.view.setBigUint64(this.ram - memory.base + gpa, BigInt(value), true);
  }

  read64(gpa: number): bigint {
    const { memory } = this.user.process;
    return memory.view.getBigUint64(this.ram - memory.base + gpa, true);
  }

  /** A gate of the IDT, to code that is put at {@link HANDLER}. */
  handle(vector: number, program: (a: Assembler) => void): this {
    this.write(HANDLER, asm(program));
    this.write64(IDT + vector * 16, HANDLER + 0x10 * 2 ** 16 + 0x8e00 * 2 ** 32);
    this.write64(IDT + vector * 16 + 8, 0);
    return this;
  }

  set(registers: Partial<Record<Reg, number | bigint>>): void {
    const values = this.user.getRegs();
    for (const [name, value] of Object.entries(registers)) values[REGS[name as Reg]] = BigInt(value!);
    ok(this.user.setRegs(Object.fromEntries(values.entries())));
  }

  get(name: Reg): bigint {
    return this.user.getRegs()[REGS[name]]!;
  }

  /** KVM_RUN: its result and the exit reason. */
  run(): readonly [errno: string, exit: number] {
    const errno = this.user.run();
    return [errno, this.page.getUint32(abi.RUN.exitReason, true)];
  }
}

function ok(errno: string): void {
  if (errno !== 'OK') throw new Error(errno);
}
