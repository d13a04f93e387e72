import { CONTROL_OK } from '../control.js';
import { INSN } from '../isa/insn.js';
import type { Core } from './core.js';
import { leave } from './delivery.js';
import { EXIT } from './guest-world.js';
import { generalProtection } from './linear.js';
import { NEXT } from './status.js';

/** MOV from and to control registers. CPL is settled; so is that the register exists. */

const pair = new Int32Array(2);

export function moveFromCr(core: Core, insn: number): number {
  const { insns } = core.blocks;
  const register = insns[insn + INSN.DST]!;
  const number = insns[insn + INSN.SRC]!;
  const { world } = core;
  if (world?.interceptsCrRead(number)) return leaveForCr(core, EXIT.CR_READ, insn, number, register);
  pair[0] = core.control.lo[number]!;
  pair[1] = core.control.hi[number]!;
  if (world !== null && (number === 0 || number === 4)) world.readCr(number, pair);
  core.lo[register] = pair[0]!;
  core.hi[register] = pair[1]!;
  return NEXT;
}

export function moveToCr(core: Core, insn: number): number {
  const { insns } = core.blocks;
  const number = insns[insn + INSN.DST]!;
  const register = insns[insn + INSN.SRC]!;
  const { world, control } = core;
  let lo = core.lo[register]!;
  let hi = core.hi[register]!;
  if (world?.interceptsCrWrite(number, lo, hi)) return leaveForCr(core, EXIT.CR_WRITE, insn, number, register);
  if (world !== null && (number === 0 || number === 4)) {
    world.writtenCr(number, lo, hi, pair);
    lo = pair[0]!;
    hi = pair[1]!;
  }
  const written = write(core, number, lo, hi);
  if (written !== CONTROL_OK) return generalProtection(core);
  if (number === 4 || number === 0) core.accessChanged();
  if (number === 8) core.interrupts.attention = true;
  if (number === 0 && !control.longMode) throw core.unsupported('leaving IA-32e mode');
  return NEXT;
}

function write(core: Core, number: number, lo: number, hi: number): number {
  const { control } = core;
  switch (number) {
    case 0:
      return control.writeCr0(lo, hi, true);
    case 2:
      control.writeCr2(lo, hi);
      return CONTROL_OK;
    case 3:
      return control.writeCr3(lo, hi);
    case 4:
      return control.writeCr4(lo, hi);
    default:
      return control.writeCr8(lo, hi);
  }
}

function leaveForCr(core: Core, kind: number, insn: number, number: number, register: number): number {
  const { exitInfo } = core;
  exitInfo.kind = kind;
  exitInfo.op = core.blocks.insns[insn]!;
  exitInfo.length = core.blocks.insns[insn + INSN.LENGTH]!;
  exitInfo.number = number;
  exitInfo.register = register;
  return leave(core);
}
