/**
 * The fields of a VMCS: name, encoding, and what brings the field to life (SDM volume 3, appendix B; the FRED
 * specification, 9.2 and 9.3, for what FRED adds). Width and area follow from the encoding. A gate is in the notation of
 * `silicon.ts`: a bit of a capability MSR, mostly an allowed-1 bit; '' always.
 */
export interface FieldRow<Name extends string = string> {
  readonly name: Name;
  readonly encoding: number;
  readonly gate: string;
}

/** What a field is for (bits 11:10 of the encoding). */
export const AREAS = ['control', 'exit', 'guest', 'host'] as const;
export type Area = (typeof AREAS)[number];

function row<const Name extends string>(encoding: number, name: Name, gate = ''): FieldRow<Name> {
  return { encoding, name, gate };
}

const SECONDARY = 'IA32_VMX_PROCBASED_CTLS[63]';
/** Allowed-1 bit of a secondary control. */
const secondary = (bit: number): string => `IA32_VMX_PROCBASED_CTLS2[${32 + bit}]`;
const EXIT_CET = 'IA32_VMX_EXIT_CTLS[60]';
const EXIT_PKRS = 'IA32_VMX_EXIT_CTLS[61]';
const EXIT_2 = 'IA32_VMX_EXIT_CTLS[63]';
const ENTRY_CET = 'IA32_VMX_ENTRY_CTLS[52]';
const ENTRY_PKRS = 'IA32_VMX_ENTRY_CTLS[54]';
const ENTRY_FRED = 'IA32_VMX_ENTRY_CTLS[55]';

/** Segments in the order of their fields. */
export const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR'] as const;

// biome-ignore format: one row per fact
export const FIELD_ROWS = [
  // 16 bits.
  row(0x0000, 'VPID', secondary(5)),
  row(0x0002, 'POSTED_INTERRUPT_VECTOR', 'IA32_VMX_PINBASED_CTLS[39]'),
  row(0x0800, 'GUEST_ES_SELECTOR'),
  row(0x0802, 'GUEST_CS_SELECTOR'),
  row(0x0804, 'GUEST_SS_SELECTOR'),
  row(0x0806, 'GUEST_DS_SELECTOR'),
  row(0x0808, 'GUEST_FS_SELECTOR'),
  row(0x080a, 'GUEST_GS_SELECTOR'),
  row(0x080c, 'GUEST_LDTR_SELECTOR'),
  row(0x080e, 'GUEST_TR_SELECTOR'),
  row(0x0810, 'GUEST_INTERRUPT_STATUS', secondary(9)),
  row(0x0812, 'PML_INDEX', secondary(17)),
  row(0x0c00, 'HOST_ES_SELECTOR'),
  row(0x0c02, 'HOST_CS_SELECTOR'),
  row(0x0c04, 'HOST_SS_SELECTOR'),
  row(0x0c06, 'HOST_DS_SELECTOR'),
  row(0x0c08, 'HOST_FS_SELECTOR'),
  row(0x0c0a, 'HOST_GS_SELECTOR'),
  row(0x0c0c, 'HOST_TR_SELECTOR'),

  // 64 bits.
  row(0x2000, 'IO_BITMAP_A'),
  row(0x2002, 'IO_BITMAP_B'),
  row(0x2004, 'MSR_BITMAP', 'IA32_VMX_PROCBASED_CTLS[60]'),
  row(0x2006, 'EXIT_MSR_STORE_ADDRESS'),
  row(0x2008, 'EXIT_MSR_LOAD_ADDRESS'),
  row(0x200a, 'ENTRY_MSR_LOAD_ADDRESS'),
  row(0x200c, 'EXECUTIVE_VMCS'),
  row(0x200e, 'PML_ADDRESS', secondary(17)),
  row(0x2010, 'TSC_OFFSET'),
  row(0x2012, 'VIRTUAL_APIC_ADDRESS', 'IA32_VMX_PROCBASED_CTLS[53]'),
  row(0x2014, 'APIC_ACCESS_ADDRESS', secondary(0)),
  row(0x2016, 'POSTED_INTERRUPT_DESCRIPTOR', 'IA32_VMX_PINBASED_CTLS[39]'),
  row(0x2018, 'VM_FUNCTION_CONTROLS', secondary(13)),
  row(0x201a, 'EPT_POINTER', secondary(1)),
  row(0x201c, 'EOI_EXIT_BITMAP0', secondary(9)),
  row(0x201e, 'EOI_EXIT_BITMAP1', secondary(9)),
  row(0x2020, 'EOI_EXIT_BITMAP2', secondary(9)),
  row(0x2022, 'EOI_EXIT_BITMAP3', secondary(9)),
  row(0x2024, 'EPTP_LIST_ADDRESS', 'IA32_VMX_VMFUNC[0]'),
  row(0x2026, 'VMREAD_BITMAP', secondary(14)),
  row(0x2028, 'VMWRITE_BITMAP', secondary(14)),
  row(0x202a, 'VE_INFORMATION_ADDRESS', secondary(18)),
  row(0x202c, 'XSS_EXITING_BITMAP', secondary(20)),
  row(0x202e, 'ENCLS_EXITING_BITMAP', secondary(15)),
  row(0x2032, 'TSC_MULTIPLIER', secondary(25)),
  row(0x2044, 'SECONDARY_EXIT_CONTROLS', EXIT_2),
  row(0x2052, 'INJECTED_EVENT_DATA', ENTRY_FRED),
  row(0x2400, 'GUEST_PHYSICAL_ADDRESS', secondary(1)),
  row(0x2404, 'ORIGINAL_EVENT_DATA', ENTRY_FRED),
  row(0x2800, 'VMCS_LINK_POINTER'),
  row(0x2802, 'GUEST_DEBUGCTL'),
  row(0x2804, 'GUEST_PAT'),
  row(0x2806, 'GUEST_EFER'),
  row(0x2808, 'GUEST_PERF_GLOBAL_CTRL'),
  row(0x280a, 'GUEST_PDPTE0', secondary(1)),
  row(0x280c, 'GUEST_PDPTE1', secondary(1)),
  row(0x280e, 'GUEST_PDPTE2', secondary(1)),
  row(0x2810, 'GUEST_PDPTE3', secondary(1)),
  row(0x2812, 'GUEST_BNDCFGS', 'IA32_VMX_ENTRY_CTLS[48]'),
  row(0x2818, 'GUEST_PKRS', ENTRY_PKRS),
  row(0x281a, 'GUEST_FRED_CONFIG', ENTRY_FRED),
  row(0x281c, 'GUEST_FRED_RSP1', ENTRY_FRED),
  row(0x281e, 'GUEST_FRED_RSP2', ENTRY_FRED),
  row(0x2820, 'GUEST_FRED_RSP3', ENTRY_FRED),
  row(0x2822, 'GUEST_FRED_STKLVLS', ENTRY_FRED),
  row(0x2824, 'GUEST_FRED_SSP1', ENTRY_FRED),
  row(0x2826, 'GUEST_FRED_SSP2', ENTRY_FRED),
  row(0x2828, 'GUEST_FRED_SSP3', ENTRY_FRED),
  row(0x2c00, 'HOST_PAT'),
  row(0x2c02, 'HOST_EFER'),
  row(0x2c04, 'HOST_PERF_GLOBAL_CTRL'),
  row(0x2c06, 'HOST_PKRS', EXIT_PKRS),
  row(0x2c08, 'HOST_FRED_CONFIG', EXIT_2),
  row(0x2c0a, 'HOST_FRED_RSP1', EXIT_2),
  row(0x2c0c, 'HOST_FRED_RSP2', EXIT_2),
  row(0x2c0e, 'HOST_FRED_RSP3', EXIT_2),
  row(0x2c10, 'HOST_FRED_STKLVLS', EXIT_2),
  row(0x2c12, 'HOST_FRED_SSP1', EXIT_2),
  row(0x2c14, 'HOST_FRED_SSP2', EXIT_2),
  row(0x2c16, 'HOST_FRED_SSP3', EXIT_2),

  // 32 bits.
  row(0x4000, 'PIN_BASED_CONTROLS'),
  row(0x4002, 'PRIMARY_CONTROLS'),
  row(0x4004, 'EXCEPTION_BITMAP'),
  row(0x4006, 'PAGE_FAULT_MASK'),
  row(0x4008, 'PAGE_FAULT_MATCH'),
  row(0x400a, 'CR3_TARGET_COUNT'),
  row(0x400c, 'EXIT_CONTROLS'),
  row(0x400e, 'EXIT_MSR_STORE_COUNT'),
  row(0x4010, 'EXIT_MSR_LOAD_COUNT'),
  row(0x4012, 'ENTRY_CONTROLS'),
  row(0x4014, 'ENTRY_MSR_LOAD_COUNT'),
  row(0x4016, 'ENTRY_INTERRUPTION_INFO'),
  row(0x4018, 'ENTRY_ERROR_CODE'),
  row(0x401a, 'ENTRY_INSTRUCTION_LENGTH'),
  row(0x401c, 'TPR_THRESHOLD', 'IA32_VMX_PROCBASED_CTLS[53]'),
  row(0x401e, 'SECONDARY_CONTROLS', SECONDARY),
  row(0x4020, 'PLE_GAP', secondary(10)),
  row(0x4022, 'PLE_WINDOW', secondary(10)),
  row(0x4400, 'INSTRUCTION_ERROR'),
  row(0x4402, 'EXIT_REASON'),
  row(0x4404, 'EXIT_INTERRUPTION_INFO'),
  row(0x4406, 'EXIT_INTERRUPTION_ERROR_CODE'),
  row(0x4408, 'IDT_VECTORING_INFO'),
  row(0x440a, 'IDT_VECTORING_ERROR_CODE'),
  row(0x440c, 'EXIT_INSTRUCTION_LENGTH'),
  row(0x440e, 'EXIT_INSTRUCTION_INFO'),
  row(0x4800, 'GUEST_ES_LIMIT'),
  row(0x4802, 'GUEST_CS_LIMIT'),
  row(0x4804, 'GUEST_SS_LIMIT'),
  row(0x4806, 'GUEST_DS_LIMIT'),
  row(0x4808, 'GUEST_FS_LIMIT'),
  row(0x480a, 'GUEST_GS_LIMIT'),
  row(0x480c, 'GUEST_LDTR_LIMIT'),
  row(0x480e, 'GUEST_TR_LIMIT'),
  row(0x4810, 'GUEST_GDTR_LIMIT'),
  row(0x4812, 'GUEST_IDTR_LIMIT'),
  row(0x4814, 'GUEST_ES_RIGHTS'),
  row(0x4816, 'GUEST_CS_RIGHTS'),
  row(0x4818, 'GUEST_SS_RIGHTS'),
  row(0x481a, 'GUEST_DS_RIGHTS'),
  row(0x481c, 'GUEST_FS_RIGHTS'),
  row(0x481e, 'GUEST_GS_RIGHTS'),
  row(0x4820, 'GUEST_LDTR_RIGHTS'),
  row(0x4822, 'GUEST_TR_RIGHTS'),
  row(0x4824, 'GUEST_INTERRUPTIBILITY'),
  row(0x4826, 'GUEST_ACTIVITY'),
  row(0x4828, 'GUEST_SMBASE'),
  row(0x482a, 'GUEST_SYSENTER_CS'),
  row(0x482e, 'PREEMPTION_TIMER', 'IA32_VMX_PINBASED_CTLS[38]'),
  row(0x4c00, 'HOST_SYSENTER_CS'),

  // As wide as a register.
  row(0x6000, 'CR0_MASK'),
  row(0x6002, 'CR4_MASK'),
  row(0x6004, 'CR0_SHADOW'),
  row(0x6006, 'CR4_SHADOW'),
  row(0x6008, 'CR3_TARGET0'),
  row(0x600a, 'CR3_TARGET1'),
  row(0x600c, 'CR3_TARGET2'),
  row(0x600e, 'CR3_TARGET3'),
  row(0x6400, 'EXIT_QUALIFICATION'),
  row(0x6402, 'IO_RCX'),
  row(0x6404, 'IO_RSI'),
  row(0x6406, 'IO_RDI'),
  row(0x6408, 'IO_RIP'),
  row(0x640a, 'GUEST_LINEAR_ADDRESS'),
  row(0x6800, 'GUEST_CR0'),
  row(0x6802, 'GUEST_CR3'),
  row(0x6804, 'GUEST_CR4'),
  row(0x6806, 'GUEST_ES_BASE'),
  row(0x6808, 'GUEST_CS_BASE'),
  row(0x680a, 'GUEST_SS_BASE'),
  row(0x680c, 'GUEST_DS_BASE'),
  row(0x680e, 'GUEST_FS_BASE'),
  row(0x6810, 'GUEST_GS_BASE'),
  row(0x6812, 'GUEST_LDTR_BASE'),
  row(0x6814, 'GUEST_TR_BASE'),
  row(0x6816, 'GUEST_GDTR_BASE'),
  row(0x6818, 'GUEST_IDTR_BASE'),
  row(0x681a, 'GUEST_DR7'),
  row(0x681c, 'GUEST_RSP'),
  row(0x681e, 'GUEST_RIP'),
  row(0x6820, 'GUEST_RFLAGS'),
  row(0x6822, 'GUEST_PENDING_DEBUG'),
  row(0x6824, 'GUEST_SYSENTER_ESP'),
  row(0x6826, 'GUEST_SYSENTER_EIP'),
  row(0x6828, 'GUEST_S_CET', ENTRY_CET),
  row(0x682a, 'GUEST_SSP', ENTRY_CET),
  row(0x682c, 'GUEST_INTERRUPT_SSP_TABLE', ENTRY_CET),
  row(0x6c00, 'HOST_CR0'),
  row(0x6c02, 'HOST_CR3'),
  row(0x6c04, 'HOST_CR4'),
  row(0x6c06, 'HOST_FS_BASE'),
  row(0x6c08, 'HOST_GS_BASE'),
  row(0x6c0a, 'HOST_TR_BASE'),
  row(0x6c0c, 'HOST_GDTR_BASE'),
  row(0x6c0e, 'HOST_IDTR_BASE'),
  row(0x6c10, 'HOST_SYSENTER_ESP'),
  row(0x6c12, 'HOST_SYSENTER_EIP'),
  row(0x6c14, 'HOST_RSP'),
  row(0x6c16, 'HOST_RIP'),
  row(0x6c18, 'HOST_S_CET', EXIT_CET),
  row(0x6c1a, 'HOST_SSP', EXIT_CET),
  row(0x6c1c, 'HOST_INTERRUPT_SSP_TABLE', EXIT_CET),
] as const;

export type FieldName = (typeof FIELD_ROWS)[number]['name'];
export const FIELD_COUNT = FIELD_ROWS.length;

/** Dense numbers of fields, by name: where a field lies in the arrays of a `Vmcs`. */
export const FIELD = Object.fromEntries(FIELD_ROWS.map(({ name }, at) => [name, at])) as Readonly<
  Record<FieldName, number>
>;

/** A field by its encoding, access type included; -1 when there is none. */
const places = new Int16Array(0x8000).fill(-1);
FIELD_ROWS.forEach(({ encoding }, at) => {
  places[encoding] = at;
});

/** Bits of an encoding: 0 access type (the high half of a 64-bit field), 11:10 area, 14:13 width. */
const ACCESS_HIGH = 1;
const WIDTH_64 = 1;

/** @returns the number of the field that an encoding names, or -1 */
export function fieldAt(encodingLo: number, encodingHi: number): number {
  if (encodingHi !== 0 || (encodingLo & ~0x7fff) !== 0) return -1;
  const high = (encodingLo & ACCESS_HIGH) !== 0;
  if (high && encodingLo >> 13 !== WIDTH_64) return -1;
  return places[encodingLo & ~ACCESS_HIGH]!;
}

export const isHighAccess = (encoding: number): boolean => (encoding & ACCESS_HIGH) !== 0;

export const areaOf = ({ encoding }: FieldRow): Area => AREAS[(encoding >> 10) & 3]!;

/** Bytes of a field. */
export const widthOf = ({ encoding }: FieldRow): 2 | 4 | 8 => ([2, 8, 4, 8] as const)[encoding >> 13]!;
