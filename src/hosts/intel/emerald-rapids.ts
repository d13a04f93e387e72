import { extend, names } from '../model.js';
import { sapphireRapids } from './sapphire-rapids.js';
import { goldenCoveHwp, type LastLevelCache, xeonCaches, xeonRdt } from './xeon.js';

const l3: LastLevelCache = { slices: 60, sliceKiB: 5120, ways: 20 };

/** Fifth generation Xeon Scalable: Sapphire Rapids with Raptor Cove cores and nearly three times the L3 cache. */
export const emeraldRapids = extend(sapphireRapids, {
  name: 'emerald-rapids',
  title: 'Intel Xeon Platinum 8570 (Emerald Rapids)',
  model: 0xcf,
  stepping: 2,
  microcode: undefined,
  brand: 'INTEL(R) XEON(R) PLATINUM 8570',
  add: names('cet_sss DDPD_U'),
  // The firmware keeps the P-states to itself.
  remove: goldenCoveHwp,
  caches: xeonCaches({ l1Data: [48, 12], l1Instruction: [32, 8], l2: [2048, 16] }, l3),
  clock: { baseMHz: 2100, maxMHz: 4000, crystalEnumerated: true },
  rdt: xeonRdt(l3, { counterBits: 32, countedKiB: 2, classes: 15, bandwidthClasses: 15, l2Ways: 16 }),
});
