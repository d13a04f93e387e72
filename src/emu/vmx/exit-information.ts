import type { Core } from '../core/core.js';
import { EXIT, type Exit, INTERCEPT } from '../core/guest-world.js';
import { EVENT_TYPE, VECTOR } from '../core/status.js';
import { NESTED_MISCONFIGURATION } from '../paging-nested.js';
import { EXIT_CONTROL, INFO_ERROR_CODE, INFO_TYPE_SHIFT, INFO_VALID } from './controls.js';
import { exitReason } from './exit-rows.js';
import { FIELD } from './field-rows.js';
import type { Vmcs } from './vmcs.js';

/** What an exit tells about itself beside its reason (SDM volume 3, 29.2). */

const EXIT_CONTROLS = FIELD.EXIT_CONTROLS;
const EXIT_REASON = FIELD.EXIT_REASON;
const QUALIFICATION = FIELD.EXIT_QUALIFICATION;
const INSTRUCTION_INFO = FIELD.EXIT_INSTRUCTION_INFO;
const EXIT_INFO = FIELD.EXIT_INTERRUPTION_INFO;
const EXIT_ERROR = FIELD.EXIT_INTERRUPTION_ERROR_CODE;
const VECTORING_INFO = FIELD.IDT_VECTORING_INFO;
const VECTORING_ERROR = FIELD.IDT_VECTORING_ERROR_CODE;
const LINEAR_ADDRESS = FIELD.GUEST_LINEAR_ADDRESS;
const PHYSICAL_ADDRESS = FIELD.GUEST_PHYSICAL_ADDRESS;
const EPT_MISCONFIGURATION = exitReason('EPT_MISCONFIGURATION');
const WORD = 0x1_0000_0000;

/** Access type of a CR access: MOV from, in bit 4. */
const MOV_FROM_CR = 1 << 4;

/** Qualification and information fields. */
export function describeExit(core: Core, vmcs: Vmcs, exit: Exit): void {
  const { lo, hi } = vmcs;
  if (exit.deliveringVector >= 0) recordDelivery(vmcs, exit);
  switch (exit.kind) {
    case EXIT.EXCEPTION:
      lo[EXIT_INFO] =
        exit.number | (exit.vector << INFO_TYPE_SHIFT) | (exit.hasErrorCode ? INFO_ERROR_CODE : 0) | INFO_VALID;
      lo[EXIT_ERROR] = exit.errorCode;
      lo[QUALIFICATION] = exit.dataLo;
      hi[QUALIFICATION] = exit.dataHi;
      break;
    case INTERCEPT.NMI:
      lo[EXIT_INFO] = VECTOR.NMI | (EVENT_TYPE.NMI << INFO_TYPE_SHIFT) | INFO_VALID;
      break;
    case INTERCEPT.EXTERNAL_INTERRUPT:
      if ((lo[EXIT_CONTROLS]! & EXIT_CONTROL.ACKNOWLEDGE_INTERRUPT) === 0) break;
      core.interrupts.take(exit.vector);
      lo[EXIT_INFO] = exit.vector | INFO_VALID;
      break;
    case EXIT.CR_READ:
    case EXIT.CR_WRITE:
      lo[QUALIFICATION] = exit.number | (exit.kind === EXIT.CR_READ ? MOV_FROM_CR : 0) | (exit.register << 8);
      break;
    case EXIT.MSR_READ_IMM:
    case EXIT.MSR_WRITE_IMM:
      lo[QUALIFICATION] = exit.number;
      lo[INSTRUCTION_INFO] = exit.register << 3;
      break;
    case INTERCEPT.UMWAIT:
    case INTERCEPT.TPAUSE:
      lo[INSTRUCTION_INFO] = exit.register << 3;
      break;
    case EXIT.NESTED_FAULT:
      describeNestedFault(core, vmcs);
      break;
    case INTERCEPT.VIRTUALIZATION:
      if (exit.register >= 0) lo[INSTRUCTION_INFO] = (exit.register << 3) | (1 << 10);
      break;
  }
}

function describeNestedFault({ mmu }: Core, { lo, hi }: Vmcs): void {
  const { address, infoLo } = mmu.nested!.fault;
  lo[PHYSICAL_ADDRESS] = address | 0;
  hi[PHYSICAL_ADDRESS] = Math.floor(address / WORD) | 0;
  if (mmu.nestedStatus === NESTED_MISCONFIGURATION) {
    lo[EXIT_REASON] = EPT_MISCONFIGURATION;
    return;
  }
  lo[QUALIFICATION] = infoLo;
  lo[LINEAR_ADDRESS] = mmu.fault.lo;
  hi[LINEAR_ADDRESS] = mmu.fault.hi;
}

function recordDelivery({ lo }: Vmcs, exit: Exit): void {
  lo[VECTORING_INFO] =
    exit.deliveringVector |
    (exit.deliveringType << INFO_TYPE_SHIFT) |
    (exit.deliveringHasErrorCode ? INFO_ERROR_CODE : 0) |
    INFO_VALID;
  lo[VECTORING_ERROR] = exit.deliveringErrorCode;
}
