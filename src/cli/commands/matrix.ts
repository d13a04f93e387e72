import type { Command } from 'commander';
import { Option } from 'commander';
import type { VmTypeName } from '../../index.js';
import { builtInHosts, type HostDescription, IoctlFailed, KvmNotLoaded, VM_TYPES } from '../../index.js';
import {
  bitsOf,
  type Cell,
  Column,
  FILTERS,
  type Filter,
  isForVendor,
  type Model,
  vendorOf,
} from '../../report/matrix.js';
import { type MatrixResult, matrixDocument, type Unavailable } from '../../report/matrix-document.js';
import {
  alikeModels,
  changeGroups,
  namesInShort,
  type RefusalGroup,
  refusalGroups,
} from '../../report/matrix-groups.js';
import { readModels, withUniqueNames } from '../../report/matrix-models.js';
import { clobberText, REASONS } from '../../report/verdict.js';
import { EXIT_OK, EXIT_REFUSED, UsageError } from '../failure.js';
import { readInput } from '../input.js';
import { addKernelOptions, hostOf, type KernelCliOptions, processOf } from '../options.js';
import { columns as aligned, colours, print, printJson, progress, remark } from '../output.js';

const VIEWS = ['bit', 'model', 'host'] as const;

interface MatrixCliOptions extends KernelCliOptions {
  readonly payloads: readonly string[];
  readonly hosts: readonly string[];
  readonly vmTypes: readonly VmTypeName[];
  readonly filter: Filter;
  readonly by: (typeof VIEWS)[number];
  readonly onlyRefused?: boolean;
}

const list = (value: string, all: readonly string[]): string[] => [
  ...all,
  ...value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
];

/** `kvm-cpuid matrix --payloads FILE… --hosts A,B,… [--vm-types …]` */
export function addMatrix(program: Command): void {
  const command = program
    .command('matrix')
    .description(
      "KVM_SET_CPUID2's verdict on many tables on many hosts, and the smallest set of changes that makes all pass",
    )
    .requiredOption(
      '--payloads <file...>',
      'files with tables; of a JSON collection all that it holds, FILE#path for a part',
    )
    .option(
      '--hosts <names>',
      "hosts, separated by commas: built-in names or files, `all` for every built-in one (default: those of each table's vendor)",
      list,
      [],
    )
    .option(
      '--vm-types <types>',
      `VM types, separated by commas: ${Object.keys(VM_TYPES).join(', ')} (default: default)`,
      vmTypes,
      [],
    )
    .addOption(
      new Option('--filter <how>', 'none: judge tables as they are; qemu: first take away what QEMU does on that host')
        .choices([...FILTERS])
        .default('none'),
    )
    .addOption(new Option('--by <what>', 'how to list what is refused').choices([...VIEWS]).default('bit'))
    .option('--only-refused', 'leave out models that every host accepts');
  addKernelOptions(command)
    .addHelpText('after', HELP)
    .action((options: MatrixCliOptions) => {
      process.exitCode = run(options);
    });
}

const HELP = `
The recorded tables of QEMU's models are what QEMU asks for when the host seems to have everything. On a real host it
takes away first what KVM_GET_SUPPORTED_CPUID lacks (mark_unavailable_features() in QEMU, with a warning, or the end
under "enforce"): --filter qemu does the same with the simulated KVM's answer, so that what is left is what QEMU itself
would have to change. Tables of other VMMs are meant for --filter none.

A table names its vendor in leaf 0; without --hosts it is asked of built-in hosts of that vendor only. With --hosts every
table is asked of every host: as recorded with --filter none (no rule looks at the vendor string, caches and topology);
with the host's vendor and its copies of 1.EDX with --filter qemu, as QEMU does under KVM unless told vendor=…

Exit status: 0 all accepted, 1 something refused, 2 bad usage or unreadable input.

Examples:
  kvm-cpuid matrix --payloads qemu-models.json
  kvm-cpuid matrix --payloads qemu-models.json --filter qemu --hosts sapphire-rapids,genoa --only-refused
  kvm-cpuid matrix --payloads fingerprints.json kvmtool.json --by host --json
  kvm-cpuid matrix --payloads qemu-models.json#models.EPYC-Turin-v1 --vm-types default,snp`;

function vmTypes(value: string, all: readonly VmTypeName[]): VmTypeName[] {
  return list(value, all).map((name) => {
    if (!Object.hasOwn(VM_TYPES, name))
      throw new UsageError(`--vm-types ${name}: expected one of ${Object.keys(VM_TYPES).join(', ')}`);
    return name as VmTypeName;
  });
}

function run(options: MatrixCliOptions): number {
  const models = withUniqueNames(options.payloads.flatMap(loadModels));
  const vmTypes: readonly VmTypeName[] = options.vmTypes.length > 0 ? options.vmTypes : ['default'];
  if (options.filter === 'qemu' && vmTypes.includes('tdx'))
    throw new UsageError(
      "--filter qemu with --vm-types tdx: QEMU's way to a TD is not modelled yet; expected --filter none",
    );
  const everyHost = options.hosts.length > 0;
  const { opened, unavailable } = openColumns(hostsOf(options, models), vmTypes, options);
  const pairs = models.flatMap((model) =>
    opened.filter((column) => everyHost || isForVendor(model, column.vendor)).map((column) => ({ model, column })),
  );
  const cells = judge(pairs);
  const policy = options.policy ?? 'paranoid';
  const result: MatrixResult = { policy, filter: options.filter, models, columns: opened, unavailable, cells };
  if (options.json) printJson(matrixDocument(result));
  else printMatrix(result, options);
  return cells.length > 0 && cells.every(({ errno }) => errno === 'OK') ? EXIT_OK : EXIT_REFUSED;
}

function loadModels(argument: string): Model[] {
  const [path = '', inside = ''] = argument.split(/#(.*)/s);
  return readModels(readInput(path), path, inside);
}

/** The hosts that the options name; without any the built-in ones that some model is for. */
function hostsOf(options: MatrixCliOptions, models: readonly Model[]): HostDescription[] {
  const builtIn = builtInHosts();
  if (options.hosts.length > 0) {
    const names = options.hosts.flatMap((host) => (host === 'all' ? builtIn.map(({ name }) => name) : [host]));
    return names.map((host) => hostOf({ ...options, host }));
  }
  const found = builtIn
    .filter(({ rows }) => models.some((model) => isForVendor(model, vendorOf(rows))))
    .map(({ name }) => hostOf({ ...options, host: name }));
  if (found.length > 0) return found;
  throw new UsageError('--hosts: no built-in host has the vendor of these tables; name some');
}

function openColumns(hosts: readonly HostDescription[], types: readonly VmTypeName[], options: MatrixCliOptions) {
  const opened: Column[] = [];
  const unavailable: Unavailable[] = [];
  const notes = new Set<string>();
  for (const vmType of types) {
    for (const host of hosts) {
      try {
        const column = new Column(host, { ...checkOptions(options), vmType, filter: options.filter });
        opened.push(column);
        for (const note of column.host.notes) notes.add(note);
      } catch (error) {
        if (!(error instanceof IoctlFailed || error instanceof KvmNotLoaded)) throw error;
        unavailable.push({ host: host.name, vmType, why: error.message });
      }
    }
  }
  for (const note of notes) remark(note);
  const reasons = new Set(unavailable.map(({ vmType, why }) => `VM type ${vmType}: ${why}`));
  for (const reason of reasons) {
    const own = unavailable.filter(({ vmType, why }) => `VM type ${vmType}: ${why}` === reason);
    remark(`${reason} on ${own.map(({ host }) => host).join(', ')}`);
  }
  return { opened, unavailable };
}

const checkOptions = (options: MatrixCliOptions) => ({
  process: processOf(options),
  reserved: options.reserved,
  defects: options.defect,
  placement: options.placement,
  ...(options.policy !== undefined && { policy: options.policy }),
});

/** Milliseconds before a progress line appears, and between two. */
const PATIENCE = { first: 1000, next: 100 };

function judge(pairs: readonly { readonly model: Model; readonly column: Column }[]): Cell[] {
  let due = Date.now() + PATIENCE.first;
  const cells = pairs.map(({ model, column }, at) => {
    if (Date.now() >= due) {
      progress(`matrix: ${at} of ${pairs.length} tables, ${column.name}`);
      due = Date.now() + PATIENCE.next;
    }
    return column.judge(model);
  });
  progress(null);
  return cells;
}

function printMatrix(result: MatrixResult, options: MatrixCliOptions): void {
  const { cells, columns } = result;
  if (cells.length === 0) {
    print('nothing to judge: none of the hosts offers such a VM');
    return;
  }
  const refused = cells.filter(({ errno }) => errno !== 'OK');
  const kernels = [...new Set(columns.map(({ host }) => host.inputs.kernel))].join(', ');
  print(
    `${colours.bold(`${plural(result.models.length, 'table')} on ${plural(columns.length, 'host')}`)}, kernel ${kernels}, ` +
      `policy ${result.policy}${result.filter === 'qemu' ? ", cut to KVM's answer as QEMU does" : ''}: ` +
      `${cells.length - refused.length} of ${cells.length} accepted`,
  );
  if (hasTds(columns) && result.policy === 'off') print(colours.yellow(COUNTERFACTUAL));
  print();
  printTable(result, options.onlyRefused === true);
  if (refused.length > 0) {
    printRefusals(result, options.by);
    printChanges(result);
  }
  printOff(result);
}

/** Models as rows, hosts as columns; models that fare alike share a row. */
function printTable({ models, columns, cells }: MatrixResult, onlyRefused: boolean): void {
  const byPair = new Map(cells.map((cell) => [`${cell.model.name} ${cell.column.name}`, cell]));
  const cellsOf = (model: Model) => columns.map((column) => byPair.get(`${model.name} ${column.name}`) ?? null);
  const shown = onlyRefused
    ? models.filter((model) => cellsOf(model).some((cell) => cell && cell.errno !== 'OK'))
    : models;
  if (shown.length === 0) return;
  const all = models.map(({ name }) => name);
  const rows = alikeModels(shown, cellsOf).map((group) => [
    namesInShort(
      group.map(({ name }) => name),
      all,
    ),
    ...cellsOf(group[0]!).map(cellText),
  ]);
  const fits = columns.reduce((sum, { name }) => sum + name.length + 2, 34) <= (process.stdout.columns ?? 120);
  const heads = columns.map((column, at) => (fits ? column.name : letter(at)));
  for (const line of aligned([['', ...heads].map(colours.dim), ...rows], '')) print(line);
  if (!fits) print(colours.dim(columns.map((column, at) => `${letter(at)} ${column.name}`).join('  ')));
  print(colours.dim('numbers: refused bits; +E…: refused without the policy too, with that errno; -: not asked'));
}

const COUNTERFACTUAL = 'for TDs a counterfactual kernel without any check';
const hasTds = (columns: readonly Column[]): boolean => columns.some(({ vmType }) => vmType === 'tdx');

const letter = (at: number): string => (at < 26 ? String.fromCharCode(65 + at) : `A${letter(at - 26)}`);

function cellText(cell: Cell | null): string {
  if (!cell) return colours.dim('-');
  const off = cell.off === 'OK' ? '' : `+${cell.off}`;
  if (cell.errno === 'OK') return colours.green('ok');
  return colours.red(`${bitsOf(cell.refusals)}${off}`);
}

function printRefusals({ models, columns, cells }: MatrixResult, by: MatrixCliOptions['by']): void {
  if (by === 'bit') {
    print();
    print(colours.bold('Refused'));
    printGroups(refusalGroups(cells), models, columns, true, true);
    return;
  }
  const heads = by === 'model' ? models : columns;
  for (const head of heads) {
    const own = cells.filter((cell) => (by === 'model' ? cell.model : cell.column) === head && cell.errno !== 'OK');
    if (own.length === 0) continue;
    print();
    print(colours.bold(head.name));
    printGroups(refusalGroups(own), models, columns, by === 'host', by === 'model');
  }
}

function printGroups(
  groups: readonly RefusalGroup[],
  models: readonly Model[],
  columns: readonly Column[],
  showModels: boolean,
  showHosts: boolean,
): void {
  const rows = groups.map(({ refusal: { place, name, reason, clobbers }, ...found }) => {
    const where = [
      ...(showModels ? [`in ${shortNames(found.models, models)}`] : []),
      ...(showHosts ? [`on ${shortNames(found.columns, columns)}`] : []),
    ].join(', ');
    const clobbered = clobbers.length > 0 ? colours.yellow(`; ${clobberText(clobbers)}`) : '';
    return [colours.red(place), colours.bold(name ?? '-'), REASONS[reason], `${where}${clobbered}`];
  });
  for (const line of aligned(rows)) print(line);
}

function printChanges({ models, columns, cells }: MatrixResult): void {
  const groups = changeGroups(cells);
  print();
  print(colours.bold(`Smallest set of changes: ${groups.length}, and every table passes everywhere`));
  for (const [at, { cause, refusals, models: inModels, columns: onColumns }] of groups.entries()) {
    const number = String(at + 1).padStart(4);
    print(`${number}. ${colours.bold(cause.text)}`);
    const others = refusals.filter(({ place }) => !cause.text.includes(place));
    const along =
      cause.action === 'clear' && others.length > 0
        ? `; takes along ${plural(others.length, 'field')} of ${leavesOf(others)}`
        : '';
    print(`      in ${shortNames(inModels, models)}, on ${shortNames(onColumns, columns)}${colours.dim(along)}`);
  }
}

const leavesOf = (refusals: readonly { readonly place: string }[]): string =>
  [...new Set(refusals.map(({ place }) => place.replace(/:E[A-D]X.*$/, '')))].join(', ');

/** What does not run on today's kernel either. */
function printOff({ models, columns, cells, policy }: MatrixResult): void {
  const failing = cells.filter(({ off }) => off !== 'OK');
  print();
  if (hasTds(columns) && policy !== 'off') print(colours.dim(`off: ${COUNTERFACTUAL}`));
  if (failing.length === 0) {
    print('Without the policy (off) every table is accepted everywhere.');
    return;
  }
  print(colours.bold(policy === 'off' ? 'Refused by every kernel' : 'Refused without the policy (off) too'));
  const errnos = [...new Set(failing.map(({ off }) => off))];
  for (const errno of errnos) {
    const own = failing.filter(({ off }) => off === errno);
    const inModels = models.filter((model) => own.some((cell) => cell.model === model));
    const onColumns = columns.filter((column) => own.some((cell) => cell.column === column));
    print(`  ${errno}  ${shortNames(inModels, models)}, on ${shortNames(onColumns, columns)}`);
  }
}

function shortNames(some: readonly { readonly name: string }[], all: readonly { readonly name: string }[]): string {
  return namesInShort(
    some.map(({ name }) => name),
    all.map(({ name }) => name),
  );
}

const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
