import { CONTROL_OK } from '../control.js';
import { OP, OP_GATE, OP_TRAITS, TRAIT } from '../isa/forms.js';
import { INSN, OPERAND } from '../isa/insn.js';
import { slotNamed } from '../msrs.js';
import { ACCESS } from '../paging-rows.js';
import { moveFromCr, moveToCr } from './control-instructions.js';
import { type Core, RAX, RBX, RCX, RDX } from './core.js';
import { executeCpuid } from './cpuid-instruction.js';
import { deliverEvent, leave } from './delivery.js';
import { AC, CF, F, IF, IOPL, setStatusFlags } from './flags.js';
import { erets, eretu, swapGs } from './fred.js';
import { INTERCEPT } from './guest-world.js';
import { popf } from './integer.js';
import { fault, generalProtection, load, loadAs, undefinedOpcode } from './linear.js';
import { msrList, rdmsr, rdmsrImmediate, userMsr, wrmsr, wrmsrImmediate } from './msr-instructions.js';
import { address, effectiveAddress, FS_BASE, GS_BASE, readOperand, value, writeRegister } from './operands.js';
import { iretq, softwareInterrupt, syscall, sysretq } from './returns.js';
import { ACTIVITY, EVENT_TYPE, NEXT, VECTOR } from './status.js';
import { note, TRACE } from './trace.js';
import { abortTransaction, xabort, xbegin, xend, xtest } from './transactions.js';
import { senduipi, uiret } from './uintr.js';
import { monitor, mwait, userWait } from './waits.js';

/**
 * All instructions that are not integer arithmetic. In order: does the operation exist (gate), may this privilege, does it
 * leave the guest, and only then its operands.
 */

const TSC_AUX = slotNamed('IA32_TSC_AUX');
const KERNEL_GS_BASE = slotNamed('IA32_KERNEL_GS_BASE');
const U_CET = slotNamed('IA32_U_CET');
const S_CET = slotNamed('IA32_S_CET');
const FEATURES_ENABLES = slotNamed('MSR_MISC_FEATURES_ENABLES');
const SH_STK_EN = 1;

const ENDS = TRAIT.branch | TRAIT.ends;

/** What does not abort a transaction, beside the integer instructions. */
const HARMLESS_IN_TRANSACTION = new Set<number>([
  OP.XBEGIN,
  OP.XEND,
  OP.XABORT,
  OP.XTEST,
  OP.PAUSE,
  OP.TPAUSE,
  OP.RDTSC,
  OP.RDTSCP,
  OP.RDPID,
  OP.RDPKRU,
  OP.XGETBV,
  OP.RDFSBASE,
  OP.RDGSBASE,
  OP.RDRAND,
  OP.RDSEED,
]);

/** What the silicon's virtualization extension executes. */
const VMX_OPS = new Set<number>([
  OP.VMCLEAR,
  OP.VMLAUNCH,
  OP.VMPTRLD,
  OP.VMPTRST,
  OP.VMREAD,
  OP.VMRESUME,
  OP.VMWRITE,
  OP.VMXOFF,
  OP.VMXON,
]);
const SVM_OPS = new Set<number>([OP.CLGI, OP.STGI, OP.VMLOAD, OP.VMSAVE, OP.VMRUN]);

const answer = new Uint32Array(4);

/** @param insn offset of its record in `core.blocks.insns` */
export function system(core: Core, insn: number): number {
  const { insns } = core.blocks;
  const op = insns[insn]!;
  const traits = OP_TRAITS[op]!;
  if ((traits & ENDS) !== 0) core.settleAt(insns[insn + INSN.LENGTH]!);
  const gate = OP_GATE[op]!;
  if (gate !== 0 && !core.isOpen(gate)) return undefinedOpcode(core);
  if (core.cpl !== 0) {
    if ((traits & TRAIT.cpl0ud) !== 0) return undefinedOpcode(core);
    if ((traits & TRAIT.cpl0) !== 0) return generalProtection(core);
  }
  if (core.transaction.active && !HARMLESS_IN_TRANSACTION.has(op)) return abortTransaction(core, 0);
  switch (op) {
    case OP.CPUID:
      return cpuid(core, insn);
    case OP.RDMSR:
      return rdmsr(core, insn);
    case OP.WRMSR:
    case OP.WRMSRNS:
      return wrmsr(core, insn);
    case OP.RDTSC:
    case OP.RDTSCP:
      return rdtsc(core, insn, op === OP.RDTSCP);
    case OP.RDPID:
      core.lo[insns[insn + INSN.DST]!] = core.msrs.lo[TSC_AUX]!;
      core.hi[insns[insn + INSN.DST]!] = 0;
      return NEXT;
    case OP.PAUSE:
      return leaves(core, INTERCEPT.PAUSE) ? leaveFor(core, INTERCEPT.PAUSE, insn) : NEXT;
    case OP.HLT:
      return halt(core, insn);
    case OP.UMONITOR:
      return monitor(core, insn, insns[insn + INSN.DST]!);
    case OP.UMWAIT:
    case OP.TPAUSE:
      return userWait(core, insn);
    case OP.MONITOR:
      if (leaves(core, INTERCEPT.MONITOR)) return leaveFor(core, INTERCEPT.MONITOR, insn);
      return core.lo[RCX] !== 0 ? generalProtection(core) : monitor(core, insn, RAX);
    case OP.MWAIT:
      return leaves(core, INTERCEPT.MWAIT) ? leaveFor(core, INTERCEPT.MWAIT, insn) : mwait(core, insn);
    case OP.POPFQ:
      return popf(core);
    case OP.CLI:
    case OP.STI:
      return changeInterruptFlag(core, op === OP.STI);
    case OP.CLAC:
    case OP.STAC:
      core.f[F.REST] = op === OP.STAC ? core.f[F.REST]! | AC : core.f[F.REST]! & ~AC;
      core.accessChanged();
      return NEXT;
    case OP.INT3:
      return deliverEvent(core, VECTOR.BP, EVENT_TYPE.SOFTWARE_EXCEPTION, insns[insn + INSN.LENGTH]!);
    case OP.INT:
      return softwareInterrupt(core, insn);
    case OP.IRETQ:
      return iretq(core, insn);
    case OP.SYSCALL:
      return syscall(core, insn);
    case OP.SYSRETQ:
      return sysretq(core);
    case OP.SYSRET:
      throw core.unsupported('SYSRET to 32-bit code');
    case OP.ERETU:
      return eretu(core);
    case OP.ERETS:
      return erets(core);
    case OP.MOV_FROM_CR:
      return moveFromCr(core, insn);
    case OP.MOV_TO_CR:
      return moveToCr(core, insn);
    case OP.XGETBV:
      return xgetbv(core);
    case OP.XSETBV:
      return xsetbv(core, insn);
    case OP.RDPKRU:
      if (core.lo[RCX] !== 0) return generalProtection(core);
      writeRegister(core, RAX, 4, core.control.pkru, 0);
      writeRegister(core, RDX, 4, 0, 0);
      return NEXT;
    case OP.WRPKRU:
      if ((core.lo[RCX]! | core.lo[RDX]!) !== 0) return generalProtection(core);
      core.control.writePkru(core.lo[RAX]!);
      return NEXT;
    case OP.SWAPGS:
      swapGs(core);
      return NEXT;
    case OP.LKGS:
      return lkgs(core, insn);
    case OP.LIDT:
      return lidt(core, insn);
    case OP.RDFSBASE:
    case OP.RDGSBASE: {
      const slot = op === OP.RDFSBASE ? FS_BASE : GS_BASE;
      writeRegister(core, insns[insn + INSN.DST]!, insns[insn + INSN.SIZE]!, core.msrs.lo[slot]!, core.msrs.hi[slot]!);
      return NEXT;
    }
    case OP.WRFSBASE:
    case OP.WRGSBASE:
      return writeBase(core, insn, op === OP.WRFSBASE ? FS_BASE : GS_BASE);
    case OP.INCSSPD:
    case OP.INCSSPQ:
      return incssp(core, insn, op === OP.INCSSPQ ? 8 : 4);
    case OP.RDMSR_IMM:
      return rdmsrImmediate(core, insn);
    case OP.WRMSRNS_IMM:
      return wrmsrImmediate(core, insn);
    case OP.RDMSRLIST:
    case OP.WRMSRLIST:
      return msrList(core, op === OP.WRMSRLIST);
    case OP.URDMSR:
    case OP.UWRMSR: {
      // URDMSR: the value's register is ModRM.rm, the index's ModRM.reg; UWRMSR the other way round.
      const index = insns[insn + (op === OP.URDMSR ? INSN.SRC : INSN.DST)]!;
      const register = insns[insn + (op === OP.URDMSR ? INSN.DST : INSN.SRC)]!;
      return userMsr(core, core.lo[index]!, core.hi[index]!, register, op === OP.UWRMSR);
    }
    case OP.URDMSR_IMM:
      return userMsr(core, insns[insn + INSN.IMM_LO]!, 0, insns[insn + INSN.DST]!, false);
    case OP.UWRMSR_IMM:
      return userMsr(core, insns[insn + INSN.IMM_LO]!, 0, insns[insn + INSN.SRC]!, true);
    case OP.XBEGIN:
      return xbegin(core, insn);
    case OP.XABORT:
      return xabort(core, insn);
    case OP.XEND:
      return xend(core);
    case OP.XTEST:
      return xtest(core);
    case OP.CLUI:
    case OP.STUI:
      core.uif = op === OP.STUI;
      core.interrupts.attention = true;
      return NEXT;
    case OP.TESTUI:
      setStatusFlags(core.f, core.uif ? CF : 0);
      return NEXT;
    case OP.UIRET:
      return uiret(core);
    case OP.SENDUIPI:
      return senduipi(core, insns[insn + INSN.DST]!);
    case OP.RDRAND:
    case OP.RDSEED:
      return random(core, insn, op === OP.RDRAND ? INTERCEPT.RDRAND : INTERCEPT.RDSEED);
    case OP.VMCALL:
    case OP.VMMCALL:
      return hypercall(core, insn, op);
    case OP.VMGEXIT:
      // Outside SEV-ES guests it is VMMCALL (APM volume 3).
      return hypercall(core, insn, op);
    case OP.SEAMCALL:
    case OP.SEAMOPS:
    case OP.SEAMRET:
      if (leaves(core, INTERCEPT.SEAMCALL)) return leaveFor(core, INTERCEPT.SEAMCALL, insn);
      return core.virtualization?.seam(core, op) ?? undefinedOpcode(core);
    case OP.TDCALL:
      if (leaves(core, INTERCEPT.TDCALL)) return leaveFor(core, INTERCEPT.TDCALL, insn);
      return core.virtualization?.seam(core, op) ?? undefinedOpcode(core);
    default:
      if (VMX_OPS.has(op) || SVM_OPS.has(op)) return virtualize(core, insn, op);
      // SERIALIZE: in order as we are, there is nothing to do.
      return NEXT;
  }
}

function leaves(core: Core, intercept: number): boolean {
  return core.world !== null && core.world.intercepts[intercept] === 1;
}

/** Leaves the guest because of an instruction. */
function leaveFor(core: Core, intercept: number, insn: number): number {
  const { exitInfo } = core;
  exitInfo.kind = intercept;
  exitInfo.op = core.blocks.insns[insn]!;
  exitInfo.length = core.blocks.insns[insn + INSN.LENGTH]!;
  exitInfo.register = -1;
  exitInfo.number = 0;
  return leave(core);
}

function cpuid(core: Core, insn: number): number {
  if (leaves(core, INTERCEPT.CPUID)) return leaveFor(core, INTERCEPT.CPUID, insn);
  if (core.cpl > 0 && core.msrs.exists[FEATURES_ENABLES] === 1 && (core.msrs.lo[FEATURES_ENABLES]! & 1) !== 0)
    return generalProtection(core);
  const fn = core.lo[RAX]! >>> 0;
  const index = core.lo[RCX]! >>> 0;
  core.clock.now[0]! += core.costs.cpuid(fn, index);
  executeCpuid(core, fn, index, answer);
  writeRegister(core, RAX, 4, answer[0]! | 0, 0);
  writeRegister(core, RBX, 4, answer[1]! | 0, 0);
  writeRegister(core, RCX, 4, answer[2]! | 0, 0);
  writeRegister(core, RDX, 4, answer[3]! | 0, 0);
  return NEXT;
}

function rdtsc(core: Core, insn: number, aux: boolean): number {
  if (core.timeStampDisabled) return generalProtection(core);
  const intercept = aux ? INTERCEPT.RDTSCP : INTERCEPT.RDTSC;
  if (leaves(core, intercept)) return leaveFor(core, intercept, insn);
  const counter = core.guestTsc ?? core.tsc;
  counter.read();
  writeRegister(core, RAX, 4, counter.value[0]!, 0);
  writeRegister(core, RDX, 4, counter.value[1]!, 0);
  if (aux) writeRegister(core, RCX, 4, core.msrs.lo[TSC_AUX]!, 0);
  return NEXT;
}

function halt(core: Core, insn: number): number {
  if (leaves(core, INTERCEPT.HLT)) {
    // Its cost is that of waking up, and it does not sleep.
    core.clock.now[0]! -= core.costs.op[OP.HLT]!;
    return leaveFor(core, INTERCEPT.HLT, insn);
  }
  core.activity = ACTIVITY.HALTED;
  return NEXT;
}

function changeInterruptFlag(core: Core, on: boolean): number {
  if (core.cpl > (core.f[F.REST]! & IOPL) >> 12) return generalProtection(core);
  if (on) {
    if ((core.f[F.REST]! & IF) === 0) core.shadow = true;
    core.f[F.REST]! |= IF;
    core.interrupts.attention = true;
  } else core.f[F.REST]! &= ~IF;
  return NEXT;
}

/** XCR0, or with ECX = 1 what of it is in use: all, as nothing here tracks INIT states. */
function xgetbv(core: Core): number {
  const index = core.lo[RCX]!;
  if (index !== 0 && (index !== 1 || !core.silicon.has('XGETBV1'))) return generalProtection(core);
  writeRegister(core, RAX, 4, core.control.xcr0[0]!, 0);
  writeRegister(core, RDX, 4, core.control.xcr0[1]!, 0);
  return NEXT;
}

function xsetbv(core: Core, insn: number): number {
  if (leaves(core, INTERCEPT.XSETBV)) return leaveFor(core, INTERCEPT.XSETBV, insn);
  const lo = core.lo[RAX]!;
  if (core.control.xsetbv(core.lo[RCX]!, lo, core.lo[RDX]!) !== CONTROL_OK) return generalProtection(core);
  note(core, TRACE.XSETBV, lo, core.lo[RDX]!);
  return NEXT;
}

/** The base of the descriptor goes to IA32_KERNEL_GS_BASE; GS.base stays. A null selector loads zero. */
function lkgs(core: Core, insn: number): number {
  const status = readOperand(core, insn, INSN.DST, 2);
  if (status !== NEXT) return status;
  const selector = value[0]!;
  let base = 0;
  if ((selector & ~3) !== 0) {
    const at = selector & ~7;
    if ((selector & 4) !== 0 || at + 7 > core.gdtr.limit) return fault(core, VECTOR.GP, selector & ~3);
    const lo = (core.gdtr.baseLo + at) | 0;
    const hi = (core.gdtr.baseHi + (lo >>> 0 < core.gdtr.baseLo >>> 0 ? 1 : 0)) | 0;
    const read = loadAs(core, lo, hi, 8, ACCESS.READ, false);
    if (read !== NEXT) return read;
    const low = core.v[0]!;
    const high = core.v[1]!;
    if ((high & 0x1000) === 0) return fault(core, VECTOR.GP, selector & ~3);
    if ((high & 0x8000) === 0) return fault(core, VECTOR.NP, selector & ~3);
    base = (low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000);
  }
  core.segments.gs = selector;
  core.msrs.put(KERNEL_GS_BASE, base, 0);
  return NEXT;
}

function lidt(core: Core, insn: number): number {
  if (leaves(core, INTERCEPT.LIDT)) return leaveFor(core, INTERCEPT.LIDT, insn);
  effectiveAddress(core, insn);
  const lo = address[0]!;
  const hi = address[1]!;
  let status = load(core, lo, hi, 2);
  if (status !== NEXT) return status;
  const limit = core.v[0]!;
  const low = (lo + 2) | 0;
  status = load(core, low, (hi + (low >>> 0 < 2 ? 1 : 0)) | 0, 8);
  if (status !== NEXT) return status;
  if (!core.isCanonical(core.v[1]!)) return generalProtection(core);
  core.idtr.limit = limit;
  core.idtr.baseLo = core.v[0]!;
  core.idtr.baseHi = core.v[1]!;
  return NEXT;
}

function writeBase(core: Core, insn: number, slot: number): number {
  const { insns } = core.blocks;
  const register = insns[insn + INSN.DST]!;
  const wide = insns[insn + INSN.SIZE] === 8;
  const hi = wide ? core.hi[register]! : 0;
  if (!core.isCanonical(hi)) return generalProtection(core);
  core.msrs.put(slot, core.lo[register]!, hi);
  return NEXT;
}

/** Pops entries off the shadow stack; the first and the last of them are read. */
function incssp(core: Core, insn: number, size: number): number {
  const user = core.cpl === 3;
  if ((core.msrs.lo[user ? U_CET : S_CET]! & SH_STK_EN) === 0) return undefinedOpcode(core);
  const count = core.lo[core.blocks.insns[insn + INSN.DST]!]! & 0xff;
  const access = user ? ACCESS.USER_SHADOW_READ : ACCESS.SHADOW_READ;
  const lo = core.ssp[0]!;
  const hi = core.ssp[1]!;
  if (count > 0) {
    let status = loadAs(core, lo, hi, size, access, false);
    if (status !== NEXT) return status;
    const last = (lo + (count - 1) * size) | 0;
    status = loadAs(core, last, (hi + (last >>> 0 < lo >>> 0 ? 1 : 0)) | 0, size, access, false);
    if (status !== NEXT) return status;
  }
  const end = (lo + count * size) | 0;
  core.ssp[1] = (hi + (end >>> 0 < lo >>> 0 ? 1 : 0)) | 0;
  core.ssp[0] = end;
  return NEXT;
}

/** A generator of the core's own: every run is like the last one. */
function random(core: Core, insn: number, intercept: number): number {
  if (leaves(core, intercept)) return leaveFor(core, intercept, insn);
  const { insns } = core.blocks;
  writeRegister(core, insns[insn + INSN.DST]!, insns[insn + INSN.SIZE]!, core.nextRandom(), core.nextRandom());
  setStatusFlags(core.f, CF);
  return NEXT;
}

/** VMCALL, VMMCALL, VMGEXIT. */
function hypercall(core: Core, insn: number, op: number): number {
  const intercept = op === OP.VMGEXIT && leaves(core, INTERCEPT.VMGEXIT) ? INTERCEPT.VMGEXIT : INTERCEPT.HYPERCALL;
  if (leaves(core, intercept)) return leaveFor(core, intercept, insn);
  if (op === OP.VMCALL && core.world === null && core.virtualization !== null)
    return core.virtualization.execute(core, op, insn);
  return undefinedOpcode(core);
}

function virtualize(core: Core, insn: number, op: number): number {
  if (leaves(core, INTERCEPT.VIRTUALIZATION)) {
    const { insns } = core.blocks;
    core.exitInfo.register = insns[insn + INSN.DST]! === OPERAND.MEMORY ? -1 : insns[insn + INSN.DST]!;
    return leaveFor(core, INTERCEPT.VIRTUALIZATION, insn);
  }
  return core.virtualization?.execute(core, op, insn) ?? undefinedOpcode(core);
}
