import { CR4_FRED_HI } from '../control.js';
import { INSN } from '../isa/insn.js';
import { slotNamed } from '../msrs.js';
import { type Core, RCX, RSP } from './core.js';
import { deliverEvent, disarm, leave } from './delivery.js';
import { AC, F, IF, IOPL, NT, RF, STATUS_FLAGS, TF, VM } from './flags.js';
import { INTERCEPT } from './guest-world.js';
import { carried, fault, generalProtection, loadStack } from './linear.js';
import { EVENT_TYPE, JUMP, NEXT, VECTOR } from './status.js';

/** SYSCALL, SYSRET, IRETQ, INT n. */

const STAR = slotNamed('IA32_STAR');
const LSTAR = slotNamed('IA32_LSTAR');
const FMASK = slotNamed('IA32_FMASK');

const RIP = 16;
const R11 = 11;
const DF = 1 << 10;
const ID = 1 << 21;
/** RFLAGS that SYSRET takes from R11 (SDM volume 2, SYSRET). */
const SYSRET_MASK = 0x3c_7fd7;

/** The address of the next instruction goes to RCX, RFLAGS to R11; with FRED it is an event. */
export function syscall(core: Core, insn: number): number {
  const length = core.blocks.insns[insn + INSN.LENGTH]!;
  if ((core.control.hi[4]! & CR4_FRED_HI) !== 0) return deliverEvent(core, 1, EVENT_TYPE.OTHER, length);
  const { msrs } = core;
  core.hi[RCX] = carried(core.lo[RIP]!, core.hi[RIP]!, length);
  core.lo[RCX] = (core.lo[RIP]! + length) | 0;
  const { rflags } = core;
  core.lo[R11] = rflags & ~RF;
  core.hi[R11] = 0;
  core.lo[RIP] = msrs.lo[LSTAR]!;
  core.hi[RIP] = msrs.hi[LSTAR]!;
  core.segments.cs = msrs.hi[STAR]! & 0xfffc;
  core.segments.ss = core.segments.cs + 8;
  if (core.cpl !== 0) disarm(core);
  core.rflags = rflags & ~msrs.lo[FMASK]! & ~RF;
  core.cpl = 0;
  return JUMP;
}

/** To ring 3 with 64-bit code. */
export function sysretq(core: Core): number {
  if (!core.isCanonical(core.hi[RCX]!)) return generalProtection(core);
  const { msrs } = core;
  const base = msrs.hi[STAR]! >>> 16;
  core.lo[RIP] = core.lo[RCX]!;
  core.hi[RIP] = core.hi[RCX]!;
  core.segments.cs = ((base + 16) & 0xffff) | 3;
  core.segments.ss = ((base + 8) & 0xffff) | 3;
  core.cpl = 3;
  core.rflags = core.lo[R11]! & SYSRET_MASK;
  disarm(core);
  core.interrupts.attention = true;
  return JUMP;
}

export function softwareInterrupt(core: Core, insn: number): number {
  const { insns } = core.blocks;
  const vector = insns[insn + INSN.IMM_LO]! & 0xff;
  const length = insns[insn + INSN.LENGTH]!;
  if (core.world?.intercepts[INTERCEPT.SOFTWARE_INTERRUPT] === 1) {
    core.exitInfo.kind = INTERCEPT.SOFTWARE_INTERRUPT;
    core.exitInfo.op = insns[insn]!;
    core.exitInfo.length = length;
    core.exitInfo.number = vector;
    return leave(core);
  }
  return deliverEvent(core, vector, EVENT_TYPE.SOFTWARE_INTERRUPT, length);
}

const popped = new Int32Array(10);

export function iretq(core: Core, insn: number): number {
  if (core.world?.intercepts[INTERCEPT.IRET] === 1) {
    core.exitInfo.kind = INTERCEPT.IRET;
    core.exitInfo.op = core.blocks.insns[insn]!;
    core.exitInfo.length = core.blocks.insns[insn + INSN.LENGTH]!;
    return leave(core);
  }
  const { rflags: old } = core;
  if ((old & NT) !== 0) return generalProtection(core);
  for (let slot = 0; slot < 5; slot++) {
    const lo = (core.lo[RSP]! + slot * 8) | 0;
    const hi = carried(core.lo[RSP]!, core.hi[RSP]!, slot * 8);
    const status = loadStack(core, lo, hi, 8);
    if (status !== NEXT) return status;
    popped[slot * 2] = core.v[0]!;
    popped[slot * 2 + 1] = core.v[1]!;
  }
  const cs = popped[2]! & 0xffff;
  const privilege = cs & 3;
  if ((cs & ~3) === 0) return generalProtection(core);
  if (privilege < core.cpl) return fault(core, VECTOR.GP, cs & ~3);
  // FRED leaves IRET for ring 0 alone.
  if (privilege === 3 && core.cpl === 0 && (core.control.hi[4]! & CR4_FRED_HI) !== 0)
    return fault(core, VECTOR.GP, cs & ~3);
  if (!core.isCanonical(popped[1]!)) return generalProtection(core);
  const image = popped[4]!;
  if ((image & TF) !== 0) throw core.unsupported('single-stepping by RFLAGS.TF');
  const iopl = (old & IOPL) >> 12;
  const mask = STATUS_FLAGS | DF | NT | AC | ID | RF | (core.cpl === 0 ? IOPL : 0) | (core.cpl <= iopl ? IF : 0);
  core.lo[RIP] = popped[0]!;
  core.hi[RIP] = popped[1]!;
  core.lo[RSP] = popped[6]!;
  core.hi[RSP] = popped[7]!;
  core.segments.cs = cs;
  core.segments.ss = popped[8]! & 0xffff;
  if (privilege !== core.cpl) disarm(core);
  core.cpl = privilege;
  core.rflags = ((old & ~mask) | (image & mask)) & ~VM & ~RF;
  core.f[F.REST]! |= 2;
  core.nmiBlocked = false;
  core.interrupts.attention = true;
  return JUMP;
}
