/**
 * Bits of page-table entries and error codes, and the kinds of accesses. SDM volume 3, chapter 4 (paging) and 29.3
 * (EPT); APM volume 2, 5.3 to 5.6 and 15.25 (nested paging).
 */

/** Paging-structure entries, low half. */
export const PTE_P = 1 << 0;
export const PTE_RW = 1 << 1;
export const PTE_US = 1 << 2;
export const PTE_A = 1 << 5;
export const PTE_D = 1 << 6;
/** In entries of levels 3 and 2: it maps a page. */
export const PTE_PS = 1 << 7;
export const PTE_G = 1 << 8;
/** High half: execute-disable. */
export const PTE_NX_HI = 1 << 31;
/** High half: where the protection key (bits 62:59) begins. */
export const PTE_KEY_SHIFT_HI = 27;

/** #PF error code (SDM volume 3, 4.7). */
export const PF_P = 1 << 0;
export const PF_W = 1 << 1;
export const PF_U = 1 << 2;
export const PF_RSVD = 1 << 3;
export const PF_I = 1 << 4;
export const PF_PK = 1 << 5;
export const PF_SS = 1 << 6;
/** Not in the error code: EFLAGS.AC = 1 suspends SMAP for the access. */
const AC = 1 << 8;

/**
 * What a linear address is used for. "Supervisor" is CPL < 3 or an implicit access (descriptor tables, TSS); only
 * explicit accesses with EFLAGS.AC = 1 take the kinds with AC.
 */
export const ACCESS = {
  READ: 0,
  WRITE: 1,
  FETCH: 2,
  READ_AC: 3,
  WRITE_AC: 4,
  USER_READ: 5,
  USER_WRITE: 6,
  USER_FETCH: 7,
  SHADOW_READ: 8,
  SHADOW_WRITE: 9,
  USER_SHADOW_READ: 10,
  USER_SHADOW_WRITE: 11,
} as const;
export type Access = (typeof ACCESS)[keyof typeof ACCESS];

/** Of each kind: its bits in the error code, and {@link AC}. */
export const ACCESS_FLAGS = Int32Array.of(
  0,
  PF_W,
  PF_I,
  AC,
  PF_W | AC,
  PF_U,
  PF_U | PF_W,
  PF_U | PF_I,
  PF_SS,
  PF_SS | PF_W,
  PF_SS | PF_U,
  PF_SS | PF_U | PF_W,
);
export const ACCESS_AC = AC;
/** The bits of {@link ACCESS_FLAGS} that an error code has. I and D are told apart only with NX or SMEP. */
export const ACCESS_ERROR = PF_W | PF_U | PF_I | PF_SS;

/** EPT entries, low half. */
export const EPT_R = 1 << 0;
export const EPT_W = 1 << 1;
export const EPT_X = 1 << 2;
export const EPT_PS = 1 << 7;
export const EPT_A = 1 << 8;
export const EPT_D = 1 << 9;

/** Exit qualification of an EPT violation (SDM volume 3, table 28-7). */
export const EPT_VIOLATION_GLA_VALID = 1 << 7;
/** The access was to the page itself, not to a paging structure on the way to it. */
export const EPT_VIOLATION_FINAL = 1 << 8;

/** Upper half of EXITINFO1 of #VMEXIT(NPF) (APM volume 2, 15.25.6): the guest's page, or a table on the way to it. */
export const NPF_FINAL_HI = 1;
export const NPF_TABLE_HI = 2;
