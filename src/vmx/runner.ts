import { featureNamed } from '../cpuid/features.js';
import { inRange } from '../cpuid/kernel-line.js';
import {
  CR0_CD,
  CR0_ET,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR4_LA57,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_PKE,
  EFER_LMA,
} from '../emu/control.js';
import { RCX } from '../emu/core/core.js';
import { EVENT_TYPE, STOP, type Stop } from '../emu/core/status.js';
import { EPT_R, EPT_W, EPT_X } from '../emu/paging-rows.js';
import {
  BLOCKED_BY_MOV_SS,
  BLOCKED_BY_STI,
  INFO_ERROR_CODE,
  INFO_TYPE_SHIFT,
  INFO_VALID,
  INFO_VECTOR,
} from '../emu/vmx/controls.js';
import { ENTRY_FAILURE, exitReason } from '../emu/vmx/exit-rows.js';
import { FIELD, type FieldName, SEGMENTS } from '../emu/vmx/field-rows.js';
import {
  DTABLE_LIMIT,
  EAX,
  EBX,
  ECX,
  SEGMENT,
  SREGS_CR0,
  SREGS_CR2,
  SREGS_CR3,
  SREGS_CR4,
  SREGS_CR8,
  SREGS_EFER,
  SREGS_GDT,
  SREGS_IDT,
  SREGS_SEGMENTS,
} from '../kvm/abi.js';
import { nextEfer } from '../kvm/efer.js';
import {
  emptyGuestExit,
  GUEST_EXIT,
  GUEST_RIP,
  type GuestContext,
  type GuestExit,
  type GuestRunner,
} from '../kvm/guest-run.js';
import { assigned } from '../kvm/scope.js';
import { hasFlag } from '../linux/scope.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { handlerOf } from './exit-handlers.js';
import { VmxGuest } from './guest.js';
import { GuestPt, type PtLeaf } from './pt.js';

// Fields of the hot path as constants: an object with so many names is slow to ask.
const RIP_FIELD = FIELD.GUEST_RIP;
const GUEST_INTERRUPTIBILITY = FIELD.GUEST_INTERRUPTIBILITY;
const EXIT_REASON = FIELD.EXIT_REASON;
const INSTRUCTION_ERROR = FIELD.INSTRUCTION_ERROR;
const EXIT_INSTRUCTION_LENGTH = FIELD.EXIT_INSTRUCTION_LENGTH;
const EXIT_QUALIFICATION = FIELD.EXIT_QUALIFICATION;
const EXIT_INSTRUCTION_INFO = FIELD.EXIT_INSTRUCTION_INFO;
const EXIT_INTERRUPTION_INFO = FIELD.EXIT_INTERRUPTION_INFO;
const GUEST_PHYSICAL_ADDRESS = FIELD.GUEST_PHYSICAL_ADDRESS;
const IDT_VECTORING_INFO = FIELD.IDT_VECTORING_INFO;
const ENTRY_INTERRUPTION_INFO = FIELD.ENTRY_INTERRUPTION_INFO;
const ENTRY_ERROR_CODE = FIELD.ENTRY_ERROR_CODE;
const IDT_VECTORING_ERROR_CODE = FIELD.IDT_VECTORING_ERROR_CODE;
const ENTRY_INSTRUCTION_LENGTH = FIELD.ENTRY_INSTRUCTION_LENGTH;

const WORD = 0x1_0000_0000;

/** Bits of access rights: the byte of `struct kvm_segment`, where they begin, their mask (`vmx_segment_access_rights()`). */
const RIGHTS: readonly (readonly [at: number, shift: number, mask: number])[] = [
  [SEGMENT.type, 0, 0xf],
  [SEGMENT.s, 4, 1],
  [SEGMENT.dpl, 5, 3],
  [SEGMENT.present, 7, 1],
  [SEGMENT.avl, 12, 1],
  [SEGMENT.l, 13, 1],
  [SEGMENT.db, 14, 1],
  [SEGMENT.g, 15, 1],
];
const UNUSABLE = 1 << 16;
const DPL_SHIFT = 5;

const TABLES = [
  ['GDTR', SREGS_GDT],
  ['IDTR', SREGS_IDT],
] as const;

const EFER_INDEX = msrIndex('IA32_EFER');
const TSX_CTRL_INDEX = msrIndex('IA32_TSX_CTRL');

const PT_FUNCTION = 0x14;
const LA57 = featureNamed('LA57');
const RTM = featureNamed('RTM');
const TSX_CTRL_RTM_DISABLE = 1n;

const EXTERNAL_INTERRUPT = exitReason('EXTERNAL_INTERRUPT');
const MSR_READ_IMM = exitReason('MSR_READ_IMM');
const MSR_WRITE_IMM = exitReason('MSR_WRITE_IMM');
const CR_IS_READ = 1 << 4;
const REGISTER_SHIFT = 3;

const INTERRUPT_SHADOW = BLOCKED_BY_STI | BLOCKED_BY_MOV_SS;

/** kvm-intel's part of running a vCPU: `struct kvm_vcpu` on one side, {@link VmxGuest} on the other. */
export class VmxRunner implements GuestRunner {
  readonly exit: GuestExit = emptyGuestExit();
  private readonly context: GuestContext;
  private readonly guest: VmxGuest;
  private readonly features = new Map<string, ReturnType<typeof featureNamed>>();
  private memoryVersion: number;
  private running = false;

  constructor(context: GuestContext) {
    const { vcpu, cpu, memory, registers } = context;
    const { vm } = vcpu;
    const { scope } = vm.module.caps(vm.module.defaultOverlay);
    this.context = context;
    this.memoryVersion = memory.version;
    this.guest = new VmxGuest(cpu, {
      line: scope.line,
      eptRoot: memory.root,
      registers,
      has: (name) => this.has(name),
      hostHas: (name) => hasFlag(scope, name),
      hltExits: !vm.hltExitsDisabled,
      mwaitExits: (vm.disabledExits & 1) === 0,
      defects: vm.module.defects,
      linearBits: inRange(scope.line, '6.18') ? () => this.hostLinearBits : () => this.guestLinearBits,
      pt: assigned(scope, 'pt_mode_host_guest') === 0 ? null : new GuestPt(cpu, (index) => this.ptLeaf(index)),
    });
  }

  /** `kvm_find_cpuid_entry_index(vcpu, 0x14, index)` */
  private ptLeaf(index: number): PtLeaf | undefined {
    const { table } = this.context.vcpu.cpuid;
    const at = table.find(PT_FUNCTION, index);
    if (at < 0) return undefined;
    const { words } = table;
    return { eax: words[at + EAX]!, ebx: words[at + EBX]!, ecx: words[at + ECX]! };
  }

  /** `max_host_virt_addr_bits()`: as hardware has it, MSRs take what the CPU can do, whatever CR4.LA57 says (since 6.13). */
  private get hostLinearBits(): number {
    return (this.context.vcpu.cpuid.caps.words[LA57.word.id]! & LA57.mask) !== 0 ? 57 : 48;
  }

  /** `vcpu_virt_addr_bits()` */
  private get guestLinearBits(): number {
    return (this.context.vcpu.state.cr4 & CR4_LA57) !== 0 ? 57 : 48;
  }

  /** The vCPU's VMCS and world switch, for those who look behind KVM. */
  get hardware(): VmxGuest {
    return this.guest;
  }

  private has(name: string): boolean {
    let feature = this.features.get(name);
    if (!feature) {
      feature = featureNamed(name);
      this.features.set(name, feature);
    }
    return this.context.vcpu.guestCaps.has(feature);
  }

  // State of userspace: __set_sregs(), __get_sregs().

  loadState(): void {
    const { vcpu } = this.context;
    const { guest } = this;
    const { vmcs } = guest;
    const { sregs } = vcpu.state;
    for (const name of SEGMENTS) {
      const at = segmentAt(name);
      const rights = RIGHTS.reduce(
        (bits, [byte, shift, mask]) => bits | ((sregs.getUint8(at + byte) & mask) << shift),
        0,
      );
      const unusable = sregs.getUint8(at + SEGMENT.unusable) !== 0 || (rights & 0x80) === 0;
      vmcs.write(FIELD[`GUEST_${name}_SELECTOR`], sregs.getUint16(at + SEGMENT.selector, true), 0);
      vmcs.write(FIELD[`GUEST_${name}_RIGHTS`], unusable ? rights | UNUSABLE : rights, 0);
      vmcs.write(FIELD[`GUEST_${name}_LIMIT`], sregs.getUint32(at + SEGMENT.limit, true), 0);
      this.putAddress(`GUEST_${name}_BASE`, at + SEGMENT.base);
    }
    for (const [name, at] of TABLES) {
      this.putAddress(`GUEST_${name}_BASE`, at);
      vmcs.write(FIELD[`GUEST_${name}_LIMIT`], sregs.getUint16(at + DTABLE_LIMIT, true), 0);
    }
    guest.setCr0(sregs.getInt32(SREGS_CR0, true));
    guest.setCr4(sregs.getInt32(SREGS_CR4, true), sregs.getInt32(SREGS_CR4 + 4, true));
    this.putAddress('GUEST_CR3', SREGS_CR3);
    guest.setEfer(sregs.getInt32(SREGS_EFER, true));
    const { tsxCtrl } = vcpu.state;
    guest.set(TSX_CTRL_INDEX, Number(tsxCtrl ?? (vcpu.guestCaps.tableHas(RTM) ? 0n : TSX_CTRL_RTM_DISABLE)), 0);
    guest.cpuidChanged();
  }

  private putAddress(field: FieldName, at: number): void {
    const { sregs } = this.context.vcpu.state;
    this.guest.vmcs.write(FIELD[field], sregs.getInt32(at, true), sregs.getInt32(at + 4, true));
  }

  saveState(): void {
    const { sregs } = this.context.vcpu.state;
    const { vmcs } = this.guest;
    const { lo, hi } = vmcs;
    const take = (at: number, field: FieldName) => {
      sregs.setInt32(at, lo[FIELD[field]]!, true);
      sregs.setInt32(at + 4, hi[FIELD[field]]!, true);
    };
    for (const name of SEGMENTS) {
      const at = segmentAt(name);
      const rights = lo[FIELD[`GUEST_${name}_RIGHTS`]]!;
      for (const [byte, shift, mask] of RIGHTS) sregs.setUint8(at + byte, (rights >> shift) & mask);
      sregs.setUint8(at + SEGMENT.unusable, (rights & UNUSABLE) === 0 ? 0 : 1);
      sregs.setUint16(at + SEGMENT.selector, lo[FIELD[`GUEST_${name}_SELECTOR`]]!, true);
      sregs.setUint32(at + SEGMENT.limit, lo[FIELD[`GUEST_${name}_LIMIT`]]!, true);
      take(at + SEGMENT.base, `GUEST_${name}_BASE`);
    }
    for (const [name, at] of TABLES) {
      take(at, `GUEST_${name}_BASE`);
      sregs.setUint16(at + DTABLE_LIMIT, lo[FIELD[`GUEST_${name}_LIMIT`]]!, true);
    }
    sregs.setInt32(SREGS_CR0, this.guest.readCr(0), true);
    sregs.setInt32(SREGS_CR4, this.guest.readCr(4), true);
    sregs.setInt32(SREGS_CR4 + 4, hi[FIELD.CR4_SHADOW]!, true);
    take(SREGS_CR3, 'GUEST_CR3');
    sregs.setInt32(SREGS_EFER, lo[FIELD.GUEST_EFER]!, true);
  }

  // KVM_RUN.

  load(): void {
    const { sregs } = this.context.vcpu.state;
    this.guest.load();
    // vcpu->arch.cr2 is in the register while the vCPU is loaded.
    this.context.cpu.core.control.writeCr2(sregs.getInt32(SREGS_CR2, true), sregs.getInt32(SREGS_CR2 + 4, true));
  }

  put(): void {
    const { sregs } = this.context.vcpu.state;
    const { control } = this.context.cpu.core;
    sregs.setInt32(SREGS_CR2, control.lo[2]!, true);
    sregs.setInt32(SREGS_CR2 + 4, control.hi[2]!, true);
    this.guest.put();
  }

  enter(limit: number): Stop {
    const { guest, exit } = this;
    if (!this.running) this.prepare();
    // Should the core throw, the guest is still in it.
    const goesOn = this.running;
    this.running = true;
    const stop = goesOn ? guest.resume(limit) : guest.run(limit);
    this.running = stop !== STOP.EXIT;
    if (this.running) {
      exit.kind = GUEST_EXIT.NONE;
      return stop;
    }
    this.decode();
    return stop;
  }

  /** What common code has changed: RIP; XCR0 and IA32_XSS; guest memory. */
  private prepare(): void {
    const { context, guest } = this;
    const { vmcs } = guest;
    const { registers, vcpu, memory } = context;
    // vmx_set_interrupt_shadow(): it is over when the instruction is.
    if (registers.lo[GUEST_RIP] !== vmcs.lo[RIP_FIELD]) vmcs.lo[GUEST_INTERRUPTIBILITY]! &= ~INTERRUPT_SHADOW;
    guest.xsave.xcr0 = vcpu.state.xcr0;
    guest.xsave.xss = vcpu.state.xss;
    if (memory.version !== this.memoryVersion) this.invalidate();
  }

  private decode(): void {
    const { exit, guest, context } = this;
    const { lo, hi } = guest.vmcs;
    if (guest.host.silicon.refusal !== 'legal' && (lo[EXIT_REASON]! & ENTRY_FAILURE) === 0) {
      // VMfail: KVM_EXIT_FAIL_ENTRY with the VM-instruction error.
      exit.kind = GUEST_EXIT.ENTRY_FAILED;
      exit.reason = lo[INSTRUCTION_ERROR]!;
      return;
    }
    const reason = lo[EXIT_REASON]!;
    exit.reason = reason;
    exit.kind = handlerOf(reason);
    exit.length = lo[EXIT_INSTRUCTION_LENGTH]!;
    exit.number = -1;
    exit.register = -1;
    switch (exit.kind) {
      case GUEST_EXIT.CPUID:
        return;
      case GUEST_EXIT.MSR_READ:
      case GUEST_EXIT.MSR_WRITE: {
        const immediate = reason === MSR_READ_IMM || reason === MSR_WRITE_IMM;
        exit.number = (immediate ? lo[EXIT_QUALIFICATION]! : context.registers.lo[RCX]!) >>> 0;
        if (immediate) exit.register = (lo[EXIT_INSTRUCTION_INFO]! >> REGISTER_SHIFT) & 0xf;
        break;
      }
      case GUEST_EXIT.CR_WRITE: {
        const qualification = lo[EXIT_QUALIFICATION]!;
        if ((qualification & CR_IS_READ) !== 0) exit.kind = GUEST_EXIT.CR_READ;
        exit.number = qualification & 0xf;
        exit.register = (qualification >> 8) & 0xf;
        break;
      }
      case GUEST_EXIT.EXCEPTION:
        this.decodeException();
        break;
      case GUEST_EXIT.INTERRUPT:
        if (reason === EXTERNAL_INTERRUPT && (lo[EXIT_INTERRUPTION_INFO]! & INFO_VALID) !== 0)
          exit.number = lo[EXIT_INTERRUPTION_INFO]! & INFO_VECTOR;
        break;
      case GUEST_EXIT.NESTED_FAULT: {
        const access = lo[EXIT_QUALIFICATION]! & (EPT_R | EPT_W | EPT_X);
        exit.gpa = (hi[GUEST_PHYSICAL_ADDRESS]! >>> 0) * WORD + (lo[GUEST_PHYSICAL_ADDRESS]! >>> 0);
        exit.write = (access & EPT_W) !== 0;
        exit.fetch = (access & EPT_X) !== 0;
        break;
      }
    }
    this.completeInterrupts();
  }

  private decodeException(): void {
    const { exit } = this;
    const { lo, hi } = this.guest.vmcs;
    const info = lo[FIELD.EXIT_INTERRUPTION_INFO]!;
    if (((info >> INFO_TYPE_SHIFT) & 7) === EVENT_TYPE.NMI) {
      exit.kind = GUEST_EXIT.NMI;
      return;
    }
    exit.number = info & INFO_VECTOR;
    exit.hasErrorCode = (info & INFO_ERROR_CODE) !== 0;
    exit.errorCode = lo[FIELD.EXIT_INTERRUPTION_ERROR_CODE]!;
    exit.dataLo = lo[FIELD.EXIT_QUALIFICATION]!;
    exit.dataHi = hi[FIELD.EXIT_QUALIFICATION]!;
  }

  /** `vmx_complete_interrupts()`: an event that was on its way is on its way again. */
  private completeInterrupts(): void {
    const { vmcs } = this.guest;
    const info = vmcs.lo[IDT_VECTORING_INFO]!;
    if ((info & INFO_VALID) === 0) return;
    vmcs.lo[ENTRY_INTERRUPTION_INFO] = info;
    vmcs.lo[ENTRY_ERROR_CODE] = vmcs.lo[IDT_VECTORING_ERROR_CODE]!;
    vmcs.lo[ENTRY_INSTRUCTION_LENGTH] = vmcs.lo[EXIT_INSTRUCTION_LENGTH]!;
  }

  inject(vector: number, hasErrorCode: boolean, errorCode: number): void {
    const { lo } = this.guest.vmcs;
    const error = hasErrorCode ? INFO_ERROR_CODE : 0;
    lo[FIELD.ENTRY_INTERRUPTION_INFO] = vector | (EVENT_TYPE.EXCEPTION << INFO_TYPE_SHIFT) | error | INFO_VALID;
    lo[FIELD.ENTRY_ERROR_CODE] = errorCode;
  }

  // MSRs: vmx_get_msr(), vmx_set_msr(), as a guest's access.

  readMsr(index: number, out: Int32Array): boolean | null {
    // Common code keeps what userspace may set as well.
    return index === TSX_CTRL_INDEX ? null : (this.guest.read(index, out) ?? this.guest.readPt(index, out));
  }

  writeMsr(index: number, lo: number, hi: number): boolean | null {
    switch (index) {
      case EFER_INDEX:
        return this.writeEfer(lo, hi);
      case TSX_CTRL_INDEX:
        // Common code decides whether the value is taken; hardware follows.
        return null;
      default:
        return this.guest.write(index, lo, hi) ?? this.guest.writePt(index, lo, hi);
    }
  }

  /** An MSR that common code keeps has changed. */
  msrChanged(index: number, lo: number, hi: number): void {
    if (index === TSX_CTRL_INDEX) this.guest.set(index, lo, hi);
  }

  private writeEfer(lo: number, hi: number): boolean {
    const { vmcs } = this.guest;
    const pages = (vmcs.lo[FIELD.CR0_SHADOW]! & CR0_PG) !== 0;
    const value = nextEfer(lo, hi, vmcs.lo[FIELD.GUEST_EFER]!, pages, (name) => this.has(name));
    if (value >= 0) this.guest.setEfer(value);
    return value >= 0;
  }

  // Control registers: kvm_set_cr0(), kvm_set_cr4(), kvm_set_cr8().

  readCr(number: number, out: Int32Array): void {
    const { lo, hi } = this.guest.vmcs;
    out[1] = 0;
    if (number === 8) out[0] = this.context.vcpu.state.sregs.getUint32(SREGS_CR8, true) & 0xf;
    else if (number === 3) {
      out[0] = lo[FIELD.GUEST_CR3]!;
      out[1] = hi[FIELD.GUEST_CR3]!;
    } else out[0] = this.guest.readCr(number as 0 | 4);
  }

  writeCr(number: number, lo: number, hi: number): boolean {
    switch (number) {
      case 0:
        return this.writeCr0(lo, hi);
      case 4:
        return this.writeCr4(lo, hi);
      case 8:
        if ((lo & ~0xf) !== 0 || hi !== 0) return false;
        this.context.vcpu.state.sregs.setUint32(SREGS_CR8, lo, true);
        return true;
      default:
        this.guest.vmcs.write(FIELD.GUEST_CR3, lo, hi);
        return true;
    }
  }

  private writeCr0(lo: number, hi: number): boolean {
    const long = (this.guest.vmcs.lo[FIELD.GUEST_EFER]! & EFER_LMA) !== 0;
    if (hi !== 0 || ((lo & CR0_NW) !== 0 && (lo & CR0_CD) === 0)) return false;
    if ((lo & CR0_PG) !== 0 && (lo & CR0_PE) === 0) return false;
    // To leave paging in 64-bit mode faults; other modes than that are not modelled.
    if (long && (lo & CR0_PG) === 0) return false;
    this.guest.setCr0(lo | CR0_ET);
    this.invalidate();
    return true;
  }

  private writeCr4(lo: number, hi: number): boolean {
    const { vcpu } = this.context;
    const value = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    const old = this.guest.readCr(4);
    if ((value & vcpu.guestCaps.cr4ReservedBits) !== 0n) return false;
    if ((lo & CR4_PAE) === 0 || ((lo ^ old) & CR4_LA57) !== 0) return false;
    this.guest.setCr4(lo, hi);
    vcpu.state.sregs.setBigUint64(SREGS_CR4, value, true);
    if (((lo ^ old) & (CR4_OSXSAVE | CR4_PKE)) !== 0) vcpu.cpuid.stateChanged();
    this.invalidate();
    return true;
  }

  get cr4(): number {
    return this.guest.readCr(4);
  }

  get cpl(): number {
    return (this.guest.vmcs.lo[FIELD.GUEST_SS_RIGHTS]! >> DPL_SHIFT) & 3;
  }

  /** `vmx_flush_tlb_guest()`, with the widest type. */
  invalidate(): void {
    this.memoryVersion = this.context.memory.version;
    this.guest.host.silicon.invalidateGuests();
  }
}

function segmentAt(name: (typeof SEGMENTS)[number]): number {
  return SREGS_SEGMENTS[name === 'LDTR' ? 'ldt' : (name.toLowerCase() as 'cs')];
}
