import { describe, expect, test } from 'vitest';
import { lawNamed } from '../../src/fuzz/laws/index.js';
import { BLOCK, Dealer, nthBlock, sharesOf } from '../../src/fuzz/plan.js';
import { OWN_LAWS, PLACES, planOf } from './places.js';

describe('blocks', () => {
  const dealer = new Dealer(planOf());
  const shares = sharesOf(OWN_LAWS);
  const round = shares.reduce((sum, share) => sum + share, 0);

  test('go to laws by their shares', () => {
    const dealt = Array.from({ length: round * 3 }, (_, block) => dealer.assignment(block).law.name);
    for (const [n, { name }] of OWN_LAWS.entries())
      expect(dealt.filter((law) => law === name)).toHaveLength(shares[n]! * 3);
  });

  test('go round all places at which a law says something', () => {
    for (const law of OWN_LAWS) {
      const blocks = Array.from({ length: round * PLACES.length }, (_, block) => dealer.assignment(block));
      const visited = new Set(blocks.filter((item) => item.law === law).map(({ place }) => place));
      const expected = PLACES.flatMap((spec, at) => (law.where === undefined || law.where(spec) ? [at] : []));
      expect([...visited].sort()).toEqual(expected);
    }
  });

  test('of guests come seldom beside those of tables', () => {
    const named = (...names: readonly string[]) => sharesOf(names.map((name) => lawNamed(name)!));
    expect(named('idempotence', 'verdict-kernels')).toEqual([1, 12]);
    expect(named('idempotence', 'verdict-kernels', 'host-state')).toEqual([8, 96, 1]);
    expect(named('host-state')).toEqual([1]);
  });

  test('of one law go to one place after the other', () => {
    const one = new Dealer(planOf({ laws: ['verdict-kernels'] }));
    expect([0, 1, 2, 3, 4].map((block) => one.assignment(block).place)).toEqual([0, 1, 2, 3, 0]);
  });

  test('of a law that says nothing anywhere are none', () => {
    expect(new Dealer(planOf({ laws: ['overlay-containment'], places: [PLACES[0]!] })).isEmpty).toBe(true);
    expect(lawNamed('overlay-containment')).toBeDefined();
  });

  test.each([0, 5 * BLOCK, 5 * BLOCK + 1, 3])(
    'are shared by shards without gaps and overlaps, from case %i on',
    (first) => {
      const shards = [0, 1, 2].map((index) => planOf({ first, shard: { index, count: 3 } }));
      const blocks = shards.flatMap((plan) => [0, 1, 2, 3].map((n) => nthBlock(plan, n)));
      const start = Math.floor(first / BLOCK);
      expect(blocks.sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, n) => start + n));
    },
  );
});
