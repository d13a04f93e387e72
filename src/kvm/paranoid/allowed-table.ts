import { type CpuidEntry2, REGISTERS } from '../../cpuid/entry.js';
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
import { emulatedCpuid, permittedXcr0, supportedCpuid } from '../supported.js';
import type { VendorModule } from '../vendor.js';
import {
  CHECK_FIELD,
  CHECK_FIXED,
  CHECK_FIXED_OR_ZERO,
  CHECK_VALUES,
  CHECK_WORDS,
  functionOf,
  hasSlot,
  type RuleArrays,
  SLOT_COUNT,
  slotOf,
} from './rule-arrays.js';
import { RuleLines } from './rule-lines.js';
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
  private reports: ReadonlyMap<string, CpuidEntry2> | null = null;
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

  /** What KVM itself reports in a register: the likeliest value in tables. */
  reported(fn: number, index: number, register: number): number {
    this.reports ??= this.makeReports();
    return this.reports.get(`${fn} ${this.indexed.has(fn) ? index : 0}`)?.[REGISTERS[register]!] ?? 0;
  }

  private makeReports(): ReadonlyMap<string, CpuidEntry2> {
    const { caps, vendor, cpu, guestPermissions } = this.options;
    const entries = supportedCpuid(caps, vendor, cpu, guestPermissions);
    return new Map(entries.map((entry) => [`${entry.function} ${entry.index}`, entry]));
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

  /** The rules of every sub-leaf; a register that KVM overwrites in one of them is not judged in any. */
  resolveAll(fn: number): readonly (readonly Resolved[])[] {
    const count = this.hasDefect('flagless-first-row') ? 1 : this.lastIndex(fn) + 2;
    const sets = Array.from({ length: count }, (_, subleaf) => this.resolve(fn, subleaf));
    const overwritten = REGISTERS.map((_, register) => sets.some((set) => set[register]!.row?.overwritten));
    return sets.map((set) => set.map((rule, register) => (overwritten[register] ? { ...rule, ...IGNORED } : rule)));
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

/** The allowed values of one overlay: its rules flattened for verification, and the resolver that can explain them. */
export class AllowedTable extends RuleLines {
  readonly resolver: RuleResolver;
  private readonly resolved = new Map<string, readonly (readonly Resolved[])[]>();

  constructor(options: AllowedOptions) {
    const resolver = new RuleResolver(options);
    super(new ArraysBuilder(resolver).finish());
    this.resolver = resolver;
  }

  /** The rules that an entry must satisfy: one set of four, or one for every sub-leaf that it answers. */
  rulesFor(fn: number, index: number, significant: boolean): readonly (readonly Resolved[])[] {
    // Sub-leaves beyond the last with rules of its own are alike.
    const one = !this.resolver.indexed.has(fn) || significant;
    const subleaf = one ? Math.min(index, this.resolver.lastIndex(fn) + 1) : ALL_SUBLEAVES;
    const key = `${fn} ${subleaf}`;
    let rules = this.resolved.get(key);
    if (!rules) {
      rules = one ? [this.resolver.resolve(fn, subleaf)] : this.resolver.resolveAll(fn);
      if (hasSlot(fn)) this.resolved.set(key, rules);
    }
    return rules;
  }
}

/** Flattens the rules of an overlay. */
class ArraysBuilder {
  private readonly resolver: RuleResolver;
  private readonly base: Int32Array;
  private readonly subleaves = new Int32Array(SLOT_COUNT);
  private readonly reject: number[] = [];
  private readonly checkStart: number[] = [0];
  private readonly checks: number[] = [];
  private readonly values: number[] = [];
  private readonly unknownLine: number;

  constructor(resolver: RuleResolver) {
    this.resolver = resolver;
    this.unknownLine = this.addLine(0, [[UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]]);
    this.base = new Int32Array(SLOT_COUNT).fill(this.unknownLine);
  }

  finish(): RuleArrays {
    const { resolver } = this;
    const ranges = resolver.functionRanges.flatMap(([first, last]) => {
      const line = this.addLine(first, [resolver.resolve(first, 0)]);
      this.fillSlots(first, last, line);
      return [first, last, line];
    });
    for (const fn of resolver.functions) this.addFunction(fn);
    return {
      base: this.base,
      subleaves: this.subleaves,
      reject: Int32Array.from(this.reject),
      checkStart: Int32Array.from(this.checkStart),
      checks: Int32Array.from(this.checks),
      values: Int32Array.from(this.values),
      ranges: Uint32Array.from(ranges),
      unknownLine: this.unknownLine,
    };
  }

  private addFunction(fn: number): void {
    if (!hasSlot(fn)) throw new Error(`function ${fn.toString(16)} has no slot`);
    const slot = slotOf(fn);
    if (!this.resolver.indexed.has(fn)) {
      this.base[slot] = this.addLine(fn, [this.resolver.resolve(fn, 0)]);
      return;
    }
    const count = this.resolver.lastIndex(fn) + 2;
    this.base[slot] = this.addLine(fn, this.resolver.resolveAll(fn));
    for (let index = 0; index < count; index++) this.addLine(fn, [this.resolver.resolve(fn, index)]);
    this.subleaves[slot] = count;
  }

  private fillSlots(first: number, last: number, line: number): void {
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const fn = functionOf(slot);
      if (this.base[slot] === this.unknownLine && first <= fn && fn <= last) this.base[slot] = line;
    }
  }

  /** Adds the rules of one or several sub-leaves that an entry must satisfy all at once; returns the line's number. */
  private addLine(fn: number, sets: readonly (readonly Resolved[])[]): number {
    for (let register = 0; register < 4; register++) {
      let reject = 0;
      for (const set of sets) {
        const rule = set[register]!;
        reject |= freeBits(rule) ^ -1;
        this.addChecks(fn, rule, register);
      }
      this.reject.push(reject);
    }
    this.checkStart.push(this.checks.length / CHECK_WORDS);
    return this.checkStart.length - 2;
  }

  private addChecks(fn: number, rule: Resolved, register: number): void {
    if (rule.kind === 'fixed') {
      const kind = rule.orZero ? CHECK_FIXED_OR_ZERO : CHECK_FIXED;
      this.checks.push(kind, register, 0, -1, rule.value | 0, 0, rule.value | 0);
    }
    for (const { low, mask, limit, values } of rule.fields) {
      const reported = (this.resolver.reported(fn, rule.index, register) & mask) >>> low;
      if (values) {
        const likely = values.includes(reported) ? reported : values.at(-1)!;
        this.checks.push(CHECK_VALUES, register, low, mask | 0, this.values.length, values.length, likely);
        this.values.push(...values);
      } else if (limit < mask >>> low) {
        this.checks.push(CHECK_FIELD, register, low, mask | 0, limit | 0, 0, reported | 0);
      }
    }
  }
}

/** Bits of a register that the mask part of a rule lets through; what fields and fixed values say comes as checks. */
function freeBits(rule: Resolved): number {
  if (rule.kind === 'ignored' || rule.kind === 'fixed') return -1;
  return rule.fields.reduce((bits, field) => bits | field.mask, rule.mask);
}
