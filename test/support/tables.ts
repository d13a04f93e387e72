import fc, { type Arbitrary } from 'fast-check';
import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../src/cpuid/entry.js';
import { entry } from '../../src/fuzz/arbitraries/entry.js';
import { type Mutation, mutate, mutation } from '../../src/fuzz/arbitraries/mutation.js';

/** An entry of which nothing is right but by chance. */
export const wildEntry: Arbitrary<CpuidEntry2> = entry();

/** How a table comes about: from what KVM reports, or from nothing, by a number of changes. */
export interface Recipe {
  readonly base: 'supported' | 'emulated' | 'empty' | 'wild';
  readonly wild: readonly CpuidEntry2[];
  readonly mutations: readonly Mutation[];
}

const wildTable = fc.oneof(
  { weight: 9, arbitrary: fc.array(wildEntry, { maxLength: 12 }) },
  {
    weight: 1,
    arbitrary: fc.tuple(wildEntry, fc.integer({ min: 250, max: 260 })).map(([entry, n]) => Array(n).fill(entry)),
  },
);

export const recipe: Arbitrary<Recipe> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      base: fc.constant('supported' as const),
      wild: fc.constant([]),
      mutations: fc.array(mutation, { maxLength: 6 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      base: fc.constantFrom('emulated' as const, 'empty' as const),
      wild: fc.constant([]),
      mutations: fc.array(mutation, { maxLength: 6 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ base: fc.constant('wild' as const), wild: wildTable, mutations: fc.constant([]) }),
  },
);

/** The table that a recipe gives. */
export function cook(
  { base, wild, mutations }: Recipe,
  reported: { readonly supported: readonly CpuidEntry2[]; readonly emulated: readonly CpuidEntry2[] },
): readonly CpuidEntry2[] {
  const start = base === 'supported' || base === 'emulated' ? reported[base] : base === 'wild' ? wild : [];
  return mutations.reduce<readonly CpuidEntry2[]>(mutate, start);
}

/** Whether the entry answers for one sub-leaf only. */
export const isSignificant = (entry: CpuidEntry2): boolean => (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0;
