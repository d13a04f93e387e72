/**
 * The ioctl ABI of KVM on x86-64: request numbers and structure layouts (`include/uapi/linux/kvm.h`,
 * `arch/x86/include/uapi/asm/kvm.h`). Requests are dispatched on the full value, since numbers repeat with other sizes.
 */
export const KVM_GET_API_VERSION = 0x0000ae00;
export const KVM_CREATE_VM = 0x0000ae01;
export const KVM_CHECK_EXTENSION = 0x0000ae03;
export const KVM_GET_VCPU_MMAP_SIZE = 0x0000ae04;
export const KVM_GET_SUPPORTED_CPUID = 0xc008ae05;
export const KVM_GET_EMULATED_CPUID = 0xc008ae09;
export const KVM_CREATE_VCPU = 0x0000ae41;
export const KVM_SET_USER_MEMORY_REGION = 0x4020ae46;
export const KVM_CREATE_IRQCHIP = 0x0000ae60;
export const KVM_RUN = 0x0000ae80;
export const KVM_GET_REGS = 0x8090ae81;
export const KVM_SET_REGS = 0x4090ae82;
export const KVM_GET_SREGS = 0x8138ae83;
export const KVM_SET_SREGS = 0x4138ae84;
export const KVM_GET_MSRS = 0xc008ae88;
export const KVM_SET_MSRS = 0x4008ae89;
export const KVM_SET_CPUID = 0x4008ae8a;
export const KVM_SET_CPUID2 = 0x4008ae90;
export const KVM_GET_CPUID2 = 0xc008ae91;
export const KVM_ENABLE_CAP = 0x4068aea3;
export const KVM_GET_XCRS = 0x8188aea6;
export const KVM_SET_XCRS = 0x4188aea7;
export const KVM_MEMORY_ENCRYPT_OP = 0xc008aeba;
export const KVM_GET_SUPPORTED_HV_CPUID = 0xc008aec1;
export const KVM_GET_DEVICE_ATTR = 0x4018aee2;
export const KVM_HAS_DEVICE_ATTR = 0x4018aee3;

/** What KVM_GET_API_VERSION answers. */
export const KVM_API_VERSION = 12;

/** `struct kvm_cpuid2`: `nent` and `padding`, then the entries. */
export const CPUID2_HEADER_SIZE = 8;
/** `struct kvm_cpuid_entry2`: 40 bytes, 10 words. */
export const ENTRY2_SIZE = 40;
export const ENTRY2_WORDS = 10;
/** Words of an entry: function, index, flags, EAX, EBX, ECX, EDX, padding[3]. */
export const FUNCTION = 0;
export const INDEX = 1;
export const FLAGS = 2;
export const EAX = 3;
export const EBX = 4;
export const ECX = 5;
export const EDX = 6;
export const PADDING = 7;

/** `struct kvm_cpuid_entry` of the legacy KVM_SET_CPUID: function, EAX, EBX, ECX, EDX, padding. */
export const ENTRY_SIZE = 24;

/** `struct kvm_regs`: RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8 to R15, RIP, RFLAGS, as 64-bit words. */
export const REGS_SIZE = 144;
export const REGS_WORDS = 18;
export const RAX = 0;
export const RBX = 1;
export const RCX = 2;
export const RDX = 3;
export const RIP = 16;
export const RFLAGS = 17;

/**
 * `struct kvm_sregs`: eight `struct kvm_segment` of 24 bytes, two `struct kvm_dtable` of 16, control registers, EFER,
 * apic_base, interrupt_bitmap[4]. Byte offsets.
 */
export const SREGS_SIZE = 312;
export const SREGS_SEGMENTS = { cs: 0, ds: 24, es: 48, fs: 72, gs: 96, ss: 120, tr: 144, ldt: 168 } as const;
/** Within a `struct kvm_segment`: base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable, padding. */
export const SEGMENT = {
  base: 0,
  limit: 8,
  selector: 12,
  type: 14,
  present: 15,
  dpl: 16,
  db: 17,
  s: 18,
  l: 19,
  g: 20,
  avl: 21,
  unusable: 22,
} as const;
export const SREGS_GDT = 192;
export const SREGS_IDT = 208;
/** Within a `struct kvm_dtable`: base, limit, padding. */
export const DTABLE_LIMIT = 8;
export const SREGS_CR0 = 224;
export const SREGS_CR2 = 232;
export const SREGS_CR3 = 240;
export const SREGS_CR4 = 248;
export const SREGS_CR8 = 256;
export const SREGS_EFER = 264;
export const SREGS_APIC_BASE = 272;
export const SREGS_INTERRUPT_BITMAP = 280;

/** `struct kvm_xcrs`: nr_xcrs, flags, xcrs[16] of {xcr, reserved, value}, padding[16]. */
export const XCRS_SIZE = 392;
export const XCRS_FIRST = 8;
export const XCR_SIZE = 16;
export const XCR_VALUE = 8;
export const KVM_MAX_XCRS = 16;

/** `struct kvm_msrs`: nmsrs and pad, then entries of {index, reserved, data}. */
export const MSRS_HEADER_SIZE = 8;
export const MSR_ENTRY_SIZE = 16;
export const MSR_DATA = 8;

/** `struct kvm_userspace_memory_region`: slot, flags, guest_phys_addr, memory_size, userspace_addr. */
export const MEMORY_REGION_SIZE = 32;
export const KVM_MEM_LOG_DIRTY_PAGES = 1;
export const KVM_MEM_READONLY = 2;

/** `struct kvm_device_attr`: flags, group, attr, addr. */
export const DEVICE_ATTR_SIZE = 24;
export const KVM_X86_XCOMP_GUEST_SUPP = 0;

/** Bytes that mmap() of a vCPU covers: the run page, the PIO page, the coalesced-MMIO page. */
export const VCPU_MMAP_SIZE = 3 * 4096;

/** `struct kvm_run`, the fields that this project acts on. Byte offsets. */
export const RUN = {
  immediateExit: 1,
  exitReason: 8,
  readyForInterruptInjection: 12,
  ifFlag: 13,
  flags: 14,
  cr8: 16,
  apicBase: 24,
  internalSuberror: 32,
  internalNdata: 36,
  systemEventType: 32,
  internalData: 40,
  mmioAddress: 32,
  mmioData: 40,
  mmioLength: 48,
  mmioIsWrite: 52,
  failEntryReason: 32,
  failEntryCpu: 40,
  validRegs: 288,
  dirtyRegs: 296,
} as const;
export const KVM_EXIT_HLT = 5;
export const KVM_EXIT_MMIO = 6;
export const KVM_EXIT_INTR = 10;
export const KVM_EXIT_SHUTDOWN = 8;
export const KVM_EXIT_FAIL_ENTRY = 9;
export const KVM_EXIT_SET_TPR = 11;
export const KVM_EXIT_INTERNAL_ERROR = 17;
export const KVM_EXIT_SYSTEM_EVENT = 24;
export const KVM_SYSTEM_EVENT_TDX_FATAL = 4;
export const KVM_INTERNAL_ERROR_EMULATION = 1;
export const KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON = 4;

/** `struct kvm_enable_cap`: cap, flags, args[4], pad. */
export const ENABLE_CAP_SIZE = 104;
export const ENABLE_CAP_ARGS = 8;

/** VM types (KVM_CREATE_VM's argument). */
export const VM_TYPES = {
  default: 0,
  'sw-protected': 1,
  sev: 2,
  'sev-es': 3,
  snp: 4,
  tdx: 5,
} as const;
export type VmTypeName = keyof typeof VM_TYPES;

/** Capabilities that KVM_ENABLE_CAP and KVM_CHECK_EXTENSION take and that this project acts on. */
export const KVM_CAP_NR_VCPUS = 9;
export const KVM_CAP_MAX_VCPUS = 66;
export const KVM_CAP_DISABLE_QUIRKS = 116;
export const KVM_CAP_SPLIT_IRQCHIP = 121;
export const KVM_CAP_MAX_VCPU_ID = 128;
export const KVM_CAP_X86_DISABLE_EXITS = 143;
export const KVM_CAP_ENFORCE_PV_FEATURE_CPUID = 190;
export const KVM_CAP_HYPERV_ENFORCE_CPUID = 199;
export const KVM_CAP_SYNC_REGS = 74;
export const KVM_CAP_PMU_CAPABILITY = 212;
export const KVM_CAP_DISABLE_QUIRKS2 = 213;
export const KVM_CAP_VM_TYPES = 235;
/**
 * The RFC's capability. Its number in the RFC is not known; 252 is the first that Linux 7.3 leaves free
 * (our choice; `KvmOptions.paranoidCapability` changes it).
 */
export const KVM_CAP_X86_CPUID_PARANOID = 252;

/** `struct kvm_tdx_cmd`: id, flags, data, hw_error. Byte offsets. */
export const TDX_CMD_SIZE = 24;
export const TDX_CMD = { id: 0, flags: 4, data: 8, hwError: 16 } as const;
/** Commands of KVM_MEMORY_ENCRYPT_OP on a TD (`enum kvm_tdx_cmd_id`). */
export const KVM_TDX_CAPABILITIES = 0;
export const KVM_TDX_INIT_VM = 1;
export const KVM_TDX_INIT_VCPU = 2;
export const KVM_TDX_INIT_MEM_REGION = 3;
export const KVM_TDX_FINALIZE_VM = 4;
export const KVM_TDX_GET_CPUID = 5;

/** `struct kvm_tdx_capabilities`: fixed part, with `struct kvm_cpuid2` at its end. Byte offsets. */
export const TDX_CAPABILITIES = {
  supportedAttributes: 0,
  supportedXfam: 8,
  userTdvmcallinfo1R11: 24,
  cpuid: 2048,
} as const;
/** `struct kvm_tdx_init_vm`: fixed part, with `struct kvm_cpuid2` at its end. Byte offsets. */
export const TDX_INIT_VM = { attributes: 0, xfam: 8 } as const;
export const TDX_INIT_VM_RESERVED = { offset: 160, size: 96 };
export const TDX_INIT_VM_CPUID = 256;

/** `struct kvm_tdx_init_mem_region`: source_addr, gpa, nr_pages. */
export const TDX_MEM_REGION_SIZE = 24;
/** Flag of KVM_TDX_INIT_MEM_REGION. */
export const KVM_TDX_MEASURE_MEMORY_REGION = 1;
