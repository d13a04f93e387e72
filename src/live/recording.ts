import type { CpuidEntry2 } from '../cpuid/entry.js';
import type { KvmDevice } from './device.js';

/** A part of the document. */
export type Section = Record<string, unknown>;

/** What the groups of sections share. */
export interface Recording {
  readonly kvm: KvmDevice;
  /** What KVM_GET_SUPPORTED_CPUID has answered. */
  readonly supported: readonly CpuidEntry2[];
  /** How many entries KVM_GET_EMULATED_CPUID has answered. */
  readonly emulatedNent: number;
  /** Tables made at random, behind those that are listed. */
  readonly runs: number;
  readonly seed: number;
  /** A guest may execute HLT. */
  readonly mayRun: boolean;
  readonly progress: (stage: string) => void;
}
