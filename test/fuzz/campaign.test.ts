import { expect, test } from 'vitest';
// Workers run what is built, so this test does too.
import { Campaign as BuiltCampaign } from '../../dist/fuzz/campaign.js';
import { Campaign, type Outcome } from '../../src/fuzz/campaign.js';
import { coverageRows, summarize } from '../../src/fuzz/coverage.js';
import { placeOf, planOf, specOf } from './places.js';

const SPECS = [specOf('sapphire-rapids', 'default', { defects: ['flagless-first-row'] }), specOf('genoa')];
const plan = planOf({ places: SPECS, laws: ['verdict-naive', 'verdict-kernels'], end: 30_500 });

const withoutCoverage = ({ runs, next, hits }: Outcome) => ({ runs, next, hits });

test('a campaign finds the same with any number of threads', async () => {
  const data = plan as unknown as ConstructorParameters<typeof BuiltCampaign>[0];
  const outcomes = await Promise.all([0, 1, 2, 3].map((workers) => new BuiltCampaign(data, workers).run()));
  const [first, ...others] = outcomes.map(withoutCoverage);
  expect(first!.runs).toBe(30_500);
  expect(first!.hits.length).toBeGreaterThan(0);
  for (const other of others) expect(other).toEqual(first);
  for (const { coverage } of outcomes) expect(coverage.get(1)).toEqual(outcomes[0]!.coverage.get(1));
});

test('shards find together what one campaign finds', async () => {
  const whole = await new Campaign(plan, 0).run();
  const shards = await Promise.all(
    [0, 1, 2].map((index) => new Campaign({ ...plan, shard: { index, count: 3 } }, 0).run()),
  );
  expect(shards.reduce((sum, { runs }) => sum + runs, 0)).toBe(whole.runs);
  const first = new Map<string, number>();
  for (const { key, number } of shards.flatMap(({ hits }) => hits)) {
    first.set(key, Math.min(number, first.get(key) ?? Number.POSITIVE_INFINITY));
  }
  expect(first).toEqual(new Map(whole.hits.map(({ key, number }) => [key, number])));
});

test('a campaign that goes on where another ended has done what one would have', async () => {
  const whole = await new Campaign(plan, 0).run();
  const early = await new Campaign({ ...plan, end: 10_240 }, 0).run();
  const late = await new Campaign({ ...plan, first: early.next }, 0).run();
  expect(early.runs + late.runs).toBe(whole.runs);
  const keys = new Set([...early.hits, ...late.hits].map(({ key }) => key));
  expect(keys).toEqual(new Set(whole.hits.map(({ key }) => key)));
});

test('a stopped campaign ends between blocks', async () => {
  const campaign = new Campaign(plan, 0);
  campaign.stop();
  expect(await campaign.run()).toMatchObject({ runs: 0, next: 0, hits: [] });
});

test('most of the rule table is hit with both verdicts', async () => {
  const { coverage } = await new Campaign({ ...plan, laws: ['verdict-kernels'], end: 400_000 }, 0).run();
  const rows = coverageRows([...coverage].map(([place, arrays]) => [placeOf(SPECS[place]!).rules, arrays]));
  const { complete } = summarize(rows);
  expect(complete / rows.length).toBeGreaterThan(0.5);
  for (const row of rows) if (!row.possible.refuse) expect(row.refused).toBe(0);
});
