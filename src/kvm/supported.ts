import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, REGISTERS } from '../cpuid/entry.js';
import type { Expression } from '../cpuid/expression.js';
import { featureNamed, type Overlay } from '../cpuid/features.js';
import { kvmIndexedFunctions } from '../cpuid/indexed.js';
import { inRange, type KernelLine, onLine } from '../cpuid/kernel-line.js';
import type { Cpu } from '../emu/machine.js';
import { dialectOf, type OverlayCaps } from './caps.js';
import { compileFor, type KvmScope, kvmDialect } from './scope.js';
import {
  BASE_FUNCTIONS,
  CENTAUR_BASE,
  EMULATED_ROWS,
  LEAF_ROWS,
  type LeafRow,
  type RegisterRules,
  type SubleafRow,
} from './supported-rows.js';
import type { VendorModule } from './vendor.js';
import { XsaveLayout } from './xsave.js';

/** `KVM_MAX_CPUID_ENTRIES`, the same on every modelled kernel. */
export const KVM_MAX_CPUID_ENTRIES = 256;

type Rules = readonly (Expression<KvmScope> | null)[];

interface CompiledSubleaf {
  readonly row: SubleafRow;
  readonly rules: Rules;
}

interface CompiledLeaf {
  readonly row: LeafRow;
  readonly gate: Expression<KvmScope> | null;
  readonly rules: Rules;
  readonly sub: readonly CompiledSubleaf[];
}

interface CompiledRules {
  readonly leaves: ReadonlyMap<number, CompiledLeaf>;
  readonly indexed: ReadonlySet<number>;
}

const compiled = new Map<string, CompiledRules>();

function rulesOf(vendor: VendorModule, line: KernelLine): CompiledRules {
  const key = `${vendor.name} ${line}`;
  const known = compiled.get(key);
  if (known) return known;
  const dialect = dialectOf(vendor);
  const compile = (rules: RegisterRules): Rules =>
    REGISTERS.map((register) => {
      const rule = rules[register];
      const text = typeof rule === 'object' ? onLine(rule, line) : rule;
      return text === undefined || text === null ? null : compileFor(dialect, text);
    });
  const leaves = new Map<number, CompiledLeaf>();
  for (const row of LEAF_ROWS) {
    if (!inRange(line, row.since)) continue;
    leaves.set(row.function, {
      row,
      gate: row.gate === undefined ? null : compileFor(dialect, row.gate),
      rules: compile(row),
      sub: (row.sub ?? []).filter((sub) => inRange(line, sub.since)).map((sub) => ({ row: sub, rules: compile(sub) })),
    });
  }
  const made = { leaves, indexed: kvmIndexedFunctions(line) };
  compiled.set(key, made);
  return made;
}

/** A mutable entry while its registers are computed. */
interface Draft {
  function: number;
  index: number;
  flags: number;
  registers: Uint32Array;
}

const finish = ({ function: fn, index, flags, registers: [eax, ebx, ecx, edx] }: Draft): CpuidEntry2 => ({
  function: fn,
  index,
  flags,
  eax: eax!,
  ebx: ebx!,
  ecx: ecx!,
  edx: edx!,
});

/** XSAVE components in a process's reach (`kvm_get_filtered_xcr0()`). */
export function permittedXcr0(caps: OverlayCaps, guestPermissions: number): number {
  const tileData = 1 << 18;
  const tileConfig = 1 << 17;
  let permitted = caps.supportedXcr0;
  if ((permitted & tileData) !== 0 && (guestPermissions & tileData) === 0) {
    permitted &= ~tileData;
    if (caps.scope.parameters.xtileCfgFollowsXtileData) permitted &= ~tileConfig;
  }
  return permitted >>> 0;
}

/**
 * Computes what KVM_GET_SUPPORTED_CPUID reports for one overlay, as the list that the kernel builds. More than
 * {@link KVM_MAX_CPUID_ENTRIES} entries mean that the ioctl fails with E2BIG; the list is cut one entry above.
 *
 * @param cpu the logical CPU on which the ioctl runs
 * @param guestPermissions XSAVE components that the process may give to guests
 */
export function supportedCpuid(
  caps: OverlayCaps,
  vendor: VendorModule,
  cpu: Cpu,
  guestPermissions: number,
): readonly CpuidEntry2[] {
  return new Walk(caps, vendor, cpu, guestPermissions).run();
}

class Walk {
  private readonly caps: OverlayCaps;
  private readonly overlay: Overlay;
  private readonly scope: KvmScope;
  private readonly rules: CompiledRules;
  private readonly cpu: Cpu;
  private readonly permitted: number;
  private readonly entries: Draft[] = [];

  constructor(caps: OverlayCaps, vendor: VendorModule, cpu: Cpu, guestPermissions: number) {
    this.caps = caps;
    this.overlay = caps.overlay;
    this.scope = { ...caps.scope, cpu, caps: caps.words };
    this.rules = rulesOf(vendor, caps.scope.line);
    this.cpu = cpu;
    this.permitted = permittedXcr0(caps, guestPermissions);
  }

  run(): readonly CpuidEntry2[] {
    for (const base of BASE_FUNCTIONS) {
      if (base === CENTAUR_BASE && !this.answersCentaurRange()) continue;
      this.emit(base);
      const limit = this.entries.at(-1)!.registers[0]!;
      for (let fn = base + 1; fn <= limit && !this.full; fn++) this.emit(fn);
    }
    return this.entries.map(finish);
  }

  /** A TD has no such range: its overlay applies to whole leaves. */
  private answersCentaurRange(): boolean {
    return (
      this.overlay !== 'TDX' &&
      this.scope.parameters.centaurRangeVendors.includes(this.scope.variables.get('vendor') as string)
    );
  }

  private get full(): boolean {
    return this.entries.length > KVM_MAX_CPUID_ENTRIES;
  }

  /** `do_host_cpuid()`: the next entry, with what the CPU answers. */
  private fetch(fn: number, index: number): Draft {
    const draft: Draft = { function: fn, index, flags: 0, registers: new Uint32Array(4) };
    this.entries.push(draft);
    const range = fn >>> 30;
    if (range === 1) return draft;
    if (range === 2 && fn > this.cpu.cpuid.maximum(fn)) return draft;
    this.cpu.cpuid.execute(fn, index, draft.registers);
    if (this.rules.indexed.has(fn)) draft.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    return draft;
  }

  private emit(fn: number): void {
    const leaf = this.rules.leaves.get(fn);
    const draft = this.fetch(fn, 0);
    const open = leaf !== undefined && this.isOpen(leaf);
    if (!open) draft.registers.fill(0);
    else if (leaf.row.walk === 'cache') this.walkCache(draft);
    else if (leaf.row.walk === 'raw-range') this.walkRawRange(draft);
    else if (leaf.row.walk === 'xsave') this.walkXsave(draft);
    else this.apply(leaf, draft);
  }

  /** Whether the leaf is more than one all-zero entry. */
  private isOpen({ row, gate }: CompiledLeaf): boolean {
    if (row.zeroIn?.includes(this.overlay)) return false;
    return gate === null || gate.number(this.scope) !== 0;
  }

  private apply(leaf: CompiledLeaf, draft: Draft): void {
    this.evaluate(leaf.rules, draft);
    for (const { row, rules } of leaf.sub) {
      if (draft.registers[0]! < (row.parentEaxAtLeast ?? 0)) continue;
      this.evaluate(rules, this.fetch(draft.function, row.index));
    }
  }

  private evaluate(rules: Rules, draft: Draft): void {
    for (let register = 0; register < 4; register++) {
      this.scope.raw = draft.registers[register]!;
      draft.registers[register] = rules[register]?.number(this.scope) ?? 0;
    }
  }

  private walkCache(first: Draft): void {
    let last = first;
    while ((last.registers[0]! & 0x1f) !== 0 && !this.full) last = this.fetch(last.function, last.index + 1);
  }

  private walkRawRange(first: Draft): void {
    const limit = first.registers[0]!;
    for (let index = 1; index <= limit && !this.full; index++) this.fetch(first.function, index);
  }

  private walkXsave(first: Draft): void {
    const { permitted, caps } = this;
    const layout = new XsaveLayout(this.cpu);
    first.registers[0]! &= permitted;
    first.registers[1] = layout.size(permitted, false);
    first.registers[2] = first.registers[1]!;
    first.registers[3] = 0; // no component above 31 is supported
    if (permitted === 0) return;

    const second = this.fetch(0xd, 1).registers;
    second[0] = caps.words[XSAVES.word.id]!;
    const compacts = (second[0]! & (XSAVES.mask | XSAVEC.mask)) !== 0;
    second[1] = compacts ? layout.size(permitted | caps.supportedXss, true) : 0;
    second[2]! &= caps.supportedXss;
    second[3] = 0;

    const keepXfd = (caps.words[XFD.word.id]! & XFD.mask) !== 0;
    for (let component = 2; component < 32; component++) {
      const bit = 1 << component;
      if (((permitted | caps.supportedXss) & bit) === 0) continue;
      // The kernel drops a component that is empty or of the wrong kind, with a warning.
      if (!layout.has(component, (caps.supportedXss & bit) !== 0)) continue;
      const draft = this.fetch(0xd, component).registers;
      if (!keepXfd) draft[2]! &= ~4;
      draft[3] = 0;
    }
  }
}

const XSAVES = featureNamed('XSAVES');
const XSAVEC = featureNamed('XSAVEC');
const XFD = featureNamed('XFD');

/** The emulated features: what KVM_GET_EMULATED_CPUID reports, and with `partial` what counts for a vCPU. */
export function emulatedCpuid(caps: OverlayCaps, partial: boolean): readonly CpuidEntry2[] {
  return EMULATED_ROWS.map((row) => {
    const registers = REGISTERS.map((register) => {
      const own = evaluateEmulated(row[register], caps);
      return (partial ? own | evaluateEmulated(row.partial?.[register], caps) : own) >>> 0;
    });
    const [eax = 0, ebx = 0, ecx = 0, edx = 0] = registers;
    return { function: row.function, index: 0, flags: row.flags ?? 0, eax, ebx, ecx, edx };
  });
}

function evaluateEmulated(rule: RegisterRules['eax'], caps: OverlayCaps): number {
  return typeof rule === 'string' ? emulatedRule(rule).number({ ...caps.scope, caps: caps.words }) : 0;
}

const EMULATED_DIALECT = kvmDialect('kvm', new Set());
const emulatedRules = new Map<string, Expression<KvmScope>>();

function emulatedRule(text: string): Expression<KvmScope> {
  let rule = emulatedRules.get(text);
  if (!rule) {
    rule = compileFor(EMULATED_DIALECT, text);
    emulatedRules.set(text, rule);
  }
  return rule;
}
