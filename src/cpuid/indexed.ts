import { inRange, type KernelLine } from './kernel-line.js';

/**
 * Functions whose answer depends on ECX, by the line since which `cpuid_function_is_indexed()` lists them (KVM then sets
 * KVM_CPUID_FLAG_SIGNIFCANT_INDEX on their entries); `null` where hardware has sub-leaves but KVM does not list them.
 */
// biome-ignore format: one row per line
const INDEXED_ROWS: readonly (readonly [kvm: KernelLine | null, functions: readonly number[]])[] = [
  ['6.1', [0x4, 0x7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1d, 0x1e, 0x1f, 0x8000001d]],
  ['6.12', [0x24]],
  ['7.3', [0x23]],
  [null, [0x1b, 0x20, 0x80000020, 0x80000026]],
];

const hardware = new Set(INDEXED_ROWS.flatMap(([, functions]) => functions));

/** Whether the CPU's answer for the function depends on ECX. */
export function isIndexed(fn: number): boolean {
  return hardware.has(fn);
}

/** The functions on whose entries KVM of this line sets KVM_CPUID_FLAG_SIGNIFCANT_INDEX. */
export function kvmIndexedFunctions(line: KernelLine): ReadonlySet<number> {
  const listed = INDEXED_ROWS.filter(([since]) => since !== null && inRange(line, since));
  return new Set(listed.flatMap(([, functions]) => functions));
}
