// The rules, parsed from the words of the table, then resolved to plain numbers for one host and overlay.
import { type Overlay, type Register, RULE_TEXTS, type RuleText } from './rule-text.js';

export { type Overlay, REGISTERS, type Register } from './rule-text.js';

export type Registers = Record<Register, number>;

/** What the rules must know of a host. Nothing here depends on the overlay. */
export interface RuleFacts {
  readonly vendor: string;
  /** Functions whose entries carry KVM_CPUID_FLAG_SIGNIFCANT_INDEX. */
  readonly indexedFunctions: ReadonlySet<number>;
  /** KVM's capability words by name, before any overlay takes something away. */
  readonly caps: Readonly<Record<string, number>>;
  placeOfCap(name: string): { readonly word: string; readonly bit: number };
  /** A variable of KVM or of the host kernel. */
  number(name: string): number;
  permittedXcr0(amx: boolean): number;
  /** What the CPU answers, zeros above the maximum of the function's range; and the sub-leaves it has. */
  readonly raw: {
    inRange(fn: number, index: number): Registers;
    indices(fn: number): readonly number[];
  };
}

const lowBits = (count: number): number => (count >= 32 ? 0xffffffff : 2 ** count - 1);

function hasCap(facts: RuleFacts, caps: Readonly<Record<string, number>>, name: string): boolean {
  const { word, bit } = facts.placeOfCap(name);
  return (((caps[word] ?? 0) >>> bit) & 1) === 1;
}

/** A rule for one register, with every host-dependent number filled in. */
export type Check =
  | { kind: 'ignored' }
  | { kind: 'bits'; allowed: number; fields: { mask: number; shift: number; accepts: (field: number) => boolean }[] }
  | { kind: 'fixed'; value: number; orZero: boolean };

export const ZERO_CHECK: Check = { kind: 'bits', allowed: 0, fields: [] };

/** Where and for whom a rule is resolved. */
export interface RuleContext {
  facts: RuleFacts;
  /** The capability words of the overlay. */
  caps: Record<string, number>;
  guestPermAmx: boolean;
  /** Defect: emulated bits are looked up by function alone. */
  emulatedIndexBlind: boolean;
  function: number;
  index: number;
  register: Register;
}

type Limit =
  | { kind: 'number'; value: number }
  | { kind: 'pmu'; name: string }
  | { kind: 'raw'; atMost: number }
  | { kind: 'members'; values: number[] }
  | { kind: 'any' };

interface Field {
  low: number;
  high: number;
  limit: Limit;
}

type Term =
  | { kind: 'caps'; word: string; without: number }
  | { kind: 'emul'; names: string[] }
  | { kind: 'run'; names: string[] }
  | { kind: 'bits'; mask: number }
  | { kind: 'schedBits'; mask: number }
  | { kind: 'eventMask' }
  | { kind: 'raw'; and: number }
  | { kind: 'xstate'; set: 'xcr0' | 'xss'; half: 'low' | 'high' }
  | { kind: 'field'; field: Field };

type Body =
  | { kind: 'ignored' }
  | { kind: 'zero' }
  | { kind: 'terms'; terms: Term[] }
  | { kind: 'fixed'; value: number | 'raw' | 'raw of sub-leaf 0'; orZero: boolean };

type Gate = { kind: 'cap'; name: string } | { kind: 'centaurHost' } | null;

export interface Rule {
  gate: Gate;
  body: Body;
}

const CENTAUR_GATE = ' (host vendor Centaur/Zhaoxin only, otherwise zero)';

export function parseRule(text: string): Rule {
  if (text.endsWith(CENTAUR_GATE)) {
    return { gate: { kind: 'centaurHost' }, body: parseBody(text.slice(0, -CENTAUR_GATE.length)) };
  }
  const gated = /^(.*?),? if cap (\w+)(?:, else zero)?( \(or all zero\))?$/.exec(text);
  if (gated === null) return { gate: null, body: parseBody(text) };
  const [, bodyText = '', name = '', orZero] = gated;
  const body = parseBody(bodyText);
  if (orZero !== undefined) {
    if (body.kind !== 'fixed') throw new Error(`cannot read paranoid rule '${text}'`);
    body.orZero = true;
  }
  return { gate: { kind: 'cap', name }, body };
}

function parseBody(text: string): Body {
  if (text === 'ignored') return { kind: 'ignored' };
  if (text === 'zero') return { kind: 'zero' };
  const fixed = /^fixed (raw(?: of sub-leaf 0)?|0x[0-9a-f]+|\d+)( or 0)?$/.exec(text);
  if (fixed !== null) {
    const named = fixed[1] === 'raw' || fixed[1] === 'raw of sub-leaf 0' ? fixed[1] : null;
    const value = named ?? Number(fixed[1]) >>> 0;
    return { kind: 'fixed', value, orZero: fixed[2] !== undefined };
  }
  if (text.startsWith('fields: ')) {
    const fields = text.slice('fields: '.length).split(/, (?=\[)/);
    return { kind: 'terms', terms: fields.map((field) => ({ kind: 'field', field: parseField(field) })) };
  }
  if (text.startsWith('field ')) return { kind: 'terms', terms: [parseTerm(text)] };
  if (text.startsWith('mask ')) {
    return { kind: 'terms', terms: text.slice('mask '.length).split(' + ').map(parseTerm) };
  }
  throw new Error(`cannot read paranoid rule '${text}'`);
}

function parseTerm(text: string): Term {
  const caps = /^caps:(\w+)(?: \((.*)\))?$/.exec(text);
  if (caps !== null) return { kind: 'caps', word: caps[1] as string, without: parseCapsRemark(caps[2]) };
  const names = /^(emul|run)\(([\w,]+)\)$/.exec(text);
  if (names !== null) return { kind: names[1] as 'emul' | 'run', names: (names[2] as string).split(',') };
  const owned = /^(?:user|tdx_fixed1)\((.*)\)$/.exec(text);
  if (owned !== null) return { kind: 'bits', mask: parseNamedBits(owned[1] as string) };
  const scheduled = /^(\w+ \d+) if sched info$/.exec(text);
  if (scheduled !== null) return { kind: 'schedBits', mask: parseNamedBits(scheduled[1] as string) };
  if (text === 'const:(1<<pmu.mask_len)-1') return { kind: 'eventMask' };
  const constant = /^const:(0x[0-9a-f]+)$/.exec(text);
  if (constant !== null) return { kind: 'bits', mask: Number(constant[1]) >>> 0 };
  const raw = /^raw(?: & (0x[0-9a-f]+))?$/.exec(text);
  if (raw !== null) return { kind: 'raw', and: raw[1] === undefined ? 0xffffffff : Number(raw[1]) };
  const half = /^(xcr0|xss)\[(31:0|63:32)\](?: \(permission-filtered\))?$/.exec(text);
  if (half !== null) {
    return { kind: 'xstate', set: half[1] as 'xcr0' | 'xss', half: half[2] === '31:0' ? 'low' : 'high' };
  }
  if (text.startsWith('field ')) return { kind: 'field', field: parseField(text.slice('field '.length)) };
  throw new Error(`cannot read paranoid term '${text}'`);
}

/** `NAME bit, NAME bit` as a mask. */
function parseNamedBits(text: string): number {
  let mask = 0;
  for (const item of text.split(', ')) {
    const bit = /^\w+ (\d+)$/.exec(item);
    if (bit === null) throw new Error(`cannot read named bit '${item}'`);
    mask |= 1 << Number(bit[1]);
  }
  return mask >>> 0;
}

/** Bits that the remark behind a caps term takes away. */
function parseCapsRemark(remark: string | undefined): number {
  if (remark === undefined || remark.startsWith('configurable: ') || remark.startsWith('incl. ')) return 0;
  const overlay = /^(?:SVM|TDX) overlay: no (.*?)(?:, so zero)?$/.exec(remark);
  if (overlay === null) throw new Error(`cannot read remark '${remark}'`);
  return parseNamedBits(overlay[1] as string);
}

function parseField(text: string): Field {
  const parts = /^(?:\[(\d+)(?::(\d+))?\])? ?(.*)$/.exec(text);
  if (parts === null) throw new Error(`cannot read field '${text}'`);
  const [, high = '31', low, rest = ''] = parts;
  const wholeRegister = parts[1] === undefined;
  return {
    high: Number(high),
    low: Number(low ?? (wholeRegister ? 0 : high)),
    limit: parseLimit(rest),
  };
}

function parseLimit(text: string): Limit {
  if (text === '') return { kind: 'any' };
  const members = /^in \{([\d,]+)\}$/.exec(text);
  if (members !== null) return { kind: 'members', values: (members[1] as string).split(',').map(Number) };
  const bound = /^(?:<=|=) ?(.*)$/.exec(text)?.[1] ?? '';
  if (/^\d+$/.test(bound)) {
    // `=0` and `<= 0` are the same thing; any other `=` would not be.
    if (text.startsWith('=') && bound !== '0') throw new Error(`cannot read field limit '${text}'`);
    return { kind: 'number', value: Number(bound) };
  }
  if (bound === 'raw') return { kind: 'raw', atMost: 0xffffffff };
  const pmu = /^pmu\.(\w+)$/.exec(bound);
  if (pmu !== null) return { kind: 'pmu', name: pmu[1] as string };
  const minimum = /^min\(raw,(\d+)\)$/.exec(bound);
  if (minimum !== null) return { kind: 'raw', atMost: Number(minimum[1]) };
  throw new Error(`cannot read field limit '${text}'`);
}

const parsed = new Map<string, Rule>();

export function ruleOf(row: RuleText, overlay: Overlay): Rule {
  const text = row.text[overlay];
  const rule = parsed.get(text) ?? parseRule(text);
  parsed.set(text, rule);
  return rule;
}

/** `zero` without a reason of its own: the registers a lenient check leaves alone. */
export function isReserved(row: RuleText, overlay: Overlay): boolean {
  return row.text[overlay] === 'zero' && row.note === 'reserved';
}

// What an overlay lacks of the capabilities of its host.
const OVERLAY_LACKS: Record<Overlay, string[]> = {
  vmx: [],
  svm: ['IBT', 'BUS_LOCK_DETECT', 'MSR_IMM'],
  tdx: ['HLE', 'RTM', 'WAITPKG'],
};

export function overlayCaps(facts: RuleFacts, overlay: Overlay): Record<string, number> {
  const caps = { ...facts.caps };
  for (const name of OVERLAY_LACKS[overlay]) {
    const { word, bit } = facts.placeOfCap(name);
    caps[word] = ((caps[word] ?? 0) & ~(1 << bit)) >>> 0;
  }
  return caps;
}

interface SpecialBit {
  name: string;
  function: number;
  index: number;
  register: Register;
  bit: number;
  /** The capability without which the bit does not count. */
  needs?: string;
}

const EMULATED: SpecialBit[] = [
  { name: 'MOVBE', function: 1, index: 0, register: 'ecx', bit: 22 },
  { name: 'MWAIT', function: 1, index: 0, register: 'ecx', bit: 3 },
  { name: 'RDPID', function: 7, index: 0, register: 'ecx', bit: 22, needs: 'RDTSCP' },
];

const RUNTIME: SpecialBit[] = [
  { name: 'OSXSAVE', function: 1, index: 0, register: 'ecx', bit: 27, needs: 'XSAVE' },
  { name: 'MWAIT', function: 1, index: 0, register: 'ecx', bit: 3 },
  { name: 'OSPKE', function: 7, index: 0, register: 'ecx', bit: 4, needs: 'PKU' },
];

function specialBits(table: SpecialBit[], names: string[], context: RuleContext): number {
  let mask = 0;
  for (const name of names) {
    const known = table.find((candidate) => candidate.name === name);
    if (known === undefined) throw new Error(`unknown emulated or runtime feature '${name}'`);
    const here =
      known.function === context.function && known.index === context.index && known.register === context.register;
    if (!here) throw new Error(`'${name}' does not belong to ${context.function}.${context.index}`);
    if (known.needs === undefined || hasCap(context.facts, context.caps, known.needs)) mask |= 1 << known.bit;
  }
  return mask >>> 0;
}

/** The bits a lookup by function alone would find for any index of this register. */
function emulatedAnywhere(context: RuleContext): number {
  let mask = 0;
  for (const known of EMULATED) {
    if (known.function !== context.function || known.register !== context.register) continue;
    if (known.needs === undefined || hasCap(context.facts, context.caps, known.needs)) mask |= 1 << known.bit;
  }
  return mask >>> 0;
}

function rawRegister(context: RuleContext): number {
  return context.facts.raw.inRange(context.function, context.index)[context.register];
}

/** KVM forgets what perf told it once its PMU is off. */
function pmuNumber(context: RuleContext, name: string): number {
  return context.facts.number('enable_pmu') === 0 ? 0 : context.facts.number(`pmu_${name}`);
}

function termBits(term: Exclude<Term, { kind: 'field' }>, context: RuleContext): number {
  const { facts, caps } = context;
  switch (term.kind) {
    case 'caps': {
      const word = (caps[term.word] ?? 0) & ~term.without;
      return (context.emulatedIndexBlind ? word | emulatedAnywhere(context) : word) >>> 0;
    }
    case 'emul':
      return specialBits(EMULATED, term.names, context);
    case 'run':
      return specialBits(RUNTIME, term.names, context);
    case 'bits':
      return term.mask;
    case 'schedBits':
      return facts.number('sched_info') !== 0 ? term.mask : 0;
    case 'eventMask':
      return lowBits(pmuNumber(context, 'mask_len'));
    case 'raw':
      return (rawRegister(context) & term.and) >>> 0;
    case 'xstate':
      // No component above 31 exists.
      if (term.half === 'high') return 0;
      return term.set === 'xcr0' ? facts.permittedXcr0(context.guestPermAmx) : facts.number('supported_xss');
  }
}

function fieldCheck(field: Field, context: RuleContext): Extract<Check, { kind: 'bits' }>['fields'][number] {
  const shift = field.low;
  const mask = (lowBits(field.high - field.low + 1) << shift) >>> 0;
  return { mask, shift, accepts: acceptance(field.limit, (rawRegister(context) & mask) >>> shift, context) };
}

function acceptance(limit: Limit, rawField: number, context: RuleContext): (field: number) => boolean {
  switch (limit.kind) {
    case 'any':
      return () => true;
    case 'members':
      return (field) => limit.values.includes(field);
    case 'number':
      return (field) => field <= limit.value;
    case 'raw': {
      const bound = Math.min(rawField >>> 0, limit.atMost);
      return (field) => field <= bound;
    }
    case 'pmu': {
      const bound = pmuNumber(context, limit.name);
      return (field) => field <= bound;
    }
  }
}

function gateOpen(gate: Gate, context: RuleContext): boolean {
  if (gate === null) return true;
  if (gate.kind === 'cap') return hasCap(context.facts, context.caps, gate.name);
  return context.facts.vendor === 'centaur' || context.facts.vendor === 'zhaoxin';
}

export function resolveRule(rule: Rule, context: RuleContext): Check {
  const { body } = rule;
  if (body.kind === 'zero' || !gateOpen(rule.gate, context)) return ZERO_CHECK;
  if (body.kind === 'ignored') return body;
  if (body.kind === 'fixed') {
    const where = body.value === 'raw of sub-leaf 0' ? { ...context, index: 0 } : context;
    const value = typeof body.value === 'string' ? rawRegister(where) : body.value;
    return { kind: 'fixed', value, orZero: body.orZero };
  }
  let allowed = 0;
  const fields: Extract<Check, { kind: 'bits' }>['fields'] = [];
  for (const term of body.terms) {
    if (term.kind === 'field') fields.push(fieldCheck(term.field, context));
    else allowed |= termBits(term, context);
  }
  return { kind: 'bits', allowed: allowed >>> 0, fields };
}

/** The bits of a register value that a check does not accept. */
export function offendingBits(check: Check, value: number): number {
  if (check.kind === 'ignored') return 0;
  if (check.kind === 'fixed') {
    if (value === check.value || (check.orZero && value === 0)) return 0;
    return (value ^ check.value) >>> 0;
  }
  let outside = value & ~check.allowed;
  let offending = 0;
  for (const field of check.fields) {
    outside &= ~field.mask;
    const part = (value & field.mask) >>> 0;
    if (!field.accepts(part >>> field.shift)) offending |= part;
  }
  return (outside | offending) >>> 0;
}

/** The components that have a row of their own in function 0xD. */
function supportedComponents(facts: RuleFacts, guestPermAmx: boolean): number[] {
  const set = facts.permittedXcr0(guestPermAmx) | facts.number('supported_xss');
  const components: number[] = [];
  for (let component = 2; component < 32; component++) if ((set >>> component) & 1) components.push(component);
  return components;
}

export function rowsOfFunction(fn: number): RuleText[] {
  return RULE_TEXTS.filter(({ functions: [first, last] }) => fn >= first && fn <= last);
}

/** Does the index column of a row cover this index? */
export function rowMatchesIndex(row: RuleText, fn: number, index: number, facts: RuleFacts, perm: boolean): boolean {
  if (typeof row.index === 'number') return index === row.index;
  if (row.index === 'any') return true;
  if (/^\d+$/.test(row.index)) return index === Number(row.index);
  const atLeast = /^>=(\d+)$/.exec(row.index);
  if (atLeast !== null) return index >= Number(atLeast[1]);
  const rawMaximum = facts.raw.inRange(fn, 0).eax;
  switch (row.index) {
    case '1..raw max':
      return index >= 1 && index <= rawMaximum;
    case '>raw max':
      return index > rawMaximum;
    case '2..62 supported':
      return index >= 2 && index <= 62 && supportedComponents(facts, perm).includes(index);
    case '2..63 unsupported':
      return index >= 2 && index <= 63 && !supportedComponents(facts, perm).includes(index);
    default:
      throw new Error(`cannot read index '${row.index}'`);
  }
}

/** Enough indices of a row to try every different check it stands for. */
export function indicesOfRow(row: RuleText, fn: number, facts: RuleFacts, perm: boolean): number[] {
  if (typeof row.index === 'number') return [row.index];
  if (row.index === 'any') return [0];
  const lowest = /^(?:>=)?(\d+)$/.exec(row.index);
  if (lowest !== null) return [Number(lowest[1])];
  const rawMaximum = facts.raw.inRange(fn, 0).eax;
  switch (row.index) {
    case '1..raw max':
      // An index without a row in the dump reads zero, which '>raw max' stands for as well.
      return facts.raw.indices(fn).filter((index) => index >= 1 && index <= rawMaximum);
    case '>raw max':
      return [rawMaximum + 1];
    case '2..62 supported':
      return supportedComponents(facts, perm);
    case '2..63 unsupported':
      return [63];
    default:
      throw new Error(`cannot read index '${row.index}'`);
  }
}

/** Parses every cell of the table, so that an unreadable one is found before it matters. */
export function parseAllRules(): number {
  let count = 0;
  for (const row of RULE_TEXTS) {
    for (const overlay of ['vmx', 'svm', 'tdx'] as const) {
      ruleOf(row, overlay);
      count++;
    }
  }
  return count;
}
