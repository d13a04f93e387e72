import { featureNamed } from '../../cpuid/features.js';
import { msrNamed } from '../../emu/msr-rows.js';
import type { ExitKind } from '../exit.js';
import type { FutureFeature, FutureModule, FutureState } from '../module-future.js';

/**
 * Modules of tomorrow, to be tried under the KVM of today. All of it is assumed; any caller may declare another one.
 *
 * FRED's state that has VMCS fields can come back from the transfer VMCS; IA32_FRED_RSP0 and IA32_PL0_SSP have none.
 * Three profiles say what TD exit leaves:
 *
 * - `fred-a` the VMCS restores what it has, the rest gets its INIT value;
 * - `fred-b` the VMCS restores what it has, the rest keeps the guest's value;
 * - `fred-c` everything keeps the guest's value: the worst case.
 */

const IN_VMCS = [
  'IA32_FRED_CONFIG',
  'IA32_FRED_STKLVLS',
  'IA32_FRED_RSP1',
  'IA32_FRED_RSP2',
  'IA32_FRED_RSP3',
  'IA32_FRED_SSP1',
  'IA32_FRED_SSP2',
  'IA32_FRED_SSP3',
];
const NOT_IN_VMCS = ['IA32_FRED_RSP0', 'IA32_PL0_SSP'];

const CR4_FRED = 1n << 32n;

function msrState(state: string, kind: ExitKind): FutureState {
  return { state, msr: msrNamed(state).index, kind };
}

/** A feature where the feature table has it. */
function feature(name: string, states: readonly FutureState[], cr4 = 0n): FutureFeature {
  const { word, bit } = featureNamed(name);
  return { name, leaf: word.function, subleaf: word.index, register: word.register, bit, cr4, states };
}

/** 2.0.8 with FRED configurable. LKGS brings no state: IA32_KERNEL_GS_BASE is every TD's. */
function fredModule(name: string, inVmcs: ExitKind, others: ExitKind): FutureModule {
  const states = [
    ...IN_VMCS.map((state) => msrState(state, inVmcs)),
    ...NOT_IN_VMCS.map((state) => msrState(state, others)),
  ];
  return { name, base: '2.0.8', features: [feature('FRED', states, CR4_FRED), feature('LKGS', [])] };
}

/** A bit that nobody has given a name, with one fictional MSR, which the machine has on CPUs with that bit. */
export const UNKNOWN_FEATURE: FutureFeature = {
  name: 'unknown',
  leaf: 7,
  subleaf: 1,
  register: 'edx',
  bit: 20,
  states: [msrState('MSR_UNKNOWN', 'guest')],
};

export const FUTURE_MODULES: readonly FutureModule[] = [
  fredModule('fred-a', 'vmcs', 'init'),
  fredModule('fred-b', 'vmcs', 'guest'),
  fredModule('fred-c', 'guest', 'guest'),
  { name: 'user-msr', base: '2.0.8', features: [feature('USER_MSR', [msrState('IA32_USER_MSR_CTL', 'guest')])] },
  { name: 'unknown-bit', base: '2.0.8', features: [UNKNOWN_FEATURE] },
];
