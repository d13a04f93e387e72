import { bootKernel, describeBuiltIn, impliedByVmType, withInputs } from '../api/host.js';
import type { TdConfiguration } from '../api/td.js';
import { type TdxCapabilities, Vmm } from '../api/vmm.js';
import { bitName } from '../cpuid/architecture.js';
import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, REGISTERS, sdmName } from '../cpuid/entry.js';
import type { KernelLine } from '../cpuid/kernel-line.js';
import type { Assembler } from '../emu/isa/asm.js';
import { MSR_ROWS } from '../emu/msr-rows.js';
import { builtInHost } from '../hosts/index.js';
import { KVM_RUN, VM_TYPES } from '../kvm/abi.js';
import { loadKvm } from '../kvm/load.js';
import type { KvmModule } from '../kvm/module.js';
import type { Policy } from '../kvm/policy.js';
import { Vm } from '../kvm/vm.js';
import { HostMachine } from '../linux/host-machine.js';
import { diffHostState, type HostChange, type HostState, hostState } from '../linux/host-state.js';
import type { Process } from '../linux/process.js';
import { KvmTd } from '../tdx/kvm-vm.js';
import type { LeafId, Td } from '../tdx/module.js';
import { kvmIntel } from '../vmx/vmx.js';
import { Chance } from './chance.js';
import { tdHalt, writeMsr } from './guest-image.js';
import { type LeafBit, withBit } from './td-entries.js';
import { createTdGuest } from './td-guest.js';

/**
 * A search for configurations of TDs that harm the host: it knows the bits that the TDX module takes, and nothing of what
 * they do. A guest writes to whatever it can reach; the host's state before and after decides.
 */

/** One thing that a VMM may ask for. */
export type Atom =
  | ({ readonly kind: 'cpuid' } & LeafBit)
  /** The entry for this sub-leaf comes last, without KVM_CPUID_FLAG_SIGNIFCANT_INDEX, and carries another index. */
  | ({ readonly kind: 'flagless' } & Required<LeafId>)
  | { readonly kind: 'xfam' | 'attributes'; readonly bit: number };

/** On what is searched. */
export interface SearchSetting {
  /** A built-in host that can run TDs. */
  readonly host: string;
  /** A TDX module by its name. */
  readonly module: string;
  readonly policy: Policy;
  /** Default: 7.3. */
  readonly kernel?: KernelLine;
  readonly cmdline?: string;
}

/** What came of a configuration. */
export interface Tried {
  /** The ioctl that refused it, and its errno; `null` when the TD ran. */
  readonly refused: { readonly ioctl: string; readonly errno: string } | null;
  /** What of the host is not as it was after the TD has run. */
  readonly changes: readonly HostChange[];
}

/** A smallest configuration that harms the host: without any one of its atoms it does not. */
export interface Clobber {
  readonly atoms: readonly Atom[];
  readonly changes: readonly HostChange[];
}

const ADDRESS_SIZES = 0x8000_0008;
/** Registers that hold numbers, which the module compares with the CPU's own. */
const NUMBERS: readonly (readonly [leaf: number, register: number])[] = [
  [1, 0],
  [ADDRESS_SIZES, 0],
];

/** The bit in the SDM's words, with its name if it has one. */
export function atomText(atom: Atom): string {
  if (atom.kind === 'flagless')
    return `an entry for (EAX=${atom.leaf.toString(16).toUpperCase()},ECX=${atom.subleaf}) without its index`;
  if (atom.kind !== 'cpuid') return `${atom.kind.toUpperCase()}[${atom.bit}]`;
  const { leaf, subleaf, register, bit } = atom;
  const name = bitName(leaf, subleaf ?? 0, register, bit);
  return `${sdmName(leaf, subleaf, register, bit)}${name === null ? '' : ` ${name}`}`;
}

/** Values that guests write, one after the other: what the MSR does not take raises #GP, and the guest goes on. */
const VALUES = [0x1n, 0x4n, 0x55n, 0x7000_1000n, 0xffff_8000_0000_2000n];

/** MSRs that a guest had better not write if it wants to go on: interrupts that it sends to itself. */
const isApic = (index: number): boolean => index >= 0x800 && index <= 0x8ff;

type GuestProgram = (a: Assembler) => void;

/** Programs by the MSRs that they write to: each is built once. */
const programs = new Map<string, GuestProgram>();

/** Writes to every MSR that the module lets it reach, and halts. */
function writesAll(td: Td): GuestProgram {
  const reached = MSR_ROWS.map(({ index }) => index).filter(
    (index) => !isApic(index) && td.msrAccess(index, true) === 'native',
  );
  const key = reached.join();
  const program = programs.get(key) ?? writes(reached);
  programs.set(key, program);
  return program;
}

function writes(reached: readonly number[]): GuestProgram {
  return (a) => {
    // The address after the call is that of the handler: #GP skips the WRMSR.
    a.call('main');
    a.add('rsp', 8);
    a.add('qword ptr [rsp]', 2);
    a.iretq();
    a.label('main');
    a.pop('rdi');
    handleGeneralProtection(a);
    for (const index of reached) for (const value of VALUES) writeMsr(a, index, value);
    a.label('again');
    tdHalt(a);
    a.jmp('again');
  };
}

/** In the guest's data page. */
const IDT = 0x4000;
const IDTR = 0x4800;
const GP_GATE = IDT + 13 * 16;

/** An IDT with one gate, to the address in RDI. */
function handleGeneralProtection(a: Assembler): void {
  const store = (address: number) => {
    a.mov('rbx', address);
    a.mov('qword ptr [rbx]', 'rax');
  };
  // Offset 15:0, selector 10H, present interrupt gate; the handler lies below 64 KiB.
  a.mov('rax', 0x8e00_0010_0000n);
  a.or('rax', 'rdi');
  store(GP_GATE);
  a.mov('rax', (BigInt(IDT) << 16n) | 0xffn);
  store(IDTR);
  a.mov('rax', 0);
  store(IDTR + 8);
  a.mov('rbx', IDTR);
  a.lidt('[rbx]');
}

/** How many TDs one machine runs before it makes room for the next. */
const TDS = 200;

/** Tries configurations on one host, with one module, under one policy. */
export class ClobberSearch {
  readonly setting: SearchSetting;
  /** What KVM_TDX_CAPABILITIES offers. */
  readonly offered: readonly Atom[];
  /** What the module takes, whether KVM offers it or not, and some that neither does. */
  readonly atoms: readonly Atom[];
  private bench: Bench;
  private learned: readonly (readonly Atom[])[] | undefined;
  private readonly chance = new Chance();

  /** @throws RangeError for a host or a module that is not known; KvmNotLoaded */
  constructor(setting: SearchSetting) {
    this.setting = setting;
    this.bench = new Bench(setting);
    const { capabilities, td } = this.bench;
    const { configurable, xfamFixed0, attributesFixed0 } = td.module;
    this.offered = [
      ...capabilities.entries.flatMap((entry) => bitsOf(entry, entry.function, entry.index)),
      ...maskBits('xfam', capabilities.xfam),
      ...maskBits('attributes', capabilities.attributes),
    ];
    this.atoms = [
      ...configurable.flatMap(({ leaf, subleaf, reported }) => bitsOf(reported, leaf, subleaf ?? 0)),
      ...configurable.flatMap(({ leaf, subleaf }): Atom[] =>
        subleaf === null ? [] : [{ kind: 'flagless', leaf, subleaf }],
      ),
      ...maskBits('xfam', xfamFixed0),
      ...maskBits('attributes', attributesFixed0),
    ];
  }

  /** Runs a TD with this configuration, if KVM and the module allow it. */
  try(atoms: readonly Atom[]): Tried {
    if (this.bench.harmed || this.bench.runs >= TDS) this.bench = new Bench(this.setting);
    return this.bench.try(atoms);
  }

  /** Whether it harms the host. */
  private harms(atoms: readonly Atom[]): boolean {
    return this.try(atoms).changes.length > 0;
  }

  /** Takes away all that does not matter: first halves, then smaller parts, at last single atoms. */
  shrink(atoms: readonly Atom[]): Clobber {
    let left = atoms;
    let size = Math.ceil(left.length / 2);
    while (size >= 1) {
      const smaller = parts(left, size).find((rest) => this.harms(rest));
      if (smaller) {
        left = smaller;
        size = Math.min(size, Math.ceil(left.length / 2));
      } else size = size === 1 ? 0 : Math.ceil(size / 2);
    }
    const texts = left.map(atomText);
    const ordered = this.atoms.filter((atom) => texts.includes(atomText(atom)));
    return { atoms: ordered, changes: this.try(ordered).changes };
  }

  /**
   * What can be asked for by itself: an atom, or the few that the module and KVM take only together. Learned by asking;
   * what is refused in any company is not there.
   */
  get units(): readonly (readonly Atom[])[] {
    this.learned ??= this.atoms.flatMap((atom) => {
      const unit = this.companyOf(atom);
      return unit === null ? [] : [unit];
    });
    return this.learned;
  }

  private companyOf(atom: Atom): readonly Atom[] | null {
    const text = atomText(atom);
    const word = (atoms: readonly Atom[]) => atoms.filter((other) => wordOf(other) === wordOf(atom));
    const form = this.atoms.filter((other) => other.kind === 'flagless' && isEntryOf(other, atom));
    const companies = [[atom], [atom, ...form], [...word(this.offered), atom], [...word(this.atoms), ...form]];
    let unit = companies.find((company) => this.bench.accepts(company));
    for (const other of unit ?? []) {
      const rest: readonly Atom[] = unit!.filter((item) => item !== other);
      if (rest.some((item) => atomText(item) === text) && this.bench.accepts(rest)) unit = [...rest];
    }
    return unit ?? null;
  }

  /**
   * Searches at random among all that can be asked for, and shrinks what it finds. What was found is left out from then on.
   *
   * @param tries how many configurations in a row may be harmless before the search ends
   */
  findAll(seed: number, tries: number): readonly Clobber[] {
    const found: Clobber[] = [];
    // A form of entry is worth trying where it lets something in. Two of them would be in each other's way.
    let pool = this.units.filter((unit) => unit.some(({ kind }) => kind !== 'flagless'));
    const forms = [...new Set(pool.map(formOf))].filter((form) => form !== '');
    let number = 0;
    for (let harmless = 0; harmless < tries; number++) {
      this.chance.start(seed, number);
      const form = forms[this.chance.below(2 * forms.length)] ?? '';
      // From a few units to all of them.
      const share = 1 + this.chance.below(16);
      const chosen = pool
        .filter((unit) => formOf(unit) === '' || formOf(unit) === form)
        .filter(() => this.chance.below(16) < share)
        .flat();
      if (!this.harms(chosen)) {
        harmless++;
        continue;
      }
      const clobber = this.shrink(chosen);
      found.push(clobber);
      if (clobber.atoms.length === 0) break;
      const texts = clobber.atoms.filter(({ kind }) => kind !== 'flagless').map(atomText);
      pool = pool.filter((unit) => !unit.some((atom) => texts.includes(atomText(atom))));
      harmless = 0;
    }
    return found;
  }
}

/** The form of entry that a unit needs; '' for none. */
const formOf = (unit: readonly Atom[]): string =>
  unit
    .filter(({ kind }) => kind === 'flagless')
    .map(atomText)
    .join();

/** Where an atom is: its register, XFAM or ATTRIBUTES. */
const wordOf = (atom: Atom): string =>
  atom.kind === 'cpuid' ? `${atom.leaf} ${atom.subleaf} ${atom.register}` : atom.kind;

const isEntryOf = (entry: Required<LeafId>, atom: Atom): boolean =>
  'leaf' in atom && atom.leaf === entry.leaf && atom.subleaf === entry.subleaf;

/** What is left when one part of a size is taken away, for each part. */
function parts(atoms: readonly Atom[], size: number): readonly (readonly Atom[])[] {
  return Array.from({ length: Math.ceil(atoms.length / size) }, (_, at) => [
    ...atoms.slice(0, at * size),
    ...atoms.slice((at + 1) * size),
  ]);
}

function bitsOf(values: Readonly<Record<(typeof REGISTERS)[number], number>>, leaf: number, subleaf: number): Atom[] {
  return REGISTERS.flatMap((register, number) => {
    if (NUMBERS.some(([fn, at]) => fn === leaf && at === number)) return [];
    return [...Array(32).keys()]
      .filter((bit) => ((values[register] >>> bit) & 1) === 1)
      .map((bit): Atom => ({ kind: 'cpuid', leaf, subleaf, register, bit }));
  });
}

function maskBits(kind: 'xfam' | 'attributes', mask: bigint): Atom[] {
  return [...Array(64).keys()].filter((bit) => ((mask >> BigInt(bit)) & 1n) === 1n).map((bit) => ({ kind, bit }));
}

/** A booted host, and what it was like before any TD. */
class Bench {
  readonly capabilities: TdxCapabilities;
  /** A TD that nothing is done with: it knows the module. */
  readonly td: KvmTd;
  runs = 0;
  harmed = false;
  private readonly kvm: KvmModule;
  private readonly machine: HostMachine;
  private readonly before: HostState;
  private readonly sizes: CpuidEntry2;
  private readonly vmm: Vmm;

  constructor({ host, module, policy, kernel = '7.3', cmdline = '' }: SearchSetting) {
    const model = builtInHost(host);
    if (!model) throw new RangeError(`no built-in host is called ${host}`);
    const described = impliedByVmType(withInputs(describeBuiltIn(model), { kernel, cmdline }), 'tdx', module).host;
    const booted = bootKernel(described);
    this.machine = new HostMachine(booted, { cpus: 1 });
    this.kvm = loadKvm(booted, [kvmIntel], { policy, tdxModule: module });
    const vmm = this.newVmm();
    this.vmm = vmm;
    const vm = vmm.createVm(VM_TYPES.tdx);
    this.td = tdOf(vmm.process, vm);
    this.capabilities = vmm.tdxCapabilities(vm);
    const sizes = vmm.supported().entries.find((entry) => entry.function === ADDRESS_SIZES)!;
    const mask = this.capabilities.entries.find((entry) => entry.function === ADDRESS_SIZES);
    this.sizes = { ...sizes, eax: ((sizes.eax & (mask?.eax ?? 0) & 0xff) | (48 << 16)) >>> 0, ebx: 0, ecx: 0, edx: 0 };
    this.machine.cpus[0]!.prepareUserMode();
    this.before = hostState(this.machine.cpus[0]!.core);
  }

  private newVmm(): Vmm {
    return new Vmm(this.kvm, { guestPermissions: [18] });
  }

  private configuration(atoms: readonly Atom[]): TdConfiguration {
    const mask = (kind: Atom['kind']) =>
      atoms.reduce((bits, atom) => ('bit' in atom && atom.kind === kind ? bits | (1n << BigInt(atom.bit)) : bits), 0n);
    const cpuid = atoms.reduce<readonly CpuidEntry2[]>(
      (entries, atom) => (atom.kind === 'cpuid' ? withBit(entries, atom) : entries),
      [this.sizes],
    );
    const forms = atoms.filter((atom) => atom.kind === 'flagless');
    return {
      cpuid: forms.reduce((entries, form) => this.withoutIndex(entries, form), cpuid),
      xfam: mask('xfam'),
      attributes: mask('attributes'),
    };
  }

  /** The other sub-leaves that the module knows get entries of their own, so that this one answers no other. */
  private withoutIndex(entries: readonly CpuidEntry2[], { leaf, subleaf }: LeafId): readonly CpuidEntry2[] {
    const at = ({ function: fn, index }: CpuidEntry2, other: number | null) => fn === leaf && index === other;
    const own = entries.find((entry) => at(entry, subleaf)) ?? emptyEntry(leaf);
    const others = this.td.module.configurable.filter((rule) => rule.leaf === leaf && rule.subleaf !== subleaf);
    const missing = others.filter((rule) => !entries.some((entry) => at(entry, rule.subleaf)));
    return [
      ...entries.filter((entry) => !at(entry, subleaf)),
      ...missing.map((rule) => ({
        ...emptyEntry(leaf),
        index: rule.subleaf ?? 0,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
      })),
      { ...own, index: NO_SUBLEAF, flags: 0 },
    ];
  }

  /** Whether KVM_TDX_INIT_VM takes it. */
  accepts(atoms: readonly Atom[]): boolean {
    const { vmm } = this;
    const vm = vmm.createVm(VM_TYPES.tdx);
    const { errno } = vmm.tdxInitVm(vm, this.configuration(atoms));
    vmm.process.close(vm);
    return errno === 'OK';
  }

  try(atoms: readonly Atom[]): Tried {
    const cpu = this.machine.cpus[0]!;
    const vmm = this.newVmm();
    this.runs++;
    const { created } = createTdGuest(vmm, cpu, this.configuration(atoms), writesAll);
    const { failed } = created;
    if (failed) return { refused: { ioctl: failed.ioctl, errno: failed.errno }, changes: [] };
    vmm.process.ioctl(created.vcpus[0]!, KVM_RUN, 0);
    const changes = diffHostState(this.before, hostState(cpu.core));
    this.harmed = changes.length > 0;
    return { refused: null, changes };
  }
}

/** An index that no sub-leaf of a TD's leaves has. */
const NO_SUBLEAF = 0xff;

const emptyEntry = (leaf: number): CpuidEntry2 => ({
  function: leaf,
  index: 0,
  flags: 0,
  eax: 0,
  ebx: 0,
  ecx: 0,
  edx: 0,
});

function tdOf(process: Process, vm: number): KvmTd {
  const file = process.file(vm);
  if (!(file instanceof Vm) || !(file.td instanceof KvmTd)) throw new Error('not a TD');
  return file.td;
}
