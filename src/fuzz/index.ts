/**
 * Arbitraries of fast-check for tests of one's own: `import { table } from 'kvm-cpuid/fuzz'`. They shrink to what matters:
 * a table to its entries and bits, a host to a real one, a sequence of ioctls to the few that are needed.
 */
export { entry } from './arbitraries/entry.js';
export {
  type GuestInstruction,
  type GuestProgram,
  type GuestProgramOptions,
  guestProgram,
} from './arbitraries/guest-program.js';
export { type HostOptions, host } from './arbitraries/host.js';
export {
  type IoctlCommand,
  type IoctlModel,
  type IoctlSequenceOptions,
  type IoctlSystem,
  ioctlSequence,
  performIoctls,
} from './arbitraries/ioctl-sequence.js';
export { TABLE_KINDS, type TableKind, type TableOptions, table } from './arbitraries/table.js';
export {
  type TdOffer,
  type TdParams,
  type TdParamsOptions,
  tdConfiguration,
  tdOffer,
  tdParams,
} from './arbitraries/td-params.js';
export { word } from './arbitraries/word.js';
