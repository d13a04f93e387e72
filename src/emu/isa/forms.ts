import { type CostKey, type Gate, type Mnemonic, mnemonicOf, OP_ROWS, type OpName, type Trait } from './op-rows.js';

/**
 * The operation table, parsed once: every encoding of every row as a `Form`, the ids of the operations, and what the
 * interpreter wants per id in typed arrays.
 */

/** Opcode maps, by the number that VEX.mmmmm has for them. */
export const MAP = { ONE_BYTE: 0, '0F': 1, '0F38': 2, '0F3A': 3, VEX7: 7 } as const;

/** The prefix that selects among encodings: the last of F2 and F3, else 66, else none; and sets of them. */
export const PREFIX = { NP: 0, '66': 1, F3: 2, F2: 3 } as const;
const ANY_PREFIX = 0b1111;
const NO_F2_F3 = 0b0011;

/** Where an operand comes from. */
export type OperandPlace = 'E' | 'R' | 'M' | 'G' | 'Z' | 'C' | 'I' | 'J' | 'AL' | 'rAX' | 'CL' | '1';
/** How wide it is; `''` for an address that is not accessed. */
export type OperandWidth = 'b' | 'bs' | 'w' | 'd' | 'q' | 'o' | 's' | 'v' | 'y' | 'z' | 'a' | '';

export interface FormOperand {
  readonly place: OperandPlace;
  readonly width: OperandWidth;
  /** Register 0 has another meaning there. */
  readonly notZero: boolean;
  /** As the row writes it. */
  readonly text: string;
}

/** How prefixes make the operand size: 32 and 16, 64 and 16, 64 alone. */
export type SizeRule = 'normal' | 'd64' | 'f64';

/** One encoding of one operation. */
export interface Form {
  readonly id: number;
  readonly op: number;
  readonly name: OpName;
  readonly mnemonic: Mnemonic;
  /** As the row writes it. */
  readonly text: string;
  readonly map: number;
  readonly opcode: number;
  /** A set of `PREFIX`: bit n for prefix n. */
  readonly prefixes: number;
  readonly vex: boolean;
  /** The opcode's low three bits are a register. */
  readonly opcodeRegister: boolean;
  readonly hasModrm: boolean;
  /** A ModRM byte fits when `(modrm & mask) === value`; on top of it `mod` wants a register (3), or memory (0). */
  readonly modrmMask: number;
  readonly modrmValue: number;
  readonly mod: 'any' | 'register' | 'memory' | 'ignored';
  readonly sizeRule: SizeRule;
  /** For 64-bit operand size only. */
  readonly only64: boolean;
  readonly rexBClear: boolean;
  readonly lock: boolean;
  readonly operands: readonly FormOperand[];
}

type Draft = { -readonly [K in keyof Form]: Form[K] };

const OPERAND = /^(?:(AL|rAX|CL|1)|([ERMGZCIJ])(!?)(bs|[bwdqosvyza])?)$/;
const VEX_PREFIX = /^VEX\.(F2|F3)\.MAP7$/;

function parseOperand(text: string): FormOperand {
  const match = OPERAND.exec(text);
  if (!match) throw new Error(`operand ${text}: expected a letter and a width of appendix A.2, such as Ev`);
  const fixed = match[1] as OperandPlace | undefined;
  if (fixed) return { place: fixed, width: fixed === 'rAX' ? 'v' : 'b', text, notZero: false };
  return { place: match[2] as OperandPlace, width: (match[4] ?? '') as OperandWidth, text, notZero: match[3] === '!' };
}

/** What the words before the opcode say. Returns whether `word` was one of them. */
function takePrefix(draft: Draft, word: string): boolean {
  const vex = VEX_PREFIX.exec(word);
  if (vex) {
    draft.vex = true;
    draft.map = MAP.VEX7;
    draft.prefixes = 1 << PREFIX[vex[1] as 'F2' | 'F3'];
  } else if (word === 'NP' || word === '66' || word === 'F3' || word === 'F2') draft.prefixes = 1 << PREFIX[word];
  else if (word === 'NFx') draft.prefixes = NO_F2_F3;
  else if (word === 'd64' || word === 'f64') draft.sizeRule = word;
  else if (word === 'o64') draft.only64 = true;
  else if (word === 'B0') draft.rexBClear = true;
  else return false;
  return true;
}

/** What the words behind the opcode say about ModRM. */
function takeModrm(draft: Draft, word: string): void {
  if (word === 'mod3') draft.mod = 'register';
  else if (word === 'modx') draft.mod = 'ignored';
  else if (/^\/[0-7]$/.test(word)) {
    draft.hasModrm = true;
    draft.modrmMask = 0x38;
    draft.modrmValue = Number(word[1]) << 3;
  } else if (word === '/r') draft.hasModrm = true;
  else if (/^[0-9A-F]{2}$/.test(word)) {
    draft.hasModrm = true;
    draft.modrmMask = 0xff;
    draft.modrmValue = Number.parseInt(word, 16);
  } else throw new Error(`${draft.name} ${draft.text}: ${word}: expected /r, /digit, mod3, modx or a ModRM byte`);
}

/** `0F`, `0F 38`, `0F 3A` select a map. */
function takeMap(draft: Draft, words: string[]): void {
  const [first, second] = words;
  if (first !== '0F') return;
  draft.map = second === '38' ? MAP['0F38'] : second === '3A' ? MAP['0F3A'] : MAP['0F'];
  words.splice(0, draft.map === MAP['0F'] ? 1 : 2);
}

function takeOpcode(draft: Draft, word: string): void {
  const match = /^([0-9A-F]{2})(\+r)?$/.exec(word);
  if (!match) throw new Error(`${draft.name} ${draft.text}: ${word}: expected an opcode byte in hex`);
  draft.opcode = Number.parseInt(match[1]!, 16);
  draft.opcodeRegister = match[2] !== undefined;
}

function parseForm(id: number, op: number, name: OpName, text: string, lock: boolean): Form {
  const [left = '', right] = text.split(' | ');
  const words = left.split(' ');
  const operands = right === undefined ? [] : right.split(', ').map(parseOperand);
  const draft: Draft = {
    id,
    op,
    name,
    mnemonic: mnemonicOf(name),
    text,
    map: MAP.ONE_BYTE,
    opcode: 0,
    prefixes: ANY_PREFIX,
    vex: false,
    opcodeRegister: false,
    hasModrm: false,
    modrmMask: 0,
    modrmValue: 0,
    mod: 'any',
    sizeRule: 'normal',
    only64: false,
    rexBClear: false,
    lock,
    operands,
  };
  while (takePrefix(draft, words[0] ?? '')) words.shift();
  takeMap(draft, words);
  takeOpcode(draft, words.shift() ?? '');
  for (const word of words) takeModrm(draft, word);
  if (draft.mod === 'any' && operands.some(({ place }) => place === 'R')) draft.mod = 'register';
  if (operands.some(({ place }) => place === 'M')) draft.mod = 'memory';
  return draft;
}

/** Every encoding, in the order of the table. */
export const FORMS: readonly Form[] = parseAll();

function parseAll(): Form[] {
  const forms: Form[] = [];
  OP_ROWS.forEach((row, op) => {
    for (const text of row.encodings)
      forms.push(parseForm(forms.length, op, row.name, text, row.options.lock ?? false));
  });
  return forms;
}

/** Operation ids: the row's place in the table. Dense, from 0. */
export const OP = Object.fromEntries(OP_ROWS.map((row, id) => [row.name, id])) as { readonly [N in OpName]: number };
export const OP_COUNT: number = OP_ROWS.length;
export const OP_NAMES: readonly OpName[] = OP_ROWS.map((row) => row.name);

/** Bits of `OP_TRAITS`. */
export const TRAIT: Readonly<Record<Trait, number>> = {
  branch: 1,
  ends: 2,
  serializes: 4,
  faults: 8,
  exits: 16,
  cpl0: 32,
  cpl0ud: 64,
};

/** By operation id: what it can do, as bits of `TRAIT`. */
export const OP_TRAITS: Uint8Array = Uint8Array.from(OP_ROWS, (row) =>
  (row.options.traits ?? []).reduce((bits, trait) => bits | TRAIT[trait], 0),
);

/** By operation id. */
export const OP_COST: readonly (CostKey | null)[] = OP_ROWS.map((row) => row.cost);

/** A conjunction of gates; within an element, any one of the names. */
export type GateSet = readonly (readonly Gate[])[];

/** The distinct gate sets; set 0 is empty, always open. */
export const GATE_SETS: readonly GateSet[] = distinctGates();

/** By operation id: its index in `GATE_SETS`. Keep one open/closed byte per set, and rebuild it when a gate moves. */
export const OP_GATE: Uint8Array = Uint8Array.from(OP_ROWS, (row) => {
  const key = JSON.stringify(gateSet(row.options.gates));
  return GATE_SETS.findIndex((set) => JSON.stringify(set) === key);
});

function gateSet(gates: readonly (Gate | readonly Gate[])[] | undefined): GateSet {
  return (gates ?? []).map((gate) => (typeof gate === 'string' ? [gate] : gate));
}

function distinctGates(): GateSet[] {
  const sets = new Map<string, GateSet>([['[]', []]]);
  for (const row of OP_ROWS) {
    const set = gateSet(row.options.gates);
    sets.set(JSON.stringify(set), set);
  }
  return [...sets.values()];
}
