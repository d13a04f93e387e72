import { extend, names } from '../model.js';
import { skylakeL1, skylakeSp } from './skylake-sp.js';
import { type LastLevelCache, skylakeHwp, xeonCaches, xeonRdt } from './xeon.js';

const l3: LastLevelCache = { slices: 26, sliceKiB: 1408, ways: 11 };

/** Second generation Xeon Scalable: Skylake with VNNI and the first repairs in hardware (Meltdown, L1TF, MDS). */
export const cascadeLake = extend(skylakeSp, {
  name: 'cascade-lake',
  title: 'Intel Xeon Gold 6212U (Cascade Lake-SP)',
  stepping: 7,
  brand: 'Intel(R) Xeon(R) Gold 6212U CPU @ 2.40GHz',
  add: names('AVX512_VNNI ARCH_CAPABILITIES'),
  // TSX is turned off through IA32_TSX_CTRL here. The firmware keeps the P-states to itself.
  remove: ['tsx_force_abort', ...skylakeHwp],
  caches: xeonCaches(skylakeL1, l3).map((cache) => (cache.level === 3 ? { ...cache, wbinvdNotShared: true } : cache)),
  clock: { baseMHz: 2400, maxMHz: 3900, crystalEnumerated: false },
  rdt: xeonRdt(l3, { counterBits: 24, countedKiB: 4, classes: 16, bandwidthClasses: 8 }),
  // Assumed from the table of affected processors.
  archCapabilities: names('RDCL_NO IBRS_ALL SKIP_L1DFL_VMENTRY MDS_NO TSX_CTRL FB_CLEAR RRSBA'),
});
