import { type CpuidEntry2, REGISTERS, type Register } from '../../cpuid/entry.js';
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
  /** What KVM_GET_SUPPORTED_CPUID reports to it, if that is known already. */
  readonly reported?: readonly CpuidEntry2[];
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
  /** Whether what it says may differ from one sub-leaf to the next. */
  readonly differs: boolean;
}

/** The rows of one function, or of a range of functions that share a row, in table order. */
interface FunctionRows {
  readonly first: number;
  readonly last: number;
  readonly rows: readonly CompiledRow[];
  /** The same by register. The first that covers the sub-leaf and applies decides. */
  readonly byRegister: readonly (readonly CompiledRow[])[];
}

/** The rule table as a vendor's expressions read it. */
interface CompiledTable {
  readonly functions: ReadonlyMap<number, FunctionRows>;
  readonly ranges: readonly FunctionRows[];
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

const compiled = new Map<string, CompiledTable>();

function tableOf(vendor: VendorModule): CompiledTable {
  const known = compiled.get(vendor.name);
  if (known) return known;
  const rows = compileRows(vendor);
  const functions = new Map<number, FunctionRows>();
  const ranges: FunctionRows[] = [];
  for (const one of rows) {
    const { function: fn } = one.row;
    if (typeof fn !== 'number') ranges.push(functionRows(fn[0], fn[1], [one]));
    else if (!functions.has(fn))
      functions.set(
        fn,
        functionRows(
          fn,
          fn,
          rows.filter(({ row }) => row.function === fn),
        ),
      );
  }
  const made = { functions, ranges };
  compiled.set(vendor.name, made);
  return made;
}

function functionRows(first: number, last: number, rows: readonly CompiledRow[]): FunctionRows {
  const covering = (register: Register) =>
    rows.filter(({ row }) => row.registers === 'all' || row.registers.includes(register));
  return { first, last, rows, byRegister: REGISTERS.map(covering) };
}

function compileRows(vendor: VendorModule): readonly CompiledRow[] {
  const dialect = ruleDialect(vendor);
  // Many rows share their texts.
  const expressions = new Map<string, Expression<RuleScope>>();
  const expression = (text: string | undefined): Expression<RuleScope> | null => {
    if (text === undefined) return null;
    const made = expressions.get(text) ?? compileExpression(text, dialect);
    expressions.set(text, made);
    return made;
  };
  const compileField = ([high, low, limit]: Field): CompiledField => [
    high,
    low,
    typeof limit === 'string' ? expression(limit)! : limit,
  ];
  const compileRule = (rule: Rule): CompiledRule => ({
    rule,
    mask: expression(rule.mask),
    value: expression(rule.value),
    when: expression(rule.when),
    fields: (rule.fields ?? []).map(compileField),
  });
  return RULE_ROWS.map((row) => {
    const rule = compileRule(row.rule);
    return {
      row,
      differs: differs(row),
      applies: expression(row.if),
      rules: {
        DEFAULT: rule,
        SVM: row.svm ? compileRule(row.svm) : rule,
        TDX: row.tdx ? compileRule(row.tdx) : rule,
      },
    };
  });
}

const NO_FIELDS: readonly ResolvedField[] = [];

/** A rule that is the same whatever the host. */
function plain(kind: 'ignored' | 'zero', row: RuleRow | null, index: number): Resolved {
  return { kind, mask: 0, fields: NO_FIELDS, value: 0, orZero: false, row, index };
}

/** Whether a row's expressions speak of the sub-leaf, or of what the host's CPU has there. */
const differs = ({ if: condition, rule, svm, tdx }: RuleRow): boolean =>
  /\b(index|raw)\b/.test(JSON.stringify([condition, rule, svm, tdx]));

/** The rule of a register that no row covers. */
export const UNKNOWN: Resolved = plain('zero', null, 0);

const covers = (range: RuleRow['index'], value: number): boolean =>
  range === 'any' || (typeof range === 'number' ? range === value : range[0] <= value && value <= range[1]);

const answer = new Uint32Array(4);

/** Computes rules for (function, index): the slow side of the table, used when it is built and when a user asks why. */
export class RuleResolver {
  readonly overlay: Overlay;
  readonly indexed: ReadonlySet<number>;
  private readonly options: AllowedOptions;
  private reports: ReadonlyMap<string, CpuidEntry2> | null = null;
  private readonly scope: RuleScope;
  private readonly table: CompiledTable;
  /** The condition that was evaluated last, and its value. */
  private latest: Expression<RuleScope> | null = null;
  private latestHolds = false;
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
      registers: REGISTERS.map((register) => entry[register]),
    }));
    this.table = tableOf(vendor);
  }

  /** What KVM itself reports in a register: the likeliest value in tables. */
  reported(fn: number, index: number, register: number): number {
    this.reports ??= this.makeReports();
    return this.reports.get(`${fn} ${this.indexed.has(fn) ? index : 0}`)?.[REGISTERS[register]!] ?? 0;
  }

  private makeReports(): ReadonlyMap<string, CpuidEntry2> {
    const { caps, vendor, cpu, guestPermissions } = this.options;
    const entries = this.options.reported ?? supportedCpuid(caps, vendor, cpu, guestPermissions);
    return new Map(entries.map((entry) => [`${entry.function} ${entry.index}`, entry]));
  }

  hasDefect(defect: Defect): boolean {
    return this.options.defects.has(defect);
  }

  /** The functions that have rows of their own, in table order. */
  get functions(): Iterable<number> {
    return this.table.functions.keys();
  }

  /** The ranges of functions that share a row, in table order. */
  get functionRanges(): readonly (readonly [number, number])[] {
    return this.table.ranges.map(({ first, last }) => [first, last]);
  }

  /** The largest sub-leaf that needs rules of its own; above it all sub-leaves are alike. */
  lastIndex(fn: number): number {
    if (!this.indexed.has(fn)) return 0;
    let last = 0;
    for (const { row, applies, differs } of this.table.functions.get(fn)?.rows ?? []) {
      if (typeof row.index === 'number') last = Math.max(last, row.index);
      else if (row.index !== 'any' && row.index[1] < 0xffff_ffff) last = Math.max(last, row.index[1]);
      else if (applies) last = Math.max(last, differs || row.index === 'any' ? this.rawMaximum(fn) : row.index[0]);
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
    const { functions, ranges } = this.table;
    // Between them rows and ranges have every function.
    const found = functions.get(fn) ?? ranges.find(({ first, last }) => first <= fn && fn <= last)!;
    this.scope.index = key;
    this.latest = null;
    const { byRegister } = found;
    return [
      this.resolveRegister(byRegister[0]!, fn, key, 0),
      this.resolveRegister(byRegister[1]!, fn, key, 1),
      this.resolveRegister(byRegister[2]!, fn, key, 2),
      this.resolveRegister(byRegister[3]!, fn, key, 3),
    ];
  }

  private resolveRegister(rows: readonly CompiledRow[], fn: number, index: number, register: number): Resolved {
    for (const row of rows) {
      if (!covers(row.row.index, index)) continue;
      if (row.applies === null || this.holds(row.applies)) return this.resolveRule(row, fn, index, register);
    }
    return plain('zero', null, index);
  }

  /** The same condition is often asked for one register after the other. */
  private holds(condition: Expression<RuleScope>): boolean {
    if (condition !== this.latest) {
      this.latest = condition;
      this.latestHolds = condition.number(this.scope) !== 0;
    }
    return this.latestHolds;
  }

  /** The rules of every sub-leaf up to the first that stands for all beyond it. */
  resolveEach(fn: number): readonly (readonly Resolved[])[] {
    const each: Resolved[][] = [];
    const end = this.lastIndex(fn) + 1;
    for (let subleaf = 0; subleaf <= end; subleaf++) each.push(this.resolve(fn, subleaf));
    return each;
  }

  /**
   * The rules that an entry must satisfy which answers every sub-leaf; a register that KVM overwrites in one of them is
   * not judged in any.
   *
   * @param each what {@link resolveEach} says
   */
  resolveAll(fn: number, each = this.resolveEach(fn)): readonly (readonly Resolved[])[] {
    const sets = this.hasDefect('flagless-first-row') ? each.slice(0, 1) : each;
    const overwritten = [0, 1, 2, 3].filter((register) => sets.some((set) => set[register]!.row?.overwritten));
    if (overwritten.length === 0) return sets;
    return sets.map((set) => {
      const rules = set.slice();
      for (const register of overwritten) rules[register] = plain('ignored', set[register]!.row, set[register]!.index);
      return rules;
    });
  }

  private resolveRule({ row, rules }: CompiledRow, fn: number, index: number, register: number): Resolved {
    const { rule, when, mask, value, fields } = rules[this.overlay];
    if (rule.kind === 'zero') {
      const left = this.options.reserved === 'ignore' && row.why === RESERVED;
      return plain(left ? 'ignored' : 'zero', row, index);
    }
    const { scope } = this;
    scope.raw = this.rawRegister(fn, index, register);
    if (when && when.number(scope) === 0) return plain('zero', row, index);
    if (rule.kind === 'ignored') return plain('ignored', row, index);
    let allowed = mask?.number(scope) ?? 0;
    if (rule.word !== undefined) {
      allowed |= scope.caps[wordNamed(rule.word).id]! | this.emulatedBits(fn, index, register);
    }
    return {
      kind: rule.kind,
      mask: allowed >>> 0,
      fields:
        fields.length === 0
          ? NO_FIELDS
          : fields.map(([high, low, limit]) => ({
              high,
              low,
              mask: spanMask(high, low),
              limit: 'number' in limit ? limit.number(scope) : 0,
              values: 'number' in limit ? null : limit,
            })),
      value: value?.number(scope) ?? 0,
      orZero: rule.orZero === true,
      row,
      index,
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
    const each = this.resolver.resolveEach(fn);
    this.base[slot] = this.addLine(fn, this.resolver.resolveAll(fn, each));
    for (const rules of each) this.addLine(fn, [rules]);
    this.subleaves[slot] = each.length;
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
    if (rule.fields.length === 0) return;
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
  let bits = rule.mask;
  for (const field of rule.fields) bits |= field.mask;
  return bits;
}
