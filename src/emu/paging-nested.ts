import { MEMORY_OK, type PhysicalMemory } from './memory.js';
import {
  ACCESS_FLAGS,
  EPT_A,
  EPT_D,
  EPT_PS,
  EPT_R,
  EPT_VIOLATION_FINAL,
  EPT_VIOLATION_GLA_VALID,
  EPT_W,
  EPT_X,
  NPF_FINAL_HI,
  NPF_TABLE_HI,
  PF_I,
  PF_P,
  PF_RSVD,
  PF_U,
  PF_W,
  PTE_A,
  PTE_D,
  PTE_NX_HI,
  PTE_P,
  PTE_PS,
  PTE_RW,
  PTE_US,
} from './paging-rows.js';
import type { Silicon } from './silicon.js';

/** The second walk: from guest-physical to host-physical addresses, by EPT (VMX) or nested page tables (SVM). */

export const NESTED_OK = 0;
/** EPT violation, or #VMEXIT(NPF). */
export const NESTED_VIOLATION = 1;
/** EPT misconfiguration. */
export const NESTED_MISCONFIGURATION = 2;

/** What a guest-physical address is used for. */
export const NESTED_FINAL = 0;
/** It lies in one of the guest's paging structures, on the way to a linear address. */
export const NESTED_TABLE = 1;
/** As the one above, and an accessed or dirty bit is being set. */
export const NESTED_TABLE_WRITE = 2;

const WORD = 0x1_0000_0000;

export interface NestedOptions {
  readonly format: 'ept' | 'npt';
  /** Physical address of the top table. */
  readonly root: number;
  /** 4 or 5; 4 when not given. */
  readonly levels?: 4 | 5;
  /** EPTP[6]: accessed and dirty bits. Nested page tables always have them. */
  readonly accessedDirty?: boolean;
  /** IA32_VMX_EPT_VPID_CAP[0]: pages may be executable without being readable. */
  readonly executeOnly?: boolean;
}

/** What the exit says. */
export interface NestedFault {
  /** Guest-physical address. */
  address: number;
  /** Exit qualification, or EXITINFO1. */
  infoLo: number;
  infoHi: number;
}

export class NestedPaging {
  readonly format: 'ept' | 'npt';
  root: number;
  readonly levels: number;
  readonly fault: NestedFault = { address: 0, infoLo: 0, infoHi: 0 };
  /** What the walk came to: host-physical address. */
  readonly physical = new Float64Array(1);

  private readonly memory: PhysicalMemory;
  accessedDirty: boolean;
  private readonly executeOnly: boolean;
  private readonly gigabytes: boolean;
  private readonly reservedHi: number;
  private readonly entries = new Float64Array(6);

  constructor(memory: PhysicalMemory, silicon: Silicon, options: NestedOptions) {
    this.memory = memory;
    this.format = options.format;
    this.root = options.root;
    this.levels = options.levels ?? 4;
    this.accessedDirty = options.format === 'npt' || (options.accessedDirty ?? false);
    this.executeOnly = options.executeOnly ?? true;
    this.gigabytes = options.format === 'ept' || silicon.has('GBPAGES');
    this.reservedHi = reservedAddressBits(silicon.physicalBits);
  }

  /**
   * Translates a guest-physical address into {@link physical}; otherwise {@link fault} is filled in.
   *
   * @param access kind of the access to the linear address
   * @param purpose whether it is the page itself or a paging structure
   */
  translate(address: number, access: number, purpose: number): number {
    return this.format === 'ept' ? this.ept(address, access, purpose) : this.npt(address, access, purpose);
  }

  private ept(address: number, access: number, purpose: number): number {
    const want = this.eptWants(access, purpose);
    // Paging structures count as written when EPT has dirty bits (SDM volume 3, 29.3.3.2).
    let rights = EPT_R | EPT_W | EPT_X;
    let table = this.root;
    let level = this.levels;
    let lo = 0;
    let hi = 0;
    for (; ; level--) {
      if (this.isBeyond(address, level)) return this.eptViolation(address, want, 0, purpose);
      const at = this.entryOf(table, address, level);
      lo = this.memory.value[0]!;
      hi = this.memory.value[1]!;
      if ((lo & 7) === 0) return this.eptViolation(address, want, 0, purpose);
      const leaf = level === 1 || ((level === 2 || level === 3) && (lo & EPT_PS) !== 0);
      if (this.isMisconfigured(lo, hi, level, leaf)) return this.misconfiguration(address);
      this.entries[level] = at;
      rights &= lo;
      if (leaf) break;
      table = tableOf(lo, hi);
    }
    if ((want & ~rights) !== 0) return this.eptViolation(address, want, rights, purpose);
    if (this.accessedDirty) this.mark(level, EPT_A, (want & EPT_W) !== 0 ? EPT_D : 0);
    this.finish(lo, hi, level, address);
    return NESTED_OK;
  }

  private eptWants(access: number, purpose: number): number {
    if (purpose !== NESTED_FINAL) return purpose === NESTED_TABLE_WRITE || this.accessedDirty ? EPT_R | EPT_W : EPT_R;
    const flags = ACCESS_FLAGS[access]!;
    return (flags & PF_I) !== 0 ? EPT_X : (flags & PF_W) !== 0 ? EPT_W : EPT_R;
  }

  private isMisconfigured(lo: number, hi: number, level: number, leaf: boolean): boolean {
    if ((lo & EPT_W) !== 0 && (lo & EPT_R) === 0) return true;
    if ((lo & 7) === EPT_X && !this.executeOnly) return true;
    if ((hi & this.reservedHi) !== 0) return true;
    if (!leaf) return (lo & (level > 3 ? 0xf8 : 0x78)) !== 0;
    const type = (lo >> 3) & 7;
    if (type === 2 || type === 3 || type === 7) return true;
    return (lo & pageReserved(level)) !== 0;
  }

  private npt(address: number, access: number, purpose: number): number {
    // Table accesses are user writes; the rest are user accesses of their own kind (APM volume 2, 15.25.5).
    const flags = purpose === NESTED_FINAL ? ACCESS_FLAGS[access]! & (PF_W | PF_I) : PF_W;
    let rights = PTE_RW | PTE_US;
    let noExecute = 0;
    let table = this.root;
    let level = this.levels;
    let lo = 0;
    let hi = 0;
    for (; ; level--) {
      if (this.isBeyond(address, level)) return this.npf(address, flags, purpose);
      const at = this.entryOf(table, address, level);
      lo = this.memory.value[0]!;
      hi = this.memory.value[1]!;
      if ((lo & PTE_P) === 0) return this.npf(address, flags, purpose);
      const leaf = level === 1 || ((level === 2 || (level === 3 && this.gigabytes)) && (lo & PTE_PS) !== 0);
      const reserved = leaf ? pageReserved(level) : PTE_PS | (level > 3 ? 1 << 8 : 0);
      if ((hi & this.reservedHi) !== 0 || (lo & reserved) !== 0)
        return this.npf(address, flags | PF_P | PF_RSVD, purpose);
      this.entries[level] = at;
      rights &= lo;
      noExecute |= hi & PTE_NX_HI;
      if (leaf) break;
      table = tableOf(lo, hi);
    }
    const refused =
      (rights & PTE_US) === 0 ||
      ((flags & PF_W) !== 0 && (rights & PTE_RW) === 0) ||
      ((flags & PF_I) !== 0 && noExecute !== 0);
    if (refused) return this.npf(address, flags | PF_P, purpose);
    this.mark(level, PTE_A, (flags & PF_W) !== 0 ? PTE_D : 0);
    this.finish(lo, hi, level, address);
    return NESTED_OK;
  }

  /** Whether the address has bits that the top table has no index for. */
  private isBeyond(address: number, level: number): boolean {
    return level === this.levels && address >= 2 ** (12 + 9 * level);
  }

  /** Reads the entry of a table for an address; ones where there is no memory. @returns where it lies */
  private entryOf(table: number, address: number, level: number): number {
    const at = table + (Math.floor(address / 2 ** (3 + 9 * level)) % 512) * 8;
    if (this.memory.read(at, 8) !== MEMORY_OK) {
      this.memory.value[0] = -1;
      this.memory.value[1] = -1;
    }
    return at;
  }

  private mark(leaf: number, accessed: number, dirty: number): void {
    for (let level = this.levels; level >= leaf; level--) {
      setBits(this.memory, this.entries[level]!, level === leaf ? accessed | dirty : accessed);
    }
  }

  private finish(lo: number, hi: number, level: number, address: number): void {
    const size = 2 ** (3 + 9 * level);
    const base = tableOf(lo, hi);
    this.physical[0] = base - (base % size) + (address % size);
  }

  private eptViolation(address: number, want: number, rights: number, purpose: number): number {
    this.fault.address = address;
    this.fault.infoLo =
      want | (rights << 3) | EPT_VIOLATION_GLA_VALID | (purpose === NESTED_FINAL ? EPT_VIOLATION_FINAL : 0);
    this.fault.infoHi = 0;
    return NESTED_VIOLATION;
  }

  private misconfiguration(address: number): number {
    this.fault.address = address;
    this.fault.infoLo = 0;
    this.fault.infoHi = 0;
    return NESTED_MISCONFIGURATION;
  }

  private npf(address: number, code: number, purpose: number): number {
    this.fault.address = address;
    this.fault.infoLo = code | PF_U;
    this.fault.infoHi = purpose === NESTED_FINAL ? NPF_FINAL_HI : NPF_TABLE_HI;
    return NESTED_VIOLATION;
  }
}

/** Bits 51:MAXPHYADDR, in the upper half of an entry. */
export function reservedAddressBits(physicalBits: number): number {
  return (-1 << (physicalBits - 32)) & 0xf_ffff;
}

/** Address bits 51:12 of an entry. */
export function tableOf(lo: number, hi: number): number {
  return (hi & 0xf_ffff) * WORD + ((lo & ~0xfff) >>> 0);
}

/** Address bits of a large page's entry that lie within the page; bit 12 is PAT there. */
export function pageReserved(level: number): number {
  return level === 3 ? 0x3fff_e000 : level === 2 ? 0x1f_e000 : 0;
}

/** Sets bits of the low half of an entry that are not set yet. */
export function setBits(memory: PhysicalMemory, at: number, bits: number): void {
  if (memory.read(at, 4) !== MEMORY_OK) return;
  const lo = memory.value[0]!;
  if ((lo & bits) !== bits) memory.write(at, 4, lo | bits, 0);
}
