import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { FormatError } from '../../cpuid/errors.js';
import { Campaign, type Outcome } from '../../fuzz/campaign.js';
import { type CampaignState, Corpus, fingerprint, readFinding } from '../../fuzz/corpus.js';
import { type CoverageRow, coverageRows, summarize } from '../../fuzz/coverage.js';
import { type FuzzFinding, Harvest } from '../../fuzz/finding.js';
import { type GuestSetup, type GuestText, readGuest } from '../../fuzz/guest-case.js';
import { isGuestLaw } from '../../fuzz/law.js';
import { LAWS, lawNamed } from '../../fuzz/laws/index.js';
import { coveragePage } from '../../fuzz/page.js';
import { Place } from '../../fuzz/place.js';
import type { Plan } from '../../fuzz/plan.js';
import { benchOf } from '../../fuzz/shrink.js';
import { parseEntry } from '../../index.js';
import { EXIT_OK, EXIT_REFUSED, UsageError } from '../failure.js';
import { readJson } from '../input.js';
import { colours, columns, print, printJson } from '../output.js';
import { type FuzzCliOptions, kernelOptions, type Prepared, placeOptions, prepare } from './fuzz-plan.js';
import { CampaignLine, millions } from './fuzz-progress.js';

/** Does what `kvm-cpuid fuzz` is asked for. Returns the exit status. */
export async function fuzz(options: FuzzCliOptions): Promise<number> {
  if (options.list) return listLaws(options);
  if (options.replay !== undefined) return replay(options.replay, options);
  const corpus = options.corpus === undefined ? null : new Corpus(options.corpus);
  const state = options.resume ? stateOf(corpus) : null;
  const prepared = prepare(state ? { ...options, seed: state.seed, first: state.next } : options);
  const { plan } = prepared;
  if (state) checkSame(state.campaign, fingerprint(plan));
  const { outcome, rows, seconds } = await run(prepared, options, state);
  const harvest = new Harvest(plan, {
    place: (spec) => placeOptions(spec, options),
    kernelOptions: { ...kernelOptions(options) },
  });
  for (const hit of outcome.hits) harvest.add(hit);
  harvest.close();
  const { findings } = harvest;
  if (corpus) {
    for (const finding of findings) corpus.save(finding);
    corpus.saveState(plan, outcome.next, (state?.runs ?? 0) + outcome.runs, outcome.coverage);
  }
  if (options.report !== undefined) writeReport(options.report, plan, rows, findings);
  if (options.json) printJson({ runs: outcome.runs, seed: plan.seed, findings });
  else printSummary({ plan, outcome, rows, seconds, findings }, options);
  return findings.length > 0 ? EXIT_REFUSED : EXIT_OK;
}

/** @throws UsageError with what the campaign that stopped had, and this one has not */
function checkSame(stopped: string, now: string): void {
  if (stopped === now) return;
  const there = now.split('; ');
  const missing = stopped.split('; ').filter((part) => !there.includes(part));
  const example =
    missing.length > 1 ? `${missing[0]}, and ${missing.length - 1} more` : (missing[0] ?? 'less than this one');
  throw new UsageError(`--resume: the campaign that stopped was another one: it had ${example}`);
}

function stateOf(corpus: Corpus | null): CampaignState {
  if (!corpus) throw new UsageError('--resume: expected --corpus with the folder of the campaign that stopped');
  return corpus.loadState();
}

function writeReport(folder: string, plan: Plan, rows: readonly CoverageRow[], findings: readonly FuzzFinding[]): void {
  mkdirSync(folder, { recursive: true });
  const title = `kvm-cpuid fuzz, seed ${plan.seed}, ${plan.laws.join(', ')}`;
  writeFileSync(join(folder, 'index.html'), coveragePage({ title, rows, findings }));
}

/** Judges the table of a finding again. */
function replay(path: string, options: FuzzCliOptions): number {
  const finding = readFinding(path, readJson(path));
  const law = lawNamed(finding.property);
  if (!law) throw new UsageError(`${path}: no law is called ${finding.property}`);
  const { hosts, vmTypes, guestPerm } = options;
  const given: FuzzCliOptions = {
    ...options,
    ...finding.kernel_options,
    property: [law.name],
    hosts: hosts.length > 0 ? hosts : [finding.host],
    vmTypes: vmTypes.length > 0 ? vmTypes : [finding.vm_type],
    guestPerm: guestPerm.length > 0 ? guestPerm : [finding.guest_perm],
  };
  const [spec] = prepare(given).plan.places;
  const entries = finding.entries.map((text, position) => parseEntry(text, `${path}: entry ${position}`));
  const bench = benchOf(new Place(spec!), law);
  const guest = finding.guest && guestOf(path, finding.guest);
  const held = bench.broken({ entries, chance: finding.chance, ...(guest && { guest }) }, finding.aspect) === null;
  bench.close();
  if (options.json) printJson({ property: law.name, cell: finding.cell, holds: held });
  else print(`${colours.bold(law.name)}: ${held ? colours.green('holds') : colours.red('does not hold')} for ${path}`);
  return held ? EXIT_OK : EXIT_REFUSED;
}

function guestOf(path: string, text: GuestText): GuestSetup {
  try {
    return readGuest(text);
  } catch (error) {
    throw new FormatError((error as Error).message, path, 'a guest that kvm-cpuid fuzz --corpus has written');
  }
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
async function run({ plan, rules }: Prepared, options: FuzzCliOptions, state: CampaignState | null): Promise<Ran> {
  const campaign = new Campaign(plan, options.workers ?? availableParallelism());
  if (state) campaign.addCoverage(new Map(state.coverage));
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

function printSummary({ plan, outcome, rows, seconds, findings }: Summary, options: FuzzCliOptions): void {
  const { complete, acceptedBits, refusedBits } = summarize(rows);
  const rate = millions(Math.round(outcome.runs / seconds));
  const guests = plan.laws.every((name) => isGuestLaw(lawNamed(name)!));
  const cases = `${millions(outcome.runs)} ${guests ? 'guests' : 'tables'}`;
  print(`${cases} at ${plan.places.length} places, seed ${plan.seed}: ${rate} a second`);
  if (!guests)
    print(
      `${complete} of ${rows.length} rows of the rule table were hit with every verdict that they allow ` +
        `(${acceptedBits} bits seen accepted, ${refusedBits} refused)`,
    );
  print(findings.length === 0 ? colours.green('no findings') : colours.red(`${findings.length} findings`));
  for (const finding of findings) printFinding(finding);
  if (outcome.next >= plan.end) return;
  const how = options.corpus === undefined ? `--seed ${plan.seed} --first ${outcome.next}` : '--resume';
  print(colours.dim(`stopped at case ${outcome.next}; the same command with ${how} goes on`));
}

function printFinding(finding: FuzzFinding): void {
  const { property, cell, host, vm_type, guest_perm, entries, guest, broken, replay } = finding;
  print();
  print(`${colours.bold(property)}: ${colours.red(cell)}`);
  print(`  on ${host}, ${vm_type}${guest_perm === 'amx' ? ', amx' : ''}`);
  if (broken) print(`  ${broken}`);
  for (const entry of entries) print(`    ${entry}`);
  if (guest && guest.program.length > 0) print(`  runs ${guest.program.join('; ')}`);
  if (guest && vm_type === 'tdx' && guest.xfam !== '0x3') print(`  with XFAM ${guest.xfam}`);
  print(colours.dim(`  ${replay}`));
}
