import type { Assembler } from '../emu/isa/asm.js';
import { EmulatorLimit } from '../emu/isa/insn.js';
import {
  bootKvm,
  diffHostState,
  type HostChange,
  type HostCpu,
  type HostState,
  hostState,
  impliedByVmType,
  type KvmModule,
  Vmm,
  withInputs,
} from '../index.js';
import { KVM_EXIT_HLT, KVM_EXIT_INTR, KVM_RUN, RUN } from '../kvm/abi.js';
import { Vcpu } from '../kvm/vcpu.js';
import { guestImage } from '../scenarios/guest-image.js';
import { createTdGuest } from '../scenarios/td-guest.js';
import { makeVm } from '../scenarios/vm-guest.js';
import { KvmTdVcpu } from '../tdx/kvm-vcpu.js';
import { stateAccess } from '../tdx/td-state.js';
import { programOf } from './arbitraries/guest-program.js';
import type { GuestCase } from './guest-case.js';
import { type PlaceSpec, processOptions } from './place.js';

/** What came of a guest. */
export interface GuestRun {
  /** KVM and the TDX module allowed the guest, and it ran. */
  readonly ran: boolean;
  /** What of the host is not as it was. */
  readonly changes: readonly HostChange[];
}

/** What the host has set up for itself: breakpoints that nothing hits, and a shadow stack that nobody uses. */
const OCCUPIED: readonly (readonly [state: string, value: bigint])[] = [
  ['DR0', 0x1000n],
  ['DR1', 0x2000n],
  ['DR2', 0x3000n],
  ['DR3', 0x4000n],
  ['DR7', 0x6aan],
  ['IA32_U_CET', 2n],
  ['IA32_PL3_SSP', 0x7000_0000n],
];
const USER_GS = 0x1234_5000n;

/** Guests that one machine runs before it makes room for the next. */
const GUESTS = 200;
/** Cycles until a guest that does not end is stopped. */
const LIMIT = 1_000_000;
/** Bytes of address space of a VMM. */
const ARENA = 1 << 19;
const TSC_DEADLINE = 0x6e0;

/** With these a host has more to lose; whoever says otherwise is heard. What KVM reports for ordinary VMs stays as it is. */
const CHOICES = { tdx: ['tsx=off', 'fred=on'], others: ['fred=on'] } as const;

function vulnerable(cmdline: string, vmType: string): string {
  const choices = vmType === 'tdx' ? CHOICES.tdx : CHOICES.others;
  const said = (choice: string) => cmdline.includes(choice.slice(0, choice.indexOf('=') + 1));
  return [cmdline, ...choices.filter((choice) => !said(choice))].join(' ').trim();
}

const NOT_RUN: GuestRun = { ran: false, changes: [] };

/**
 * The host of a place with one CPU that executes, whose kernel uses all that a guest could take away. After a guest that
 * has changed it, another machine takes its place: a case does not depend on those before it.
 */
export class GuestHost {
  private readonly spec: PlaceSpec;
  private readonly kvm: KvmModule;
  private cpu: HostCpu;
  private before: HostState;
  private guests = 0;

  /** @throws KvmNotLoaded */
  constructor(spec: PlaceSpec) {
    this.spec = spec;
    const { host, options } = impliedByVmType(spec.host, spec.vmType, spec.options.tdxModule);
    this.kvm = bootKvm(withInputs(host, { cmdline: vulnerable(host.inputs.cmdline, spec.vmType) }), {
      ...options,
      ...spec.options,
    });
    this.cpu = this.bringUp();
    this.before = hostState(this.cpu.core);
  }

  /** KVM has run a guest before: what every use of KVM does to a host, such as CR4.VMXE, is part of the host. */
  private bringUp(): HostCpu {
    const machine = this.kvm.kernel.bringUp({ cpus: 1 });
    const cpu = machine.cpus[0]!;
    cpu.switchTo(machine.newTask('vmm', { gs: USER_GS }));
    for (const [state, value] of OCCUPIED) stateAccess(state)?.write(cpu.core, value);
    if (this.spec.vmType !== 'tdx') this.warmUp();
    cpu.prepareUserMode();
    this.guests = 0;
    return cpu;
  }

  private warmUp(): void {
    const vmm = new Vmm(this.kvm, { arena: ARENA });
    const { fd, errno } = makeVm(vmm, vmm.supported().entries, guestImage(halts), 0n);
    if (errno === 'OK') vmm.process.ioctl(fd, KVM_RUN);
  }

  private renew(): void {
    this.cpu = this.bringUp();
    this.before = hostState(this.cpu.core);
  }

  /** Runs a guest until it halts for good, and compares the host with what it was. */
  run(guest: GuestCase): GuestRun {
    if (this.guests++ >= GUESTS) this.renew();
    try {
      if (!this.enter(guest)) return NOT_RUN;
    } catch (error) {
      this.renew();
      // Code that the machine cannot execute says nothing about the host.
      if (error instanceof EmulatorLimit) return NOT_RUN;
      throw error;
    }
    const changes = diffHostState(this.before, hostState(this.cpu.core));
    if (changes.length > 0) this.renew();
    return { ran: true, changes };
  }

  /** @returns whether it ran */
  private enter(guest: GuestCase): boolean {
    const vmm = new Vmm(this.kvm, { ...processOptions(this.spec), arena: ARENA });
    const fd = this.spec.vmType === 'tdx' ? this.createTd(vmm, guest) : this.createVm(vmm, guest);
    const vcpu = vmm.process.file(fd);
    if (!(vcpu instanceof Vcpu)) return false;
    this.finish(vmm, fd, vcpu, guest.guest.instructions.length);
    return true;
  }

  /** @returns the descriptor of a vCPU, or -1 when the configuration is refused */
  private createTd(vmm: Vmm, { entries, guest }: GuestCase): number {
    const { instructions, attributes, xfam } = guest;
    const { code } = programOf(instructions, 'td');
    const { created } = createTdGuest(vmm, this.cpu, { cpuid: entries, attributes, xfam }, () => (a) => a.db(code));
    return created.failed ? -1 : created.vcpus[0]!;
  }

  /** Likewise. */
  private createVm(vmm: Vmm, { entries, guest }: GuestCase): number {
    const { code } = programOf(guest.instructions, 'vm');
    const { fd, errno } = makeVm(
      vmm,
      entries,
      guestImage((a) => a.db(code)),
      0n,
    );
    return errno === 'OK' ? fd : -1;
  }

  /** KVM_RUN until it is no use any more: once more than there are instructions that could leave the guest. */
  private finish(vmm: Vmm, fd: number, vcpu: Vcpu, most: number): void {
    const { core } = this.cpu;
    const end = core.clock.now[0]! + LIMIT;
    for (let left = most; left >= 0 && core.clock.now[0]! < end; left--) {
      this.limit(vcpu, end);
      vmm.process.ioctl(fd, KVM_RUN);
      const reason = vcpu.page.get8(RUN.exitReason);
      if (reason !== KVM_EXIT_HLT && reason !== KVM_EXIT_INTR) break;
    }
    core.msrs.set(TSC_DEADLINE, 0n);
  }

  /** Lets an interrupt in when the guest has had its time: with a signal pending, KVM_RUN ends then. */
  private limit(vcpu: Vcpu, end: number): void {
    const { cpu } = this;
    const { td } = vcpu;
    if (!td) {
      const loop = vcpu.guestLoop();
      if (loop) loop.signalAt = end;
      return;
    }
    cpu.armTimer(Math.max(1, end - cpu.core.clock.now[0]!));
    if (td instanceof KvmTdVcpu && td.runner) td.runner.signalPending = true;
  }
}

const halts = (a: Assembler): void => a.hlt();
