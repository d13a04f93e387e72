import { writeFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { ENGINES, type EngineName } from '../../emu/core/engine.js';
import {
  builtInHost,
  DEFECTS,
  type Defect,
  KERNEL_LINES,
  type KernelLine,
  POLICIES,
  type Policy,
  TDX_MODULE_NAMES,
} from '../../index.js';
import type { Outcome, Scenario, ScenarioRun, Stage, Variant } from '../../scenarios/index.js';
import { changeText } from '../../scenarios/scenario.js';
import type { SearchSetting } from '../../scenarios/search.js';
import { EXIT_OK, EXIT_REFUSED, UsageError } from '../failure.js';
import { colours, columns, print, printJson, progress } from '../output.js';

interface RunOptions {
  readonly policy?: Policy;
  readonly kernel?: KernelLine;
  readonly module?: string;
  readonly defect: readonly Defect[];
  readonly fixed?: boolean;
  readonly trace?: string;
  readonly svg?: string;
  readonly engine: EngineName;
  readonly json?: boolean;
}

interface CompareOptions {
  readonly only: readonly string[];
  readonly policies: readonly Policy[];
  readonly json?: boolean;
}

const collect = (value: Defect, all: readonly Defect[]): Defect[] => [...all, value];
const names = (value: string): string[] => value.split(',').map((item) => item.trim());

/** `kvm-cpuid scenario list|run|compare` */
export function addScenario(program: Command): void {
  const scenario = program
    .command('scenario')
    .description('stories of guests that reach into their host, executed instruction by instruction')
    .addHelpText('after', HELP);
  scenario
    .command('list')
    .description('all scenarios')
    .option('--json', 'one JSON document')
    .action(async ({ json }: { json?: boolean }) => {
      const { SCENARIOS } = await import('../../scenarios/index.js');
      list(SCENARIOS, json ?? false);
    });
  scenario
    .command('run')
    .argument('<name>', 'a scenario, see `scenario list`')
    .description('plays one scenario; status 0: prevented or harmless, 1: the host is clobbered')
    .addOption(
      new Option(
        '--policy <policy>',
        'what KVM does about bits that it does not know (default: today’s kernel)',
      ).choices([...POLICIES]),
    )
    .addOption(
      new Option('--kernel <line>', 'kernel line (default: the newest that the scenario names)').choices([
        ...KERNEL_LINES,
      ]),
    )
    .option('--module <name>', "TDX module (default: the scenario's first)")
    .addOption(
      new Option('--defect <name>', 'switch on a known defect; repeatable')
        .choices([...DEFECTS])
        .argParser(collect as never)
        .default([]),
    )
    .addOption(
      new Option('--engine <name>', 'what executes machine code; both do the same to the last cycle')
        .choices([...ENGINES])
        .default('interpreted'),
    )
    .option('--fixed', 'without the defects that the scenario itself is about')
    .option('--svg <file>', 'draw a timeline: host, KVM and guest by cycles, and what became of the state')
    .option(
      '--trace <file>',
      'write every instruction and event: .jsonl lines of JSON, else for chrome://tracing and Perfetto',
    )
    .option('--json', 'one JSON document')
    .action(run);
  scenario
    .command('compare')
    .description('every scenario under every policy: prevented, clobbered or harmless')
    .option('--only <names>', 'scenarios, separated by commas', names, [])
    .option('--policies <names>', 'policies, separated by commas', names as never, [...POLICIES])
    .option('--json', 'one JSON document')
    .action(compare);
  scenario
    .command('search')
    .description(
      'looks for configurations of TDs that harm the host, without knowing what the bits do; status 1: found',
    )
    .option('--host <name>', 'a built-in host that can run TDs', 'emerald-rapids')
    .option('--module <name>', 'TDX module', '2.0.8')
    .addOption(new Option('--policy <policy>', 'what KVM does about bits').choices([...POLICIES]).default('denylist'))
    .addOption(new Option('--kernel <line>', 'kernel line').choices([...KERNEL_LINES]).default('7.3'))
    .option('--cmdline <text>', 'command line of the host kernel', 'tsx=off')
    .option('--seed <number>', 'other configurations', Number, 1)
    .option('--tries <number>', 'how many in a row may be harmless before the search ends', Number, 50)
    .option('--json', 'one JSON document')
    .action(search);
}

const HELP = `
Examples:
  kvm-cpuid scenario list
  kvm-cpuid scenario run waitpkg-td --policy off
  kvm-cpuid scenario run waitpkg-vmx --trace trace.json
  kvm-cpuid scenario compare
  kvm-cpuid scenario search --policy off`;

function list(scenarios: readonly Scenario[], json: boolean): void {
  if (json) {
    printJson({
      scenarios: scenarios.map(({ name, title, guest, host, kernels, modules, story, limits, sources }) => ({
        name,
        title,
        guest,
        host,
        kernels,
        modules,
        story,
        limits,
        sources,
      })),
    });
    return;
  }
  for (const line of columns(
    scenarios.map(({ name, title }) => [colours.bold(name), title]),
    '',
  ))
    print(line);
}

async function find(name: string): Promise<Scenario> {
  const { SCENARIOS } = await import('../../scenarios/index.js');
  const found = SCENARIOS.find((item) => item.name === name);
  if (!found)
    throw new UsageError(
      `no scenario is called ${name}: expected one of ${SCENARIOS.map((item) => item.name).join(', ')}`,
    );
  return found;
}

/** Today's kernel: mainline, which for TDs has its deny list. */
const today = ({ guest }: Scenario): Policy => (guest === 'td' ? 'denylist' : 'off');

function checkModule(name: string): void {
  if (!TDX_MODULE_NAMES.includes(name))
    throw new UsageError(`--module ${name}: expected one of ${TDX_MODULE_NAMES.join(', ')}`);
}

async function run(name: string, options: RunOptions): Promise<void> {
  const scenario = await find(name);
  const { playScenario } = await import('../../scenarios/index.js');
  if (options.module !== undefined) checkModule(options.module);
  const variant: Variant = {
    policy: options.policy ?? today(scenario),
    kernel: options.kernel ?? scenario.kernels.at(-1)!,
    module: scenario.guest === 'td' ? (options.module ?? scenario.modules[0] ?? null) : null,
    defects: [...(options.fixed ? [] : (scenario.defects ?? [])), ...options.defect],
  };
  const stage = playScenario(scenario, variant, { engine: options.engine });
  const result = await play(stage, options.trace);
  if (options.svg !== undefined) {
    const { timelineSvg } = await import('../../report/timeline.js');
    writeFileSync(options.svg, timelineSvg(result));
  }
  process.exitCode = result.outcome === 'clobbered' ? EXIT_REFUSED : EXIT_OK;
  if (options.json) printJson(result);
  else show(scenario, result);
}

/** Plays it, and writes everything down if it is to be traced. */
async function play(stage: Stage, file: string | undefined): Promise<ScenarioRun> {
  if (file === undefined) return stage.run();
  const { TraceRecorder, traceEvents, traceLines } = await import('../../report/trace.js');
  const recorder = new TraceRecorder();
  stage.record(recorder);
  const result = stage.run();
  writeFileSync(file, file.endsWith('.jsonl') ? traceLines(recorder.records) : traceEvents(recorder.records));
  return result;
}

const OUTCOME_COLOURS: Readonly<Record<Outcome, (text: string) => string>> = {
  prevented: colours.green,
  harmless: colours.green,
  clobbered: colours.red,
};

function show(scenario: Scenario, result: ScenarioRun): void {
  const { policy, kernel, module, defects, moments, changed, notes } = result;
  print(colours.bold(`${scenario.name}: ${scenario.title}`));
  print();
  for (const line of wrapped(scenario.story)) print(line);
  print();
  const words = [`host ${scenario.host}`, `kernel ${kernel}`, `policy ${policy}`];
  if (module !== null) words.push(`TDX module ${module}`);
  if (scenario.boot?.cmdline) words.push(`booted with ${scenario.boot.cmdline}`);
  if (defects.length > 0) words.push(`defect ${defects.join(', ')}`);
  print(words.join(', '));
  for (const note of notes) print(`note: ${note}`);
  print();
  for (const line of columns(
    moments.map(({ cycle, cpu, lane, text }) => [
      String(cycle).padStart(12),
      cpu === 0 ? '' : `CPU ${cpu}`,
      lane,
      text,
    ]),
    '',
  ))
    print(line);
  print();
  print(OUTCOME_COLOURS[result.outcome](verdict(result)));
  for (const line of columns(changed.map((change) => [change.what, changeText(change)]))) print(line);
  print();
  for (const line of wrapped(scenario.limits)) print(line);
  for (const source of scenario.sources) print(`source: ${source}`);
}

function verdict({ outcome, ioctl, errno, cycle, changed }: ScenarioRun): string {
  if (outcome === 'prevented') return `prevented: ${ioctl} answers ${errno}`;
  if (changed.length > 0 && changed.every(({ what }) => what.startsWith('guest:')))
    return `the guest is harmed, from cycle ${cycle} on; the host is as it was`;
  return outcome === 'clobbered' ? `the host is clobbered, from cycle ${cycle} on` : 'harmless: the host is as it was';
}

function wrapped(text: string): string[] {
  return text
    .replace(/(.{1,100})(\s+|$)/g, '$1\n')
    .trimEnd()
    .split('\n');
}

async function compare({ only, policies, json }: CompareOptions): Promise<void> {
  const { SCENARIOS, compareScenarios } = await import('../../scenarios/index.js');
  for (const policy of policies)
    if (!POLICIES.includes(policy)) throw new UsageError(`--policies ${policy}: expected ${POLICIES.join(', ')}`);
  const chosen = only.length === 0 ? SCENARIOS : await Promise.all(only.map(find));
  const rows: ScenarioRun[] = [];
  for (const row of compareScenarios(chosen, policies)) {
    rows.push(row);
    progress(`${rows.length} runs, ${row.scenario} under ${row.policy}`);
  }
  progress(null);
  if (json) {
    printJson({
      rows: rows.map(({ scenario, policy, kernel, module, defects, outcome, ioctl, errno, cycle, changed }) => ({
        scenario,
        policy,
        kernel,
        module,
        defects,
        outcome,
        ioctl,
        errno,
        cycle,
        changed,
      })),
    });
    return;
  }
  showTable(rows, policies);
}

/** One line per scenario, kernel and module; one column per policy. */
function showTable(rows: readonly ScenarioRun[], policies: readonly Policy[]): void {
  const lines = new Map<string, ScenarioRun[]>();
  for (const row of rows) {
    const key = [row.scenario, row.kernel, row.module, row.defects].join(' ');
    lines.set(key, [...(lines.get(key) ?? []), row]);
  }
  const head = ['scenario', 'kernel', 'module', 'defect', ...policies].map((text) => colours.bold(text));
  const body = [...lines.values()].map((cells) => {
    const { scenario, kernel, module, defects } = cells[0]!;
    return [
      scenario,
      kernel,
      module ?? '-',
      defects.join(', ') || '-',
      ...policies.map((policy) => cell(cells.find((item) => item.policy === policy))),
    ];
  });
  for (const line of columns([head, ...body], '')) print(line);
}

function cell(row: ScenarioRun | undefined): string {
  if (!row) return '';
  const text =
    row.outcome === 'prevented'
      ? `prevented (${row.ioctl?.replace(/^KVM_/, '')})`
      : row.outcome === 'clobbered'
        ? `clobbered: ${row.changed[0]!.what}${row.changed.length > 1 ? ` +${row.changed.length - 1}` : ''}`
        : 'harmless';
  return OUTCOME_COLOURS[row.outcome](text);
}

interface SearchOptions extends SearchSetting {
  readonly seed: number;
  readonly tries: number;
  readonly json?: boolean;
}

async function search({ seed, tries, json, ...setting }: SearchOptions): Promise<void> {
  for (const [name, value] of Object.entries({ seed, tries }))
    if (!Number.isSafeInteger(value) || value < 0) throw new UsageError(`--${name}: expected a whole number`);
  checkModule(setting.module);
  if (!builtInHost(setting.host)) throw new UsageError(`--host ${setting.host}: expected a built-in host`);
  const { atomText, ClobberSearch } = await import('../../scenarios/search.js');
  const found = new ClobberSearch(setting).findAll(seed, tries).map(({ atoms, changes }) => ({
    bits: atoms.map(atomText),
    changed: changes.map(({ name, before, after }) => ({ what: name, before: hex(before), after: hex(after) })),
  }));
  process.exitCode = found.length > 0 ? EXIT_REFUSED : EXIT_OK;
  if (json) {
    printJson({ ...setting, seed, tries, found });
    return;
  }
  for (const { bits, changed } of found) {
    print(colours.red(bits.join(' + ')));
    for (const line of columns(changed.map(({ what, before, after }) => [what, `${before} -> ${after}`]))) print(line);
  }
  if (found.length === 0) print(`nothing found in ${tries} configurations`);
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;
