/** The bits of the VM-execution, VM-exit and VM-entry controls (SDM volume 3, 26.6 to 26.8; the FRED specification). */

export const PIN = {
  EXTERNAL_INTERRUPT: 1 << 0,
  NMI: 1 << 3,
  VIRTUAL_NMIS: 1 << 5,
  PREEMPTION_TIMER: 1 << 6,
  POSTED_INTERRUPTS: 1 << 7,
} as const;

export const PRIMARY = {
  INTERRUPT_WINDOW: 1 << 2,
  TSC_OFFSETTING: 1 << 3,
  HLT: 1 << 7,
  INVLPG: 1 << 9,
  MWAIT: 1 << 10,
  RDPMC: 1 << 11,
  RDTSC: 1 << 12,
  CR3_LOAD: 1 << 15,
  CR3_STORE: 1 << 16,
  CR8_LOAD: 1 << 19,
  CR8_STORE: 1 << 20,
  TPR_SHADOW: 1 << 21,
  NMI_WINDOW: 1 << 22,
  UNCONDITIONAL_IO: 1 << 24,
  IO_BITMAPS: 1 << 25,
  MONITOR_TRAP: 1 << 27,
  MSR_BITMAPS: 1 << 28,
  MONITOR: 1 << 29,
  PAUSE: 1 << 30,
  SECONDARY: 1 << 31,
} as const;

export const SECONDARY = {
  VIRTUAL_APIC: 1 << 0,
  EPT: 1 << 1,
  DESCRIPTOR_TABLE: 1 << 2,
  RDTSCP: 1 << 3,
  VPID: 1 << 5,
  UNRESTRICTED_GUEST: 1 << 7,
  RDRAND: 1 << 11,
  INVPCID: 1 << 12,
  RDSEED: 1 << 16,
  XSAVES: 1 << 20,
  TSC_SCALING: 1 << 25,
  USER_WAIT_PAUSE: 1 << 26,
} as const;

export const EXIT_CONTROL = {
  SAVE_DEBUG: 1 << 2,
  HOST_64: 1 << 9,
  LOAD_PERF_GLOBAL_CTRL: 1 << 12,
  ACKNOWLEDGE_INTERRUPT: 1 << 15,
  SAVE_PAT: 1 << 18,
  LOAD_PAT: 1 << 19,
  SAVE_EFER: 1 << 20,
  LOAD_EFER: 1 << 21,
  SAVE_PREEMPTION_TIMER: 1 << 22,
  CLEAR_BNDCFGS: 1 << 23,
  LOAD_CET: 1 << 28,
  LOAD_PKRS: 1 << 29,
  SECONDARY: 1 << 31,
} as const;

/** Secondary VM-exit controls: low half. */
export const EXIT_CONTROL_2 = { SAVE_FRED: 1 << 0, LOAD_FRED: 1 << 1 } as const;

export const ENTRY_CONTROL = {
  LOAD_DEBUG: 1 << 2,
  IA32E_GUEST: 1 << 9,
  SMM: 1 << 10,
  DUAL_MONITOR: 1 << 11,
  LOAD_PERF_GLOBAL_CTRL: 1 << 13,
  LOAD_PAT: 1 << 14,
  LOAD_EFER: 1 << 15,
  LOAD_BNDCFGS: 1 << 16,
  LOAD_CET: 1 << 20,
  LOAD_PKRS: 1 << 22,
  LOAD_FRED: 1 << 23,
} as const;

/** Interruption information: fields of entry, exit and IDT-vectoring. */
export const INFO_VALID = 1 << 31;
export const INFO_ERROR_CODE = 1 << 11;
export const INFO_TYPE_SHIFT = 8;
export const INFO_VECTOR = 0xff;

/** Guest interruptibility state. */
export const BLOCKED_BY_STI = 1 << 0;
export const BLOCKED_BY_MOV_SS = 1 << 1;
export const BLOCKED_BY_NMI = 1 << 3;

/** Guest activity state. */
export const ACTIVITY_HLT = 1;

/** VM-instruction errors (SDM volume 3, 32.4). */
export const VM_ERROR = {
  VMCALL_IN_ROOT: 1,
  VMCLEAR_ADDRESS: 2,
  VMCLEAR_VMXON_POINTER: 3,
  VMLAUNCH_NOT_CLEAR: 4,
  VMRESUME_NOT_LAUNCHED: 5,
  CONTROLS: 7,
  HOST_STATE: 8,
  VMPTRLD_ADDRESS: 9,
  VMPTRLD_VMXON_POINTER: 10,
  VMPTRLD_REVISION: 11,
  UNSUPPORTED_COMPONENT: 12,
  READ_ONLY_COMPONENT: 13,
  VMXON_IN_ROOT: 15,
  EVENTS_BLOCKED: 26,
} as const;
