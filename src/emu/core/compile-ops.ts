import { INSN_WORDS } from '../isa/insn.js';
import { carryText, conditionText, type FlagKind, type Pending } from './compile-flags.js';
import type { BlockWriter, Micro } from './compile-writer.js';
import type { MicroName } from './lower.js';

/**
 * What each micro-operation is in generated code. One row per operation; those that leave out flags are written as the one
 * that they come from, and flags that are dead cost nothing in locals.
 */

export type OpWriter = (writer: BlockWriter, micro: Micro) => void;
export type OpName = Exclude<MicroName, `${string}_QUIET`>;
export type OpWriters = Readonly<Record<OpName, OpWriter>>;

function sets(w: BlockWriter, { live }: Micro, kind: FlagKind, wide: boolean): void {
  if (live) w.flags = { kind, wide };
}

function move(wide: boolean): OpWriter {
  return (w, { a, b }) => {
    w.set(a, w.lo(b), wide ? w.hi(b) : '0');
  };
}

// Carries are computed: a comparison would become a branch, and of random numbers nobody can foretell it.
const ADD = ['(fa+fb)|0', '(fA+fB+(((fa&fb)|((fa|fb)&~fl))>>>31))|0', '(fA+fB)|0'];
const SUB = ['(fa-fb)|0', '(fA-fB-(((~fa&fb)|((~fa|fb)&fl))>>>31))|0', '(fA-fB)|0'];

/** ADD, SUB, CMP. */
function sum(kind: 'ADD' | 'SUB', wide: boolean, writes = true): OpWriter {
  const [low, high, narrow] = kind === 'ADD' ? ADD : SUB;
  return (w, micro) => {
    if (!writes && !micro.live) return;
    const { a, b } = micro;
    if (wide) w.emit(`fa=${w.lo(a)};fA=${w.hi(a)};fb=${w.lo(b)};fB=${w.hi(b)};fl=${low};fh=${high};`);
    else w.emit(`fA=${w.lo(a)};fB=${w.lo(b)};fh=${narrow};`);
    if (writes) result(w, a, wide);
    sets(w, micro, kind, wide);
  };
}

/** AND, OR, XOR, TEST. */
function logic(operator: string, wide: boolean, writes = true): OpWriter {
  return (w, micro) => {
    if (!writes && !micro.live) return;
    const { a, b } = micro;
    if (wide) w.emit(`fl=${w.lo(a)}${operator}${w.lo(b)};fh=${w.hi(a)}${operator}${w.hi(b)};`);
    else w.emit(`fh=${w.lo(a)}${operator}${w.lo(b)};`);
    if (writes) result(w, a, wide);
    sets(w, micro, 'LOGIC', wide);
  };
}

/** A register becomes the result. */
function result(w: BlockWriter, a: number, wide: boolean): void {
  if (wide) w.set(a, 'fl', 'fh');
  else w.set(a, 'fh', '0');
}

/** INC, DEC. */
function step(kind: 'INC' | 'DEC', wide: boolean): OpWriter {
  return (w, micro) => {
    const { a, live } = micro;
    const up = kind === 'INC';
    const keepsCarry = live && keepCarry(w);
    const sign = up ? '+' : '-';
    if (wide) w.emit(`fa=${w.lo(a)};fA=${w.hi(a)};fl=(fa${sign}1)|0;fh=(fA${sign}(${up ? 'fl' : 'fa'}===0?1:0))|0;`);
    else w.emit(`fA=${w.lo(a)};fh=(fA${sign}1)|0;`);
    result(w, a, wide);
    if (live) w.flags = { kind, wide, keepsCarry };
  };
}

/** CF from before, into `fc`. @returns `false` when it is where it was before the block */
function keepCarry(w: BlockWriter): boolean {
  w.looks();
  const { flags } = w;
  if (flags === null) return false;
  if (flags.kind === 'INC' || flags.kind === 'DEC') return (flags as Pending).keepsCarry === true;
  w.emit(`fc=${carryText(flags)}?1:0;`);
  return true;
}

type Shift = readonly [lo: string, hi: string, last: string, overflow: string];

/** By the count: 1 to 31, 32, above. `fa` and `fA` are the halves; results may look at each other. */
const WIDE_SHIFTS: Readonly<Record<'SHL' | 'SHR' | 'SAR', (count: number) => Shift>> = {
  SHL: (n) => [
    n >= 32 ? '0' : `fa<<${n}`,
    n >= 32 ? `fa<<${n - 32}` : `(fA<<${n})|(fa>>>${32 - n})`,
    n > 32 ? `(fa>>>${64 - n})&1` : n === 32 ? 'fA&1' : `(fA>>>${32 - n})&1`,
    '(fh>>>31)^fk',
  ],
  SHR: (n) => [
    n >= 32 ? `(fA>>>${n - 32})|0` : `(fa>>>${n})|(fA<<${32 - n})`,
    n >= 32 ? '0' : `(fA>>>${n})|0`,
    n > 32 ? `(fA>>>${n - 33})&1` : `(fa>>>${n - 1})&1`,
    'fA>>>31',
  ],
  SAR: (n) => [
    n >= 32 ? `fA>>${n - 32}` : `(fa>>>${n})|(fA<<${32 - n})`,
    n >= 32 ? 'fA>>31' : `fA>>${n}`,
    n > 32 ? `(fA>>>${n - 33})&1` : `(fa>>>${n - 1})&1`,
    '0',
  ],
};

const NARROW_SHIFTS: Readonly<Record<'SHL' | 'SHR' | 'SAR', (count: number) => Shift>> = {
  SHL: (n) => ['0', `fA<<${n}`, `(fA>>>${32 - n})&1`, '(fh>>>31)^fk'],
  SHR: (n) => ['0', `(fA>>>${n})|0`, `(fA>>>${n - 1})&1`, 'fA>>>31'],
  SAR: (n) => ['0', `fA>>${n}`, `(fA>>>${n - 1})&1`, '0'],
};

function shift(name: 'SHL' | 'SHR' | 'SAR', wide: boolean): OpWriter {
  const text = (wide ? WIDE_SHIFTS : NARROW_SHIFTS)[name];
  return (w, micro) => {
    const { a, scale, live } = micro;
    const [lo, hi, last, overflow] = text(scale);
    w.emit(wide ? `fa=${w.lo(a)};fA=${w.hi(a)};fl=${lo};fh=${hi};` : `fA=${w.lo(a)};fh=${hi};`);
    if (live) w.emit(`fk=${last};fo=${overflow};`);
    result(w, a, wide);
    sets(w, micro, 'SHIFT', wide);
  };
}

function load(size: number): OpWriter {
  return (w, micro) => {
    w.load(w.address(micro), size, micro);
    w.set(micro.a, 'vl', size === 8 ? 'vh' : '0');
  };
}

function store(size: number): OpWriter {
  return (w, micro) => {
    const { a } = micro;
    w.store(w.address(micro), size, { lo: w.lo(a), hi: w.hi(a) }, micro);
    w.splits(micro);
  };
}

const RSP = 4;

/** @returns after the value is on the stack */
function push(w: BlockWriter, micro: Micro): void {
  const { a } = micro;
  w.store(w.pushAddress(), 8, { lo: w.lo(a), hi: w.hi(a) }, micro);
  w.set(RSP, 'al', 'ah');
}

/** The top of the stack, into `vl` and `vh`. */
function top(w: BlockWriter, micro: Micro): void {
  w.load({ lo: w.lo(RSP), hi: w.hi(RSP) }, 8, micro);
}

const branch: OpWriter = (w, { a, b }) => {
  w.looks();
  w.branches(conditionText(w.flags, a), b, true);
};

/** Its record in `core.blocks.insns`. */
const record = ({ number }: Micro): string => `(blocks.first[blocks.running]+${number})*${INSN_WORDS}`;

const interpreted: OpWriter = (w, micro) => w.interprets(micro);

export const OP_WRITERS: OpWriters = {
  INTEGER: (w, micro) => w.calls(`integer(core,${record(micro)})`, micro, false),
  SYSTEM: (w, micro) => w.calls(`system(core,${record(micro)})`, micro, true),
  UNDEFINED: interpreted,
  LIMIT: interpreted,
  TOO_LONG: interpreted,
  NOP: () => {},
  MOV64: move(true),
  MOV32: move(false),
  LOAD64: load(8),
  LOAD32: load(4),
  STORE64: store(8),
  STORE32: store(4),
  LEA64: (w, micro) => {
    const { lo, hi } = w.address(micro);
    w.set(micro.a, lo, hi);
  },
  ADD64: sum('ADD', true),
  OR64: logic('|', true),
  AND64: logic('&', true),
  SUB64: sum('SUB', true),
  XOR64: logic('^', true),
  CMP64: sum('SUB', true, false),
  TEST64: logic('&', true, false),
  ADD32: sum('ADD', false),
  OR32: logic('|', false),
  AND32: logic('&', false),
  SUB32: sum('SUB', false),
  XOR32: logic('^', false),
  CMP32: sum('SUB', false, false),
  TEST32: logic('&', false, false),
  INC64: step('INC', true),
  DEC64: step('DEC', true),
  INC32: step('INC', false),
  DEC32: step('DEC', false),
  SHL64: shift('SHL', true),
  SHR64: shift('SHR', true),
  SAR64: shift('SAR', true),
  SHL32: shift('SHL', false),
  SHR32: shift('SHR', false),
  SAR32: shift('SAR', false),
  PUSH64: (w, micro) => {
    push(w, micro);
    w.splits(micro);
  },
  POP64: (w, micro) => {
    top(w, micro);
    w.popped();
    w.set(micro.a, 'vl', 'vh');
  },
  JE: branch,
  JNE: branch,
  JCC: branch,
  JMP: (w, { b }) => w.branches('true', b, false),
  CALL: (w, micro) => {
    push(w, micro);
    w.leavesHit();
    w.branches('true', micro.b, false);
  },
  RET: (w, micro) => {
    top(w, micro);
    w.faultsUnless('core.isCanonical(vh)', 'generalProtection(core)', micro);
    w.popped();
    w.jumps();
  },
};
