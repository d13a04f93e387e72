import { availableParallelism } from 'node:os';
import { Campaign, type Outcome } from '../../fuzz/campaign.js';
import { type CoverageRow, coverageRows, summarize } from '../../fuzz/coverage.js';
import { type FuzzFinding, Harvest } from '../../fuzz/finding.js';
import { LAWS } from '../../fuzz/laws/index.js';
import type { Plan } from '../../fuzz/plan.js';
import { EXIT_OK, EXIT_REFUSED } from '../failure.js';
import { colours, columns, print, printJson } from '../output.js';
import type { FuzzCliOptions } from './fuzz.js';
import { type Prepared, placeOptions, prepare } from './fuzz-plan.js';
import { CampaignLine, millions } from './fuzz-progress.js';

/** Does what `kvm-cpuid fuzz` is asked for. Returns the exit status. */
export async function fuzz(options: FuzzCliOptions): Promise<number> {
  if (options.list) return listLaws(options);
  const prepared = prepare(options);
  const { plan } = prepared;
  const { outcome, rows, seconds } = await run(prepared, options);
  const harvest = new Harvest(plan, (spec) => placeOptions(spec, options));
  for (const hit of outcome.hits) harvest.add(hit);
  const { findings } = harvest;
  if (options.json) printJson({ runs: outcome.runs, seed: plan.seed, findings });
  else printSummary({ plan, outcome, rows, seconds, findings });
  return findings.length > 0 ? EXIT_REFUSED : EXIT_OK;
}

function listLaws({ json }: FuzzCliOptions): number {
  if (json) printJson({ properties: LAWS.map(({ name, says }) => ({ name, says })) });
  else for (const line of columns(LAWS.map(({ name, says }) => [colours.bold(name), says]))) print(line);
  return EXIT_OK;
}

interface Ran {
  readonly outcome: Outcome;
  readonly rows: readonly CoverageRow[];
  readonly seconds: number;
}

/** Runs the campaign until its end, its time, or Ctrl-C. */
async function run({ plan, rules }: Prepared, options: FuzzCliOptions): Promise<Ran> {
  const campaign = new Campaign(plan, options.workers ?? availableParallelism());
  const rows = (): CoverageRow[] =>
    coverageRows([...campaign.coverage].map(([place, arrays]) => [rules[place]!, arrays] as const));
  const line = new CampaignLine(campaign, () => summarize(rows()));
  const stop = (): void => campaign.stop();
  const timer = options.for === undefined ? null : setTimeout(stop, options.for);
  process.once('SIGINT', stop);
  try {
    const outcome = await campaign.run();
    return { outcome, rows: rows(), seconds: line.seconds };
  } finally {
    line.end();
    process.removeListener('SIGINT', stop);
    if (timer !== null) clearTimeout(timer);
  }
}

interface Summary extends Ran {
  readonly plan: Plan;
  readonly findings: readonly FuzzFinding[];
}

function printSummary({ plan, outcome, rows, seconds, findings }: Summary): void {
  const { complete, acceptedBits, refusedBits } = summarize(rows);
  const rate = millions(Math.round(outcome.runs / seconds));
  print(`${millions(outcome.runs)} tables at ${plan.places.length} places, seed ${plan.seed}: ${rate} a second`);
  print(
    `${complete} of ${rows.length} rows of the rule table were hit with every verdict that they allow ` +
      `(${acceptedBits} bits seen accepted, ${refusedBits} refused)`,
  );
  print(findings.length === 0 ? colours.green('no findings') : colours.red(`${findings.length} findings`));
  for (const finding of findings) printFinding(finding);
  if (outcome.next < plan.end) print(colours.dim(`stopped; go on with --seed ${plan.seed} --first ${outcome.next}`));
}

function printFinding({ property, cell, host, vm_type, guest_perm, entries, replay }: FuzzFinding): void {
  print();
  print(`${colours.bold(property)}: ${colours.red(cell)}`);
  print(`  on ${host}, ${vm_type}${guest_perm === 'amx' ? ', amx' : ''}`);
  for (const entry of entries) print(`    ${entry}`);
  print(colours.dim(`  ${replay}`));
}
