import { featureNamed } from '../cpuid/features.js';
import { inRange, type KernelLine } from '../cpuid/kernel-line.js';
import { CR4_VMXE, EFER_SLOT } from '../emu/control.js';
import { type Core, RSP } from '../emu/core/core.js';
import { F, IF } from '../emu/core/flags.js';
import { LEFT, NEXT, STOP, type Stop } from '../emu/core/status.js';
import { OP } from '../emu/isa/forms.js';
import { FRAME_SIZE } from '../emu/memory.js';
import { isPat } from '../emu/memory-types.js';
import { msrSlot, slotNamed } from '../emu/msrs.js';
import type { Allowed } from '../emu/vmx/capabilities.js';
import { ENTRY_CONTROL, EXIT_CONTROL, PIN, PRIMARY, SECONDARY } from '../emu/vmx/controls.js';
import { FIELD, type FieldName } from '../emu/vmx/field-rows.js';
import { STATE_ROWS } from '../emu/vmx/state-rows.js';
import { type Vmcs, vmcsAt } from '../emu/vmx/vmcs.js';
import { moveRegisters } from '../kvm/guest-registers.js';
import { GUEST_RIP, type GuestRegisters } from '../kvm/guest-run.js';
import { GuestXsave } from '../kvm/guest-xsave.js';
import type { Defect } from '../kvm/policy.js';
import type { HostCpu } from '../linux/host-cpu.js';
import { GDT_LIMIT } from '../linux/kernel-memory.js';
import { msrIndex, userReturnRows } from '../linux/user-return-rows.js';
import { VmxHostCpu } from './host-cpu.js';
import type { GuestPt } from './pt.js';
import { SWITCH_ROWS, type SwitchRow } from './switch-rows.js';

// Fields of the hot path as constants: an object with so many names is slow to ask.
const CR4_SHADOW = FIELD.CR4_SHADOW;
const HOST_RSP = FIELD.HOST_RSP;
const GUEST_RSP = FIELD.GUEST_RSP;
const RIP_FIELD = FIELD.GUEST_RIP;
const GUEST_RFLAGS = FIELD.GUEST_RFLAGS;

const RIP = 16;
const WORD = 0x1_0000_0000;
const PAT_RESET = [0x0007_0406, 0x0007_0406] as const;
const DR7_FIXED = 0x400;
const EPT_WRITE_BACK = 6;
const EPT_LEVELS_4 = 3 << 3;
const EPT_ACCESSED_DIRTY = 1 << 6;

/** Exceptions that KVM wants to see with EPT (`vmx_update_exception_bitmap()`): #DB, #UD, #AC, #MC. */
const EXCEPTIONS = (1 << 1) | (1 << 6) | (1 << 17) | (1 << 18);

/** CR0.TS and WP are the guest's own with EPT; of CR4 PVI, DE, PCE, OSFXSR, OSXMMEXCPT, PGE, TSD, FSGSBASE. */
export const CR0_GUEST_OWNED = (1 << 3) | (1 << 16);
export const CR4_GUEST_OWNED = (1 << 1) | (1 << 3) | (1 << 8) | (1 << 9) | (1 << 10) | (1 << 7) | (1 << 2) | (1 << 16);
const CR0_NE = 1 << 5;
const CR0_CACHE = (1 << 29) | (1 << 30);

const DEBUGCTL_SLOT = slotNamed('IA32_DEBUGCTL');
const DEBUGCTL_INDEX = msrIndex('IA32_DEBUGCTL');
const TSX_CTRL_INDEX = msrIndex('IA32_TSX_CTRL');
const EFER_INDEX = msrIndex('IA32_EFER');

/** The MSR bitmap of a vCPU: four parts of 400H bytes. */
const HIGH_RANGE = 0xc000_0000;
const HIGH_OFFSET = 0x400;
const WRITE_OFFSET = 0x800;

/** What a vCPU is given, besides its registers. */
export interface VmxGuestOptions {
  readonly line: KernelLine;
  /** Host-physical address of the EPT tables. */
  readonly eptRoot: number;
  readonly registers: GuestRegisters;
  /** What the guest may use, by its CPUID: `guest_cpu_cap_has()`. */
  readonly has: (feature: string) => boolean;
  /** A host's flag. */
  readonly hostHas: (feature: string) => boolean;
  readonly hltExits: boolean;
  readonly mwaitExits: boolean;
  readonly defects: ReadonlySet<Defect>;
  /** How many bits of an address in an MSR of the guest's count: 48 or 57. */
  readonly linearBits: () => number;
  /** Intel PT for guests; `null`: KVM leaves it alone. */
  readonly pt: GuestPt | null;
  readonly rows?: readonly SwitchRow[];
}

/** A row and the guest's value as KVM has it while it is neither in the VMCS nor in hardware. */
interface LiveRow {
  readonly row: SwitchRow;
  readonly index: number;
  readonly slot: number;
  /** The field of the VMCS; -1 when it has none. */
  readonly field: number;
  /** The slot among the user-return MSRs; -1. */
  readonly userReturn: number;
  readonly mask: bigint;
  lo: number;
  hi: number;
  hostLo: number;
  hostHi: number;
  /** The guest reaches the MSR without an exit. */
  passed: boolean;
  /** `load_into_hardware` */
  loaded: boolean;
}

/**
 * A vCPU as kvm-intel has it (`struct vcpu_vmx`): its VMCS, its MSR bitmap, what it keeps beside them, and the way into
 * the guest and out again (`vmx_vcpu_run()`).
 */
export class VmxGuest {
  readonly vmcs: Vmcs;
  readonly host: VmxHostCpu;
  readonly xsave = new GuestXsave();
  private readonly cpu: HostCpu;
  private readonly core: Core;
  private readonly options: VmxGuestOptions;
  private readonly bitmap: number;
  private readonly live: readonly LiveRow[];
  private readonly byIndex: ReadonlyMap<number, LiveRow>;
  private readonly atRun: readonly LiveRow[];
  private readonly atLoad: readonly LiveRow[];
  private readonly userReturn: readonly LiveRow[];
  private loaded = false;
  private hostDebugctl = 0;

  constructor(cpu: HostCpu, options: VmxGuestOptions) {
    const { memory, core } = cpu;
    this.cpu = cpu;
    this.core = core;
    this.options = options;
    this.host = VmxHostCpu.of(cpu, options.line);
    this.bitmap = memory.allocate(1);
    const region = memory.allocate(1);
    memory.physical.write(region, 4, this.host.silicon.capabilities.revision, 0);
    this.host.silicon.vmclear(region);
    this.vmcs = vmcsAt(memory.physical, region);
    this.live = this.liveRows();
    this.byIndex = new Map(this.live.map((item) => [item.index, item]));
    this.atRun = this.live.filter(({ row }) => row.point === 'run');
    this.atLoad = this.live.filter(({ row }) => row.point === 'load');
    this.userReturn = this.live.filter(({ userReturn }) => userReturn >= 0);
    this.initialize();
  }

  private liveRows(): LiveRow[] {
    const { options, core, host } = this;
    const rows = (options.rows ?? SWITCH_ROWS).filter(
      ({ msr, since, until, defect }) =>
        core.msrs.has(msrIndex(msr)) &&
        inRange(options.line, since, until) &&
        (defect === undefined || options.defects.has(defect)),
    );
    const broken = new Set(rows.filter(({ defect }) => defect !== undefined).map(({ msr }) => msr));
    const kept = new Map(userReturnRows('vmx', options.line).map(({ msr, kept: bits }) => [msr, bits ?? 0n]));
    return rows
      .filter(({ msr, defect }) => defect !== undefined || !broken.has(msr))
      .map((row) => {
        const index = msrIndex(row.msr);
        const place = row.by === 'vmcs' ? STATE_ROWS.find(({ msr }) => msr === row.msr) : undefined;
        const field: FieldName | undefined = row.msr === 'IA32_EFER' ? 'GUEST_EFER' : place?.guest;
        return {
          row,
          index,
          slot: msrSlot(index),
          field: field === undefined ? -1 : FIELD[field],
          userReturn: row.by === 'user-return' ? (host.userReturnSlots.get(index) ?? -1) : -1,
          // Bits that the host kernel cannot have changed under it stay the host's.
          mask: options.hostHas('RTM') ? ~(kept.get(row.msr) ?? 0n) : ~0n,
          lo: 0,
          hi: 0,
          hostLo: 0,
          hostHi: 0,
          passed: false,
          loaded: false,
        };
      });
  }

  // Set-up: init_vmcs().

  private initialize(): void {
    const { memory } = this.cpu;
    const { physical } = memory;
    physical.load(this.bitmap, new Uint8Array(FRAME_SIZE).fill(0xff));
    // MSR_IA32_TSC may be read.
    this.setBit(0x10, false, true);
    const { lo, hi } = this.vmcs;
    lo[FIELD.MSR_BITMAP] = this.bitmap | 0;
    hi[FIELD.MSR_BITMAP] = Math.floor(this.bitmap / WORD);
    lo[FIELD.VMCS_LINK_POINTER] = -1;
    hi[FIELD.VMCS_LINK_POINTER] = -1;
    lo[FIELD.EXCEPTION_BITMAP] = EXCEPTIONS;
    lo[FIELD.VPID] = this.host.newVpid();
    const ad = this.host.silicon.capabilities.eptAccessedDirty ? EPT_ACCESSED_DIRTY : 0;
    lo[FIELD.EPT_POINTER] = this.options.eptRoot | EPT_WRITE_BACK | EPT_LEVELS_4 | ad;
    hi[FIELD.EPT_POINTER] = Math.floor(this.options.eptRoot / WORD);
    hi[FIELD.TSC_MULTIPLIER] = 0x1_0000;
    lo[FIELD.GUEST_PAT] = PAT_RESET[0];
    hi[FIELD.GUEST_PAT] = PAT_RESET[1];
    lo[FIELD.GUEST_DR7] = DR7_FIXED;
    lo[FIELD.CR0_MASK] = ~CR0_GUEST_OWNED;
    hi[FIELD.CR0_MASK] = -1;
    lo[FIELD.CR4_MASK] = ~CR4_GUEST_OWNED;
    hi[FIELD.CR4_MASK] = -1;
    this.cpuidChanged();
  }

  /** `vmx_vcpu_after_set_cpuid()`: secondary controls and the MSR bitmap follow what the guest may use. */
  cpuidChanged(): void {
    const { options, vmcs } = this;
    const { capabilities } = this.host.silicon;
    const { has } = options;
    const exits = (on: boolean, bits: number) => (on ? bits : 0);
    const primary =
      PRIMARY.TSC_OFFSETTING |
      PRIMARY.RDPMC |
      PRIMARY.CR8_LOAD |
      PRIMARY.CR8_STORE |
      PRIMARY.MSR_BITMAPS |
      PRIMARY.SECONDARY |
      exits(options.hltExits, PRIMARY.HLT) |
      exits(options.mwaitExits, PRIMARY.MWAIT | PRIMARY.MONITOR);
    const secondary =
      SECONDARY.EPT |
      SECONDARY.VPID |
      SECONDARY.UNRESTRICTED_GUEST |
      exits(has('RDTSCP') || has('RDPID'), SECONDARY.RDTSCP) |
      exits(has('INVPCID'), SECONDARY.INVPCID) |
      exits(has('XSAVES'), SECONDARY.XSAVES) |
      exits(has('WAITPKG'), SECONDARY.USER_WAIT_PAUSE) |
      exits(!has('RDRAND'), SECONDARY.RDRAND) |
      exits(!has('RDSEED'), SECONDARY.RDSEED);
    const cet = inRange(options.line, '6.18');
    const exit =
      EXIT_CONTROL.HOST_64 |
      EXIT_CONTROL.SAVE_DEBUG |
      EXIT_CONTROL.ACKNOWLEDGE_INTERRUPT |
      EXIT_CONTROL.SAVE_PAT |
      EXIT_CONTROL.LOAD_PAT |
      EXIT_CONTROL.SAVE_EFER |
      EXIT_CONTROL.LOAD_EFER |
      exits(cet, EXIT_CONTROL.LOAD_CET);
    const entry =
      ENTRY_CONTROL.IA32E_GUEST |
      ENTRY_CONTROL.LOAD_DEBUG |
      ENTRY_CONTROL.LOAD_PAT |
      ENTRY_CONTROL.LOAD_EFER |
      exits(cet, ENTRY_CONTROL.LOAD_CET);
    const { EXTERNAL_INTERRUPT, NMI, VIRTUAL_NMIS } = PIN;
    vmcs.write(FIELD.PIN_BASED_CONTROLS, adjust(EXTERNAL_INTERRUPT | NMI | VIRTUAL_NMIS, capabilities.pin), 0);
    // Exits for MOV to and from CR3 are among the default-1 bits, but EPT needs none (setup_vmcs_config()).
    vmcs.write(FIELD.PRIMARY_CONTROLS, adjust(primary, capabilities.primary), 0);
    vmcs.write(FIELD.SECONDARY_CONTROLS, adjust(secondary, capabilities.secondary), 0);
    vmcs.write(FIELD.EXIT_CONTROLS, adjust(exit, capabilities.exit), 0);
    vmcs.write(FIELD.ENTRY_CONTROLS, adjust(entry, capabilities.entry), 0);
    for (const item of this.live) {
      const there = this.isThere(item.row);
      item.passed =
        there && (item.row.passes === 'always' || (item.row.passes === 'used' && (item.lo | item.hi) !== 0));
      this.setBit(item.index, item.passed, item.passed || (there && item.row.passes === 'read'));
      item.loaded = item.userReturn >= 0 && (there || item.index === TSX_CTRL_INDEX);
    }
    options.pt?.cpuidChanged();
    this.xsave.usesXss = has('XSAVES');
  }

  /** Sets whether the guest reaches an MSR. */
  private setBit(index: number, write: boolean, read: boolean): void {
    const { physical } = this.cpu.memory;
    const place = index >= HIGH_RANGE ? index - HIGH_RANGE : index;
    const part = this.bitmap + (index >= HIGH_RANGE ? HIGH_OFFSET : 0) + (place >> 3);
    const mask = 1 << (place & 7);
    for (const [at, open] of [
      [part, read],
      [part + WRITE_OFFSET, write],
    ] as const) {
      physical.read(at, 1);
      physical.write(at, 1, open ? physical.value[0]! & ~mask : physical.value[0]! | mask, 0);
    }
  }

  /** Whether the guest has the MSR, by its CPUID. */
  private isThere({ needs }: SwitchRow): boolean {
    return needs === '' || needs.split(' ').some((name) => this.options.has(name));
  }

  // Guest MSRs (vmx_get_msr(), vmx_set_msr()).

  /** Reads the guest's value into `out`; false: #GP; null: no row is about the MSR. */
  read(index: number, out: Int32Array): boolean | null {
    const item = this.byIndex.get(index);
    if (!item) return null;
    if (!this.isThere(item.row) || item.row.by === 'none') return false;
    if (item.field >= 0) {
      out[0] = this.vmcs.lo[item.field]!;
      out[1] = this.vmcs.hi[item.field]!;
    } else if (this.isLive(item)) {
      out[0] = this.core.msrs.lo[item.slot]!;
      out[1] = this.core.msrs.hi[item.slot]!;
    } else {
      out[0] = item.lo;
      out[1] = item.hi;
    }
    return true;
  }

  /** The guest's value is in hardware: it may have written it, and the vCPU is loaded. */
  private isLive(item: LiveRow): boolean {
    return item.row.by === 'nobody' || (item.row.point === 'load' && this.loaded);
  }

  /** Sets the guest's value; false: #GP; null: no row is about the MSR. EFER has rules of its own. */
  write(index: number, lo: number, hi: number): boolean | null {
    const item = this.byIndex.get(index);
    if (!item) return null;
    if (!this.isThere(item.row) || !this.isAllowed(item.row.allowed, lo, hi)) return false;
    this.store(item, lo, hi);
    return true;
  }

  /** The MSRs of Intel PT, likewise: read into `out`. */
  readPt(index: number, out: Int32Array): boolean | null {
    const { pt } = this.options;
    const value = pt ? pt.read(index) : null;
    if (value === null || value === undefined) return value === null ? null : false;
    out[0] = Number(BigInt.asIntN(32, value));
    out[1] = Number(BigInt.asIntN(32, value >> 32n));
    return true;
  }

  writePt(index: number, lo: number, hi: number): boolean | null {
    const { pt } = this.options;
    if (!pt) return null;
    const before = pt.passed;
    const taken = pt.write(index, (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0));
    if (taken) {
      for (const passed of before) this.setBit(passed, false, false);
      for (const passed of pt.passed) this.setBit(passed, true, true);
    }
    return taken;
  }

  /** Sets the guest's value without checks. */
  set(index: number, lo: number, hi: number): void {
    const item = this.byIndex.get(index);
    if (item) this.store(item, lo, hi);
  }

  private store(item: LiveRow, lo: number, hi: number): void {
    if (item.row.by === 'none') return;
    if (item.field >= 0) {
      this.vmcs.write(item.field, lo, hi);
      return;
    }
    item.lo = lo;
    item.hi = hi;
    if (this.isLive(item)) this.writeHost(item, lo, hi);
    if (item.loaded && this.loaded) this.loadUserReturn(item);
    if (item.row.passes === 'used' && !item.passed && (lo | hi) !== 0) {
      item.passed = true;
      this.setBit(item.index, true, true);
    }
  }

  private isAllowed(allowed: string, lo: number, hi: number): boolean {
    if (allowed === 'canonical') {
      const top = hi >> (this.options.linearBits() - 33);
      return top === 0 || top === -1;
    }
    if (allowed === 'pat') return isPat(lo, hi);
    const [maskLo, maskHi] = maskOf(allowed);
    return (lo & ~maskLo) === 0 && (hi & ~maskHi) === 0;
  }

  // In and out.

  /** `vmx_vcpu_load()` and `vmx_prepare_switch_to_guest()`. */
  load(): void {
    const { core, vmcs } = this;
    const { silicon } = this.host;
    if (silicon.current !== vmcs) silicon.vmptrld(vmcs.address);
    this.hostDebugctl = core.msrs.lo[DEBUGCTL_SLOT]!;
    this.writeHostArea();
    for (const item of this.userReturn) if (item.loaded) this.loadUserReturn(item);
    for (const item of this.atLoad) {
      item.hostLo = core.msrs.lo[item.slot]!;
      item.hostHi = core.msrs.hi[item.slot]!;
      if (item.lo !== item.hostLo || item.hi !== item.hostHi) this.writeHost(item, item.lo, item.hi);
    }
    for (const item of this.atRun) {
      item.hostLo = core.msrs.lo[item.slot]!;
      item.hostHi = core.msrs.hi[item.slot]!;
    }
    this.loaded = true;
  }

  /** `vmx_prepare_switch_to_host()`; user-return MSRs stay until the CPU goes to user mode. */
  put(): void {
    const { core } = this;
    for (const item of this.atLoad) {
      item.lo = core.msrs.lo[item.slot]!;
      item.hi = core.msrs.hi[item.slot]!;
      if (item.lo !== item.hostLo || item.hi !== item.hostHi) this.writeHost(item, item.hostLo, item.hostHi);
    }
    // load_fixmap_gdt(); the limit of IDTR stays what the exit has left.
    core.gdtr.limit = GDT_LIMIT;
    this.loaded = false;
  }

  private loadUserReturn(item: LiveRow): void {
    const value = (BigInt(item.hi >>> 0) << 32n) | BigInt(item.lo >>> 0);
    this.cpu.userReturn.set(item.userReturn, value, BigInt.asUintN(64, item.mask));
  }

  /** A WRMSR of the host's. */
  private writeHost(item: LiveRow, lo: number, hi: number): void {
    this.cpu.wrmsr(item.index, lo, hi);
  }

  /** `vmx_set_constant_host_state()` and `vmx_set_host_fs_gs()`. */
  private writeHostArea(): void {
    const { core, vmcs } = this;
    const { control, segments, gdtr, idtr, tss, msrs } = core;
    const put = (field: FieldName, lo: number, hi = 0) => {
      const at = FIELD[field];
      if (vmcs.lo[at] !== lo || vmcs.hi[at] !== hi) vmcs.write(at, lo, hi);
    };
    put('HOST_CR0', control.lo[0]!);
    put('HOST_CR3', control.lo[3]!, control.hi[3]!);
    put('HOST_CR4', control.lo[4]! | CR4_VMXE, control.hi[4]!);
    put('HOST_EFER', msrs.lo[EFER_SLOT]!, msrs.hi[EFER_SLOT]!);
    put('HOST_CS_SELECTOR', segments.cs);
    put('HOST_TR_SELECTOR', segments.tr);
    put('HOST_SS_SELECTOR', 0x18);
    put('HOST_TR_BASE', tss.baseLo, tss.baseHi);
    put('HOST_GDTR_BASE', gdtr.baseLo, gdtr.baseHi);
    put('HOST_IDTR_BASE', idtr.baseLo, idtr.baseHi);
    put('HOST_RIP', core.lo[RIP]!, core.hi[RIP]!);
    for (const { msr, host } of STATE_ROWS) {
      if (host === null || !core.msrs.has(msrIndex(msr))) continue;
      const slot = slotNamed(msr);
      put(host, msrs.lo[slot]!, msrs.hi[slot]!);
    }
  }

  /**
   * `vmx_vcpu_run()`: enters the guest and runs it until it is left; the exit reason says why.
   *
   * @param limit cycle at which the core stops at the latest, as if from outside
   * @returns `exit`; anything else: the core has stopped within the guest, which {@link resume} goes on with
   */
  run(limit: number): Stop {
    const { core, vmcs, xsave } = this;
    const { silicon } = this.host;
    const { registers } = this.options;
    const cr4 = vmcs.lo[CR4_SHADOW]!;
    xsave.load(core, cr4);
    this.options.pt?.enter();
    for (let n = 0; n < this.atRun.length; n++) this.switchIn(this.atRun[n]!);
    vmcs.lo[HOST_RSP] = core.lo[RSP]!;
    vmcs.hi[HOST_RSP] = core.hi[RSP]!;
    vmcs.lo[GUEST_RSP] = registers.lo[RSP]!;
    vmcs.hi[GUEST_RSP] = registers.hi[RSP]!;
    vmcs.lo[RIP_FIELD] = registers.lo[GUEST_RIP]!;
    vmcs.hi[RIP_FIELD] = registers.hi[GUEST_RIP]!;
    vmcs.lo[GUEST_RFLAGS] = registers.rflags;
    moveRegisters(registers, core, 0);
    core.f[F.REST]! &= ~IF;
    const status = silicon.enter(!vmcs.launched);
    if (status === NEXT) return this.left(false);
    return status === LEFT ? this.left(true) : this.resume(limit);
  }

  /** Goes on with a guest in which the core has stopped. */
  resume(limit: number): Stop {
    const stop = this.core.run(limit);
    return stop === STOP.EXIT ? this.left(true) : stop;
  }

  /** What follows VMRESUME. @param entered whether hardware has taken the guest, or failed with an exit reason */
  private left(entered: boolean): Stop {
    const { core, vmcs, xsave } = this;
    const { registers } = this.options;
    if (entered) {
      moveRegisters(core, registers, 0);
      registers.lo[RSP] = vmcs.lo[GUEST_RSP]!;
      registers.hi[RSP] = vmcs.hi[GUEST_RSP]!;
      registers.lo[GUEST_RIP] = vmcs.lo[RIP_FIELD]!;
      registers.hi[GUEST_RIP] = vmcs.hi[RIP_FIELD]!;
      registers.rflags = vmcs.lo[GUEST_RFLAGS]!;
    }
    for (let n = 0; n < this.atRun.length; n++) this.switchOut(this.atRun[n]!);
    // The exit has cleared it.
    if (this.hostDebugctl !== core.msrs.lo[DEBUGCTL_SLOT]!) {
      core.msrs.write(DEBUGCTL_INDEX, this.hostDebugctl, 0);
      core.clock.now[0]! += core.costs.op[OP.WRMSR]!;
    }
    this.options.pt?.exit();
    xsave.unload(core, vmcs.lo[CR4_SHADOW]!);
    return STOP.EXIT;
  }

  private switchIn(item: LiveRow): void {
    const { msrs } = this.core;
    if (item.lo !== msrs.lo[item.slot]! || item.hi !== msrs.hi[item.slot]!) this.writeHost(item, item.lo, item.hi);
  }

  private switchOut(item: LiveRow): void {
    const { msrs, clock, costs } = this.core;
    if (item.passed) {
      item.lo = msrs.lo[item.slot]!;
      item.hi = msrs.hi[item.slot]!;
      clock.now[0]! += costs.op[OP.RDMSR]!;
    }
    if (item.hostLo !== msrs.lo[item.slot]! || item.hostHi !== msrs.hi[item.slot]!)
      this.writeHost(item, item.hostLo, item.hostHi);
  }

  // Control registers (vmx_set_cr0(), vmx_set_cr4(), vmx_set_efer()).

  setCr0(value: number): void {
    const { vmcs } = this;
    vmcs.write(FIELD.CR0_SHADOW, value, 0);
    vmcs.write(FIELD.GUEST_CR0, (value & ~CR0_CACHE) | CR0_NE, 0);
  }

  setCr4(lo: number, hi: number): void {
    const { vmcs } = this;
    vmcs.write(FIELD.CR4_SHADOW, lo, hi);
    vmcs.write(FIELD.GUEST_CR4, lo | CR4_VMXE, hi);
  }

  setEfer(value: number): void {
    this.set(EFER_INDEX, value, 0);
  }

  /** What the guest sees of CR0 or CR4: its own bits as they are, KVM's from the shadow. */
  readCr(number: 0 | 4): number {
    const { lo } = this.vmcs;
    const owned = number === 0 ? CR0_GUEST_OWNED : CR4_GUEST_OWNED;
    const shadow = lo[number === 0 ? FIELD.CR0_SHADOW : FIELD.CR4_SHADOW]!;
    return (shadow & ~owned) | (lo[number === 0 ? FIELD.GUEST_CR0 : FIELD.GUEST_CR4]! & owned);
  }
}

/** `adjust_vmx_controls()`: what hardware has of what KVM wants, and what it insists on. */
const adjust = (wanted: number, { zero, one }: Allowed): number => (wanted | zero) & one;

const masks = new Map<string, readonly [lo: number, hi: number]>();

/** `31:2 0` as a mask. */
function maskOf(bits: string): readonly [lo: number, hi: number] {
  const known = masks.get(bits);
  if (known) return known;
  let mask = 0n;
  for (const part of bits.split(' ')) {
    const [high, low = high] = part.split(':').map(Number) as [number, number?];
    mask |= (2n << BigInt(high)) - (1n << BigInt(low));
  }
  const made = [Number(BigInt.asIntN(32, mask)), Number(BigInt.asIntN(32, mask >> 32n))] as const;
  masks.set(bits, made);
  return made;
}

/** Throws when a row names a feature that there is none of. */
export function checkSwitchRows(rows: readonly SwitchRow[]): void {
  for (const { needs } of rows) for (const name of needs.split(' ').filter(Boolean)) featureNamed(name);
}
