import {
  type ControlRegisters,
  CR0_PG,
  CR0_WP,
  CR4_LA57,
  CR4_PGE,
  CR4_PKE,
  CR4_PKS,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  EFER_SLOT,
  type PagingListener,
  PKRS_SLOT,
} from './control.js';
import { MEMORY_OK, type PhysicalMemory } from './memory.js';
import type { MsrFile } from './msrs.js';
import {
  NESTED_FINAL,
  NESTED_OK,
  NESTED_TABLE,
  NESTED_TABLE_WRITE,
  type NestedPaging,
  pageReserved,
  reservedAddressBits,
  setBits,
  tableOf,
} from './paging-nested.js';
import {
  ACCESS_AC,
  ACCESS_ERROR,
  ACCESS_FLAGS,
  PF_I,
  PF_P,
  PF_PK,
  PF_RSVD,
  PF_SS,
  PF_U,
  PF_W,
  PTE_A,
  PTE_D,
  PTE_G,
  PTE_KEY_SHIFT_HI,
  PTE_NX_HI,
  PTE_P,
  PTE_PS,
  PTE_RW,
  PTE_US,
} from './paging-rows.js';
import type { Silicon } from './silicon.js';
import { Tlb } from './tlb.js';

/**
 * From linear to physical addresses: 4-level and 5-level paging (SDM volume 3, 4.5 and 4.6), through a TLB, and through
 * a second set of tables when a guest runs. A translation answers with a status and leaves the rest in records.
 * Linear-address masking (LAM) is for the caller to undo.
 */

export const PAGING_OK = 0;
/** The address is not canonical: #GP(0) or #SS(0). */
export const PAGING_NOT_CANONICAL = 1;
/** #PF, as {@link Mmu.fault} has it. */
export const PAGING_FAULT = 2;
/** The second walk failed: an exit, as {@link Mmu.nested}`.fault` has it. */
export const PAGING_NESTED = 3;

/** What #PF delivers. CR2 is written by whoever delivers it. */
export interface PageFault {
  errorCode: number;
  /** Linear address, for CR2. */
  lo: number;
  hi: number;
}

/** Paging off, and 32-bit paging, which is not modelled. */
const OFF = 0;
const UNSUPPORTED = -1;

export class Mmu implements PagingListener {
  readonly tlb = new Tlb();
  readonly fault: PageFault = { errorCode: 0, lo: 0, hi: 0 };
  /** What {@link translate} found: physical address. */
  readonly physical = new Float64Array(1);
  /** Where that byte lies in the bytes of memory; -1 when it is not in RAM. */
  offset = -1;
  /** The status of the second walk, when that failed. */
  nestedStatus = 0;

  private readonly memory: PhysicalMemory;
  private readonly control: ControlRegisters;
  private readonly msrs: MsrFile;
  private second: NestedPaging | null = null;
  private readonly reservedAddress: number;
  private readonly gigabytes: boolean;
  private readonly amd: boolean;
  /** Where the entries of the last walk lie, by level. */
  private readonly entries = new Float64Array(6);

  private canonicalShift = 15;
  // The paging mode, as the control registers have it; a walk takes it over when it may have changed.
  private isModeOld = true;
  private levels = OFF;
  private root = 0;
  private writeProtect = false;
  private smep = false;
  private smap = false;
  private noExecute = false;
  private globalPages = false;
  private userKeys = false;
  private supervisorKeys = false;
  private pkru = 0;
  private pkrs = 0;

  constructor(memory: PhysicalMemory, silicon: Silicon, control: ControlRegisters, msrs: MsrFile) {
    this.memory = memory;
    this.control = control;
    this.msrs = msrs;
    this.reservedAddress = reservedAddressBits(silicon.physicalBits);
    this.gigabytes = silicon.has('GBPAGES');
    this.amd = silicon.vendor === 'amd';
    control.paging = this;
    this.pagingChanged(true);
  }

  /** The second set of tables; `null` in the host. */
  get nested(): NestedPaging | null {
    return this.second;
  }

  /** Enters or leaves a guest's world. Nothing that was known is found any more; see also {@link Tlb.fresh}. */
  set nested(nested: NestedPaging | null) {
    this.second = nested;
    this.tlb.flushAll();
  }

  /**
   * Goes to another world, whose control registers have been loaded: nothing is forgotten, but only what belongs to that
   * world is found. Its spaces are numbers that {@link Tlb.fresh} gave; they may have changed when it is left.
   *
   * @param nested its second set of tables, `null` in the host
   * @param space the address space whose translations are found
   * @param globals the space whose global translations are found
   */
  switchTo(nested: NestedPaging | null, space: number, globals: number): void {
    this.second = nested;
    this.tlb.current = space;
    this.tlb.globals = globals;
    this.modeChanged();
  }

  /** The paging mode or tables may have changed: forgets what may not hold any more. */
  pagingChanged(all: boolean): void {
    this.modeChanged();
    if (all) this.tlb.flushAll();
    else this.tlb.flush();
  }

  private modeChanged(): void {
    this.isModeOld = true;
    this.canonicalShift = (this.control.lo[4]! & CR4_LA57) === 0 ? 15 : 24;
  }

  private takeMode(): void {
    this.isModeOld = false;
    const cr0 = this.control.lo[0]!;
    const cr4 = this.control.lo[4]!;
    const efer = this.msrs.lo[EFER_SLOT]!;
    const long = (efer & EFER_LMA) !== 0;
    const five = (cr4 & CR4_LA57) !== 0;
    this.levels = (cr0 & CR0_PG) === 0 ? OFF : !long ? UNSUPPORTED : five ? 5 : 4;
    this.root = tableOf(this.control.lo[3]!, this.control.hi[3]!);
    this.writeProtect = (cr0 & CR0_WP) !== 0;
    this.smep = (cr4 & CR4_SMEP) !== 0;
    this.smap = (cr4 & CR4_SMAP) !== 0;
    this.noExecute = (efer & EFER_NXE) !== 0;
    this.globalPages = (cr4 & CR4_PGE) !== 0;
    this.userKeys = (cr4 & CR4_PKE) !== 0;
    this.supervisorKeys = (cr4 & CR4_PKS) !== 0;
    this.pkru = this.control.pkru;
    this.pkrs = this.msrs.lo[PKRS_SLOT]!;
  }

  /** Whether an address with this high half is canonical. */
  isCanonical(hi: number): boolean {
    const top = hi >> this.canonicalShift;
    return top === 0 || top === -1;
  }

  /** INVLPG. */
  invalidate(lo: number, hi: number): void {
    this.tlb.invalidate(lo, hi);
  }

  /**
   * Translates a linear address for a kind of access (`ACCESS`). On success {@link physical} and {@link offset} say
   * where the byte lies; the rest of its 4 KiB follows.
   */
  translate(lo: number, hi: number, access: number): number {
    const { tlb } = this;
    const known = tlb.find(lo, hi, access);
    const at = known >= 0 ? known : this.miss(lo, hi, access);
    if (at < 0) return this.failed(-at, lo, hi);
    const within = lo & 0xfff;
    const frame = tlb.frame[at]!;
    this.physical[0] = tlb.physical[at]! + within;
    this.offset = frame < 0 ? -1 : frame + within;
    return PAGING_OK;
  }

  /** An exit because of the second walk says which linear address it was. */
  private failed(status: number, lo: number, hi: number): number {
    this.fault.lo = lo;
    this.fault.hi = hi;
    return status;
  }

  /** Walks and enters the result into the TLB. @returns its entry, or a negative status */
  private miss(lo: number, hi: number, access: number): number {
    if (this.isModeOld) this.takeMode();
    if (this.levels === OFF) return this.direct(lo, hi, access);
    if (this.levels === UNSUPPORTED) throw new Error('paging outside IA-32e mode is not modelled');
    const top = hi >> this.canonicalShift;
    if (top !== 0 && top !== -1) return -PAGING_NOT_CANONICAL;
    return this.walk(lo, hi, access);
  }

  /** Paging is off: linear addresses are physical, up to 4 GiB. */
  private direct(lo: number, hi: number, access: number): number {
    if (hi !== 0) return -PAGING_NOT_CANONICAL;
    return this.enter(lo, hi, access, 12, false, lo >>> 0);
  }

  private walk(lo: number, hi: number, access: number): number {
    const flags = ACCESS_FLAGS[access]!;
    let table = this.root;
    let level = this.levels;
    let user = PTE_US;
    // R/W of the page itself is kept apart from that of the tables above: a shadow stack is told by the difference.
    let writable = PTE_RW;
    let noExecute = 0;
    let entryLo = 0;
    let entryHi = 0;
    let global = false;
    for (; ; level--) {
      const status = this.readEntry(table + indexOf(lo, hi, level) * 8, level, access);
      if (status !== PAGING_OK) return -status;
      entryLo = this.memory.value[0]!;
      entryHi = this.memory.value[1]!;
      if ((entryLo & PTE_P) === 0) return this.pageFault(lo, hi, flags, 0);
      const leaf = level === 1 || ((level === 2 || (level === 3 && this.gigabytes)) && (entryLo & PTE_PS) !== 0);
      if (this.isReserved(entryLo, entryHi, level, leaf)) return this.pageFault(lo, hi, flags, PF_P | PF_RSVD);
      user &= entryLo;
      noExecute |= entryHi & PTE_NX_HI;
      if (leaf) break;
      writable &= entryLo;
      table = tableOf(entryLo, entryHi);
    }
    const refusal = this.refusal(flags, user !== 0, writable !== 0, noExecute !== 0, entryLo, entryHi);
    if (refusal !== 0) return this.pageFault(lo, hi, flags, refusal);
    const dirty = (flags & PF_W) !== 0 ? PTE_D : 0;
    for (let at = this.levels; at >= level; at--) {
      const status = this.mark(at, at === level ? PTE_A | dirty : PTE_A, access);
      if (status !== PAGING_OK) return -status;
    }
    const pageBits = 3 + 9 * level;
    global = this.globalPages && (entryLo & PTE_G) !== 0;
    return this.enter(lo, hi, access, pageBits, global, physicalOf(entryLo, entryHi, level, lo));
  }

  /** Reads an entry into the memory's value; ones where there is no memory. Its host-physical address is kept. */
  private readEntry(address: number, level: number, access: number): number {
    let at = address;
    if (this.second !== null) {
      this.nestedStatus = this.second.translate(address, access, NESTED_TABLE);
      if (this.nestedStatus !== NESTED_OK) return PAGING_NESTED;
      at = this.second.physical[0]!;
    }
    this.entries[level] = address;
    if (this.memory.read(at, 8) !== MEMORY_OK) {
      this.memory.value[0] = -1;
      this.memory.value[1] = -1;
    }
    return PAGING_OK;
  }

  /** Sets accessed and dirty bits of an entry. With a second walk that is a write to guest-physical memory. */
  private mark(level: number, bits: number, access: number): number {
    let at = this.entries[level]!;
    if (this.second !== null) {
      this.nestedStatus = this.second.translate(at, access, NESTED_TABLE);
      if (this.nestedStatus !== NESTED_OK) return PAGING_NESTED;
      this.memory.read(this.second.physical[0]!, 4);
      if ((this.memory.value[0]! & bits) === bits) return PAGING_OK;
      this.nestedStatus = this.second.translate(at, access, NESTED_TABLE_WRITE);
      if (this.nestedStatus !== NESTED_OK) return PAGING_NESTED;
      at = this.second.physical[0]!;
    }
    setBits(this.memory, at, bits);
    return PAGING_OK;
  }

  private isReserved(lo: number, hi: number, level: number, leaf: boolean): boolean {
    if ((hi & this.reservedAddress) !== 0) return true;
    if (hi < 0 && !this.noExecute) return true;
    if (leaf) return (lo & pageReserved(level)) !== 0;
    // A page where there are none of that size; AMD reserves G in the top tables as well.
    return (lo & PTE_PS) !== 0 || (this.amd && level > 3 && (lo & PTE_G) !== 0);
  }

  /** Bits of the error code when the access is not allowed; 0 when it is (SDM volume 3, 4.6). */
  private refusal(flags: number, user: boolean, tables: boolean, noExecute: boolean, lo: number, hi: number): number {
    const writes = (flags & PF_W) !== 0;
    const writable = tables && (lo & PTE_RW) !== 0;
    let refused = false;
    if ((flags & PF_SS) !== 0) {
      const shadow = tables && (lo & PTE_RW) === 0 && (lo & PTE_D) !== 0;
      refused = !shadow || user !== ((flags & PF_U) !== 0);
    } else if ((flags & PF_U) !== 0) {
      refused = !user || (writes && !writable) || ((flags & PF_I) !== 0 && noExecute);
    } else if ((flags & PF_I) !== 0) {
      refused = noExecute || (user && this.smep);
    } else {
      refused = (writes && !writable && this.writeProtect) || (user && this.smap && (flags & ACCESS_AC) === 0);
    }
    const key = (flags & PF_I) === 0 && this.isKeyShut(flags, user, writes, hi) ? PF_PK : 0;
    return refused || key !== 0 ? PF_P | key : 0;
  }

  /** Protection keys: PKRU for user pages, IA32_PKRS for supervisor pages (SDM volume 3, 4.6.2). */
  private isKeyShut(flags: number, user: boolean, writes: boolean, hi: number): boolean {
    if (user ? !this.userKeys : !this.supervisorKeys) return false;
    const key = (hi >>> PTE_KEY_SHIFT_HI) & 0xf;
    const rights = ((user ? this.pkru : this.pkrs) >>> (2 * key)) & 3;
    if ((rights & 1) !== 0) return true;
    return (rights & 2) !== 0 && writes && ((flags & PF_U) !== 0 || this.writeProtect);
  }

  private enter(lo: number, hi: number, access: number, pageBits: number, global: boolean, address: number): number {
    let host = address;
    if (this.second !== null) {
      this.nestedStatus = this.second.translate(address, access, NESTED_FINAL);
      if (this.nestedStatus !== NESTED_OK) return -PAGING_NESTED;
      host = this.second.physical[0]!;
    }
    const page = host - (host & 0xfff);
    return this.tlb.enter(lo, hi, access, pageBits, global, page, this.memory.touch(page));
  }

  /** A page fault forgets what the TLB had for the address (SDM volume 3, 4.10.4.1). */
  private pageFault(lo: number, hi: number, flags: number, code: number): number {
    this.tlb.invalidate(lo, hi);
    const told = this.noExecute || this.smep ? ACCESS_ERROR : ACCESS_ERROR & ~PF_I;
    this.fault.errorCode = (flags & told) | code;
    this.fault.lo = lo;
    this.fault.hi = hi;
    return -PAGING_FAULT;
  }
}

/** The index of a linear address into a table of a level: nine bits each, from bit 12 on. */
function indexOf(lo: number, hi: number, level: number): number {
  switch (level) {
    case 1:
      return (lo >>> 12) & 511;
    case 2:
      return (lo >>> 21) & 511;
    case 3:
      return ((lo >>> 30) | (hi << 2)) & 511;
    case 4:
      return (hi >>> 7) & 511;
    default:
      return (hi >>> 16) & 511;
  }
}

function physicalOf(entryLo: number, entryHi: number, level: number, lo: number): number {
  const mask = level === 1 ? 0xfff : level === 2 ? 0x1f_ffff : 0x3fff_ffff;
  return tableOf(entryLo & ~mask, entryHi) + (lo & mask);
}
