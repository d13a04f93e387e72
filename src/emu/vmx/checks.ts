import {
  CR0_PE,
  CR0_PG,
  CR0_WP,
  CR4_CET,
  CR4_FRED_HI,
  CR4_PAE,
  CR4_PCIDE,
  EFER_LMA,
  EFER_LME,
  isLegalRflags,
} from '../control.js';
import { EVENT_TYPE, VECTOR } from '../core/status.js';
import { isPat } from '../memory-types.js';
import { msrNamed } from '../msr-rows.js';
import type { Silicon } from '../silicon.js';
import type { Allowed, VmxCapabilities } from './capabilities.js';
import {
  BLOCKED_BY_MOV_SS,
  BLOCKED_BY_STI,
  ENTRY_CONTROL,
  EXIT_CONTROL,
  INFO_ERROR_CODE,
  INFO_TYPE_SHIFT,
  INFO_VALID,
  INFO_VECTOR,
  PIN,
  PRIMARY,
  SECONDARY,
} from './controls.js';
import { FIELD } from './field-rows.js';
import type { Vmcs } from './vmcs.js';

// Fields of the hot path as constants: an object with so many names is slow to ask.
const GUEST_CR3 = FIELD.GUEST_CR3;
const GUEST_RFLAGS = FIELD.GUEST_RFLAGS;
const GUEST_RIP = FIELD.GUEST_RIP;
const GUEST_INTERRUPTIBILITY = FIELD.GUEST_INTERRUPTIBILITY;
const ENTRY_INTERRUPTION_INFO = FIELD.ENTRY_INTERRUPTION_INFO;
const ENTRY_ERROR_CODE = FIELD.ENTRY_ERROR_CODE;
const ENTRY_INSTRUCTION_LENGTH = FIELD.ENTRY_INSTRUCTION_LENGTH;

/**
 * The checks of VM entry (SDM volume 3, 28.2 and 28.3.1), as far as they matter to a guest in 64-bit mode: the number of
 * the first that fails, 0 when none does. Names are for people: {@link CHECKS}.
 */
export const CHECKS = [
  'legal',
  // 28.2.1: VMfailValid with error 7.
  'a pin-based control is not allowed',
  'a primary control is not allowed',
  'a secondary control is not allowed',
  'a VM-exit control is not allowed',
  'a secondary VM-exit control is not allowed',
  'a VM-entry control is not allowed',
  'more CR3 targets than there are',
  'an address lies beyond physical memory or is not aligned',
  'VPID 0',
  'the EPT pointer is not valid',
  'unrestricted guest without EPT',
  'virtual NMIs without NMI exiting',
  'NMI-window exiting without virtual NMIs',
  'saving the preemption timer without using it',
  'the injected event is not valid',
  // 28.2.2 and 28.2.3: error 8.
  'host CR0 or CR4 has a bit that VMX operation fixes',
  'host CR3 lies beyond physical memory',
  'a host address is not canonical',
  'a host MSR has a reserved bit',
  'a host selector is not valid',
  'the host is not in 64-bit mode',
  // 28.3.1: the entry fails with exit reason 33.
  'guest CR0 or CR4 has a bit that VMX operation fixes',
  'guest CR0.PG without CR0.PE',
  'guest IA-32e mode without paging or PAE',
  'guest CR4.PCIDE outside IA-32e mode',
  'guest CR4.CET without CR0.WP',
  'guest CR4.FRED outside IA-32e mode',
  'guest CR3 lies beyond physical memory',
  'a guest address is not canonical',
  'a guest MSR has a reserved bit',
  'guest EFER.LMA disagrees with the entry control',
  'guest RFLAGS has a reserved bit',
  'guest RIP is not canonical',
  'guest RFLAGS.IF is zero and an interrupt is injected',
  'guest interruptibility is not valid',
  'guest activity is not valid',
  'the VMCS link pointer is not all ones',
] as const;
export type Check = (typeof CHECKS)[number];

const CHECK = Object.fromEntries(CHECKS.map((name, at) => [name, at])) as Readonly<Record<Check, number>>;
const PIN_BAD = CHECK['a pin-based control is not allowed'];
const PRIMARY_BAD = CHECK['a primary control is not allowed'];
const SECONDARY_BAD = CHECK['a secondary control is not allowed'];
const EXIT_BAD = CHECK['a VM-exit control is not allowed'];
const EXIT2_BAD = CHECK['a secondary VM-exit control is not allowed'];
const ENTRY_BAD = CHECK['a VM-entry control is not allowed'];
const TARGETS = CHECK['more CR3 targets than there are'];
const ADDRESS = CHECK['an address lies beyond physical memory or is not aligned'];
const VPID_ZERO = CHECK['VPID 0'];
const EPT_POINTER = CHECK['the EPT pointer is not valid'];
const UNRESTRICTED = CHECK['unrestricted guest without EPT'];
const VIRTUAL_NMIS = CHECK['virtual NMIs without NMI exiting'];
const NMI_WINDOW = CHECK['NMI-window exiting without virtual NMIs'];
const TIMER_SAVE = CHECK['saving the preemption timer without using it'];
const EVENT_BAD = CHECK['the injected event is not valid'];
export const FIRST_HOST_CHECK = CHECK['host CR0 or CR4 has a bit that VMX operation fixes'];
const HOST_FIXED = FIRST_HOST_CHECK;
const HOST_CR3 = CHECK['host CR3 lies beyond physical memory'];
const HOST_CANONICAL = CHECK['a host address is not canonical'];
const HOST_MSR = CHECK['a host MSR has a reserved bit'];
const HOST_SELECTOR = CHECK['a host selector is not valid'];
const HOST_MODE = CHECK['the host is not in 64-bit mode'];
export const FIRST_GUEST_CHECK = CHECK['guest CR0 or CR4 has a bit that VMX operation fixes'];
const GUEST_FIXED = FIRST_GUEST_CHECK;
const GUEST_PG = CHECK['guest CR0.PG without CR0.PE'];
const GUEST_LONG = CHECK['guest IA-32e mode without paging or PAE'];
const GUEST_PCID = CHECK['guest CR4.PCIDE outside IA-32e mode'];
const GUEST_CET = CHECK['guest CR4.CET without CR0.WP'];
const GUEST_FRED = CHECK['guest CR4.FRED outside IA-32e mode'];
const BAD_CR3 = CHECK['guest CR3 lies beyond physical memory'];
const GUEST_CANONICAL = CHECK['a guest address is not canonical'];
const GUEST_MSR = CHECK['a guest MSR has a reserved bit'];
const GUEST_EFER = CHECK['guest EFER.LMA disagrees with the entry control'];
const BAD_RFLAGS = CHECK['guest RFLAGS has a reserved bit'];
const BAD_RIP = CHECK['guest RIP is not canonical'];
const GUEST_IF = CHECK['guest RFLAGS.IF is zero and an interrupt is injected'];
const BAD_INTERRUPTIBILITY = CHECK['guest interruptibility is not valid'];
const GUEST_ACTIVITY = CHECK['guest activity is not valid'];
const GUEST_LINK = CHECK['the VMCS link pointer is not all ones'];

const IF = 1 << 9;
const LAM_HI = 3 << 29;
const EPT_WRITE_BACK = 6;

/** Masks that the checks need of one kind of CPU. */
export interface Limits {
  readonly capabilities: VmxCapabilities;
  /** Upper-half bits below the sign of a canonical address that is loaded into an MSR. */
  readonly canonicalShift: number;
  readonly cr3Hi: number;
  readonly eferReserved: number;
  readonly debugctl: number;
  readonly fredConfig: number;
}

export function limitsOf(silicon: Silicon, capabilities: VmxCapabilities): Limits {
  const reserved = (name: string, also = '') => {
    const row = msrNamed(name);
    return ~Number(BigInt.asIntN(32, silicon.mask(`${row.writable} ${row.ignored} ${also}`)));
  };
  return {
    capabilities,
    canonicalShift: silicon.linearBits - 33,
    cr3Hi: silicon.has('LAM') ? capabilities.addressHi & ~LAM_HI : capabilities.addressHi,
    eferReserved: reserved('IA32_EFER', '10'),
    debugctl: reserved('IA32_DEBUGCTL'),
    fredConfig: reserved('IA32_FRED_CONFIG'),
  };
}

const isAllowed = (value: number, { zero, one }: Allowed): boolean => (zero & ~value) === 0 && (value & ~one) === 0;

/** 28.2.1. */
export function checkControls({ lo, hi }: Vmcs, { capabilities }: Limits): number {
  const primary = lo[FIELD.PRIMARY_CONTROLS]!;
  const pin = lo[FIELD.PIN_BASED_CONTROLS]!;
  const exit = lo[FIELD.EXIT_CONTROLS]!;
  if (!isAllowed(pin, capabilities.pin)) return PIN_BAD;
  if (!isAllowed(primary, capabilities.primary)) return PRIMARY_BAD;
  const secondary = (primary & PRIMARY.SECONDARY) === 0 ? 0 : lo[FIELD.SECONDARY_CONTROLS]!;
  if (!isAllowed(secondary, capabilities.secondary)) return SECONDARY_BAD;
  if (!isAllowed(exit, capabilities.exit)) return EXIT_BAD;
  const exit2 = lo[FIELD.SECONDARY_EXIT_CONTROLS]! & ~capabilities.exit2;
  if ((exit & EXIT_CONTROL.SECONDARY) !== 0 && (exit2 | hi[FIELD.SECONDARY_EXIT_CONTROLS]!) !== 0) return EXIT2_BAD;
  if (!isAllowed(lo[FIELD.ENTRY_CONTROLS]!, capabilities.entry)) return ENTRY_BAD;
  if (lo[FIELD.CR3_TARGET_COUNT]! >>> 0 > capabilities.cr3Targets) return TARGETS;
  if ((pin & PIN.VIRTUAL_NMIS) !== 0 && (pin & PIN.NMI) === 0) return VIRTUAL_NMIS;
  if ((primary & PRIMARY.NMI_WINDOW) !== 0 && (pin & PIN.VIRTUAL_NMIS) === 0) return NMI_WINDOW;
  const savesTimer = (exit & EXIT_CONTROL.SAVE_PREEMPTION_TIMER) !== 0;
  if (savesTimer && (pin & PIN.PREEMPTION_TIMER) === 0) return TIMER_SAVE;
  if ((secondary & SECONDARY.VPID) !== 0 && lo[FIELD.VPID] === 0) return VPID_ZERO;
  const ept = (secondary & SECONDARY.EPT) !== 0;
  if ((secondary & SECONDARY.UNRESTRICTED_GUEST) !== 0 && !ept) return UNRESTRICTED;
  if (ept && !isEptPointer(lo[FIELD.EPT_POINTER]!, hi[FIELD.EPT_POINTER]!, capabilities)) return EPT_POINTER;
  return areAddresses(lo, hi, primary, capabilities) ? 0 : ADDRESS;
}

function isEptPointer(lo: number, hi: number, capabilities: VmxCapabilities): boolean {
  const levels = (lo >> 3) & 7;
  if ((lo & 7) !== EPT_WRITE_BACK || (levels !== 3 && !(levels === 4 && capabilities.eptLevels5))) return false;
  if ((lo & 0x40) !== 0 && !capabilities.eptAccessedDirty) return false;
  return (lo & 0xf80) === 0 && (hi & capabilities.addressHi) === 0;
}

/** Each list by where it lies, how long it is, and its alignment. */
const LISTS = [
  [FIELD.EXIT_MSR_STORE_ADDRESS, FIELD.EXIT_MSR_STORE_COUNT],
  [FIELD.EXIT_MSR_LOAD_ADDRESS, FIELD.EXIT_MSR_LOAD_COUNT],
  [FIELD.ENTRY_MSR_LOAD_ADDRESS, FIELD.ENTRY_MSR_LOAD_COUNT],
] as const;

function areAddresses(lo: Int32Array, hi: Int32Array, primary: number, { addressHi }: VmxCapabilities): boolean {
  const isPage = (field: number) => (lo[field]! & 0xfff) === 0 && (hi[field]! & addressHi) === 0;
  if ((primary & PRIMARY.MSR_BITMAPS) !== 0 && !isPage(FIELD.MSR_BITMAP)) return false;
  if ((primary & PRIMARY.IO_BITMAPS) !== 0 && !(isPage(FIELD.IO_BITMAP_A) && isPage(FIELD.IO_BITMAP_B))) return false;
  for (const [address, count] of LISTS) {
    if (lo[count] === 0) continue;
    if ((lo[address]! & 0xf) !== 0 || (hi[address]! & addressHi) !== 0) return false;
  }
  return true;
}

/** Exceptions that push an error code. */
const WITH_ERROR_CODE =
  (1 << VECTOR.DF) |
  (1 << VECTOR.TS) |
  (1 << VECTOR.NP) |
  (1 << VECTOR.SS) |
  (1 << VECTOR.GP) |
  (1 << VECTOR.PF) |
  (1 << VECTOR.AC) |
  (1 << VECTOR.CP);

/** 28.2.1.3: the field of event injection. */
export function checkEvent({ lo }: Vmcs, { capabilities }: Limits): number {
  const info = lo[ENTRY_INTERRUPTION_INFO]!;
  if ((info & INFO_VALID) === 0) return 0;
  const type = (info >> INFO_TYPE_SHIFT) & 7;
  const vector = info & INFO_VECTOR;
  const hasError = (info & INFO_ERROR_CODE) !== 0;
  if ((info & 0x7fff_f000) !== 0 || type === 1) return EVENT_BAD;
  if (type === EVENT_TYPE.NMI && vector !== VECTOR.NMI) return EVENT_BAD;
  if (type === EVENT_TYPE.EXCEPTION && vector > 31) return EVENT_BAD;
  const wantsError = type === EVENT_TYPE.EXCEPTION && ((WITH_ERROR_CODE >>> vector) & 1) === 1;
  if (hasError && type !== EVENT_TYPE.EXCEPTION) return EVENT_BAD;
  if (hasError !== wantsError && !(type === EVENT_TYPE.EXCEPTION && capabilities.anyErrorCode)) return EVENT_BAD;
  if (hasError && (lo[ENTRY_ERROR_CODE]! & 0xffff_8000) !== 0) return EVENT_BAD;
  const isSoftware = type >= EVENT_TYPE.SOFTWARE_INTERRUPT && type <= EVENT_TYPE.SOFTWARE_EXCEPTION;
  const length = lo[ENTRY_INSTRUCTION_LENGTH]! >>> 0;
  return isSoftware && length > 15 ? EVENT_BAD : 0;
}

/** Host fields that hold canonical addresses, whatever the controls are. */
const HOST_ADDRESSES = Int32Array.of(
  FIELD.HOST_FS_BASE,
  FIELD.HOST_GS_BASE,
  FIELD.HOST_TR_BASE,
  FIELD.HOST_GDTR_BASE,
  FIELD.HOST_IDTR_BASE,
  FIELD.HOST_SYSENTER_ESP,
  FIELD.HOST_SYSENTER_EIP,
  FIELD.HOST_RIP,
);
const HOST_FRED_ADDRESSES = Int32Array.of(
  FIELD.HOST_FRED_CONFIG,
  FIELD.HOST_FRED_RSP1,
  FIELD.HOST_FRED_RSP2,
  FIELD.HOST_FRED_RSP3,
);
const HOST_SELECTORS = Int32Array.of(
  FIELD.HOST_ES_SELECTOR,
  FIELD.HOST_CS_SELECTOR,
  FIELD.HOST_SS_SELECTOR,
  FIELD.HOST_DS_SELECTOR,
  FIELD.HOST_FS_SELECTOR,
  FIELD.HOST_GS_SELECTOR,
  FIELD.HOST_TR_SELECTOR,
);

function areCanonical(fields: Int32Array, hi: Int32Array, shift: number): boolean {
  for (let n = 0; n < fields.length; n++) {
    const top = hi[fields[n]!]! >> shift;
    if (top !== 0 && top !== -1) return false;
  }
  return true;
}

function isFixed(lo: Int32Array, hi: Int32Array, cr0: number, cr4: number, capabilities: VmxCapabilities): boolean {
  return (
    hi[cr0] === 0 &&
    (capabilities.cr0Fixed0 & ~lo[cr0]!) === 0 &&
    (lo[cr0]! & ~capabilities.cr0Fixed1) === 0 &&
    (capabilities.cr4Fixed0 & ~lo[cr4]!) === 0 &&
    (lo[cr4]! & ~capabilities.cr4Fixed1Lo) === 0 &&
    (hi[cr4]! & ~capabilities.cr4Fixed1Hi) === 0
  );
}

/** 28.2.2 to 28.2.4. */
export function checkHost({ lo, hi }: Vmcs, limits: Limits, efer: number): number {
  const { capabilities, canonicalShift } = limits;
  const exit = lo[FIELD.EXIT_CONTROLS]!;
  if (!isFixed(lo, hi, FIELD.HOST_CR0, FIELD.HOST_CR4, capabilities)) return HOST_FIXED;
  if ((hi[FIELD.HOST_CR3]! & capabilities.addressHi) !== 0) return HOST_CR3;
  if (!areCanonical(HOST_ADDRESSES, hi, canonicalShift)) return HOST_CANONICAL;
  const loadsFred = (exit & EXIT_CONTROL.SECONDARY) !== 0 && (lo[FIELD.SECONDARY_EXIT_CONTROLS]! & 2) !== 0;
  if (loadsFred) {
    if (!areCanonical(HOST_FRED_ADDRESSES, hi, canonicalShift)) return HOST_CANONICAL;
    if ((lo[FIELD.HOST_FRED_CONFIG]! & limits.fredConfig) !== 0) return HOST_MSR;
  }
  if ((exit & EXIT_CONTROL.LOAD_PAT) !== 0 && !isPat(lo[FIELD.HOST_PAT]!, hi[FIELD.HOST_PAT]!)) return HOST_MSR;
  const hostEfer = lo[FIELD.HOST_EFER]!;
  if ((exit & EXIT_CONTROL.LOAD_EFER) !== 0) {
    if ((hostEfer & limits.eferReserved) !== 0 || hi[FIELD.HOST_EFER] !== 0) return HOST_MSR;
    if ((hostEfer & (EFER_LMA | EFER_LME)) !== (EFER_LMA | EFER_LME)) return HOST_MODE;
  }
  for (let n = 0; n < HOST_SELECTORS.length; n++) if ((lo[HOST_SELECTORS[n]!]! & 7) !== 0) return HOST_SELECTOR;
  if (lo[FIELD.HOST_CS_SELECTOR] === 0 || lo[FIELD.HOST_TR_SELECTOR] === 0) return HOST_SELECTOR;
  const long = (efer & EFER_LMA) !== 0 && (exit & EXIT_CONTROL.HOST_64) !== 0;
  return long && (lo[FIELD.HOST_CR4]! & CR4_PAE) !== 0 ? 0 : HOST_MODE;
}

/** Guest fields that hold canonical addresses, whatever the controls are. */
const GUEST_ADDRESSES = Int32Array.of(
  FIELD.GUEST_FS_BASE,
  FIELD.GUEST_GS_BASE,
  FIELD.GUEST_LDTR_BASE,
  FIELD.GUEST_TR_BASE,
  FIELD.GUEST_GDTR_BASE,
  FIELD.GUEST_IDTR_BASE,
  FIELD.GUEST_SYSENTER_ESP,
  FIELD.GUEST_SYSENTER_EIP,
);
const GUEST_FRED_ADDRESSES = Int32Array.of(
  FIELD.GUEST_FRED_CONFIG,
  FIELD.GUEST_FRED_RSP1,
  FIELD.GUEST_FRED_RSP2,
  FIELD.GUEST_FRED_RSP3,
);

/** 28.3.1, without what {@link checkRun} looks at in every entry. */
export function checkGuest({ lo, hi }: Vmcs, limits: Limits): number {
  const { capabilities, canonicalShift } = limits;
  const entry = lo[FIELD.ENTRY_CONTROLS]!;
  const cr0 = lo[FIELD.GUEST_CR0]!;
  const cr4 = lo[FIELD.GUEST_CR4]!;
  const long = (entry & ENTRY_CONTROL.IA32E_GUEST) !== 0;
  if ((cr0 & CR0_PG) !== 0 && (cr0 & CR0_PE) === 0) return GUEST_PG;
  if (!isFixed(lo, hi, FIELD.GUEST_CR0, FIELD.GUEST_CR4, capabilities)) return GUEST_FIXED;
  if (long && ((cr0 & CR0_PG) === 0 || (cr4 & CR4_PAE) === 0)) return GUEST_LONG;
  if (!long && (cr4 & CR4_PCIDE) !== 0) return GUEST_PCID;
  if ((cr4 & CR4_CET) !== 0 && (cr0 & CR0_WP) === 0) return GUEST_CET;
  if (!long && (hi[FIELD.GUEST_CR4]! & CR4_FRED_HI) !== 0) return GUEST_FRED;
  if (!areCanonical(GUEST_ADDRESSES, hi, canonicalShift)) return GUEST_CANONICAL;
  if ((entry & ENTRY_CONTROL.LOAD_DEBUG) !== 0 && (lo[FIELD.GUEST_DEBUGCTL]! & limits.debugctl) !== 0) return GUEST_MSR;
  if ((entry & ENTRY_CONTROL.LOAD_PAT) !== 0 && !isPat(lo[FIELD.GUEST_PAT]!, hi[FIELD.GUEST_PAT]!)) return GUEST_MSR;
  if ((entry & ENTRY_CONTROL.LOAD_FRED) !== 0) {
    if (!areCanonical(GUEST_FRED_ADDRESSES, hi, canonicalShift)) return GUEST_CANONICAL;
    if ((lo[FIELD.GUEST_FRED_CONFIG]! & limits.fredConfig) !== 0) return GUEST_MSR;
  }
  if ((entry & ENTRY_CONTROL.LOAD_EFER) !== 0) {
    const efer = lo[FIELD.GUEST_EFER]!;
    if ((efer & limits.eferReserved) !== 0 || hi[FIELD.GUEST_EFER] !== 0) return GUEST_MSR;
    const wanted = long ? EFER_LMA : 0;
    if ((efer & EFER_LMA) !== wanted) return GUEST_EFER;
    if ((cr0 & CR0_PG) !== 0 && ((efer & EFER_LME) !== 0) !== long) return GUEST_EFER;
  }
  if (lo[FIELD.GUEST_ACTIVITY]! >>> 0 > 1) return GUEST_ACTIVITY;
  return (lo[FIELD.VMCS_LINK_POINTER]! & hi[FIELD.VMCS_LINK_POINTER]!) === -1 ? 0 : GUEST_LINK;
}

/** The part of 28.3.1 that changes from entry to entry. */
export function checkRun({ lo, hi }: Vmcs, limits: Limits): number {
  const rflags = lo[GUEST_RFLAGS]!;
  if ((hi[GUEST_CR3]! & limits.cr3Hi) !== 0) return BAD_CR3;
  if (!isLegalRflags(rflags, hi[GUEST_RFLAGS]!)) return BAD_RFLAGS;
  // Bits 63:N must be alike, N the number of linear-address bits of the CPU, not of the guest's paging mode.
  const top = hi[GUEST_RIP]! >> limits.canonicalShift;
  if (top !== 0 && top !== -1) return BAD_RIP;
  const blocked = lo[GUEST_INTERRUPTIBILITY]!;
  if ((blocked & ~0x1f) !== 0) return BAD_INTERRUPTIBILITY;
  if ((blocked & BLOCKED_BY_STI) !== 0 && ((blocked & BLOCKED_BY_MOV_SS) !== 0 || (rflags & IF) === 0))
    return BAD_INTERRUPTIBILITY;
  const info = lo[ENTRY_INTERRUPTION_INFO]!;
  if ((info & INFO_VALID) === 0 || ((info >> INFO_TYPE_SHIFT) & 7) !== EVENT_TYPE.INTERRUPT) return 0;
  if ((blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) !== 0) return BAD_INTERRUPTIBILITY;
  return (rflags & IF) === 0 ? GUEST_IF : 0;
}
