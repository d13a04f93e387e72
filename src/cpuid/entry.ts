/**
 * The two shapes in which CPUID data travels:
 *
 * - a **row**: what the CPUID instruction answered for one (EAX, ECX) on one logical CPU;
 * - an **entry**: `struct kvm_cpuid_entry2`, what userspace and KVM exchange. It adds `flags`.
 */

/** The four output registers, in the order of every dump and every struct. */
export const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const;
export type Register = (typeof REGISTERS)[number];

/** One answer of the CPUID instruction. All fields are u32. */
export interface CpuidRow {
  readonly function: number;
  readonly index: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** `struct kvm_cpuid_entry2` (40 bytes): a row, its flags and three padding words. All fields are u32. */
export interface CpuidEntry2 extends CpuidRow {
  readonly flags: number;
  /** `padding[3]`; left out when all three words are zero. */
  readonly padding?: readonly [number, number, number];
}

/** The entry answers only for its own index (spelled as in the kernel's header). */
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;

/** Eight lower-case hex digits, no prefix. */
export function hex8(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0');
}

/** `"function index flags eax ebx ecx edx"`, with ` p0,p1,p2` behind it when the padding is not zero. */
export function formatEntry(entry: CpuidEntry2): string {
  const { function: fn, index, flags, eax, ebx, ecx, edx, padding } = entry;
  const words = [hex8(fn), hex8(index), (flags >>> 0).toString(16), hex8(eax), hex8(ebx), hex8(ecx), hex8(edx)];
  if (padding?.some((word) => word !== 0)) words.push(padding.map((word) => (word >>> 0).toString(16)).join(','));
  return words.join(' ');
}

/** SDM notation: `CPUID.(EAX=7,ECX=0):ECX[5]`, `[15:8]` for a range, without brackets for a whole register. */
export function sdmName(fn: number, index: number | null, register: Register, high?: number, low?: number): string {
  const leaf = `${(fn >>> 0).toString(16).toUpperCase()}${fn > 9 ? 'H' : ''}`;
  const where = index === null ? `CPUID.${leaf}` : `CPUID.(EAX=${leaf},ECX=${index})`;
  const name = `${where}:${register.toUpperCase()}`;
  if (high === undefined) return name;
  return low === undefined || low === high ? `${name}[${high}]` : `${name}[${high}:${low}]`;
}
