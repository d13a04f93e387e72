import { bootKvm, builtInHost, describeBuiltIn, Vmm } from '../../dist/index.js';
import { putEntry } from '../../dist/kvm/cpuid-table.js';

/** Words of an entry. */
export const STRIDE = 10;

/** A table of exactly `nent` entries that paranoid mode accepts, made of what KVM itself reports for the host. */
function acceptedTable(supported, nent, rotate) {
  const entries = Array.from({ length: nent }, (_, i) => supported[(i + rotate) % supported.length]);
  const words = new Uint32Array(nent * STRIDE);
  for (const [position, entry] of entries.entries()) putEntry(words, position, entry);
  return words;
}

/** What a bench needs: a booted KVM, its allowed values, and accepted tables in different orders. */
export function setUp(nent = 60, count = 64) {
  const module = bootKvm(describeBuiltIn(builtInHost('sapphire-rapids')), { policy: 'paranoid' });
  const vmm = new Vmm(module);
  const overlay = module.defaultOverlay;
  const supported = module.supported(overlay, vmm.process);
  return {
    nent,
    allowed: module.allowed(overlay, vmm.process),
    tables: Array.from({ length: count }, (_, i) => acceptedTable(supported, nent, i * 7)),
  };
}
