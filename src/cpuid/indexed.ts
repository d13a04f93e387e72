import { inRange, type KernelLine } from './kernel-line.js';

/**
 * Functions whose answer depends on ECX. `kvm`: since when `cpuid_function_is_indexed()` lists the function (KVM then
 * sets KVM_CPUID_FLAG_SIGNIFCANT_INDEX on its entries); `null` where hardware has sub-leaves but KVM does not list it.
 */
// biome-ignore format: one row per fact
const INDEXED_ROWS: readonly (readonly [fn: number, kvm: KernelLine | null])[] = [
  [0x4, '6.1'], [0x7, '6.1'], [0xb, '6.1'], [0xd, '6.1'], [0xf, '6.1'], [0x10, '6.1'], [0x12, '6.1'], [0x14, '6.1'],
  [0x17, '6.1'], [0x18, '6.1'], [0x1b, null], [0x1d, '6.1'], [0x1e, '6.1'], [0x1f, '6.1'], [0x20, null],
  [0x23, '7.3'], [0x24, '6.12'], [0x8000001d, '6.1'], [0x80000020, null], [0x80000026, null],
];

const hardware = new Set(INDEXED_ROWS.map(([fn]) => fn));

/** Whether the CPU's answer for the function depends on ECX. */
export function isIndexed(fn: number): boolean {
  return hardware.has(fn);
}

/** The functions on whose entries KVM of this line sets KVM_CPUID_FLAG_SIGNIFCANT_INDEX. */
export function kvmIndexedFunctions(line: KernelLine): ReadonlySet<number> {
  return new Set(INDEXED_ROWS.filter(([, since]) => since !== null && inRange(line, since)).map(([fn]) => fn));
}
