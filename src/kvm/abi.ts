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
export const KVM_CREATE_IRQCHIP = 0x0000ae60;
export const KVM_SET_CPUID = 0x4008ae8a;
export const KVM_SET_CPUID2 = 0x4008ae90;
export const KVM_GET_CPUID2 = 0xc008ae91;
export const KVM_ENABLE_CAP = 0x4068aea3;
export const KVM_MEMORY_ENCRYPT_OP = 0xc008aeba;

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
export const KVM_CAP_X86_DISABLE_EXITS = 143;
export const KVM_CAP_PMU_CAPABILITY = 212;
export const KVM_CAP_DISABLE_QUIRKS2 = 213;
export const KVM_CAP_VM_TYPES = 235;
/**
 * The RFC's capability. Its number in the RFC is not known; 252 is the first that Linux 7.3 leaves free
 * (our choice; `KvmOptions.paranoidCapability` changes it).
 */
export const KVM_CAP_X86_CPUID_PARANOID = 252;

/** `struct kvm_tdx_cmd`: id, flags, data, hw_error. */
export const TDX_CMD_SIZE = 24;
export const KVM_TDX_INIT_VM = 1;
/** `struct kvm_tdx_init_vm`: fixed part, with `struct kvm_cpuid2` at 256. */
export const TDX_INIT_VM_RESERVED = { offset: 160, size: 96 };
export const TDX_INIT_VM_CPUID = 256;
