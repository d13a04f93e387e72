import { OP } from '../isa/forms.js';
import { FLAG, HIGH_BYTE, INSN, OPERAND, RIP, SEGMENT } from '../isa/insn.js';
import { slotNamed } from '../msrs.js';
import type { Core } from './core.js';
import { load, loadToModify, store } from './linear.js';
import { DR6_BUS_LOCK, NEXT } from './status.js';

/** Operands of decoded instructions: registers of every width, memory, immediates. Values are pairs of halves. */

export const FS_BASE = slotNamed('IA32_FS_BASE');
export const GS_BASE = slotNamed('IA32_GS_BASE');
const DEBUGCTL = slotNamed('IA32_DEBUGCTL');
const DEBUGCTL_BUS_LOCK = 1 << 2;

export const LINE_SIZE = 64;
export const LINE_MASK = LINE_SIZE - 1;

/** The last address: low and high half. */
export const address = new Int32Array(2);
/** The last value: low and high half. */
export const value = new Int32Array(2);

/** Works out the linear address of the memory operand, into {@link address}. */
export function effectiveAddress(core: Core, insn: number): void {
  const { insns } = core.blocks;
  const base = insns[insn + INSN.BASE]!;
  const index = insns[insn + INSN.INDEX]!;
  const displacement = insns[insn + INSN.DISP]!;
  let lo = displacement;
  let hi = displacement >> 31;
  if (base === RIP) {
    const next = core.addressOf(insn / 16) + BigInt(insns[insn + INSN.LENGTH]!);
    address[0] = lo;
    address[1] = hi;
    addTo(address, Number(BigInt.asIntN(32, next)), Number(BigInt.asIntN(32, next >> 32n)));
    lo = address[0]!;
    hi = address[1]!;
  } else if (base >= 0) {
    address[0] = lo;
    address[1] = hi;
    addTo(address, core.lo[base]!, core.hi[base]!);
    lo = address[0]!;
    hi = address[1]!;
  }
  address[0] = lo;
  address[1] = hi;
  if (index >= 0) {
    const scale = insns[insn + INSN.SCALE]!;
    const carry = scale === 0 ? 0 : core.lo[index]! >>> (32 - scale);
    addTo(address, core.lo[index]! << scale, (core.hi[index]! << scale) | carry);
  }
  if ((insns[insn + INSN.FLAGS]! & FLAG.ADDRESS_SIZE) !== 0) address[1] = 0;
  const segment = insns[insn + INSN.SEGMENT]!;
  if (segment === SEGMENT.FS) addTo(address, core.msrs.lo[FS_BASE]!, core.msrs.hi[FS_BASE]!);
  else if (segment === SEGMENT.GS) addTo(address, core.msrs.lo[GS_BASE]!, core.msrs.hi[GS_BASE]!);
}

/** Adds a pair to a pair. */
export function addTo(pair: Int32Array, lo: number, hi: number): void {
  const low = (pair[0]! >>> 0) + (lo >>> 0);
  pair[1] = (pair[1]! + hi + (low > 0xffff_ffff ? 1 : 0)) | 0;
  pair[0] = low | 0;
}

/** Reads a general register into {@link value}, zero-extended. */
export function readRegister(core: Core, number: number, size: number): void {
  value[1] = 0;
  if (size === 8) {
    value[0] = core.lo[number]!;
    value[1] = core.hi[number]!;
  } else if (size === 4) value[0] = core.lo[number]!;
  else if (size === 2) value[0] = core.lo[number]! & 0xffff;
  else if (number >= HIGH_BYTE) value[0] = (core.lo[number - HIGH_BYTE]! >>> 8) & 0xff;
  else value[0] = core.lo[number]! & 0xff;
}

/** Writes a general register: 32 bits clear the upper half, narrower ones leave the rest as it is. */
export function writeRegister(core: Core, number: number, size: number, lo: number, hi: number): void {
  if (size === 8) {
    core.lo[number] = lo;
    core.hi[number] = hi;
  } else if (size === 4) {
    core.lo[number] = lo;
    core.hi[number] = 0;
  } else if (size === 2) core.lo[number] = (core.lo[number]! & ~0xffff) | (lo & 0xffff);
  else if (number >= HIGH_BYTE) {
    const register = number - HIGH_BYTE;
    core.lo[register] = (core.lo[register]! & ~0xff00) | ((lo & 0xff) << 8);
  } else core.lo[number] = (core.lo[number]! & ~0xff) | (lo & 0xff);
}

/** Reads an operand (`INSN.DST` or `INSN.SRC`) into {@link value}, zero-extended. @returns NEXT or FAULT */
export function readOperand(core: Core, insn: number, which: number, size: number): number {
  const operand = core.blocks.insns[insn + which]!;
  if (operand >= 0) {
    readRegister(core, operand, size);
    return NEXT;
  }
  if (operand === OPERAND.MEMORY) {
    effectiveAddress(core, insn);
    const status = load(core, address[0]!, address[1]!, size);
    value[0] = core.v[0]!;
    value[1] = core.v[1]!;
    return status;
  }
  const lo = core.blocks.insns[insn + INSN.IMM_LO]!;
  value[0] = size === 1 ? lo & 0xff : size === 2 ? lo & 0xffff : lo;
  value[1] = size === 8 ? core.blocks.insns[insn + INSN.IMM_HI]! : 0;
  return NEXT;
}

/** As {@link readOperand} of the destination, which will be written: memory faults as for a write. */
export function readToModify(core: Core, insn: number, size: number): number {
  if (core.blocks.insns[insn + INSN.DST] !== OPERAND.MEMORY) return readOperand(core, insn, INSN.DST, size);
  effectiveAddress(core, insn);
  const status = loadToModify(core, address[0]!, address[1]!, size);
  value[0] = core.v[0]!;
  value[1] = core.v[1]!;
  if ((address[0]! & LINE_MASK) + size > LINE_SIZE && status === NEXT && isLocked(core, insn)) busLock(core);
  return status;
}

/** XCHG with memory locks without being told. */
export function isLocked(core: Core, insn: number): boolean {
  const { insns } = core.blocks;
  return (insns[insn + INSN.FLAGS]! & FLAG.LOCK) !== 0 || insns[insn] === OP.XCHG;
}

/**
 * A locked access to more than one line locks the bus. With DEBUGCTL.BLCKDB, outside ring 0, #DB follows the instruction
 * (SDM volume 3, 19.3.1.6; APM volume 2, 13.1.3.6); the block ends there. Locks of uncacheable memory are not modelled.
 */
export function busLock(core: Core): void {
  if (core.cpl === 0 || (core.msrs.lo[DEBUGCTL]! & DEBUGCTL_BUS_LOCK) === 0) return;
  if (!core.silicon.has('BUS_LOCK_DETECT')) return;
  core.interrupts.debugTrap |= DR6_BUS_LOCK;
  core.interrupts.attention = true;
  core.blocks.hit = true;
}

/** Writes the operand `which`. @returns NEXT or FAULT */
export function writeOperand(core: Core, insn: number, which: number, size: number, lo: number, hi: number): number {
  const operand = core.blocks.insns[insn + which]!;
  if (operand >= 0) {
    writeRegister(core, operand, size, lo, hi);
    return NEXT;
  }
  effectiveAddress(core, insn);
  return store(core, address[0]!, address[1]!, size, lo, hi);
}
