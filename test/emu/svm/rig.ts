import type { CpuidRow } from '../../../src/cpuid/entry.js';
import { Core } from '../../../src/emu/core/core.js';
import { JUMP } from '../../../src/emu/core/status.js';
import { type Assembler, asm } from '../../../src/emu/isa/asm.js';
import { PhysicalMemory } from '../../../src/emu/memory.js';
import { msrNamed } from '../../../src/emu/msr-rows.js';
import { PageTableBuilder } from '../../../src/emu/paging-build.js';
import { RawCpuid } from '../../../src/emu/raw-cpuid.js';
import { Silicon } from '../../../src/emu/silicon.js';
import { exitCode, exitName } from '../../../src/emu/svm/exit-rows.js';
import { Svm } from '../../../src/emu/svm/svm.js';
import { Vmcb } from '../../../src/emu/svm/vmcb.js';
import type { VmcbField } from '../../../src/emu/svm/vmcb-rows.js';
import { builtInHost } from '../../../src/hosts/index.js';

/** Physical addresses. All memory is mapped to itself, for the host and for the guest. */
export const AT = {
  guestIdt: 0x5000,
  stack: 0x7000,
  hsave: 0x8000,
  vmcb: 0x9000,
  msrpm: 0xa000,
  hostArea: 0xc000,
  secondVmcb: 0xd000,
  vmsa: 0xe000,
  guestCode: 0x2_0000,
  handler: 0x2_4000,
  hostCode: 0x3_0000,
  tables: 0x10_0000,
  nestedTables: 0x20_0000,
} as const;

const MAPPED = 0x40_0000;
const CR0 = 0x8005_0033;
const CR4 = 0x0000_06a0;
/** SCE, LME, LMA, NXE, SVME */
const EFER = 0x1d01;

export interface RigOptions {
  /** A built-in host. */
  readonly host?: string;
  /** CPUID registers with other bits: `'8000000a.0.edx': 0`. */
  readonly registers?: Readonly<Record<string, number>>;
  readonly nested?: boolean;
}

const known = new Map<string, { cpuid: RawCpuid; silicon: Silicon }>();

function part({ host = 'genoa', registers = {} }: RigOptions): { cpuid: RawCpuid; silicon: Silicon } {
  const key = host + JSON.stringify(registers);
  const found = known.get(key);
  if (found) return found;
  const { rows, msrs } = builtInHost(host)!;
  const changed = rows.map((row) => {
    const copy: { -readonly [K in keyof CpuidRow]: number } = { ...row };
    for (const [place, value] of Object.entries(registers)) {
      const [fn = '', index = '', register = ''] = place.split('.');
      if (Number.parseInt(fn, 16) === row.function && Number(index) === row.index)
        copy[register as 'eax' | 'ebx' | 'ecx' | 'edx'] = value >>> 0;
    }
    return copy;
  });
  const cpuid = new RawCpuid(changed, 'zero');
  const made = { cpuid, silicon: new Silicon(cpuid, msrs) };
  known.set(key, made);
  return made;
}

export type Program = (a: Assembler) => void;

/** One AMD core in 64-bit mode, and a VMCB that describes a guest in the same memory, at the same addresses. */
export class Rig {
  readonly memory = new PhysicalMemory([{ base: 0, size: 0x100_0000, kind: 'ram' }], { frames: 256 });
  readonly core: Core;
  readonly svm: Svm;
  readonly vmcb: Vmcb;
  readonly tables: PageTableBuilder;
  readonly nestedTables: PageTableBuilder;

  constructor(options: RigOptions = {}) {
    const { memory } = this;
    this.core = new Core({ ...part(options), memory });
    this.svm = new Svm(this.core);
    this.tables = new PageTableBuilder(memory, AT.tables);
    this.tables.identity(MAPPED, { write: true, user: true });
    this.nestedTables = new PageTableBuilder(memory, AT.nestedTables);
    this.nestedTables.identity(MAPPED, { write: true, user: true });
    this.core.enterLongMode(this.tables.root, CR0 | 0, CR4);
    this.core.msrs.set(msrNamed('IA32_EFER').index, 0x1901n);
    this.core.msrs.set(msrNamed('MSR_VM_HSAVE_PA').index, BigInt(AT.hsave));
    this.core.setRegister(4, BigInt(AT.stack + 0x1000));
    this.vmcb = new Vmcb(memory, AT.vmcb);
    this.describe(this.vmcb, options.nested ?? false);
  }

  /** A guest in 64-bit mode that exits for nothing but what must. */
  describe(vmcb: Vmcb, nested: boolean): void {
    const fields: Partial<Record<VmcbField, number>> = {
      EFER,
      CR0,
      CR3: this.tables.root,
      CR4,
      DR6: 0xffff_0ff0,
      DR7: 0x400,
      RFLAGS: 2,
      RIP: AT.guestCode,
      RSP: AT.stack + 0x800,
      CS_SELECTOR: 0x8,
      CS_ATTRIB: 0xa9b,
      SS_SELECTOR: 0x10,
      SS_ATTRIB: 0xc93,
      IDTR_BASE: AT.guestIdt,
      IDTR_LIMIT: 0xfff,
      ASID: 1,
      MSRPM_BASE_PA: AT.msrpm,
    };
    for (const [name, value] of Object.entries(fields)) vmcb.set(name as VmcbField, BigInt(value));
    vmcb.set('G_PAT', 0x0007_0406_0007_0406n);
    if (nested) {
      vmcb.set('NP_CONTROL', 1);
      vmcb.set('N_CR3', this.nestedTables.root);
    }
    for (const name of ['VMRUN', 'SHUTDOWN', 'VMMCALL']) vmcb.intercept(exitCode(name));
  }

  intercept(...names: string[]): this {
    for (const name of names) this.vmcb.intercept(exitCode(name));
    return this;
  }

  guest(program: Program, at: number = AT.guestCode): this {
    this.memory.load(at, asm(program));
    return this;
  }

  /** Runs the guest until it is left. @returns the exit's name */
  enter(): string {
    if (this.svm.vmrun(AT.vmcb) === JUMP) this.core.run(this.core.clock.now[0]! + 1e6);
    return this.exit;
  }

  /** The name of the exit that the VMCB tells. */
  get exit(): string {
    return exitName(Number(BigInt.asIntN(64, this.vmcb.get('EXITCODE'))));
  }

  msr(name: string): bigint {
    return this.core.msrs.get(msrNamed(name).index)!;
  }

  setMsr(name: string, value: bigint): void {
    if (!this.core.msrs.set(msrNamed(name).index, value)) throw new Error(`${name} does not take ${value}`);
  }

  /** A gate of the guest's IDT, to a handler. */
  gate(vector: number, handler: number = AT.handler): this {
    const at = AT.guestIdt + vector * 16;
    const low = BigInt(handler & 0xffff) | (0x8n << 16n) | (0x8e00n << 32n) | (BigInt(handler >>> 16) << 48n);
    this.memory.write(at, 8, Number(BigInt.asIntN(32, low)), Number(BigInt.asIntN(32, low >> 32n)));
    this.memory.write(at + 8, 8, 0, 0);
    return this;
  }
}
