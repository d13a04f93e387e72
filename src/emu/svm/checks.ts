import { CR0_CD, CR0_NW, CR0_PE, CR0_PG, CR0_WP, CR4_CET, CR4_PAE, EFER_LMA, EFER_LME, EFER_SVME } from '../control.js';
import { isPat } from '../memory-types.js';
import { msrNamed } from '../msr-rows.js';
import type { Silicon } from '../silicon.js';
import {
  ATTRIB_D,
  ATTRIB_L,
  EVENT_TYPE_SHIFT,
  EVENT_VALID,
  EVENT_VECTOR,
  NP_ENABLE,
  SVM_EVENT,
  VINTR_NMI_ENABLE,
  wordOf,
} from './vmcb-rows.js';

/**
 * What makes VMRUN refuse a VMCB with #VMEXIT(INVALID) (APM volume 2, 15.5.1; 15.20 for events, 15.25.3 and 15.25.4 for
 * nested paging, 15.21.10 for virtual NMIs), in the manual's order.
 */
export const CHECKS = [
  'legal',
  'EFER.SVME is zero',
  'CR0.CD is zero and CR0.NW is set',
  'CR0[63:32] are not zero',
  'an MBZ bit of CR3 is set',
  'an MBZ bit of CR4 is set',
  'DR6[63:32] are not zero',
  'DR7[63:32] are not zero',
  'an MBZ bit of EFER is set',
  'EFER.LMA or EFER.LME without long mode',
  'EFER.LME and CR0.PG are set and CR4.PAE is zero',
  'EFER.LME and CR0.PG are set and CR0.PE is zero',
  'EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are set',
  'the VMRUN intercept is clear',
  'the MSR or IOIO map lies beyond physical memory',
  'illegal event injection',
  'ASID is zero',
  'CR4.CET is set and CR0.WP is zero',
  'nested paging while the host does not page',
  'an MBZ bit of nCR3 is set',
  'a memory type of G_PAT is reserved',
  'virtual NMIs without the NMI intercept',
] as const;
export type Check = (typeof CHECKS)[number];

/** The numbers of the checks. */
const CHECK = Object.fromEntries(CHECKS.map((name, at) => [name, at])) as Readonly<Record<Check, number>>;
const LEGAL = CHECK.legal;
const EFER_SVME_CLEAR = CHECK['EFER.SVME is zero'];
const CR0_CACHE = CHECK['CR0.CD is zero and CR0.NW is set'];
const CR0_HIGH = CHECK['CR0[63:32] are not zero'];
const CR3_MBZ = CHECK['an MBZ bit of CR3 is set'];
const CR4_MBZ = CHECK['an MBZ bit of CR4 is set'];
const DR6_HIGH = CHECK['DR6[63:32] are not zero'];
const DR7_HIGH = CHECK['DR7[63:32] are not zero'];
const EFER_MBZ = CHECK['an MBZ bit of EFER is set'];
const NO_LONG_MODE = CHECK['EFER.LMA or EFER.LME without long mode'];
const LONG_NO_PAE = CHECK['EFER.LME and CR0.PG are set and CR4.PAE is zero'];
const LONG_NO_PE = CHECK['EFER.LME and CR0.PG are set and CR0.PE is zero'];
const CODE_L_AND_D = CHECK['EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are set'];
const NO_VMRUN_INTERCEPT = CHECK['the VMRUN intercept is clear'];
const MAP_BEYOND = CHECK['the MSR or IOIO map lies beyond physical memory'];
const BAD_EVENT = CHECK['illegal event injection'];
const ASID_ZERO = CHECK['ASID is zero'];
const CET_NO_WP = CHECK['CR4.CET is set and CR0.WP is zero'];
const HOST_NOT_PAGING = CHECK['nested paging while the host does not page'];
const NCR3_MBZ = CHECK['an MBZ bit of nCR3 is set'];
const BAD_PAT = CHECK['a memory type of G_PAT is reserved'];
const VNMI_NO_NMI = CHECK['virtual NMIs without the NMI intercept'];

const EFER = wordOf('EFER');
const CR0 = wordOf('CR0');
const CR3 = wordOf('CR3');
const CR4 = wordOf('CR4');
const DR6 = wordOf('DR6');
const DR7 = wordOf('DR7');
const CS = wordOf('CS_SELECTOR');
const MISC_3 = wordOf('INTERCEPT_3');
const MISC_4 = wordOf('INTERCEPT_4');
const MSRPM = wordOf('MSRPM_BASE_PA');
const IOPM = wordOf('IOPM_BASE_PA');
const EVENTINJ = wordOf('EVENTINJ');
const ASID = wordOf('ASID');
const NP_CONTROL = wordOf('NP_CONTROL');
const N_CR3 = wordOf('N_CR3');
const G_PAT = wordOf('G_PAT');
const VINTR = wordOf('VINTR');

const NMI_INTERCEPT = 1 << 1;
const IOIO_INTERCEPT = 1 << 27;
const MSR_INTERCEPT = 1 << 28;
const VMRUN_INTERCEPT = 1 << 0;

/** Vectors that are exceptions: not 2, 9, 15 and those that nobody has defined. */
const EXCEPTIONS = [0, 1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 21, 28, 29, 30].reduce(
  (bits, vector) => bits | (1 << vector),
  0,
);

/** What the checks know of one kind of CPU. */
export interface Limits {
  readonly eferMbz: number;
  readonly cr4MbzLo: number;
  readonly cr4MbzHi: number;
  /** Upper halves: bits 63:MAXPHYADDR. */
  readonly addressHi: number;
  readonly longMode: boolean;
}

const bySilicon = new WeakMap<Silicon, Limits>();

export function limitsOf(silicon: Silicon): Limits {
  const known = bySilicon.get(silicon);
  if (known) return known;
  const cr4 = silicon.mask('CR4');
  const efer = msrNamed('IA32_EFER');
  const limits: Limits = {
    eferMbz: ~Number(silicon.mask(`${efer.writable} 10`) & 0xffff_ffffn),
    cr4MbzLo: ~Number(cr4 & 0xffff_ffffn),
    cr4MbzHi: ~Number(cr4 >> 32n),
    addressHi: silicon.physicalBits >= 64 ? 0 : -1 << (silicon.physicalBits - 32),
    longMode: silicon.has('LM'),
  };
  bySilicon.set(silicon, limits);
  return limits;
}

/** Whether the host pages, which nested paging wants. */
const isPaging = (hostCr0: number): boolean => (hostCr0 & CR0_PG) !== 0;

/**
 * Looks for the first thing that is illegal.
 *
 * @param w the VMCB's page as words
 * @returns its number in {@link CHECKS}, 0 when there is none
 */
export function illegal(w: Int32Array, limits: Limits, hostCr0: number): number {
  const efer = w[EFER]!;
  const cr0 = w[CR0]!;
  const cr4 = w[CR4]!;
  const long = (efer & EFER_LME) !== 0 && (cr0 & CR0_PG) !== 0;
  if ((efer & EFER_SVME) === 0) return EFER_SVME_CLEAR;
  if ((cr0 & CR0_CD) === 0 && (cr0 & CR0_NW) !== 0) return CR0_CACHE;
  if (w[CR0 + 1] !== 0) return CR0_HIGH;
  if ((w[CR3 + 1]! & limits.addressHi) !== 0) return CR3_MBZ;
  if ((cr4 & limits.cr4MbzLo) !== 0 || (w[CR4 + 1]! & limits.cr4MbzHi) !== 0) return CR4_MBZ;
  if (w[DR6 + 1] !== 0) return DR6_HIGH;
  if (w[DR7 + 1] !== 0) return DR7_HIGH;
  if ((efer & limits.eferMbz) !== 0 || w[EFER + 1] !== 0) return EFER_MBZ;
  if ((efer & (EFER_LMA | EFER_LME)) !== 0 && !limits.longMode) return NO_LONG_MODE;
  if (long && (cr4 & CR4_PAE) === 0) return LONG_NO_PAE;
  if (long && (cr0 & CR0_PE) === 0) return LONG_NO_PE;
  const code = (w[CS]! >>> 16) & (ATTRIB_L | ATTRIB_D);
  if (long && code === (ATTRIB_L | ATTRIB_D)) return CODE_L_AND_D;
  if ((w[MISC_4]! & VMRUN_INTERCEPT) === 0) return NO_VMRUN_INTERCEPT;
  const maps = w[MISC_3]!;
  if ((maps & MSR_INTERCEPT) !== 0 && (w[MSRPM + 1]! & limits.addressHi) !== 0) return MAP_BEYOND;
  if ((maps & IOIO_INTERCEPT) !== 0 && (w[IOPM + 1]! & limits.addressHi) !== 0) return MAP_BEYOND;
  if (!isLegalEvent(w[EVENTINJ]!)) return BAD_EVENT;
  if (w[ASID] === 0) return ASID_ZERO;
  if ((cr4 & CR4_CET) !== 0 && (cr0 & CR0_WP) === 0) return CET_NO_WP;
  if ((w[NP_CONTROL]! & NP_ENABLE) !== 0) {
    if (!isPaging(hostCr0)) return HOST_NOT_PAGING;
    if ((w[N_CR3 + 1]! & limits.addressHi) !== 0) return NCR3_MBZ;
    if (!isPat(w[G_PAT]!, w[G_PAT + 1]!)) return BAD_PAT;
  }
  if ((w[VINTR]! & VINTR_NMI_ENABLE) !== 0 && (maps & NMI_INTERCEPT) === 0) return VNMI_NO_NMI;
  return LEGAL;
}

/** EVENTINJ: types 1 and 5 to 7 are reserved, and an exception must be one. */
function isLegalEvent(event: number): boolean {
  if ((event & EVENT_VALID) === 0) return true;
  switch ((event >> EVENT_TYPE_SHIFT) & 7) {
    case SVM_EVENT.INTERRUPT:
    case SVM_EVENT.NMI:
    case SVM_EVENT.SOFTWARE_INTERRUPT:
      return true;
    case SVM_EVENT.EXCEPTION:
      return (event & EVENT_VECTOR) < 32 && ((EXCEPTIONS >>> (event & EVENT_VECTOR)) & 1) === 1;
    default:
      return false;
  }
}
