import { featureNamed } from '../cpuid/features.js';
import { inRange, type KernelLine } from '../cpuid/kernel-line.js';

/** A bit of CR4 that KVM knows; it may be set when one of the features is there. Without features: always. */
interface Cr4Row {
  readonly bit: number;
  readonly name: string;
  readonly needs: readonly string[];
  readonly since?: KernelLine;
}

/** `__cr4_reserved_bits()` and CR4_RESERVED_BITS of Linux 6.1 to 7.3. SMXE (14) and all others are always reserved. */
// biome-ignore format: one row per fact
const CR4_ROWS: readonly Cr4Row[] = [
  { bit: 0, name: 'VME', needs: [] },
  { bit: 1, name: 'PVI', needs: [] },
  { bit: 2, name: 'TSD', needs: [] },
  { bit: 3, name: 'DE', needs: [] },
  { bit: 4, name: 'PSE', needs: [] },
  { bit: 5, name: 'PAE', needs: [] },
  { bit: 6, name: 'MCE', needs: [] },
  { bit: 7, name: 'PGE', needs: [] },
  { bit: 8, name: 'PCE', needs: [] },
  { bit: 9, name: 'OSFXSR', needs: [] },
  { bit: 10, name: 'OSXMMEXCPT', needs: [] },
  { bit: 11, name: 'UMIP', needs: ['UMIP'] },
  { bit: 12, name: 'LA57', needs: ['LA57'] },
  { bit: 13, name: 'VMXE', needs: ['VMX'] },
  { bit: 16, name: 'FSGSBASE', needs: ['FSGSBASE'] },
  { bit: 17, name: 'PCIDE', needs: ['PCID'] },
  { bit: 18, name: 'OSXSAVE', needs: ['XSAVE'] },
  { bit: 20, name: 'SMEP', needs: ['SMEP'] },
  { bit: 21, name: 'SMAP', needs: ['SMAP'] },
  { bit: 22, name: 'PKE', needs: ['PKU'] },
  { bit: 23, name: 'CET', needs: ['SHSTK', 'IBT'], since: '6.18' },
  { bit: 28, name: 'LAM_SUP', needs: ['LAM'], since: '6.12' },
];

const compiled = CR4_ROWS.map((row) => ({ ...row, mask: 1n << BigInt(row.bit), needs: row.needs.map(featureNamed) }));

/**
 * The bits of CR4 that are reserved for want of a capability (`__cr4_reserved_bits()`). A guest has to do without those
 * that KVM lacks and without those that it lacks itself.
 *
 * @param words capability words, indexed by word id
 */
export function cr4ReservedBits(words: Uint32Array, line: KernelLine): bigint {
  let allowed = 0n;
  for (const { mask, needs, since } of compiled) {
    if (!inRange(line, since)) continue;
    if (needs.length === 0 || needs.some((feature) => (words[feature.word.id]! & feature.mask) !== 0)) allowed |= mask;
  }
  return BigInt.asUintN(64, ~allowed);
}
