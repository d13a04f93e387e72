import type { PhysicalMemory } from '../memory.js';
import { areaOf, FIELD, FIELD_COUNT, FIELD_ROWS, widthOf } from './field-rows.js';
import type { VmxWorld } from './world.js';

/** Which checks have to be made again after a field was written, as bits. */
export const DIRTY_CONTROL = 1;
export const DIRTY_HOST = 2;
export const DIRTY_GUEST = 4;
export const DIRTY_ALL = DIRTY_CONTROL | DIRTY_HOST | DIRTY_GUEST;

/** Control fields that every entry reads, so that nothing derived from them is kept. */
const READ_AT_ENTRY = new Set<number>([
  FIELD.ENTRY_INTERRUPTION_INFO,
  FIELD.ENTRY_ERROR_CODE,
  FIELD.ENTRY_INSTRUCTION_LENGTH,
  FIELD.INJECTED_EVENT_DATA,
  FIELD.EXCEPTION_BITMAP,
  FIELD.TSC_OFFSET,
  FIELD.CR0_SHADOW,
  FIELD.CR4_SHADOW,
  FIELD.GUEST_RIP,
  FIELD.GUEST_RSP,
  FIELD.GUEST_RFLAGS,
  FIELD.GUEST_CR3,
  FIELD.GUEST_INTERRUPTIBILITY,
  FIELD.PREEMPTION_TIMER,
]);

/** Of each field: what a write makes necessary. */
export const FIELD_DIRTY = Uint8Array.from(FIELD_ROWS, (row, at) => {
  if (READ_AT_ENTRY.has(at)) return 0;
  const area = areaOf(row);
  return area === 'control' ? DIRTY_CONTROL : area === 'host' ? DIRTY_HOST : area === 'guest' ? DIRTY_GUEST : 0;
});

/** Of each field: the bits that it has, by half. */
export const FIELD_MASK_LO = Int32Array.from(FIELD_ROWS, (row) => (widthOf(row) === 2 ? 0xffff : -1));
export const FIELD_MASK_HI = Int32Array.from(FIELD_ROWS, (row) => (widthOf(row) === 8 ? -1 : 0));

/** A virtual-machine control structure as the processor keeps it: its fields by number ({@link FIELD}), in halves. */
export class Vmcs {
  readonly address: number;
  readonly lo = new Int32Array(FIELD_COUNT);
  readonly hi = new Int32Array(FIELD_COUNT);
  launched = false;
  /** Checks that are outstanding. */
  dirty = DIRTY_ALL;
  /** What its controls come to on the core that it is active on. */
  world: VmxWorld | null = null;

  constructor(address: number) {
    this.address = address;
  }

  write(field: number, lo: number, hi: number): void {
    this.lo[field] = lo & FIELD_MASK_LO[field]!;
    this.hi[field] = hi & FIELD_MASK_HI[field]!;
    this.dirty |= FIELD_DIRTY[field]!;
  }
}

const regions = new WeakMap<PhysicalMemory, Map<number, Vmcs>>();

/** The VMCS whose region lies at a physical address. Its data is the processors' business: memory does not show it. */
export function vmcsAt(memory: PhysicalMemory, address: number): Vmcs {
  let known = regions.get(memory);
  if (!known) {
    known = new Map();
    regions.set(memory, known);
  }
  let vmcs = known.get(address);
  if (!vmcs) {
    vmcs = new Vmcs(address);
    known.set(address, vmcs);
  }
  return vmcs;
}
