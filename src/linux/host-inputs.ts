import type { Value } from '../cpuid/expression.js';
import type { Feature } from '../cpuid/features.js';
import { type KernelLine, NEWEST_KERNEL } from '../cpuid/kernel-line.js';
import type { BugName } from './boot-rows.js';

/**
 * Everything that decides what kernel and KVM answer, beyond the CPUs themselves. What is not given takes the default
 * of its row (`fact-rows.ts`, `module-parameters.ts`).
 */
export interface HostInputs {
  readonly kernel: KernelLine;
  /** The kernel's command line. */
  readonly cmdline: string;
  /** Module parameters by `module.name`, as numbers (booleans are 0 and 1). */
  readonly parameters: ReadonlyMap<string, number>;
  /** Facts by name (`fact-rows.ts`). */
  readonly facts: ReadonlyMap<string, Value>;
  /** Bugs that are known to be there or not; the others are derived. */
  readonly bugs: ReadonlyMap<BugName, boolean>;
  /** Flags of the host kernel set or cleared by hand, after everything else. */
  readonly flags: { readonly set: readonly Feature[]; readonly clear: readonly Feature[] };
}

/** Inputs for a host of which nothing but its CPUID is known. */
export function defaultInputs(kernel: KernelLine = NEWEST_KERNEL): HostInputs {
  return {
    kernel,
    cmdline: '',
    parameters: new Map(),
    facts: new Map(),
    bugs: new Map(),
    flags: { set: [], clear: [] },
  };
}
