import { OP } from '../isa/forms.js';
import { INSN, OPERAND } from '../isa/insn.js';
import type { Core } from './core.js';
import {
  AC,
  CF,
  carry,
  DF,
  F,
  IF,
  IOPL,
  isEven,
  KIND,
  NT,
  OF,
  PF,
  RF,
  SF,
  setStatusFlags,
  statusFlags,
  TF,
  VM,
  WIDTH,
  ZF,
} from './flags.js';
import { carried, generalProtection, loadStack, loadToModify, store, storeStack, undefinedOpcode } from './linear.js';
import {
  address,
  busLock,
  effectiveAddress,
  isLocked,
  LINE_MASK,
  LINE_SIZE,
  readOperand,
  readRegister,
  readToModify,
  value,
  writeOperand,
  writeRegister,
} from './operands.js';
import { FAULT, JUMP, NEXT } from './status.js';

/** The integer instructions on operands of every width and kind: the ones that the loop has no micro-operation for. */

const RSP = 4;
const RIP = 16;
const DST = INSN.DST;
const SRC = INSN.SRC;

/** What POPFQ may change at ring 0 without virtualization; IF and IOPL depend on privilege. */
const POPF_ALWAYS = CF | PF | (1 << 4) | ZF | SF | TF | DF | OF | NT | AC | (1 << 21);

/** @param insn offset of its record in `core.blocks.insns` */
export function integer(core: Core, insn: number): number {
  const { insns } = core.blocks;
  const op = insns[insn]!;
  const size = insns[insn + INSN.SIZE]!;
  switch (op) {
    case OP.ADD:
    case OP.OR:
    case OP.AND:
    case OP.SUB:
    case OP.XOR:
    case OP.CMP:
    case OP.TEST:
      return alu(core, insn, op, size);
    case OP.INC:
    case OP.DEC:
      return step(core, insn, op === OP.INC, size);
    case OP.SHL:
    case OP.SHR:
    case OP.SAR:
      return shift(core, insn, op, size);
    case OP.MOV: {
      const status = readOperand(core, insn, SRC, size);
      return status !== NEXT ? status : writeOperand(core, insn, DST, size, value[0]!, value[1]!);
    }
    case OP.MOVZX: {
      const status = readOperand(core, insn, SRC, insns[insn + INSN.SOURCE_SIZE]!);
      return status !== NEXT ? status : writeOperand(core, insn, DST, size, value[0]!, 0);
    }
    case OP.MOVSX:
    case OP.MOVSXD:
      return signExtend(core, insn, size);
    case OP.LEA:
      effectiveAddress(core, insn);
      writeRegister(core, insns[insn + DST]!, size, address[0]!, address[1]!);
      return NEXT;
    case OP.XCHG:
      return exchange(core, insn, size);
    case OP.CMPXCHG:
      return compareExchange(core, insn, size);
    case OP.CMPXCHG8B:
    case OP.CMPXCHG16B:
      return compareExchangePair(core, insn, op === OP.CMPXCHG16B);
    case OP.PUSH: {
      const status = readOperand(core, insn, DST, size);
      return status !== NEXT ? status : push(core, size, value[0]!, value[1]!);
    }
    case OP.POP:
      return pop(core, insn, size);
    case OP.PUSHFQ:
      return push(core, 8, core.rflags & ~(VM | RF), 0);
    case OP.JMP: {
      const status = branchTarget(core, insn);
      return status !== NEXT ? status : jump(core);
    }
    case OP.CALL: {
      const status = branchTarget(core, insn);
      return status !== NEXT ? status : call(core, insn);
    }
    case OP.RET:
      return ret(core, insn);
    case OP.UD0:
    case OP.UD1:
    case OP.UD2:
      return undefinedOpcode(core);
    default:
      // NOP, ENDBR64, fences: in order as we are, there is nothing to do.
      return NEXT;
  }
}

/** By bytes. */
const WIDTHS = [0, WIDTH.BYTE, WIDTH.WORD, 0, WIDTH.DWORD, 0, 0, 0, WIDTH.QWORD];

/** Records first operand and result of an operation. Narrow values go to the upper ends of the high words. */
function record(f: Int32Array, kind: number, size: number, al: number, ah: number, rl: number, rh: number): void {
  const up = 32 - size * 8;
  f[F.KIND] = kind | WIDTHS[size]!;
  f[F.RES_LO] = size === 8 ? rl : 0;
  f[F.RES_HI] = size === 8 ? rh : rl << up;
  f[F.A_LO] = size === 8 ? al : 0;
  f[F.A_HI] = size === 8 ? ah : al << up;
}

function alu(core: Core, insn: number, op: number, size: number): number {
  const { f } = core;
  let status = readOperand(core, insn, SRC, size);
  if (status !== NEXT) return status;
  const bl = value[0]!;
  const bh = value[1]!;
  const writes = op !== OP.CMP && op !== OP.TEST;
  status = writes ? readToModify(core, insn, size) : readOperand(core, insn, DST, size);
  if (status !== NEXT) return status;
  const al = value[0]!;
  const ah = value[1]!;
  let rl = 0;
  let rh = 0;
  let kind: number = KIND.LOGIC;
  switch (op) {
    case OP.ADD:
      kind = KIND.ADD;
      rl = (al + bl) | 0;
      rh = (ah + bh + (rl >>> 0 < al >>> 0 ? 1 : 0)) | 0;
      break;
    case OP.SUB:
    case OP.CMP:
      kind = KIND.SUB;
      rl = (al - bl) | 0;
      rh = (ah - bh - (al >>> 0 < bl >>> 0 ? 1 : 0)) | 0;
      break;
    case OP.OR:
      rl = al | bl;
      rh = ah | bh;
      break;
    case OP.XOR:
      rl = al ^ bl;
      rh = ah ^ bh;
      break;
    default:
      rl = al & bl;
      rh = ah & bh;
  }
  if (writes) {
    status = writeOperand(core, insn, DST, size, rl, rh);
    if (status !== NEXT) return status;
  }
  record(f, kind, size, al, ah, rl, rh);
  return NEXT;
}

/** INC and DEC leave CF as it is. */
function step(core: Core, insn: number, up: boolean, size: number): number {
  let status = readToModify(core, insn, size);
  if (status !== NEXT) return status;
  const al = value[0]!;
  const ah = value[1]!;
  const rl = up ? (al + 1) | 0 : (al - 1) | 0;
  const rh = up ? (ah + (rl === 0 ? 1 : 0)) | 0 : (ah - (al === 0 ? 1 : 0)) | 0;
  status = writeOperand(core, insn, DST, size, rl, rh);
  if (status !== NEXT) return status;
  core.f[F.CARRY] = carry(core.f) ? 1 : 0;
  record(core.f, up ? KIND.INC : KIND.DEC, size, al, ah, rl, rh);
  return NEXT;
}

/**
 * SHL, SHR, SAR. Flags that the manual leaves undefined: AF is 0, OF is for every count what it is for 1, and CF of a
 * count beyond the width is that of the zero or sign bits that are shifted in.
 */
function shift(core: Core, insn: number, op: number, size: number): number {
  let status = readOperand(core, insn, SRC, 1);
  if (status !== NEXT) return status;
  const count = value[0]! & (size === 8 ? 63 : 31);
  status = readToModify(core, insn, size);
  if (status !== NEXT) return status;
  // A count of zero changes no flags, but a 32-bit register is written and loses its upper half.
  if (count === 0) return writeOperand(core, insn, DST, size, value[0]!, value[1]!);
  let lo = value[0]!;
  let hi = value[1]!;
  const bits = size * 8;
  const top = size === 8 ? hi : lo << (32 - bits);
  if (op === OP.SAR && size !== 8) {
    lo = top >> (32 - bits);
    hi = lo >> 31;
  }
  let last = 0;
  let rl = 0;
  let rh = 0;
  if (op === OP.SHL) {
    last = size === 8 ? bitOf(lo, hi, 64 - count) : count > bits ? 0 : bitOf(lo, 0, bits - count);
    rl = count >= 32 ? 0 : lo << count;
    rh = count >= 32 ? lo << (count - 32) : (hi << count) | (lo >>> (32 - count));
  } else {
    last = bitOf(lo, hi, count - 1);
    const fill = op === OP.SAR ? hi >> 31 : 0;
    rl =
      count >= 32 ? (op === OP.SAR ? hi >> (count - 32) : hi >>> (count - 32)) : (lo >>> count) | (hi << (32 - count));
    rh = count >= 32 ? fill : op === OP.SAR ? hi >> count : hi >>> count;
  }
  status = writeOperand(core, insn, DST, size, rl, rh);
  if (status !== NEXT) return status;
  const resultTop = size === 8 ? rh : rl << (32 - bits);
  const isZero = size === 8 ? (rl | rh) === 0 : resultTop === 0;
  const sign = resultTop < 0;
  const overflow = op === OP.SHL ? sign !== (last !== 0) : op === OP.SHR ? top < 0 : false;
  setStatusFlags(
    core.f,
    (last !== 0 ? CF : 0) | (isEven(rl) ? PF : 0) | (isZero ? ZF : 0) | (sign ? SF : 0) | (overflow ? OF : 0),
  );
  return NEXT;
}

function bitOf(lo: number, hi: number, bit: number): number {
  return ((bit >= 32 ? hi >>> (bit - 32) : lo >>> bit) & 1) >>> 0;
}

function signExtend(core: Core, insn: number, size: number): number {
  const sourceSize = core.blocks.insns[insn + INSN.SOURCE_SIZE]!;
  const status = readOperand(core, insn, SRC, sourceSize);
  if (status !== NEXT) return status;
  const up = 32 - sourceSize * 8;
  const lo = (value[0]! << up) >> up;
  return writeOperand(core, insn, DST, size, lo, lo >> 31);
}

function exchange(core: Core, insn: number, size: number): number {
  const { insns } = core.blocks;
  let status = readToModify(core, insn, size);
  if (status !== NEXT) return status;
  const lo = value[0]!;
  const hi = value[1]!;
  const source = insns[insn + SRC]!;
  readRegister(core, source, size);
  const sourceLo = value[0]!;
  const sourceHi = value[1]!;
  status = writeOperand(core, insn, DST, size, sourceLo, sourceHi);
  if (status !== NEXT) return status;
  writeRegister(core, source, size, lo, hi);
  return NEXT;
}

/** The destination is written in any case; with what it had when the comparison fails. */
function compareExchange(core: Core, insn: number, size: number): number {
  let status = readToModify(core, insn, size);
  if (status !== NEXT) return status;
  const lo = value[0]!;
  const hi = value[1]!;
  readRegister(core, 0, size);
  const al = value[0]!;
  const ah = value[1]!;
  const equal = al === lo && ah === hi;
  readRegister(core, core.blocks.insns[insn + SRC]!, size);
  status = writeOperand(core, insn, DST, size, equal ? value[0]! : lo, equal ? value[1]! : hi);
  if (status !== NEXT) return status;
  if (!equal) writeRegister(core, 0, size, lo, hi);
  const rl = (al - lo) | 0;
  const rh = (ah - hi - (al >>> 0 < lo >>> 0 ? 1 : 0)) | 0;
  record(core.f, KIND.SUB, size, al, ah, rl, rh);
  return NEXT;
}

/** CMPXCHG8B on EDX:EAX and ECX:EBX, CMPXCHG16B on RDX:RAX and RCX:RBX. Only ZF changes. */
function compareExchangePair(core: Core, insn: number, wide: boolean): number {
  if (!core.isOpen(core.gateOf(insn))) return undefinedOpcode(core);
  effectiveAddress(core, insn);
  const lo = address[0]!;
  const hi = address[1]!;
  const half = wide ? 8 : 4;
  if (wide && (lo & 15) !== 0) return generalProtection(core);
  const upperLo = (lo + half) | 0;
  const upperHi = carried(lo, hi, half);
  let status = loadToModify(core, upperLo, upperHi, half);
  if (status !== NEXT) return status;
  const highLo = core.v[0]!;
  const highHi = core.v[1]!;
  status = loadToModify(core, lo, hi, half);
  if (status !== NEXT) return status;
  const lowLo = core.v[0]!;
  const lowHi = core.v[1]!;
  if ((lo & LINE_MASK) + 2 * half > LINE_SIZE && isLocked(core, insn)) busLock(core);
  const equal =
    core.lo[0] === lowLo && core.lo[2] === highLo && (!wide || (core.hi[0] === lowHi && core.hi[2] === highHi));
  status = store(core, lo, hi, half, equal ? core.lo[3]! : lowLo, equal ? core.hi[3]! : lowHi);
  if (status !== NEXT) return status;
  status = store(core, upperLo, upperHi, half, equal ? core.lo[1]! : highLo, equal ? core.hi[1]! : highHi);
  if (status !== NEXT) return status;
  setStatusFlags(core.f, (statusFlags(core.f) & ~ZF) | (equal ? ZF : 0));
  if (!equal) {
    writeRegister(core, 0, half, lowLo, lowHi);
    writeRegister(core, 2, half, highLo, highHi);
  }
  return NEXT;
}

/** Pushes 2 or 8 bytes. @returns NEXT or FAULT, and then RSP is as it was */
export function push(core: Core, size: number, lo: number, hi: number): number {
  const newLo = (core.lo[RSP]! - size) | 0;
  const newHi = (core.hi[RSP]! - (core.lo[RSP]! >>> 0 < size ? 1 : 0)) | 0;
  const status = storeStack(core, newLo, newHi, size, lo, hi);
  if (status !== NEXT) return status;
  core.lo[RSP] = newLo;
  core.hi[RSP] = newHi;
  return NEXT;
}

/** An address that uses RSP as base is worked out after RSP has grown. */
function pop(core: Core, insn: number, size: number): number {
  const oldLo = core.lo[RSP]!;
  const oldHi = core.hi[RSP]!;
  const status = loadStack(core, oldLo, oldHi, size);
  if (status !== NEXT) return status;
  const lo = core.v[0]!;
  const hi = core.v[1]!;
  core.lo[RSP] = (oldLo + size) | 0;
  core.hi[RSP] = carried(oldLo, oldHi, size);
  if (writeOperand(core, insn, DST, size, lo, hi) === NEXT) return NEXT;
  core.lo[RSP] = oldLo;
  core.hi[RSP] = oldHi;
  return FAULT;
}

/** POPFQ (SDM volume 2B, table 4-16). */
export function popf(core: Core): number {
  const status = loadStack(core, core.lo[RSP]!, core.hi[RSP]!, 8);
  if (status !== NEXT) return status;
  const popped = core.v[0]!;
  if ((popped & TF) !== 0) throw core.unsupported('single-stepping by RFLAGS.TF');
  const old = core.rflags;
  const iopl = (old & IOPL) >> 12;
  const mask = POPF_ALWAYS | (core.cpl === 0 ? IOPL : 0) | (core.cpl <= iopl ? IF : 0);
  const carryLo = core.lo[RSP]!;
  core.lo[RSP] = (carryLo + 8) | 0;
  core.hi[RSP] = carried(carryLo, core.hi[RSP]!, 8);
  core.rflags = ((old & ~mask) | (popped & mask)) & ~RF;
  core.interrupts.attention = true;
  return NEXT;
}

/** Target of an indirect branch, into `value`; relative ones have micro-operations. */
function branchTarget(core: Core, insn: number): number {
  const status = readOperand(core, insn, DST, 8);
  if (status !== NEXT) return status;
  return core.isCanonical(value[1]!) ? NEXT : generalProtection(core);
}

function jump(core: Core): number {
  core.lo[RIP] = value[0]!;
  core.hi[RIP] = value[1]!;
  return JUMP;
}

function call(core: Core, insn: number): number {
  const lo = value[0]!;
  const hi = value[1]!;
  const next = core.addressOf(insn / 16) + BigInt(core.blocks.insns[insn + INSN.LENGTH]!);
  const status = push(core, 8, Number(BigInt.asIntN(32, next)), Number(BigInt.asIntN(32, next >> 32n)));
  if (status !== NEXT) return status;
  core.lo[RIP] = lo;
  core.hi[RIP] = hi;
  return JUMP;
}

function ret(core: Core, insn: number): number {
  const { insns } = core.blocks;
  const lo = core.lo[RSP]!;
  const hi = core.hi[RSP]!;
  const status = loadStack(core, lo, hi, 8);
  if (status !== NEXT) return status;
  if (!core.isCanonical(core.v[1]!)) return generalProtection(core);
  core.lo[RIP] = core.v[0]!;
  core.hi[RIP] = core.v[1]!;
  const bytes = 8 + (insns[insn + DST] === OPERAND.IMMEDIATE ? insns[insn + INSN.IMM_LO]! & 0xffff : 0);
  core.lo[RSP] = (lo + bytes) | 0;
  core.hi[RSP] = carried(lo, hi, bytes);
  return JUMP;
}
