import { PAGING_FAULT, PAGING_NESTED, PAGING_OK } from '../paging.js';
import { QUICK_HALF } from '../tlb.js';
import type { Core } from './core.js';
import { FAULT, VECTOR } from './status.js';

/** Loads and stores by linear address, up to 8 bytes, with the core's present rights. Values are in `core.v`. */

const PAGE = 0x1000;
const PAGE_MASK = 0xfff;
const LINE_MASK = 0x3f;

/** Sets a fault with an error code. @returns FAULT */
export function fault(core: Core, vector: number, errorCode: number): number {
  core.fault.vector = vector;
  core.fault.errorCode = errorCode;
  core.fault.hasErrorCode = true;
  core.fault.nested = false;
  return FAULT;
}

/** Sets a fault without an error code. @returns FAULT */
export function bareFault(core: Core, vector: number): number {
  core.fault.vector = vector;
  core.fault.errorCode = 0;
  core.fault.hasErrorCode = false;
  core.fault.nested = false;
  return FAULT;
}

/** #GP(0) */
export function generalProtection(core: Core): number {
  return fault(core, VECTOR.GP, 0);
}

/** #UD */
export function undefinedOpcode(core: Core): number {
  return bareFault(core, VECTOR.UD);
}

/** What a translation that failed comes to. */
export function translationFault(core: Core, status: number, stack: boolean): number {
  if (status === PAGING_FAULT) return fault(core, VECTOR.PF, core.mmu.fault.errorCode);
  if (status === PAGING_NESTED) {
    core.fault.vector = -1;
    core.fault.hasErrorCode = false;
    core.fault.nested = true;
    return FAULT;
  }
  return fault(core, stack ? VECTOR.SS : VECTOR.GP, 0);
}

/** Loads 1, 2, 4 or 8 bytes, zero-extended. @returns 0 or FAULT */
export function load(core: Core, lo: number, hi: number, size: number): number {
  return loadAs(core, lo, hi, size, core.readAccess, false);
}

/** As {@link load}, with SS as segment: a non-canonical address is #SS(0). */
export function loadStack(core: Core, lo: number, hi: number, size: number): number {
  return loadAs(core, lo, hi, size, core.readAccess, true);
}

/** A load that will be followed by a store to the same place: it faults as the store would. */
export function loadToModify(core: Core, lo: number, hi: number, size: number): number {
  return loadAs(core, lo, hi, size, core.writeAccess, false);
}

/** A load with a given kind of access (`ACCESS`). */
export function loadAs(core: Core, lo: number, hi: number, size: number, access: number, stack: boolean): number {
  const { mmu, memory, v } = core;
  if ((lo & PAGE_MASK) + size > PAGE) return loadAcross(core, lo, hi, size, access, stack);
  const status = mmu.translate(lo, hi, access);
  if (status !== PAGING_OK) return translationFault(core, status, stack);
  const at = mmu.offset;
  if (at >= 0) mmu.tlb.remember(lo, hi, access, at, 0);
  else {
    memory.read(mmu.physical[0]!, size);
    v[0] = memory.value[0]!;
    v[1] = memory.value[1]!;
    return 0;
  }
  const { bytes } = memory;
  v[1] = 0;
  if (size === 1) v[0] = bytes[at]!;
  else if (size === 2) v[0] = bytes[at]! | (bytes[at + 1]! << 8);
  else {
    v[0] = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    if (size === 8) v[1] = bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24);
  }
  return 0;
}

function loadAcross(core: Core, lo: number, hi: number, size: number, access: number, stack: boolean): number {
  const first = PAGE - (lo & PAGE_MASK);
  const { mmu, memory, v } = core;
  let status = mmu.translate(lo, hi, access);
  if (status !== PAGING_OK) return translationFault(core, status, stack);
  const start = mmu.physical[0]!;
  status = mmu.translate((lo + first) | 0, carried(lo, hi, first), access);
  if (status !== PAGING_OK) return translationFault(core, status, stack);
  const next = mmu.physical[0]!;
  let valueLo = 0;
  let valueHi = 0;
  for (let byte = 0; byte < size; byte++) {
    memory.read(byte < first ? start + byte : next + byte - first, 1);
    if (byte < 4) valueLo |= memory.value[0]! << (byte * 8);
    else valueHi |= memory.value[0]! << (byte * 8 - 32);
  }
  v[0] = valueLo;
  v[1] = valueHi;
  return 0;
}

/** Stores 1, 2, 4 or 8 bytes. @returns 0 or FAULT, and then nothing is stored */
export function store(core: Core, lo: number, hi: number, size: number, valueLo: number, valueHi: number): number {
  return storeAs(core, lo, hi, size, valueLo, valueHi, core.writeAccess, false);
}

/** As {@link store}, with SS as segment. */
export function storeStack(core: Core, lo: number, hi: number, size: number, valueLo: number, valueHi: number): number {
  return storeAs(core, lo, hi, size, valueLo, valueHi, core.writeAccess, true);
}

/** A store with a given kind of access (`ACCESS`). */
export function storeAs(
  core: Core,
  lo: number,
  hi: number,
  size: number,
  valueLo: number,
  valueHi: number,
  access: number,
  stack: boolean,
): number {
  const { mmu, memory } = core;
  if ((lo & PAGE_MASK) + size > PAGE) return storeAcross(core, lo, hi, size, valueLo, valueHi, access, stack);
  const status = mmu.translate(lo, hi, access);
  if (status !== PAGING_OK) return translationFault(core, status, stack);
  const at = mmu.offset;
  if (at < 0 || core.watched) {
    watchedStore(core, mmu.physical[0]!, size, valueLo, valueHi);
    return 0;
  }
  mmu.tlb.remember(lo, hi, access, at, QUICK_HALF);
  core.blocks.wrote(at);
  const { bytes } = memory;
  bytes[at] = valueLo;
  if (size > 1) {
    bytes[at + 1] = valueLo >> 8;
    if (size > 2) {
      bytes[at + 2] = valueLo >> 16;
      bytes[at + 3] = valueLo >> 24;
      if (size > 4) {
        bytes[at + 4] = valueHi;
        bytes[at + 5] = valueHi >> 8;
        bytes[at + 6] = valueHi >> 16;
        bytes[at + 7] = valueHi >> 24;
      }
    }
  }
  return 0;
}

function storeAcross(
  core: Core,
  lo: number,
  hi: number,
  size: number,
  valueLo: number,
  valueHi: number,
  access: number,
  stack: boolean,
): number {
  const first = PAGE - (lo & PAGE_MASK);
  const { mmu } = core;
  let status = mmu.translate(lo, hi, access);
  if (status !== PAGING_OK) return translationFault(core, status, stack);
  const start = mmu.physical[0]!;
  status = mmu.translate((lo + first) | 0, carried(lo, hi, first), access);
  if (status !== PAGING_OK) return translationFault(core, status, stack);
  const next = mmu.physical[0]!;
  for (let byte = 0; byte < size; byte++) {
    const value = byte < 4 ? valueLo >>> (byte * 8) : valueHi >>> (byte * 8 - 32);
    watchedStore(core, byte < first ? start + byte : next + byte - first, 1, value, 0);
  }
  return 0;
}

/** A store by physical address that somebody may have to know of: a transaction, a monitor, the code cache. */
function watchedStore(core: Core, physical: number, size: number, valueLo: number, valueHi: number): void {
  const { memory, transaction } = core;
  if (transaction.active) {
    memory.read(physical, size);
    if (!transaction.log(physical, size, memory.value[0]!, memory.value[1]!)) transaction.overflow = true;
  }
  core.monitors.stored(physical - (physical & LINE_MASK));
  memory.write(physical, size, valueLo, valueHi);
  const frame = memory.frameAt(physical);
  if (frame >= 0) core.blocks.wroteWithin(frame + (physical & PAGE_MASK));
}

/** High half of an address that `bytes` have been added to. */
export function carried(lo: number, hi: number, bytes: number): number {
  return (hi + ((lo >>> 0) + bytes > 0xffff_ffff ? 1 : 0)) | 0;
}
