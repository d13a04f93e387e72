import { INSN } from '../isa/insn.js';
import { slotNamed } from '../msrs.js';
import type { Core } from './core.js';
import { setStatusFlags, ZF } from './flags.js';
import { carried, generalProtection } from './linear.js';
import { ABORTED, JUMP, NEXT } from './status.js';
import { note, TRACE } from './trace.js';

/** Restricted transactional memory (SDM volume 1, chapter 16) with one core's view: nothing conflicts. */

const TSX_CTRL = slotNamed('IA32_TSX_CTRL');
const RTM_DISABLE = 1;
const RIP = 16;

/** EAX after an abort. */
export const ABORT = { XABORT: 1, RETRY: 2, CONFLICT: 4, CAPACITY: 8, DEBUG: 16, NESTED: 32 } as const;

function isDisabled(core: Core): boolean {
  return core.msrs.exists[TSX_CTRL] === 1 && (core.msrs.lo[TSX_CTRL]! & RTM_DISABLE) !== 0;
}

/** XBEGIN. With IA32_TSX_CTRL.RTM_DISABLE it aborts at once, with EAX = 0. */
export function xbegin(core: Core, insn: number): number {
  const { transaction, blocks } = core;
  const { insns } = blocks;
  const length = insns[insn + INSN.LENGTH]!;
  const nextLo = (core.lo[RIP]! + length) | 0;
  const nextHi = carried(core.lo[RIP]!, core.hi[RIP]!, length);
  const fallbackLo = (nextLo + insns[insn + INSN.IMM_LO]!) | 0;
  const carry = fallbackLo >>> 0 < nextLo >>> 0 ? 1 : 0;
  const fallbackHi = (nextHi + insns[insn + INSN.IMM_HI]! + carry) | 0;
  if (!core.isCanonical(fallbackHi)) return generalProtection(core);
  if (transaction.active) {
    if (!transaction.canNest) return abortTransaction(core, ABORT.NESTED);
    transaction.depth++;
    return NEXT;
  }
  if (isDisabled(core)) {
    core.lo[0] = 0;
    core.hi[0] = 0;
    core.lo[RIP] = fallbackLo;
    core.hi[RIP] = fallbackHi;
    core.clock.advance(core.costs.of('xabort_total'));
    note(core, TRACE.ABORT, 0, 0);
    return JUMP;
  }
  transaction.depth = 1;
  transaction.fallbackLo = fallbackLo;
  transaction.fallbackHi = fallbackHi;
  transaction.writes = 0;
  transaction.overflow = false;
  transaction.registersLo.set(core.lo.subarray(0, 16));
  transaction.registersHi.set(core.hi.subarray(0, 16));
  transaction.flags.set(core.f);
  core.watchChanged();
  return NEXT;
}

/** XEND. Outside a transaction: #GP(0). */
export function xend(core: Core): number {
  const { transaction } = core;
  if (!transaction.active) return generalProtection(core);
  if (transaction.overflow) return abortTransaction(core, ABORT.CAPACITY);
  transaction.depth--;
  core.watchChanged();
  return NEXT;
}

/** XABORT. Outside a transaction it does nothing. */
export function xabort(core: Core, insn: number): number {
  if (!core.transaction.active) return NEXT;
  const reason = core.blocks.insns[insn + INSN.IMM_LO]! & 0xff;
  return abortTransaction(core, (reason << 24) | ABORT.XABORT);
}

/** XTEST: ZF says that no transaction is under way. */
export function xtest(core: Core): number {
  setStatusFlags(core.f, core.transaction.active ? 0 : ZF);
  return NEXT;
}

/** Undoes everything since XBEGIN and goes to the fallback. @param reason EAX there */
export function abortTransaction(core: Core, reason: number): number {
  const { transaction, memory } = core;
  for (let at = transaction.writes - 1; at >= 0; at--) {
    memory.write(transaction.addresses[at]!, transaction.sizes[at]!, transaction.oldLo[at]!, transaction.oldHi[at]!);
  }
  const nested = transaction.depth > 1 ? ABORT.NESTED : 0;
  transaction.depth = 0;
  transaction.writes = 0;
  core.lo.set(transaction.registersLo);
  core.hi.set(transaction.registersHi);
  core.f.set(transaction.flags.subarray(0, core.f.length));
  core.accessChanged();
  core.lo[0] = reason | nested;
  core.hi[0] = 0;
  core.lo[RIP] = transaction.fallbackLo;
  core.hi[RIP] = transaction.fallbackHi;
  core.watchChanged();
  core.clock.advance(core.costs.of('xabort_total'));
  note(core, TRACE.ABORT, reason, 0);
  return ABORTED;
}
