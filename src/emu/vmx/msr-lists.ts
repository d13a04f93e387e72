import type { Core } from '../core/core.js';
import { note, TRACE } from '../core/trace.js';
import { MSR_OK } from '../msrs.js';
import { FIELD } from './field-rows.js';
import type { Vmcs } from './vmcs.js';

/** The lists of MSRs that entries load, and exits store and load (SDM volume 3, 25.7.2, 25.8.2, 28.4, 29.4, 29.6). */

const WORD = 0x1_0000_0000;

/** An entry of an MSR list: index, reserved word, value. */
const LIST_ENTRY = 16;
const X2APIC_PAGE = 8;
const FS_BASE_INDEX = 0xc000_0100;
const GS_BASE_INDEX = 0xc000_0101;

/**
 * An MSR list of entry or exit.
 *
 * @param address field with the list's address
 * @param count field with the number of its entries
 * @param cycles what each entry costs
 * @returns 0, or the number of the entry that failed, from 1 on
 */
export function loadList(core: Core, vmcs: Vmcs, address: number, count: number, cycles: number): number {
  const entries = vmcs.lo[count]!;
  if (entries === 0) return 0;
  const { memory, msrs, clock } = core;
  const list = physicalOf(vmcs, address);
  for (let n = 0; n < entries; n++) {
    const at = list + n * LIST_ENTRY;
    memory.read(at, 8);
    const index = memory.value[0]! >>> 0;
    if (memory.value[1] !== 0 || index >>> 8 === X2APIC_PAGE) return n + 1;
    if (index === FS_BASE_INDEX || index === GS_BASE_INDEX) return n + 1;
    memory.read(at + 8, 8);
    if (msrs.write(index, memory.value[0]!, memory.value[1]!) !== MSR_OK) return n + 1;
    note(core, TRACE.WRMSR, index, memory.value[0]!);
    clock.now[0]! += cycles;
  }
  return 0;
}

/** The list that an exit fills. @param cycles as above @returns whether all of it could be read */
export function storeList(core: Core, vmcs: Vmcs, cycles: number): boolean {
  const entries = vmcs.lo[FIELD.EXIT_MSR_STORE_COUNT]!;
  if (entries === 0) return true;
  const { memory, msrs, clock } = core;
  const list = physicalOf(vmcs, FIELD.EXIT_MSR_STORE_ADDRESS);
  for (let n = 0; n < entries; n++) {
    const at = list + n * LIST_ENTRY;
    memory.read(at, 8);
    if (memory.value[1] !== 0 || msrs.read(memory.value[0]! >>> 0) !== MSR_OK) return false;
    memory.write(at + 8, 8, msrs.value[0]!, msrs.value[1]!);
    clock.now[0]! += cycles;
  }
  return true;
}

function physicalOf({ lo, hi }: Vmcs, field: number): number {
  return (hi[field]! & 0xf_ffff) * WORD + (lo[field]! >>> 0);
}
