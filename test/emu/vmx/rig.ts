import { Core } from '../../../src/emu/core/core.js';
import { ACTIVITY, JUMP, NEXT } from '../../../src/emu/core/status.js';
import { type Assembler, asm } from '../../../src/emu/isa/asm.js';
import { PhysicalMemory } from '../../../src/emu/memory.js';
import { slotNamed } from '../../../src/emu/msrs.js';
import { EptBuilder, PageTableBuilder } from '../../../src/emu/paging-build.js';
import { RawCpuid } from '../../../src/emu/raw-cpuid.js';
import { ENTRY_CONTROL, EXIT_CONTROL, PIN, PRIMARY, SECONDARY } from '../../../src/emu/vmx/controls.js';
import { exitReasonName } from '../../../src/emu/vmx/exit-rows.js';
import { FIELD, type FieldName } from '../../../src/emu/vmx/field-rows.js';
import type { Vmcs } from '../../../src/emu/vmx/vmcs.js';
import { Vmx } from '../../../src/emu/vmx/vmx.js';
import { halves, joined, type Part, silicon } from '../control-fixtures.js';

const PAGE = 0x1000;
const HOST_TABLES = 0x10_0000;
const GUEST_TABLES = 0x20_0000;
const EPT_TABLES = 0x30_0000;
const VMXON = 0x40_0000;
const VMCS = 0x40_1000;
export const BITMAP = 0x40_2000;
export const LIST = 0x40_3000;
export const HOST_CODE = 0x50_0000;
export const GUEST_CODE = 0x60_0000;
export const STACK = 0x68_0000;
const RAM = 0x100_0000;
const REVISION = 4;
const CR0 = 0x8005_0033 | 0;
const CR4 = 0x2620;
const EFER = 0xd01;

/** What a server can do: fixed bits as they are there, and every later control allowed. */
const CAPABILITIES: Readonly<Record<string, bigint>> = {
  IA32_FEATURE_CONTROL: 5n,
  IA32_VMX_BASIC: 0x00da_0400_0000_0004n,
  IA32_VMX_PINBASED_CTLS: 0x7f_0000_0016n,
  IA32_VMX_PROCBASED_CTLS: 0xfff9_fffe_0401_e172n,
  IA32_VMX_PROCBASED_CTLS2: 0xffff_ffff_0000_0000n,
  IA32_VMX_EXIT_CTLS: 0xffff_ffff_0003_6dffn,
  IA32_VMX_ENTRY_CTLS: 0x00ff_ffff_0000_11ffn,
  IA32_VMX_TRUE_PINBASED_CTLS: 0x7f_0000_0016n,
  IA32_VMX_TRUE_PROCBASED_CTLS: 0xfff9_fffe_0400_6172n,
  IA32_VMX_TRUE_EXIT_CTLS: 0xffff_ffff_0003_6dfbn,
  IA32_VMX_TRUE_ENTRY_CTLS: 0x00ff_ffff_0000_11fbn,
  IA32_VMX_EXIT_CTLS2: 3n,
};

/** A core with VMX, memory mapped to itself in host and guest, and a VMCS that can be entered. */
export class VmxRig {
  readonly core: Core;
  readonly memory: PhysicalMemory;
  readonly vmx: Vmx;
  readonly vmcs: Vmcs;

  constructor(part: Part = {}) {
    this.memory = new PhysicalMemory([{ base: 0, size: RAM, kind: 'ram' }]);
    const chip = silicon({ ...part, msrs: { ...CAPABILITIES, ...part.msrs } });
    this.core = new Core({ cpuid: new RawCpuid([], 'basic'), silicon: chip, memory: this.memory });
    const flags = { write: true, accessed: true, dirty: true } as const;
    const host = new PageTableBuilder(this.memory, HOST_TABLES);
    host.identity(RAM, flags, 0x20_0000);
    const guest = new PageTableBuilder(this.memory, GUEST_TABLES);
    guest.identity(RAM, flags, 0x20_0000);
    const ept = new EptBuilder(this.memory, EPT_TABLES);
    // The last 2 MiB are not there.
    ept.identity(RAM - 0x20_0000, flags, 0x20_0000);
    this.core.enterLongMode(host.root, CR0, CR4);
    this.core.msrs.put(this.efer, this.core.msrs.lo[this.efer]! | 0x801, this.core.msrs.hi[this.efer]!);
    this.core.segments.tr = 0x40;
    this.core.setRegister(4, BigInt(STACK + 0x1000));
    this.core.rip = BigInt(HOST_CODE);
    this.vmx = new Vmx(this.core);
    for (const region of [VMXON, VMCS]) this.memory.write(region, 4, REVISION, 0);
    if (!this.vmx.vmxon(VMXON) || !this.vmx.vmclear(VMCS) || !this.vmx.vmptrld(VMCS))
      throw new Error('VMX is not there');
    this.vmcs = this.vmx.current!;
    this.fill(guest.root, ept.root);
  }

  private readonly efer = slotNamed('IA32_EFER');

  private fill(guestRoot: number, eptRoot: number): void {
    const { capabilities } = this.vmx;
    const { core } = this;
    const set = (values: Partial<Record<FieldName, number | bigint>>) => this.set(values);
    set({
      PIN_BASED_CONTROLS: (PIN.EXTERNAL_INTERRUPT | PIN.NMI | capabilities.pin.zero) >>> 0,
      PRIMARY_CONTROLS: (PRIMARY.HLT | PRIMARY.MSR_BITMAPS | PRIMARY.SECONDARY | capabilities.primary.zero) >>> 0,
      SECONDARY_CONTROLS: (SECONDARY.EPT | SECONDARY.VPID | SECONDARY.RDTSCP | SECONDARY.USER_WAIT_PAUSE) >>> 0,
      EXIT_CONTROLS:
        (EXIT_CONTROL.HOST_64 | EXIT_CONTROL.LOAD_EFER | EXIT_CONTROL.SAVE_EFER | capabilities.exit.zero) >>> 0,
      ENTRY_CONTROLS: (ENTRY_CONTROL.IA32E_GUEST | ENTRY_CONTROL.LOAD_EFER | capabilities.entry.zero) >>> 0,
      VPID: 1,
      EPT_POINTER: eptRoot | 0x1e,
      MSR_BITMAP: BITMAP,
      VMCS_LINK_POINTER: -1n,
      HOST_CR0: CR0 >>> 0,
      HOST_CR3: core.control.lo[3]!,
      HOST_CR4: CR4,
      HOST_EFER: core.msrs.lo[this.efer]!,
      HOST_CS_SELECTOR: 0x10,
      HOST_TR_SELECTOR: 0x40,
      HOST_RIP: HOST_CODE,
      HOST_RSP: STACK + 0x1000,
      GUEST_CR0: CR0 >>> 0,
      GUEST_CR3: guestRoot,
      GUEST_CR4: CR4,
      GUEST_EFER: EFER | 0x800,
      GUEST_CS_SELECTOR: 0x10,
      GUEST_CS_RIGHTS: 0xa09b,
      GUEST_SS_RIGHTS: 0xc093,
      GUEST_TR_RIGHTS: 0x8b,
      GUEST_RIP: GUEST_CODE,
      GUEST_RSP: STACK,
      GUEST_RFLAGS: 2,
      GUEST_DR7: 0x400,
    });
  }

  set(values: Partial<Record<FieldName, number | bigint>>): this {
    for (const [name, value] of Object.entries(values)) {
      const [lo, hi] = halves(BigInt.asUintN(64, BigInt(value!)));
      this.vmcs.write(FIELD[name as FieldName], lo, hi);
    }
    return this;
  }

  get(name: FieldName): bigint {
    return joined(this.vmcs.lo[FIELD[name]]!, this.vmcs.hi[FIELD[name]]!);
  }

  /** Sets bits of a 32-bit field. */
  on(name: FieldName, bits: number): this {
    return this.set({ [name]: (this.vmcs.lo[FIELD[name]]! | bits) >>> 0 });
  }

  off(name: FieldName, bits: number): this {
    return this.set({ [name]: (this.vmcs.lo[FIELD[name]]! & ~bits) >>> 0 });
  }

  guest(program: (a: Assembler) => void): this {
    this.memory.load(GUEST_CODE, asm(program));
    return this;
  }

  /** Enters and runs to the next exit. @returns the exit's name, or how the entry failed */
  run(limit = 100_000): string {
    const { vmx, core } = this;
    const launch = !this.vmcs.launched;
    const status = vmx.enter(launch);
    if (status === NEXT) return `VMfail ${Number(this.get('INSTRUCTION_ERROR'))}`;
    if (status === JUMP) {
      const stop = core.run(core.clock.now[0]! + limit);
      if (stop !== 'exit') return stop;
    }
    const reason = this.vmcs.lo[FIELD.EXIT_REASON]!;
    return (reason < 0 ? 'failed entry: ' : '') + exitReasonName(reason);
  }

  /** Runs a program of the host in ring 0, to its HLT. */
  host(program: (a: Assembler) => void): void {
    const { core } = this;
    this.memory.load(
      HOST_CODE,
      asm((a) => {
        program(a);
        a.cli();
        a.hlt();
      }),
    );
    core.rip = BigInt(HOST_CODE);
    core.stopsAtHalt = true;
    core.stopsAtExit = false;
    core.run(core.clock.now[0]! + 100_000);
    core.stopsAtExit = true;
    core.activity = ACTIVITY.ACTIVE;
  }

  /** Clears the bits of an MSR in the bitmap: the guest reaches it. */
  pass(index: number): this {
    const place = index & 0x1fff;
    for (const part of [0, 0x800]) {
      const at = BITMAP + part + (index >= 0xc000_0000 ? 0x400 : 0) + (place >> 3);
      this.memory.read(at, 1);
      this.memory.write(at, 1, this.memory.value[0]! & ~(1 << (place & 7)), 0);
    }
    return this;
  }

  /** Everything exits. */
  closeBitmap(): this {
    this.memory.load(BITMAP, new Uint8Array(PAGE).fill(0xff));
    return this;
  }
}
