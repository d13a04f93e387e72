import { REGISTERS } from '../../cpuid/entry.js';
import {
  type Argument,
  compileExpression,
  type Dialect,
  type Evaluate,
  type Expression,
} from '../../cpuid/expression.js';
import { maskOfClasses, type Overlay, wordNamed } from '../../cpuid/features.js';
import { kvmIndexedFunctions } from '../../cpuid/indexed.js';
import type { Cpu } from '../../emu/machine.js';
import type { OverlayCaps } from '../caps.js';
import { dialectOf } from '../caps.js';
import type { Defect, Reserved } from '../policy.js';
import type { KvmScope } from '../scope.js';
import { emulatedCpuid, permittedXcr0 } from '../supported.js';
import type { VendorModule } from '../vendor.js';
import { type Field, RESERVED, RULE_ROWS, type Rule, type RuleRow } from './rule-rows.js';

/** What the rules of one overlay depend on. */
export interface AllowedOptions {
  readonly caps: OverlayCaps;
  readonly vendor: VendorModule;
  readonly cpu: Cpu;
  /** XSAVE components that the process may give to guests. */
  readonly guestPermissions: number;
  readonly reserved: Reserved;
  readonly defects: ReadonlySet<Defect>;
}

/** A rule with its values computed for one register. */
export interface Resolved {
  readonly kind: Rule['kind'];
  /** Bits that may be set freely; for fields and fixed values, besides those. */
  readonly mask: number;
  readonly fields: readonly ResolvedField[];
  /** The fixed value; `orZero`: zero is fine too. */
  readonly value: number;
  readonly orZero: boolean;
  /** The row that the rule comes from; `null` where no row covers the register. */
  readonly row: RuleRow | null;
  /** The sub-leaf that the rule was resolved for. */
  readonly index: number;
}

export interface ResolvedField {
  readonly high: number;
  readonly low: number;
  readonly mask: number;
  /** The largest value; ignored when `values` is given. */
  readonly limit: number;
  readonly values: readonly number[] | null;
}

interface RuleScope extends KvmScope {
  index: number;
  permittedXcr0: number;
}

type CompiledField = readonly [high: number, low: number, limit: Expression<RuleScope> | readonly number[]];

interface CompiledRule {
  readonly rule: Rule;
  readonly mask: Expression<RuleScope> | null;
  readonly value: Expression<RuleScope> | null;
  readonly when: Expression<RuleScope> | null;
  readonly fields: readonly CompiledField[];
}

interface CompiledRow {
  readonly row: RuleRow;
  readonly applies: Expression<RuleScope> | null;
  readonly rules: Readonly<Record<Overlay, CompiledRule>>;
  readonly registers: readonly boolean[];
}

const spanMask = (high: number, low: number): number => ((0xffff_ffff >>> (31 - (high - low))) << low) >>> 0;

/** Rules speak KVM's language, and of `index`, `permitted_xcr0`, `bits(NAME, …)`, `span(high, low)`, `user_bits(WORD)`. */
function ruleDialect(vendor: VendorModule): Dialect<RuleScope> {
  const inner = dialectOf(vendor);
  return {
    variable(name): Evaluate<RuleScope> {
      if (name === 'index') return (scope) => scope.index;
      if (name === 'permitted_xcr0') return (scope) => scope.permittedXcr0;
      return inner.variable(name);
    },
    call(name, args): Evaluate<RuleScope> {
      if (name === 'bits') {
        const mask = args.reduce(
          (all, arg) => all | (inner.call('bit', [arg as Argument<KvmScope>])({} as KvmScope) as number),
          0,
        );
        return () => mask >>> 0;
      }
      if (name === 'span') {
        const [high, low] = args.map((arg) => arg.value());
        return (scope) => spanMask(high!(scope) as number, low!(scope) as number);
      }
      if (name === 'user_bits') {
        const word = wordNamed(args[0]!.text);
        return (scope) => maskOfClasses(word, scope.line, ['USER'], scope.overlay);
      }
      return inner.call(name, args as readonly Argument<KvmScope>[]);
    },
  };
}

const compiled = new Map<string, readonly CompiledRow[]>();

function rowsOf(vendor: VendorModule): readonly CompiledRow[] {
  const known = compiled.get(vendor.name);
  if (known) return known;
  const dialect = ruleDialect(vendor);
  const expression = (text: string | undefined) => (text === undefined ? null : compileExpression(text, dialect));
  const compileField = ([high, low, limit]: Field): CompiledField => [
    high,
    low,
    typeof limit === 'string' ? compileExpression(limit, dialect) : limit,
  ];
  const compileRule = (rule: Rule): CompiledRule => ({
    rule,
    mask: expression(rule.mask),
    value: expression(rule.value),
    when: expression(rule.when),
    fields: (rule.fields ?? []).map(compileField),
  });
  const rows = RULE_ROWS.map((row) => ({
    row,
    applies: expression(row.if),
    rules: {
      DEFAULT: compileRule(row.rule),
      SVM: compileRule(row.svm ?? row.rule),
      TDX: compileRule(row.tdx ?? row.rule),
    },
    registers: REGISTERS.map((register) => row.registers === 'all' || row.registers.includes(register)),
  }));
  compiled.set(vendor.name, rows);
  return rows;
}

const NOTHING = { fields: [], value: 0, orZero: false } as const;

const IGNORED = { kind: 'ignored', mask: 0, ...NOTHING } as const;

/** The rule of a register that no row covers. */
export const UNKNOWN: Resolved = { kind: 'zero', mask: 0, ...NOTHING, row: null, index: 0 };

const covers = (range: number | readonly [number, number] | 'any', value: number): boolean =>
  range === 'any' || (typeof range === 'number' ? range === value : range[0] <= value && value <= range[1]);

const answer = new Uint32Array(4);

/** Computes rules for (function, index): the slow side of the table, used when it is built and when a user asks why. */
export class RuleResolver {
  readonly overlay: Overlay;
  readonly indexed: ReadonlySet<number>;
  private readonly options: AllowedOptions;
  private readonly scope: RuleScope;
  private readonly byFunction = new Map<number, readonly CompiledRow[]>();
  private readonly ranges: readonly CompiledRow[];
  private readonly emulated: readonly {
    readonly function: number;
    readonly index: number;
    readonly registers: readonly number[];
  }[];

  constructor(options: AllowedOptions) {
    const { caps, vendor, cpu, guestPermissions } = options;
    this.options = options;
    this.overlay = caps.overlay;
    this.indexed = kvmIndexedFunctions(caps.scope.line);
    this.scope = {
      ...caps.scope,
      cpu,
      caps: caps.words,
      index: 0,
      permittedXcr0: permittedXcr0(caps, guestPermissions),
    };
    this.emulated = emulatedCpuid(caps, true).map((entry) => ({
      function: entry.function,
      index: entry.index,
      // EAX of function 0 is the emulated maximum, no feature.
      registers: entry.function === 0 ? [0, 0, 0, 0] : REGISTERS.map((register) => entry[register]),
    }));
    const rows = rowsOf(vendor);
    this.ranges = rows.filter(({ row }) => typeof row.function !== 'number');
    for (const row of rows) {
      const fn = row.row.function;
      if (typeof fn === 'number') this.byFunction.set(fn, [...(this.byFunction.get(fn) ?? []), row]);
    }
  }

  hasDefect(defect: Defect): boolean {
    return this.options.defects.has(defect);
  }

  /** The functions that have rows of their own, in table order. */
  get functions(): Iterable<number> {
    return this.byFunction.keys();
  }

  /** The ranges of functions that share a row, in table order. */
  get functionRanges(): readonly (readonly [number, number])[] {
    return this.ranges.map(({ row }) => row.function as readonly [number, number]);
  }

  /** The largest sub-leaf that needs rules of its own; above it all sub-leaves are alike. */
  lastIndex(fn: number): number {
    if (!this.indexed.has(fn)) return 0;
    let last = 0;
    for (const { row, applies } of this.byFunction.get(fn) ?? []) {
      if (typeof row.index === 'number') last = Math.max(last, row.index);
      else if (row.index !== 'any' && row.index[1] < 0xffff_ffff) last = Math.max(last, row.index[1]);
      else if (applies) last = Math.max(last, this.rawMaximum(fn));
    }
    return last;
  }

  /** EAX of sub-leaf 0 of the host, as far as sub-leaves can be tabulated. */
  private rawMaximum(fn: number): number {
    this.scope.cpu.cpuid.execute(fn, 0, answer);
    return fn <= this.scope.cpu.cpuid.maximum(fn) ? Math.min(answer[0]!, MAX_TABULATED_INDEX) : 0;
  }

  /** The rules of the four registers of one sub-leaf. For functions without sub-leaves the index is not looked at. */
  resolve(fn: number, index: number): Resolved[] {
    const key = this.indexed.has(fn) ? index : 0;
    const rows = this.byFunction.get(fn) ?? this.ranges.filter(({ row }) => covers(row.function, fn));
    this.scope.index = key;
    return REGISTERS.map((_, register) => {
      const found = rows.find(
        ({ row, registers, applies }) =>
          registers[register] && covers(row.index, key) && (applies === null || applies.number(this.scope) !== 0),
      );
      return found ? this.resolveRule(found, fn, key, register) : { ...UNKNOWN, index: key };
    });
  }

  private resolveRule({ row, rules }: CompiledRow, fn: number, index: number, register: number): Resolved {
    const { rule, when, mask, value, fields } = rules[this.overlay];
    const nothing = { mask: 0, ...NOTHING, row, index };
    const { scope } = this;
    scope.raw = this.rawRegister(fn, index, register);
    if (rule.kind === 'zero' && this.options.reserved === 'ignore' && row.why === RESERVED)
      return { kind: 'ignored', ...nothing };
    if (rule.kind === 'zero' || (when && when.number(scope) === 0)) return { kind: 'zero', ...nothing };
    if (rule.kind === 'ignored') return { kind: 'ignored', ...nothing };
    let allowed = mask?.number(scope) ?? 0;
    if (rule.word !== undefined) {
      allowed |= scope.caps[wordNamed(rule.word).id]! | this.emulatedBits(fn, index, register);
    }
    return {
      ...nothing,
      kind: rule.kind,
      mask: allowed >>> 0,
      fields: fields.map(([high, low, limit]) => ({
        high,
        low,
        mask: spanMask(high, low),
        limit: 'number' in limit ? limit.number(scope) : 0,
        values: 'number' in limit ? null : limit,
      })),
      value: value?.number(scope) ?? 0,
      orZero: rule.orZero === true,
    };
  }

  private rawRegister(fn: number, index: number, register: number): number {
    const { cpuid } = this.scope.cpu;
    if (fn > cpuid.maximum(fn)) return 0;
    cpuid.execute(fn, index, answer);
    return answer[register]!;
  }

  private emulatedBits(fn: number, index: number, register: number): number {
    const blind = this.hasDefect('emulated-index-blind');
    const found = this.emulated.find((entry) => entry.function === fn && (blind || entry.index === index));
    return found?.registers[register] ?? 0;
  }
}

/** Stands for "every sub-leaf" where rules are kept by sub-leaf. */
const ALL_SUBLEAVES = -1;

/** Sub-leaves above this are not tabulated one by one; no CPU has as many where it matters. */
const MAX_TABULATED_INDEX = 63;

/** Leaves 0 to 3Fh of the four ranges have a slot each; other functions take the slow path. */
export const SLOT_COUNT = 256;
export const slotOf = (fn: number): number => ((fn >>> 30) << 6) | (fn & 63);
export const hasSlot = (fn: number): boolean => (fn & 0x3fff_ffc0) === 0;

export const CHECK_FIELD = 0;
export const CHECK_FIXED = 1;
export const CHECK_FIXED_OR_ZERO = 2;
export const CHECK_VALUES = 3;
/** Words of a check: kind, register, shift, mask, limit or value or first value, number of values. */
export const CHECK_WORDS = 6;

/**
 * The rules of one overlay, flattened for the hot loop. Each (function, sub-leaf) has a line: `reject` holds, for each
 * register, the bits that must not be set; what is no mask (fields, fixed values) is a list of checks behind it.
 */
export class AllowedTable {
  readonly resolver: RuleResolver;
  /** By slot: the line of entries without a significant index (or of the function, if it has no sub-leaves). */
  readonly base = new Int32Array(SLOT_COUNT).fill(-1);
  /** By slot: how many sub-leaves have lines of their own, the last of which serves all others; 0: index ignored. */
  readonly subleaves = new Int32Array(SLOT_COUNT);
  /** By line and register: bits that must be zero. */
  readonly reject: Int32Array;
  /** By line: where its checks start, and one more element for the end. */
  readonly checkStart: Int32Array;
  readonly checks: Int32Array;
  /** Values for {@link CHECK_VALUES}. */
  readonly values: Int32Array;
  /** Functions without a slot: pairs first, last and their line. Everything else is {@link unknownLine}. */
  readonly ranges: readonly { readonly first: number; readonly last: number; readonly line: number }[];
  readonly unknownLine: number;
  private readonly resolved = new Map<string, readonly (readonly Resolved[])[]>();

  constructor(options: AllowedOptions) {
    this.resolver = new RuleResolver(options);
    const lines = new LineBuilder();
    this.unknownLine = lines.add([[UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]]);
    for (const fn of this.resolver.functions) this.addFunction(fn, lines);
    this.ranges = this.resolver.functionRanges.map(([first, last]) => {
      const line = lines.add([this.resolver.resolve(first, 0)]);
      this.fillSlots(first, last, line);
      return { first, last, line };
    });
    const { reject, checkStart, checks, values } = lines.finish();
    this.reject = reject;
    this.checkStart = checkStart;
    this.checks = checks;
    this.values = values;
  }

  private addFunction(fn: number, lines: LineBuilder): void {
    if (!hasSlot(fn)) throw new Error(`function ${fn.toString(16)} has no slot`);
    const slot = slotOf(fn);
    if (!this.resolver.indexed.has(fn)) {
      this.base[slot] = lines.add([this.resolver.resolve(fn, 0)]);
      return;
    }
    const count = this.resolver.lastIndex(fn) + 2;
    this.base[slot] = lines.add(this.resolveAll(fn));
    for (let index = 0; index < count; index++) lines.add([this.resolver.resolve(fn, index)]);
    this.subleaves[slot] = count;
  }

  private fillSlots(first: number, last: number, line: number): void {
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const fn = (((slot >>> 6) << 30) | (slot & 63)) >>> 0;
      if (this.base[slot] === -1 && first <= fn && fn <= last) this.base[slot] = line;
    }
  }

  /** The line that decides about an entry. */
  lineOf(fn: number, index: number, significant: boolean): number {
    if (!hasSlot(fn)) return this.rangeLine(fn);
    const slot = slotOf(fn);
    const base = this.base[slot]!;
    if (base < 0) return this.unknownLine;
    const count = this.subleaves[slot]!;
    if (count === 0 || !significant) return base;
    return base + 1 + (index < count ? index : count - 1);
  }

  /** The line of a function without a slot. */
  rangeLine(fn: number): number {
    for (const range of this.ranges) if (range.first <= fn && fn <= range.last) return range.line;
    return this.unknownLine;
  }

  /** The rules that an entry must satisfy: one set of four, or one for every sub-leaf that it answers. */
  rulesFor(fn: number, index: number, significant: boolean): readonly (readonly Resolved[])[] {
    // Sub-leaves beyond the last with rules of its own are alike.
    const one = !this.resolver.indexed.has(fn) || significant;
    const subleaf = one ? Math.min(index, this.resolver.lastIndex(fn) + 1) : ALL_SUBLEAVES;
    const key = `${fn} ${subleaf}`;
    let rules = this.resolved.get(key);
    if (!rules) {
      rules = one ? [this.resolver.resolve(fn, subleaf)] : this.resolveAll(fn);
      if (hasSlot(fn)) this.resolved.set(key, rules);
    }
    return rules;
  }

  /** The rules of every sub-leaf; a register that KVM overwrites in one of them is not judged in any. */
  private resolveAll(fn: number): readonly (readonly Resolved[])[] {
    const count = this.resolver.hasDefect('flagless-first-row') ? 1 : this.resolver.lastIndex(fn) + 2;
    const sets = Array.from({ length: count }, (_, subleaf) => this.resolver.resolve(fn, subleaf));
    const overwritten = REGISTERS.map((_, register) => sets.some((set) => set[register]!.row?.overwritten));
    return sets.map((set) => set.map((rule, register) => (overwritten[register] ? { ...rule, ...IGNORED } : rule)));
  }
}

/** Collects lines: the rules of one or several sub-leaves that an entry must satisfy all at once. */
class LineBuilder {
  private readonly reject: number[] = [];
  private readonly checkStart: number[] = [0];
  private readonly checks: number[] = [];
  private readonly values: number[] = [];

  /** Adds a line; returns its number. */
  add(sets: readonly (readonly Resolved[])[]): number {
    for (let register = 0; register < 4; register++) {
      let reject = 0;
      for (const set of sets) {
        const rule = set[register]!;
        reject |= freeBits(rule) ^ -1;
        this.addChecks(rule, register);
      }
      this.reject.push(reject);
    }
    this.checkStart.push(this.checks.length / CHECK_WORDS);
    return this.checkStart.length - 2;
  }

  private addChecks(rule: Resolved, register: number): void {
    if (rule.kind === 'fixed') {
      const kind = rule.orZero ? CHECK_FIXED_OR_ZERO : CHECK_FIXED;
      this.checks.push(kind, register, 0, -1, rule.value | 0, 0);
    }
    for (const { low, mask, limit, values } of rule.fields) {
      if (values) {
        this.checks.push(CHECK_VALUES, register, low, mask | 0, this.values.length, values.length);
        this.values.push(...values);
      } else if (limit < mask >>> low) {
        this.checks.push(CHECK_FIELD, register, low, mask | 0, limit | 0, 0);
      }
    }
  }

  finish() {
    return {
      reject: Int32Array.from(this.reject),
      checkStart: Int32Array.from(this.checkStart),
      checks: Int32Array.from(this.checks),
      values: Int32Array.from(this.values),
    };
  }
}

/** Bits of a register that the mask part of a rule lets through; what fields and fixed values say comes as checks. */
function freeBits(rule: Resolved): number {
  if (rule.kind === 'ignored' || rule.kind === 'fixed') return -1;
  return rule.fields.reduce((bits, field) => bits | field.mask, rule.mask);
}
