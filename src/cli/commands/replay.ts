import type { Command } from 'commander';
import { type ReplayReport, replayCapture } from '../../report/replay.js';
import { EXIT_OK, EXIT_REFUSED } from '../failure.js';
import { loadCapture } from '../input.js';
import { colours, columns, print, printJson, progress } from '../output.js';

interface ReplayOptions {
  readonly json?: boolean;
  readonly mismatches: string;
}

/** `kvm-cpuid replay CAPTURE…` */
export function addReplay(program: Command): void {
  program
    .command('replay')
    .description('run recordings of real kernels against the simulator, section by section')
    .argument('<capture...>', 'recordings, JSON or .json.gz')
    .option('--mismatches <n>', 'how many mismatches to show in full', '10')
    .option('--json', 'print one JSON document: an object, or an array for several recordings')
    .addHelpText('after', '\nExit status: 0 all agree, 1 something differs, 2 unreadable input.')
    .action((files: string[], options: ReplayOptions) => {
      process.exitCode = run(files, options);
    });
}

function run(files: readonly string[], options: ReplayOptions): number {
  const reports = files.map((file, position) => {
    progress(`replay ${position + 1}/${files.length} ${file}`);
    return replayCapture(loadCapture(file));
  });
  progress(null);
  if (options.json) printJson(reports.length === 1 ? reports[0] : reports);
  else for (const report of reports) printReport(report, Number(options.mismatches));
  if (!options.json && reports.length > 1) printTotals(reports);
  return reports.every(agrees) ? EXIT_OK : EXIT_REFUSED;
}

const agrees = (report: ReplayReport): boolean =>
  Object.values(report.sections).every(({ checked, agree }) => checked === agree);

function printReport(report: ReplayReport, shown: number): void {
  print(`${agrees(report) ? colours.green('agrees') : colours.red('DIFFERS')}  ${colours.bold(report.capture)}`);
  const rows = Object.entries(report.sections).map(([name, { checked, agree, skipped, reason }]) => [
    agree === checked ? name : colours.red(name),
    `${agree}/${checked}`,
    skipped > 0 ? `${skipped} skipped: ${reason}` : '',
  ]);
  for (const line of columns(rows)) print(line);
  for (const { section, what, expected, got } of report.mismatches.slice(0, shown)) {
    print(`  ${colours.red(section)} ${what}\n    recorded  ${expected}\n    simulated ${got}`);
  }
  const more = report.mismatches.length - shown;
  if (more > 0) print(`  … and ${more} more mismatches`);
}

function printTotals(reports: readonly ReplayReport[]): void {
  const sections = reports.flatMap((report) => Object.values(report.sections));
  const total = (key: 'checked' | 'agree' | 'skipped') => sections.reduce((sum, section) => sum + section[key], 0);
  const differing = reports.filter((report) => !agrees(report)).length;
  print(
    `${reports.length} recordings, ${differing} differ: ${total('agree')} of ${total('checked')} agree, ${total('skipped')} skipped`,
  );
}
