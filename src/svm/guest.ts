import { inRange, type KernelLine } from '../cpuid/kernel-line.js';
import { F, IF } from '../emu/core/flags.js';
import { JUMP, STOP, type Stop } from '../emu/core/status.js';
import { OP } from '../emu/isa/forms.js';
import { msrNamed } from '../emu/msr-rows.js';
import { slotNamed } from '../emu/msrs.js';
import { exitCode } from '../emu/svm/exit-rows.js';
import { MSRPM_SIZE, permissionBit } from '../emu/svm/permission-map.js';
import { STATE_ROWS } from '../emu/svm/state-rows.js';
import { VMCB, Vmcb } from '../emu/svm/vmcb.js';
import {
  ATTRIB_CODE64,
  ATTRIB_DATA,
  INTERRUPT_SHADOW,
  LBR_VIRTUALIZATION,
  NP_ENABLE,
  TLB_FLUSH_ASID,
  VINTR_GIF,
  VINTR_GIF_ENABLE,
  VINTR_MASKING,
  type VmcbField,
} from '../emu/svm/vmcb-rows.js';
import { moveRegisters } from '../kvm/guest-registers.js';
import { GuestXsave } from '../kvm/guest-xsave.js';
import type { HostCpu } from '../linux/host-cpu.js';
import { SvmHostCpu } from './host-cpu.js';
import { INTERCEPT_ROWS, type InterceptCondition } from './intercept-rows.js';
import { type PassCondition, SWITCH_ROWS, type SwitchCondition, type SwitchRow } from './switch-rows.js';

const DEBUGCTL_SLOT = slotNamed('IA32_DEBUGCTL');
const SPEC_CTRL_SLOT = slotNamed('IA32_SPEC_CTRL');
const EFER_SVME = 1n << 12n;
const DEBUGCTL_LBR = 1n;
const INTR = exitCode('INTR');
/** Without breakpoints. */
const DR6_ACTIVE_LOW = 0xffff_0ff0;
const DR7_FIXED = 0x400;
const PAT_RESET = 0x0007_0406_0007_0406n;
const SELECTORS = { CS: 0x10, SS: 0x18 } as const;

/** What a vCPU is given, besides its registers. */
export interface SvmGuestOptions {
  readonly line: KernelLine;
  /** Physical address of the nested page tables (`N_CR3`); `null` for a guest whose own tables are used. */
  readonly nestedRoot: number | null;
  /** kvm_amd's parameters as they came out: LBR virtualization, virtual GIF. */
  readonly lbrv: boolean;
  readonly vgif: boolean;
  readonly hltExits?: boolean;
  readonly mwaitExits?: boolean;
  /** What the guest may use, by its CPUID: `guest_cpu_cap_has()`. */
  readonly has: (feature: string) => boolean;
  /** The guest's CPUID says that its maker is AMD or Hygon. */
  readonly isAmd: boolean;
  /** What goes wrong: the kernel before 433265870ab3, which left DEBUGCTL alone. */
  readonly debugctlNotSwitched?: boolean;
  readonly rows?: readonly SwitchRow[];
  /** Where the general registers are while the guest does not run, by number; of its own unless given. */
  readonly registers?: { readonly lo: Int32Array; readonly hi: Int32Array };
}

/**
 * A vCPU as kvm-amd has it (`struct vcpu_svm`): its VMCB, its permission map, what it keeps beside them, and the way into
 * the guest and out again (`svm_vcpu_run()`).
 */
export class SvmGuest {
  readonly vmcb: Vmcb;
  /** General registers; those of RAX, RSP and RIP are in the VMCB. */
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  readonly xsave = new GuestXsave();
  /** Guest values that are neither in the VMCB nor in hardware when it does not run, by MSR index. */
  private readonly values = new Map<number, bigint>();

  private readonly options: SvmGuestOptions;
  private readonly host: SvmHostCpu;
  private readonly cpu: HostCpu;
  private readonly permissionMap: number;
  private readonly rows: readonly SwitchRow[];
  private readonly tscAux: number;
  private readonly debugctlSwitched: boolean;
  private readonly specCtrlManual: boolean;
  private isAmd: boolean;
  private loaded = false;
  private lbr = false;
  private hostDebugctl = 0;
  private hostSpecCtrl = 0;

  constructor(cpu: HostCpu, options: SvmGuestOptions) {
    const { memory, core } = cpu;
    this.options = options;
    this.isAmd = options.isAmd;
    this.lo = options.registers?.lo ?? new Int32Array(16);
    this.hi = options.registers?.hi ?? new Int32Array(16);
    this.cpu = cpu;
    this.host = SvmHostCpu.of(cpu);
    this.vmcb = new Vmcb(memory.physical, memory.allocate(1));
    this.permissionMap = memory.allocate(MSRPM_SIZE / 0x1000);
    const hasSpecCtrl = core.silicon.field(0x8000_000a, 0, 'edx', 20, 20) === 1;
    this.specCtrlManual = !hasSpecCtrl && core.msrs.exists[SPEC_CTRL_SLOT] === 1;
    this.rows = (options.rows ?? SWITCH_ROWS).filter(
      ({ since, until, when, msr }) =>
        inRange(options.line, since, until) &&
        core.msrs.has(msrNamed(msr).index) &&
        (when === 'v-spec-ctrl' ? hasSpecCtrl : when === 'no-v-spec-ctrl' ? !hasSpecCtrl : true),
    );
    this.tscAux = msrNamed('IA32_TSC_AUX').index;
    this.debugctlSwitched =
      !options.debugctlNotSwitched && this.rows.some(({ msr, by }) => msr === 'IA32_DEBUGCTL' && by === 'manual');
    this.initialize();
  }

  // Set-up: init_vmcb().

  private initialize(): void {
    const { vmcb, options } = this;
    for (const { exit, when } of INTERCEPT_ROWS) if (this.holds(when)) vmcb.intercept(exitCode(exit));
    vmcb.set('MSRPM_BASE_PA', this.permissionMap);
    vmcb.set('VINTR', VINTR_MASKING | (options.vgif ? VINTR_GIF_ENABLE | VINTR_GIF : 0));
    vmcb.set('ASID', this.host.newAsid());
    vmcb.set('TLB_CONTROL', TLB_FLUSH_ASID);
    if (options.nestedRoot !== null) {
      vmcb.set('NP_CONTROL', NP_ENABLE);
      vmcb.set('N_CR3', options.nestedRoot);
      vmcb.set('G_PAT', PAT_RESET);
    }
    vmcb.set('EFER', EFER_SVME);
    vmcb.set('RFLAGS', 2);
    vmcb.set('DR6', DR6_ACTIVE_LOW);
    vmcb.set('DR7', DR7_FIXED);
    for (const [segment, selector] of Object.entries(SELECTORS)) {
      vmcb.set(`${segment as 'CS' | 'SS'}_SELECTOR`, selector);
      vmcb.set(`${segment as 'CS' | 'SS'}_ATTRIB`, segment === 'CS' ? ATTRIB_CODE64 : ATTRIB_DATA);
      vmcb.set(`${segment as 'CS' | 'SS'}_LIMIT`, 0xffff_ffff);
    }
    this.cpu.memory.physical.load(this.permissionMap, new Uint8Array(MSRPM_SIZE).fill(0xff));
    this.recalculatePermissions();
  }

  private holds(when: InterceptCondition): boolean {
    const { nestedRoot, hltExits = true, mwaitExits = true, vgif } = this.options;
    switch (when) {
      case 'no-npt':
        return nestedRoot === null;
      case 'hlt-exits':
        return hltExits;
      case 'mwait-exits':
        return mwaitExits;
      case 'no-vgif':
        return !vgif;
      default:
        return true;
    }
  }

  /** `svm_vcpu_after_set_cpuid()`: what the guest may use has changed. */
  cpuidChanged(isAmd: boolean): void {
    this.isAmd = isAmd;
    this.recalculatePermissions();
  }

  /** Whether hardware can switch DEBUGCTL and the records of branches. */
  get hasLbrv(): boolean {
    return this.options.lbrv;
  }

  /** `svm_recalc_msr_intercepts()`: the map follows the rows, the guest's CPUID, and what the guest has done. */
  private recalculatePermissions(): void {
    const { physical } = this.cpu.memory;
    for (const { msr, when, passes } of this.rows) {
      if (!this.applies(when)) continue;
      const bit = permissionBit(msrNamed(msr).index);
      const at = this.permissionMap + (bit >>> 3);
      physical.read(at, 1);
      const mask = 3 << (bit & 7);
      const write = this.passes(passes) ? physical.value[0]! & ~mask : physical.value[0]! | mask;
      physical.write(at, 1, write, 0);
    }
  }

  private applies(when: SwitchCondition): boolean {
    return when === 'lbr' ? this.lbr : when === 'no-lbr' ? !this.lbr : true;
  }

  private passes(condition: PassCondition): boolean {
    const { isAmd } = this;
    const { has } = this.options;
    switch (condition) {
      case 'always':
        return true;
      case 'amd-guest':
        return isAmd;
      case 'lbr':
        return this.lbr;
      case 'spec-ctrl':
        return has('AMD_IBRS') || has('AMD_STIBP') || has('AMD_SSBD') || has('SPEC_CTRL');
      case 'used':
        return (this.values.get(msrNamed('IA32_SPEC_CTRL').index) ?? 0n) !== 0n;
      case 'ibpb':
        return has('AMD_IBPB');
      case 'shstk':
        return has('SHSTK');
      default:
        return false;
    }
  }

  // Guest MSRs, as handlers of exits and userspace read and write them. What is written has been checked.

  /** The row that an MSR has at the moment; `undefined`: KVM keeps it to itself. */
  rowOf(index: number): SwitchRow | undefined {
    return this.rows.find(({ msr, when }) => msrNamed(msr).index === index && this.applies(when));
  }

  /** The guest's value of an MSR that a row is about. */
  read(index: number): bigint | undefined {
    const field = this.fieldOf(index);
    if (field === null) return this.rowOf(index) && (this.values.get(index) ?? 0n);
    const value = this.vmcb.get(field);
    return field === 'EFER' ? value & ~EFER_SVME : value;
  }

  /** Sets it. @returns whether a row is about the MSR */
  write(index: number, value: bigint): boolean {
    const row = this.rowOf(index);
    if (!row) return false;
    const field = this.fieldOf(index);
    if (field === null) this.values.set(index, value);
    else this.vmcb.set(field, field === 'EFER' ? value | EFER_SVME : value);
    if (row.msr === 'IA32_TSC_AUX' && this.loaded) this.loadTscAux();
    if (row.msr === 'IA32_DEBUGCTL') this.updateLbr(value);
    else if (row.passes === 'used') this.recalculatePermissions();
    return true;
  }

  /** DEBUGCTL has its place in the VMCB whoever switches it. */
  private fieldOf(index: number): VmcbField | null {
    const row = this.rowOf(index);
    if (!row) return null;
    if (row.msr === 'IA32_EFER') return 'EFER';
    if (row.by === 'vmload' || row.by === 'vmcb' || row.msr === 'IA32_DEBUGCTL')
      return STATE_ROWS.find(({ msr }) => msr === row.msr)?.field ?? null;
    return null;
  }

  /** `svm_update_lbrv()`: hardware switches DEBUGCTL and the records only while the guest records branches. */
  private updateLbr(debugctl: bigint): void {
    const on = this.options.lbrv && (debugctl & DEBUGCTL_LBR) !== 0n;
    if (on === this.lbr) return;
    this.lbr = on;
    this.vmcb.set('VIRT_EXT', on ? LBR_VIRTUALIZATION : 0);
    this.recalculatePermissions();
  }

  // In and out.

  /** `svm_prepare_switch_to_guest()`: once until {@link put}. */
  private prepareSwitchToGuest(): void {
    if (this.loaded) return;
    this.host.silicon.vmsave(this.host.saveArea);
    this.loadTscAux();
    this.loaded = true;
  }

  private loadTscAux(): void {
    const { tscAuxSlot } = this.host;
    if (tscAuxSlot >= 0) this.cpu.userReturn.set(tscAuxSlot, this.values.get(this.tscAux) ?? 0n);
  }

  /** `svm_vcpu_put()`: user-return MSRs stay until the CPU goes to user mode. */
  put(): void {
    this.loaded = false;
  }

  /**
   * `svm_vcpu_run()`: enters the guest and runs it until it is left; EXITCODE says why.
   *
   * @param limit cycle at which the core stops at the latest: the CPU is kicked, by an interrupt that nobody sees
   * @returns `exit`; anything else: why the core has stopped. The guest has been left all the same
   */
  run(limit: number = Number.POSITIVE_INFINITY): Stop {
    const { cpu, host, vmcb, xsave } = this;
    const { core } = cpu;
    const { silicon } = host;
    this.prepareSwitchToGuest();
    silicon.clgi();
    xsave.load(core, vmcb.lo(VMCB.CR4));
    if (this.debugctlSwitched && !this.lbr) {
      this.hostDebugctl = core.msrs.lo[DEBUGCTL_SLOT]!;
      this.switchDebugctl(vmcb.lo(VMCB.DBGCTL));
    }
    if (this.specCtrlManual) this.switchSpecCtrl(true);
    silicon.vmload(vmcb.address);
    moveRegisters(this, core, 1);
    core.f[F.REST]! |= IF;
    let stop: Stop = STOP.EXIT;
    try {
      if (silicon.vmrun(vmcb.address) === JUMP) stop = core.run(limit);
    } finally {
      // What this machine does not have ends the run as a kick does.
      if (core.world !== null) silicon.leave(INTR, 0, 0, 0, 0, 0);
      this.left();
    }
    return stop;
  }

  /** What follows VMRUN. */
  private left(): void {
    const { cpu, host, vmcb, xsave } = this;
    const { core } = cpu;
    const { silicon } = host;
    core.f[F.REST]! &= ~IF;
    moveRegisters(core, this, 1);
    silicon.vmsave(vmcb.address);
    silicon.vmload(host.saveArea);
    if (this.specCtrlManual) this.switchSpecCtrl(false);
    if (this.debugctlSwitched && !this.lbr) this.switchDebugctl(this.hostDebugctl);
    xsave.unload(core, vmcb.lo(VMCB.CR4));
    silicon.stgi();
    vmcb.put32(VMCB.TLB_CONTROL, 0);
    vmcb.put(VMCB.EVENTINJ, 0, 0);
  }

  /** `update_debugctlmsr()` where the values differ. Only the low half has bits. */
  private switchDebugctl(value: number): void {
    const { msrs, clock, costs } = this.cpu.core;
    if (value === msrs.lo[DEBUGCTL_SLOT]!) return;
    msrs.write(DEBUGCTL_INDEX, value, 0);
    clock.advance(costs.op[OP.WRMSR]!);
  }

  /** RESTORE_GUEST_SPEC_CTRL, RESTORE_HOST_SPEC_CTRL: WRMSR where the values differ; the guest's is read if it may write. */
  private switchSpecCtrl(entering: boolean): void {
    const { msrs, clock, costs } = this.cpu.core;
    const current = msrs.lo[SPEC_CTRL_SLOT]!;
    if (entering) this.hostSpecCtrl = current;
    else if (this.passes('used')) {
      this.values.set(SPEC_CTRL_INDEX, BigInt(current >>> 0));
      clock.advance(costs.op[OP.RDMSR]!);
    }
    const wanted = entering ? Number(this.values.get(SPEC_CTRL_INDEX) ?? 0n) : this.hostSpecCtrl;
    if (wanted === current) return;
    msrs.write(SPEC_CTRL_INDEX, wanted, 0);
    clock.advance(costs.op[OP.WRMSR]!);
  }

  /** `__svm_skip_emulated_instruction()`: to the next instruction, out of the interrupt shadow. */
  skipInstruction(): void {
    const { vmcb } = this;
    vmcb.put(VMCB.RIP, vmcb.lo(VMCB.NRIP), vmcb.hi(VMCB.NRIP));
    vmcb.put32(VMCB.INTERRUPT_STATE, vmcb.lo(VMCB.INTERRUPT_STATE) & ~INTERRUPT_SHADOW);
  }
}

const DEBUGCTL_INDEX = msrNamed('IA32_DEBUGCTL').index;
const SPEC_CTRL_INDEX = msrNamed('IA32_SPEC_CTRL').index;
