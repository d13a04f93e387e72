import { architectureFieldAt } from '../cpuid/architecture.js';
import { REGISTERS, type Register } from '../cpuid/entry.js';
import { wordAt } from '../cpuid/features.js';
import type { LeafId, TdxModuleVersion } from './params.js';
import {
  CPUID_CONFIG,
  CPUID_ROWS,
  CPUID_ROWS_1_5_28,
  CPUID_ROWS_2_0_8,
  type LeafRow,
  type LeafText,
  type VersionRows,
} from './rows/cpuid-rows.js';

/** EAX to EDX of one leaf. */
export type Registers = Uint32Array;

/** Bits that are cleared unless XFAM or ATTRIBUTES has all of `bits`. */
export interface Gate {
  readonly of: 'xfam' | 'attributes';
  readonly bits: bigint;
  readonly masks: Registers;
}

/** The rule of one leaf, compiled: a mask per register for every clause of `rows/cpuid-rows.ts`. */
export interface LeafRule extends LeafId {
  /** As in the table: `7.0`, `d.18`, `80000008`. */
  readonly name: string;
  readonly faults: boolean;
  /** Position in CPUID_CONFIG, or `null`. */
  readonly configIndex: number | null;
  readonly zero: Registers;
  readonly one: Registers;
  readonly live: Registers;
  readonly config: Registers;
  readonly allow: Registers;
  readonly need: Registers;
  readonly lack: Registers;
  readonly gates: readonly Gate[];
  /** The leaf is zero in a TD without this feature of leaf 1. */
  readonly onlyWith: 'MWAIT' | null;
}

const MASKS = ['zero', 'one', 'live', 'config', 'allow', 'need', 'lack'] as const;
type MaskName = (typeof MASKS)[number];

const ALL_BITS = 0xffff_ffff;

/** The rules of one version by leaf, sorted as in the module's table. */
export class LeafRules {
  readonly rules: readonly LeafRule[];
  /** Those with a configuration slot, by its index. */
  readonly configurable: readonly LeafRule[];
  private readonly byLeaf = new Map<string, LeafRule>();
  private readonly positions = new Map<LeafRule, number>();

  constructor(rules: readonly LeafRule[]) {
    this.rules = rules;
    for (const [at, rule] of rules.entries()) {
      this.byLeaf.set(leafKey(rule.leaf, rule.subleaf), rule);
      this.positions.set(rule, at);
    }
    this.configurable = rules
      .filter(({ configIndex }) => configIndex !== null)
      .sort((one, other) => one.configIndex! - other.configIndex!);
  }

  /** The rule that CPUID with this EAX and ECX follows; `undefined` when the table has none. */
  find(leaf: number, subleaf: number): LeafRule | undefined {
    return this.exactly(leaf, null) ?? this.exactly(leaf, subleaf);
  }

  /** The rule of exactly that row. */
  exactly(leaf: number, subleaf: number | null): LeafRule | undefined {
    return this.byLeaf.get(leafKey(leaf, subleaf));
  }

  /** The position of a rule in `rules`. */
  indexOf(rule: LeafRule): number {
    return this.positions.get(rule) ?? -1;
  }
}

/** Rules that can still be changed: what the rows of a version are applied to. */
interface Draft {
  readonly id: LeafId;
  readonly registers: Record<Register, DraftRegister>;
  only: string | null;
  faults: boolean;
}

interface DraftRegister {
  readonly masks: Record<MaskName, number>;
  /** By `xfam 5,6,7` or `attributes 30`. */
  readonly gates: Map<string, number>;
}

const compiled = new Map<TdxModuleVersion, LeafRules>();

/** The rules of a published version; compiled on first use. */
export function leafRules(version: TdxModuleVersion): LeafRules {
  const known = compiled.get(version);
  if (known) return known;
  const rules = compile(version);
  compiled.set(version, rules);
  return rules;
}

function compile(version: TdxModuleVersion): LeafRules {
  const steps: VersionRows[] = [{ rows: CPUID_ROWS, config: CPUID_CONFIG }];
  if (version !== '1.5.01') steps.push(CPUID_ROWS_1_5_28);
  if (version === '2.0.8') steps.push(CPUID_ROWS_2_0_8);
  const drafts = new Map<string, Draft>();
  for (const { rows } of steps) for (const row of rows) apply(drafts, row);
  const slots = steps.flatMap(({ config }) => config.flatMap(leavesOf)).map(keyOf);
  return new LeafRules(
    [...drafts.values()]
      .sort((one, other) => one.id.leaf - other.id.leaf || (one.id.subleaf ?? 0) - (other.id.subleaf ?? 0))
      .map((draft) => finish(draft, slots.indexOf(keyOf(draft.id)))),
  );
}

function apply(drafts: Map<string, Draft>, [leaf, text]: LeafRow): void {
  for (const id of leavesOf(leaf)) {
    const draft = drafts.get(keyOf(id)) ?? emptyDraft(id);
    drafts.set(keyOf(id), draft);
    if (text.only !== undefined) draft.only = text.only;
    if (text.faults !== undefined) draft.faults = text.faults;
    for (const register of REGISTERS) applyText(draft, register, text);
  }
}

function applyText(draft: Draft, register: Register, text: LeafText): void {
  const clauses = (text[register] ?? '').split(';').map((clause) => clause.trim());
  const given = clauses.filter(Boolean);
  if (given.length === 0) return;
  const signed = given.every((clause) => /^[+-]/.test(clause));
  if (!signed) draft.registers[register] = emptyRegister();
  for (const clause of given) applyClause(draft, register, clause);
}

/** One clause, such as `-zero LAM` or `xfam 5,6,7 AVX512F`. Throws on one that makes no sense. */
function applyClause(draft: Draft, register: Register, clause: string): void {
  const { masks, gates } = draft.registers[register];
  const [, sign, keyword, rest] = /^([+-]?)(\w+)\s+(.*)$/s.exec(clause) ?? [];
  if (keyword === undefined || rest === undefined) throw new Error(`cannot read the clause ${clause}`);
  const change = (mask: number, bits: number) => (sign === '-' ? mask & ~bits : mask | bits) >>> 0;
  const bits = (text: string) => bitsOf(draft.id, register, text);
  switch (keyword) {
    case 'is': {
      const value = Number.parseInt(rest, 16) >>> 0;
      masks.one = value;
      masks.zero = ~value >>> 0;
      return;
    }
    case 'verify': {
      const [range = '', value = ''] = rest.split('=');
      const mask = bits(range);
      const needed = (Number.parseInt(value, 16) << lowest(mask)) >>> 0;
      masks.need = (masks.need | needed) >>> 0;
      masks.lack = (masks.lack | (mask & ~needed)) >>> 0;
      return;
    }
    case 'xfam':
    case 'attributes': {
      const [condition = '', ...names] = rest.split(/\s+/);
      const key = `${keyword} ${condition}`;
      gates.set(key, change(gates.get(key) ?? 0, bits(names.join(' '))));
      return;
    }
    default:
      if (!isMaskName(keyword)) throw new Error(`${keyword} is no clause`);
      masks[keyword] = change(masks[keyword], bits(rest));
  }
}

function isMaskName(text: string): text is MaskName {
  return (MASKS as readonly string[]).includes(text);
}

/** The mask of names, numbers and ranges, separated by white space. Throws on a name that this register does not have. */
export function bitsOf({ leaf, subleaf }: LeafId, register: Register, text: string): number {
  let mask = 0;
  for (const item of text.split(/\s+/).filter(Boolean)) {
    const range = /^(\d+)(?::(\d+))?$/.exec(item);
    if (range) mask |= rangeMask(Number(range[1]), Number(range[2] ?? range[1]));
    else mask |= 1 << bitNamed(leaf, subleaf ?? 0, register, item);
  }
  return mask >>> 0;
}

function bitNamed(leaf: number, subleaf: number, register: Register, name: string): number {
  const feature = wordAt(leaf, subleaf, REGISTERS.indexOf(register))?.features.find((item) => item.name === name);
  if (feature) return feature.bit;
  for (let bit = 0; bit < 32; bit++) {
    const field = architectureFieldAt(leaf, subleaf, register, bit);
    if (field?.name === name && field.high === field.low) return bit;
  }
  throw new Error(`CPUID ${leaf.toString(16)}.${subleaf}:${register} has no bit called ${name}`);
}

function rangeMask(high: number, low: number): number {
  return ((2 ** (high - low + 1) - 1) * 2 ** low) >>> 0;
}

function lowest(mask: number): number {
  return 31 - Math.clz32(mask & -mask);
}

/** The rows that a name such as `d.2-18` stands for. */
export function leavesOf(text: string): readonly LeafId[] {
  const [leaf = '', subleaves] = text.split('.');
  const fn = Number.parseInt(leaf, 16);
  if (subleaves === undefined) return [{ leaf: fn, subleaf: null }];
  const [first, last = first] = subleaves.split('-').map(Number);
  return Array.from({ length: last! - first! + 1 }, (_, at) => ({ leaf: fn, subleaf: first! + at }));
}

function finish(draft: Draft, slot: number): LeafRule {
  const masks = (name: MaskName) => Uint32Array.from(REGISTERS, (register) => draft.registers[register].masks[name]);
  const { id, faults, only } = draft;
  return {
    ...id,
    name: leafName(id),
    faults,
    configIndex: slot < 0 ? null : slot,
    zero: masks('zero'),
    one: masks('one'),
    live: masks('live'),
    config: masks('config'),
    allow: masks('allow'),
    need: masks('need'),
    lack: masks('lack'),
    gates: [...gatesOf(draft), ...wholeGates(id, only)],
    onlyWith: only === 'MWAIT' ? only : null,
  };
}

function gatesOf({ registers }: Draft): readonly Gate[] {
  const conditions = new Set(REGISTERS.flatMap((register) => [...registers[register].gates.keys()]));
  return [...conditions].map((condition) => ({
    ...conditionOf(condition),
    masks: Uint32Array.from(REGISTERS, (register) => registers[register].gates.get(condition) ?? 0),
  }));
}

function wholeGates({ subleaf }: LeafId, only: string | null): readonly Gate[] {
  if (only === null || only === 'MWAIT') return [];
  const masks = new Uint32Array(4).fill(ALL_BITS);
  return [{ ...conditionOf(only.replace(/\bn$/, String(subleaf))), masks }];
}

/** A condition such as `xfam 17,18`. Throws on anything else. */
export function conditionOf(text: string): Pick<Gate, 'of' | 'bits'> {
  const [of = '', list = ''] = text.split(' ');
  if (of !== 'xfam' && of !== 'attributes') throw new Error(`${text} is no condition`);
  return { of, bits: list.split(',').reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n) };
}

/** `7.0`, `d.18`, `80000008`. */
function leafName({ leaf, subleaf }: LeafId): string {
  return subleaf === null ? leaf.toString(16) : `${leaf.toString(16)}.${subleaf}`;
}

function emptyRegister(): DraftRegister {
  return { masks: { zero: 0, one: 0, live: 0, config: 0, allow: 0, need: 0, lack: 0 }, gates: new Map() };
}

function emptyDraft(id: LeafId): Draft {
  const registers = { eax: emptyRegister(), ebx: emptyRegister(), ecx: emptyRegister(), edx: emptyRegister() };
  return { id, registers, only: null, faults: false };
}

function keyOf({ leaf, subleaf }: LeafId): string {
  return leafKey(leaf, subleaf);
}

function leafKey(leaf: number, subleaf: number | null): string {
  return subleaf === null ? `${leaf}` : `${leaf}.${subleaf}`;
}

/** Makes one bit "configured & native", in a leaf that may get its rule and its configuration slot only now. */
export function withAllowedBit(rules: LeafRules, id: LeafId, register: Register, bit: number): LeafRules {
  const at = REGISTERS.indexOf(register);
  const mask = (1 << bit) >>> 0;
  const old = rules.exactly(id.leaf, id.subleaf) ?? finish(unknownLeaf(id), -1);
  const changed = (masks: Registers, change: (mask: number) => number) =>
    masks.map((value, index) => (index === at ? change(value) : value));
  const rule: LeafRule = {
    ...old,
    faults: false,
    configIndex: old.configIndex ?? rules.configurable.length,
    zero: changed(old.zero, (zero) => zero & ~mask),
    live: changed(old.live, (live) => live & ~mask),
    one: changed(old.one, (one) => one & ~mask),
    config: changed(old.config, (config) => config & ~mask),
    allow: changed(old.allow, (allow) => allow | mask),
  };
  const others = rules.rules.filter((item) => item !== old);
  const place = others.findIndex((item) => item.leaf > id.leaf || (item.leaf === id.leaf && isBehind(item, id)));
  return new LeafRules(others.toSpliced(place < 0 ? others.length : place, 0, rule));
}

function isBehind(item: LeafId, id: LeafId): boolean {
  return (item.subleaf ?? 0) > (id.subleaf ?? 0);
}

/** A leaf that no version has: all bits zero. */
function unknownLeaf(id: LeafId): Draft {
  const draft = emptyDraft(id);
  for (const register of REGISTERS) draft.registers[register].masks.zero = ALL_BITS;
  return draft;
}
