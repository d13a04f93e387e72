import type { Parameters } from 'fast-check';

/** `KVM_CPUID_RUNS`: how many times as much a property is to do. */
export const multiplier = Number(process.env.KVM_CPUID_RUNS ?? 1);

/**
 * How a property runs. The same tables come on every run; `KVM_CPUID_SEED=N` takes others, and `KVM_CPUID_RUNS=10` ten
 * times as many. A failure prints the seed and the path of its counterexample.
 */
export function runs<T>(count: number): Parameters<T> {
  const seed = Number(process.env.KVM_CPUID_SEED ?? 0x252);
  return { numRuns: Math.max(1, Math.round(count * multiplier)), seed };
}
