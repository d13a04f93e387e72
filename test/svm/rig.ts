import { JUMP } from '../../src/emu/core/status.js';
import { type Assembler, asm } from '../../src/emu/isa/asm.js';
import { PageTableBuilder } from '../../src/emu/paging-build.js';
import { exitName } from '../../src/emu/svm/exit-rows.js';
import { VMCB } from '../../src/emu/svm/vmcb.js';
import type { HostInputs } from '../../src/index.js';
import type { HostCpu } from '../../src/linux/host-cpu.js';
import { SvmGuest, type SvmGuestOptions } from '../../src/svm/guest.js';
import { executing } from '../support/executing.js';

export const GUEST_CODE = 0x1000;
export const GUEST_TABLES = 0x10_0000;
const GUEST_SIZE = 0x20_0000;
const EFER = 0x1d01;
const CR0 = 0x8005_0033;

export { JUMP };

/** A host of AMD with Linux on it, and a guest in 64-bit mode as kvm-amd has it, with 2 MiB of memory at 0. */
export class GuestRig {
  readonly cpu: HostCpu;
  readonly guest: SvmGuest;
  private readonly memory: number;

  constructor(host: string, options: Partial<SvmGuestOptions> = {}, inputs: Partial<HostInputs> = {}) {
    const machine = executing(host, inputs, { cpus: 1 });
    this.cpu = machine.cpus[0]!;
    const { physical } = this.cpu.memory;
    this.memory = this.cpu.memory.allocate(GUEST_SIZE / 0x1000);
    const levels = this.cpu.memory.la57 ? 5 : 4;
    const nested = new PageTableBuilder(physical, this.cpu.memory.allocate(16), levels);
    for (let at = 0; at < GUEST_SIZE; at += 0x1000)
      nested.map(BigInt(at), this.memory + at, { write: true, user: true });
    this.guest = new SvmGuest(this.cpu, {
      line: machine.kernel.inputs.kernel,
      nestedRoot: nested.root,
      lbrv: true,
      vgif: true,
      has: () => true,
      isAmd: true,
      ...options,
    });
    this.mapGuest();
    const { vmcb } = this.guest;
    vmcb.set('EFER', EFER);
    vmcb.set('CR0', CR0);
    vmcb.set('CR3', GUEST_TABLES);
    vmcb.set('CR4', 0x6a0);
    vmcb.set('RIP', GUEST_CODE);
    vmcb.set('RSP', 0x8000);
  }

  /** The guest maps its first 2 MiB to themselves. */
  private mapGuest(): void {
    const write = (at: number, value: number) => this.cpu.memory.physical.write(this.memory + at, 8, value, 0);
    write(GUEST_TABLES, GUEST_TABLES + 0x1000 + 7);
    write(GUEST_TABLES + 0x1000, GUEST_TABLES + 0x2000 + 7);
    write(GUEST_TABLES + 0x2000, 0x87);
  }

  program(program: (a: Assembler) => void): this {
    this.cpu.memory.physical.load(this.memory + GUEST_CODE, asm(program));
    return this;
  }

  /** @returns the exit's name */
  run(): string {
    this.guest.run(this.cpu.core.clock.now[0]! + 1e6);
    return exitName(this.guest.vmcb.lo(VMCB.EXITCODE));
  }

  /** Back to the VMM, in user mode. */
  leave(): void {
    this.guest.put();
    this.cpu.prepareUserMode();
  }
}
