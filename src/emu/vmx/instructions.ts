import { CONTROL_OK } from '../control.js';
import type { Core } from '../core/core.js';
import { generalProtection, load, store, undefinedOpcode } from '../core/linear.js';
import { address, effectiveAddress, readOperand, value, writeOperand } from '../core/operands.js';
import { NEXT } from '../core/status.js';
import { OP } from '../isa/forms.js';
import { INSN } from '../isa/insn.js';
import { slotNamed } from '../msrs.js';
import { VM_ERROR } from './controls.js';
import { areaOf, FIELD_ROWS, fieldAt, isHighAccess } from './field-rows.js';
import type { Vmx } from './vmx.js';

/** The VMX instructions as machine code (SDM volume 3, chapter 32). CPL, CR4.VMXE and interception are settled. */

const FEATURE_CONTROL = slotNamed('IA32_FEATURE_CONTROL');
const LOCKED = 1;
const VMX_OUTSIDE_SMX = 1 << 2;
const WORD = 0x1_0000_0000;
/** What VMPTRST stores when no VMCS is current. */
const NO_POINTER = -1;

export function executeVmx(vmx: Vmx, core: Core, op: number, insn: number): number {
  if (op === OP.VMXON) return vmxon(vmx, core, insn);
  if (!(op in INSTRUCTIONS) || vmx.vmxonPointer < 0 || core.world !== null) return undefinedOpcode(core);
  return INSTRUCTIONS[op]!(vmx, core, insn);
}

const INSTRUCTIONS: Readonly<Record<number, (vmx: Vmx, core: Core, insn: number) => number>> = {
  // In root operation there is nobody to call.
  [OP.VMCALL]: (vmx) => vmx.fail(VM_ERROR.VMCALL_IN_ROOT),
  [OP.VMXOFF]: (vmx) => {
    vmx.vmxoff();
    return NEXT;
  },
  [OP.VMLAUNCH]: (vmx, core, insn) => vmx.enterGuest(true, core.blocks.insns[insn + INSN.LENGTH]!),
  [OP.VMRESUME]: (vmx, core, insn) => vmx.enterGuest(false, core.blocks.insns[insn + INSN.LENGTH]!),
  [OP.VMCLEAR]: (vmx, core, insn) => {
    const status = pointerOf(core, insn);
    if (status === NEXT) vmx.vmclear(pointer);
    return status;
  },
  [OP.VMPTRLD]: (vmx, core, insn) => {
    const status = pointerOf(core, insn);
    if (status === NEXT) vmx.vmptrld(pointer);
    return status;
  },
  [OP.VMPTRST]: (vmx, core, insn) => {
    effectiveAddress(core, insn);
    const at = vmx.current?.address;
    const lo = at === undefined ? NO_POINTER : at | 0;
    const hi = at === undefined ? NO_POINTER : Math.floor(at / WORD);
    const status = store(core, address[0]!, address[1]!, 8, lo, hi);
    return status === NEXT ? vmx.succeed() : status;
  },
  [OP.VMREAD]: vmread,
  [OP.VMWRITE]: vmwrite,
};

/** The last pointer that an instruction named. */
let pointer = 0;

function pointerOf(core: Core, insn: number): number {
  effectiveAddress(core, insn);
  const status = load(core, address[0]!, address[1]!, 8);
  pointer = (core.v[1]! >>> 0) * WORD + (core.v[0]! >>> 0);
  return status;
}

function vmxon(vmx: Vmx, core: Core, insn: number): number {
  if (vmx.vmxonPointer >= 0) return core.world === null ? vmx.fail(VM_ERROR.VMXON_IN_ROOT) : undefinedOpcode(core);
  const { msrs, control } = core;
  const enabled = LOCKED | VMX_OUTSIDE_SMX;
  if ((msrs.lo[FEATURE_CONTROL]! & enabled) !== enabled) return generalProtection(core);
  // CR0 and CR4 must have the bits that VMX operation fixes.
  if (control.setVmxOperation(true) !== CONTROL_OK) return generalProtection(core);
  control.setVmxOperation(false);
  const status = pointerOf(core, insn);
  if (status !== NEXT) return status;
  if (!vmx.isRegion(pointer)) return vmx.failInvalid();
  vmx.vmxon(pointer);
  return NEXT;
}

function vmread(vmx: Vmx, core: Core, insn: number): number {
  const { current } = vmx;
  if (current === null) return vmx.failInvalid();
  const encoding = core.blocks.insns[insn + INSN.SRC]!;
  const field = fieldAt(core.lo[encoding]!, core.hi[encoding]!);
  if (field < 0 || vmx.capabilities.fields[field] === 0) return vmx.fail(VM_ERROR.UNSUPPORTED_COMPONENT);
  const high = isHighAccess(core.lo[encoding]!);
  const lo = high ? current.hi[field]! : current.lo[field]!;
  const status = writeOperand(core, insn, INSN.DST, 8, lo, high ? 0 : current.hi[field]!);
  return status === NEXT ? vmx.succeed() : status;
}

function vmwrite(vmx: Vmx, core: Core, insn: number): number {
  const { current } = vmx;
  if (current === null) return vmx.failInvalid();
  const encoding = core.blocks.insns[insn + INSN.DST]!;
  const encodingLo = core.lo[encoding]!;
  const encodingHi = core.hi[encoding]!;
  const status = readOperand(core, insn, INSN.SRC, 8);
  if (status !== NEXT) return status;
  const field = fieldAt(encodingLo, encodingHi);
  if (field < 0 || vmx.capabilities.fields[field] === 0) return vmx.fail(VM_ERROR.UNSUPPORTED_COMPONENT);
  if (areaOf(FIELD_ROWS[field]!) === 'exit' && !vmx.capabilities.writesReadOnly)
    return vmx.fail(VM_ERROR.READ_ONLY_COMPONENT);
  if (isHighAccess(encodingLo)) current.write(field, current.lo[field]!, value[0]!);
  else current.write(field, value[0]!, value[1]!);
  return vmx.succeed();
}
