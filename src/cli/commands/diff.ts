import type { Command } from 'commander';
import type { CpuidRow } from '../../index.js';
import { builtInHost } from '../../index.js';
import { differenceDocument, differenceLines, differences } from '../../report/diff.js';
import { EXIT_OK, EXIT_REFUSED } from '../failure.js';
import { loadDump } from '../input.js';
import { colours, columns, print, printJson, remark } from '../output.js';

/** `kvm-cpuid diff A B` */
export function addDiff(program: Command): void {
  program
    .command('diff')
    .description('compare two dumps, tables or built-in hosts by bit name')
    .argument('<a>', 'a built-in host or a file of any format; FILE#path into JSON')
    .argument('<b>', 'the same')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExit status: 0 no difference, 1 differences, 2 bad usage or unreadable input.')
    .action((a: string, b: string, options: { json?: boolean }) => {
      process.exitCode = run(a, b, options.json === true);
    });
}

function run(a: string, b: string, json: boolean): number {
  const found = differences(rowsOf(a), rowsOf(b));
  if (json) printJson({ a, b, differences: found.map(differenceDocument) });
  else {
    const lines = found.flatMap(differenceLines);
    if (lines.length === 0) print('no difference');
    else {
      const header = ['register', 'name', a, b].map(colours.dim);
      for (const line of columns([
        header,
        ...lines.map((item) => [item.place, colours.bold(item.name), item.a, item.b]),
      ]))
        print(line);
    }
  }
  return found.length === 0 ? EXIT_OK : EXIT_REFUSED;
}

/** The rows of one CPU: the first, if a dump has several. */
function rowsOf(argument: string): readonly CpuidRow[] {
  const known = builtInHost(argument);
  if (known) return known.rows;
  const dump = loadDump(argument);
  for (const warning of dump.warnings) remark(`${argument}: ${warning}`);
  const [first] = dump.cpus;
  if (dump.cpus.length > 1) remark(`${argument}: ${first!.label} of ${dump.cpus.length} CPUs is compared`);
  return first!.rows;
}
