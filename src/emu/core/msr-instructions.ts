import { INSN } from '../isa/insn.js';
import { MSR_OK, slotNamed } from '../msrs.js';
import { ACCESS } from '../paging-rows.js';
import { type Core, RAX, RCX, RDX } from './core.js';
import { leave } from './delivery.js';
import { EXIT } from './guest-world.js';
import { generalProtection, load, loadAs, store, undefinedOpcode } from './linear.js';
import { NEXT } from './status.js';
import { note, TRACE } from './trace.js';

/** RDMSR, WRMSR and their relatives. CPL and gates are settled. */

const TSC_INDEX = 0x10;
const RSI = 6;
const RDI = 7;
const USER_MSR_CTL = slotNamed('IA32_USER_MSR_CTL');
/** User MSRs are those below, with a bitmap of one bit each for reads and, behind it, for writes. */
const USER_MSRS = 0x4000;

/** What the last read found. */
const found = new Int32Array(2);

/** Reads an MSR into {@link found}, as a guest does where its world lets it. @returns NEXT or FAULT */
function read(core: Core, index: number): number {
  if (core.msrs.read(index) !== MSR_OK) return generalProtection(core);
  found[0] = core.msrs.value[0]!;
  found[1] = core.msrs.value[1]!;
  if (index === TSC_INDEX && core.guestTsc !== null) {
    core.guestTsc.read();
    found[0] = core.guestTsc.value[0]!;
    found[1] = core.guestTsc.value[1]!;
  }
  return NEXT;
}

function write(core: Core, index: number, lo: number, hi: number): number {
  if (core.msrs.write(index, lo, hi) !== MSR_OK) return generalProtection(core);
  note(core, TRACE.WRMSR, index, lo);
  core.interrupts.attention = true;
  return NEXT;
}

function leaveForMsr(core: Core, kind: number, insn: number, index: number, register: number): number {
  const { exitInfo } = core;
  exitInfo.kind = kind;
  exitInfo.op = core.blocks.insns[insn]!;
  exitInfo.length = core.blocks.insns[insn + INSN.LENGTH]!;
  exitInfo.number = index;
  exitInfo.register = register;
  return leave(core);
}

export function rdmsr(core: Core, insn: number): number {
  const index = core.lo[RCX]! >>> 0;
  if (core.world?.interceptsMsr(index, false)) return leaveForMsr(core, EXIT.MSR_READ, insn, index, -1);
  const status = read(core, index);
  if (status !== NEXT) return status;
  core.lo[RAX] = found[0]!;
  core.hi[RAX] = 0;
  core.lo[RDX] = found[1]!;
  core.hi[RDX] = 0;
  return NEXT;
}

/** WRMSR and WRMSRNS. */
export function wrmsr(core: Core, insn: number): number {
  const index = core.lo[RCX]! >>> 0;
  if (core.world?.interceptsMsr(index, true)) return leaveForMsr(core, EXIT.MSR_WRITE, insn, index, -1);
  return write(core, index, core.lo[RAX]!, core.lo[RDX]!);
}

/** RDMSR with an immediate index: all 64 bits in one register (ISE, MSR_IMM). */
export function rdmsrImmediate(core: Core, insn: number): number {
  const { insns } = core.blocks;
  const index = insns[insn + INSN.IMM_LO]! >>> 0;
  const register = insns[insn + INSN.DST]!;
  if (core.world?.interceptsMsr(index, false)) return leaveForMsr(core, EXIT.MSR_READ_IMM, insn, index, register);
  const status = read(core, index);
  if (status !== NEXT) return status;
  core.lo[register] = found[0]!;
  core.hi[register] = found[1]!;
  return NEXT;
}

export function wrmsrImmediate(core: Core, insn: number): number {
  const { insns } = core.blocks;
  const index = insns[insn + INSN.IMM_LO]! >>> 0;
  const register = insns[insn + INSN.SRC]!;
  if (core.world?.interceptsMsr(index, true)) return leaveForMsr(core, EXIT.MSR_WRITE_IMM, insn, index, register);
  return write(core, index, core.lo[register]!, core.hi[register]!);
}

/**
 * RDMSRLIST and WRMSRLIST: for each bit of RCX, from the lowest, the MSR whose index is in the table at RSI, with the
 * value in the table at RDI. What is done leaves RCX, so that a fault in the middle can be resumed. In a guest the
 * tertiary control that would allow them is never set.
 */
export function msrList(core: Core, writes: boolean): number {
  if (core.world !== null) return undefinedOpcode(core);
  if (((core.lo[RSI]! | core.lo[RDI]!) & 7) !== 0) return generalProtection(core);
  for (let bit = 0; bit < 64; bit++) {
    const half = bit < 32 ? core.lo : core.hi;
    const mask = 1 << (bit & 31);
    if ((half[RCX]! & mask) === 0) continue;
    const status = listEntry(core, bit * 8, writes);
    if (status !== NEXT) return status;
    half[RCX]! &= ~mask;
  }
  return NEXT;
}

function listEntry(core: Core, offset: number, writes: boolean): number {
  const [tableLo, tableHi] = offsetOf(core, RSI, offset);
  let status = load(core, tableLo, tableHi, 8);
  if (status !== NEXT) return status;
  if (core.v[1] !== 0) return generalProtection(core);
  const index = core.v[0]! >>> 0;
  const [dataLo, dataHi] = offsetOf(core, RDI, offset);
  if (!writes) {
    status = read(core, index);
    return status !== NEXT ? status : store(core, dataLo, dataHi, 8, found[0]!, found[1]!);
  }
  status = load(core, dataLo, dataHi, 8);
  return status !== NEXT ? status : write(core, index, core.v[0]!, core.v[1]!);
}

function offsetOf(core: Core, register: number, offset: number): readonly [lo: number, hi: number] {
  const lo = (core.lo[register]! + offset) | 0;
  return [lo, (core.hi[register]! + (lo >>> 0 < offset ? 1 : 0)) | 0];
}

/**
 * URDMSR and UWRMSR (ISE, USER_MSR): at any privilege, the MSRs that IA32_USER_MSR_CTL's bitmap allows.
 *
 * @param index the MSR
 * @param register what is read or written
 */
export function userMsr(core: Core, index: number, indexHi: number, register: number, writes: boolean): number {
  if (core.world !== null) return undefinedOpcode(core);
  const control = core.msrs.lo[USER_MSR_CTL]!;
  if ((control & 1) === 0 || indexHi !== 0 || index >>> 0 >= USER_MSRS) return generalProtection(core);
  const at = (control & ~0xfff) + (index >> 3) + (writes ? USER_MSRS / 8 : 0);
  const status = loadAs(core, at | 0, core.msrs.hi[USER_MSR_CTL]!, 1, ACCESS.READ, false);
  if (status !== NEXT) return status;
  if (((core.v[0]! >> (index & 7)) & 1) === 0) return generalProtection(core);
  if (writes) return write(core, index, core.lo[register]!, core.hi[register]!);
  const done = read(core, index);
  if (done !== NEXT) return done;
  core.lo[register] = found[0]!;
  core.hi[register] = found[1]!;
  return NEXT;
}
