/**
 * The virtual machine control block: one row per field, with its offset and width in bytes (APM volume 2, appendix B;
 * compared with Linux's `struct vmcb_control_area`, `struct vmcb_save_area` and `struct sev_es_save_area`). A VMCB is a
 * page of physical memory; the host save area is one as well and uses the same offsets (that layout is the processor's
 * own business, except for what {@link VMSA_ROWS} has).
 */

export interface VmcbRow<Name extends string = string> {
  readonly offset: number;
  readonly name: Name;
  /** 1, 2, 4 or 8. */
  readonly bytes: number;
}

function row<const Name extends string>(offset: number, name: Name, bytes: 1 | 2 | 4 | 8): VmcbRow<Name> {
  return { offset, name, bytes };
}

/** B.1, control area. Six words of intercepts: the number of a bit is its exit code, see `exit-rows.ts`. */
// biome-ignore format: one row per fact
const CONTROL_ROWS = [
  row(0x000, 'INTERCEPT_CR', 4),
  row(0x004, 'INTERCEPT_DR', 4),
  row(0x008, 'INTERCEPT_EXCEPTION', 4),
  row(0x00c, 'INTERCEPT_3', 4),
  row(0x010, 'INTERCEPT_4', 4),
  row(0x014, 'INTERCEPT_5', 4),
  row(0x03c, 'PAUSE_FILTER_THRESHOLD', 2),
  row(0x03e, 'PAUSE_FILTER_COUNT', 2),
  row(0x040, 'IOPM_BASE_PA', 8),
  row(0x048, 'MSRPM_BASE_PA', 8),
  row(0x050, 'TSC_OFFSET', 8),
  row(0x058, 'ASID', 4),
  row(0x05c, 'TLB_CONTROL', 1),
  row(0x060, 'VINTR', 4),
  row(0x064, 'V_INTR_VECTOR', 4),
  row(0x068, 'INTERRUPT_STATE', 4),
  row(0x070, 'EXITCODE', 8),
  row(0x078, 'EXITINFO1', 8),
  row(0x080, 'EXITINFO2', 8),
  row(0x088, 'EXITINTINFO', 8),
  row(0x090, 'NP_CONTROL', 8),
  row(0x0a8, 'EVENTINJ', 8),
  row(0x0b0, 'N_CR3', 8),
  row(0x0b8, 'VIRT_EXT', 8),
  row(0x0c0, 'CLEAN', 4),
  row(0x0c8, 'NRIP', 8),
  row(0x0d0, 'FETCHED', 1),
  row(0x108, 'VMSA_PTR', 8),
] as const;

/** Names of the segments and table registers in the save area, in order from 400H on; 16 bytes each. */
export const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'GDTR', 'LDTR', 'IDTR', 'TR'] as const;
type Segment = (typeof SEGMENTS)[number];
type SegmentField = `${Segment}_${'SELECTOR' | 'ATTRIB' | 'LIMIT' | 'BASE'}`;

const SEGMENT_ROWS: readonly VmcbRow<SegmentField>[] = SEGMENTS.flatMap((segment, n) => [
  row(0x400 + n * 16, `${segment}_SELECTOR`, 2),
  row(0x402 + n * 16, `${segment}_ATTRIB`, 2),
  row(0x404 + n * 16, `${segment}_LIMIT`, 4),
  row(0x408 + n * 16, `${segment}_BASE`, 8),
]);

/** B.2, state save area. */
// biome-ignore format: one row per fact
const SAVE_ROWS = [
  row(0x4cb, 'CPL', 1),
  row(0x4d0, 'EFER', 8),
  row(0x548, 'CR4', 8),
  row(0x550, 'CR3', 8),
  row(0x558, 'CR0', 8),
  row(0x560, 'DR7', 8),
  row(0x568, 'DR6', 8),
  row(0x570, 'RFLAGS', 8),
  row(0x578, 'RIP', 8),
  row(0x5d8, 'RSP', 8),
  row(0x5e0, 'S_CET', 8),
  row(0x5e8, 'SSP', 8),
  row(0x5f0, 'ISST_ADDR', 8),
  row(0x5f8, 'RAX', 8),
  row(0x600, 'STAR', 8),
  row(0x608, 'LSTAR', 8),
  row(0x610, 'CSTAR', 8),
  row(0x618, 'SFMASK', 8),
  row(0x620, 'KERNEL_GS_BASE', 8),
  row(0x628, 'SYSENTER_CS', 8),
  row(0x630, 'SYSENTER_ESP', 8),
  row(0x638, 'SYSENTER_EIP', 8),
  row(0x640, 'CR2', 8),
  row(0x668, 'G_PAT', 8),
  row(0x670, 'DBGCTL', 8),
  row(0x678, 'BR_FROM', 8),
  row(0x680, 'BR_TO', 8),
  row(0x688, 'LASTEXCPFROM', 8),
  row(0x690, 'LASTEXCPTO', 8),
  row(0x6e0, 'SPEC_CTRL', 8),
] as const;

/**
 * B.3, the fields of an SEV-ES guest's save area that DebugSwap needs: in its own page (VMSA), and from 400H on in the
 * host save area.
 */
// biome-ignore format: one row per fact
export const VMSA_ROWS = [
  row(0x180, 'DR0', 8),
  row(0x188, 'DR1', 8),
  row(0x190, 'DR2', 8),
  row(0x198, 'DR3', 8),
  row(0x1a0, 'DR0_ADDR_MASK', 8),
  row(0x1a8, 'DR1_ADDR_MASK', 8),
  row(0x1b0, 'DR2_ADDR_MASK', 8),
  row(0x1b8, 'DR3_ADDR_MASK', 8),
  row(0x3b0, 'SEV_FEATURES', 8),
] as const;

/** Where an SEV-ES save area lies in the host save area. */
export const HOST_VMSA = 0x400;

export const VMCB_ROWS: readonly VmcbRow<VmcbField>[] = [...CONTROL_ROWS, ...SEGMENT_ROWS, ...SAVE_ROWS];

export type VmcbField = (typeof CONTROL_ROWS | typeof SAVE_ROWS)[number]['name'] | SegmentField;

const offsets = new Map(VMCB_ROWS.map(({ name, offset }) => [name, offset]));

/** The 32-bit word of a VMCB that a field begins in; its upper half, if it has one, is the next. */
export function wordOf(name: VmcbField): number {
  return offsets.get(name)! >> 2;
}

/** Bits of fields, by field. */
export const VINTR_TPR = 0xff;
export const VINTR_IRQ = 1 << 8;
export const VINTR_GIF = 1 << 9;
export const VINTR_NMI = 1 << 11;
export const VINTR_NMI_MASK = 1 << 12;
export const VINTR_PRIO_SHIFT = 16;
export const VINTR_IGN_TPR = 1 << 20;
export const VINTR_MASKING = 1 << 24;
export const VINTR_GIF_ENABLE = 1 << 25;
export const VINTR_NMI_ENABLE = 1 << 26;

export const INTERRUPT_SHADOW = 1 << 0;
/** The guest's RFLAGS.IF, for whoever cannot see it. */
export const GUEST_INTERRUPT_MASK = 1 << 1;

export const NP_ENABLE = 1 << 0;
export const SEV_ENABLE = 1 << 1;
export const SEV_ES_ENABLE = 1 << 2;

export const LBR_VIRTUALIZATION = 1 << 0;
export const VIRTUAL_VMLOAD_VMSAVE = 1 << 1;

/** SEV_FEATURES[5] */
export const SEV_DEBUG_SWAP = 1 << 5;

/** EVENTINJ and EXITINTINFO, low half (APM volume 2, 15.20 and 15.7.2); the high half is the error code. */
export const EVENT_VECTOR = 0xff;
export const EVENT_TYPE_SHIFT = 8;
export const EVENT_HAS_ERROR = 1 << 11;
export const EVENT_VALID = 1 << 31;
export const SVM_EVENT = { INTERRUPT: 0, NMI: 2, EXCEPTION: 3, SOFTWARE_INTERRUPT: 4 } as const;

/** TLB_CONTROL (15.16.2). */
export const TLB_FLUSH_ALL = 1;
export const TLB_FLUSH_ASID = 3;
export const TLB_FLUSH_ASID_LOCAL = 7;

/** Segment attributes: the bits of a descriptor, without the gap (B.2). */
export const ATTRIB_DPL_SHIFT = 5;
export const ATTRIB_L = 1 << 9;
export const ATTRIB_D = 1 << 10;
/** Of 64-bit code and of a flat stack, both at ring 0. */
export const ATTRIB_CODE64 = 0xa9b;
export const ATTRIB_DATA = 0xc93;
