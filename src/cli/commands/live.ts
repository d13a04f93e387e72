import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import type { Command } from 'commander';
import {
  DEFAULT_RUNS,
  DEFAULT_SEED,
  describeMachine,
  type LiveDocument,
  LiveUnavailable,
  recordLive,
} from '../../live/live.js';
import { type Mismatch, type ReplayReport, replayCapture } from '../../report/replay.js';
import { EXIT_OK, EXIT_REFUSED, UsageError } from '../failure.js';
import { colours, columns, print, printJson } from '../output.js';

interface LiveCliOptions {
  readonly record?: string;
  readonly runs: number;
  readonly seed: number;
  /** False with --no-guest. */
  readonly guest: boolean;
  readonly json?: boolean;
}

/** `kvm-cpuid live [--record FILE]` */
export function addLive(program: Command): void {
  program
    .command('live')
    .description("compares the simulator with this machine's /dev/kvm")
    .option('--record <file>', 'write the recording, a capture that replays (.gz compresses); it names CPU and kernel')
    .option('--runs <n>', 'random tables to set besides the listed ones', wholeNumber('--runs', 100_000), DEFAULT_RUNS)
    .option('--seed <n>', 'what the random tables are made from', wholeNumber('--seed', 0xffff_ffff), DEFAULT_SEED)
    .option('--no-guest', 'run no guest at all, not even its one HLT')
    .option('--json', 'print one JSON document')
    .addHelpText('after', EXAMPLES)
    .action((options: LiveCliOptions) => {
      process.exitCode = run(options);
    });
}

const EXAMPLES = `
The host is only read: VMs are made, given tables, and closed; a guest executes HLT and nothing else.

Exit status: 0 simulator and machine agree, 1 they differ, 2 there is no KVM to ask.

Examples:
  kvm-cpuid live
  kvm-cpuid live --record this-machine.json.gz
  kvm-cpuid live --runs 10000 --seed 7 --json`;

function wholeNumber(option: string, limit: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : -1;
    if (value < 0 || value > limit) throw new UsageError(`${option} ${text}: expected a number from 0 to ${limit}`);
    return value;
  };
}

function run(options: LiveCliOptions): number {
  const progress = new Progress();
  let document: LiveDocument;
  let report: ReplayReport;
  try {
    document = record(options, progress);
    if (options.record !== undefined) writeRecording(options.record, document);
    progress.show('comparing');
    report = replayCapture(document, 'recording');
  } finally {
    progress.clear();
  }
  if (options.json) printJson(report);
  else printReport(document, report, options.record);
  return Object.values(report.sections).every(({ checked, agree }) => checked === agree) ? EXIT_OK : EXIT_REFUSED;
}

function record({ runs, seed, guest }: LiveCliOptions, progress: Progress): LiveDocument {
  try {
    return recordLive({ runs, seed, mayRun: guest, progress: (stage) => progress.show(`recording: ${stage}`) });
  } catch (error) {
    if (error instanceof LiveUnavailable) throw new UsageError(error.message);
    throw error;
  }
}

function writeRecording(path: string, document: LiveDocument): void {
  const text = `${JSON.stringify(document)}\n`;
  try {
    writeFileSync(path, path.endsWith('.gz') ? gzipSync(text) : text);
  } catch (error) {
    throw new UsageError(`--record ${path}: cannot be written (${(error as NodeJS.ErrnoException).code ?? error})`);
  }
}

/** Mismatches that are shown in full. */
const SHOWN = 10;

const MODELLED: readonly string[] = ['kvm_intel', 'kvm_amd'];

function printReport(document: LiveDocument, report: ReplayReport, recording: string | undefined): void {
  const { release, cpu, vendorModules } = describeMachine(document);
  print(`${colours.bold(cpu)}, Linux ${release}`);
  if (!vendorModules.some((name) => MODELLED.includes(name))) {
    const name = vendorModules.join(', ') || 'unknown';
    print(`vendor module ${name}: not modelled, so verdicts, sizes and pointers are compared, and no feature masks`);
  }
  printSections(report);
  if (recording !== undefined) print(colours.dim(`recorded to ${recording}`));
  for (const mismatch of report.mismatches.slice(0, SHOWN)) printMismatch(mismatch);
  const hidden = report.mismatches.length - SHOWN;
  if (hidden > 0) print(colours.dim(`… and ${hidden} more (--json lists them)`));
}

function printSections({ sections }: ReplayReport): void {
  const reasons: string[] = [];
  const footnote = (reason: string | undefined): string => {
    if (reason === undefined) return '';
    if (!reasons.includes(reason)) reasons.push(reason);
    return colours.dim(`[${reasons.indexOf(reason) + 1}]`);
  };
  const header = ['section', 'checked', 'agree', 'differ', 'skipped', ''].map(colours.dim);
  const rows = Object.entries(sections).map(([name, { checked, agree, skipped, reason }]) => {
    const differ = checked - agree;
    const count = differ === 0 ? '0' : colours.red(String(differ));
    return [name, String(checked), String(agree), count, String(skipped), footnote(reason)];
  });
  for (const line of columns([header, ...rows])) print(line);
  for (const [n, reason] of reasons.entries()) print(colours.dim(`[${n + 1}] ${reason}`));
}

function printMismatch({ section, what, expected, got }: Mismatch): void {
  print();
  print(`${colours.bold(section)}: ${what}`);
  for (const line of columns([
    ['machine', expected],
    ['simulator', got],
  ])) {
    print(line);
  }
}

/** Milliseconds before anything is shown, and between two updates. */
const PATIENCE = 1000;
const INTERVAL = 100;

/** One line on standard error that is rewritten, where somebody looks and only when it takes long. */
class Progress {
  private next = performance.now() + PATIENCE;
  private shown = false;

  show(text: string): void {
    if (!process.stderr.isTTY || performance.now() < this.next) return;
    process.stderr.write(`\r\u001b[K${text}`);
    this.shown = true;
    this.next = performance.now() + INTERVAL;
  }

  clear(): void {
    if (this.shown) process.stderr.write('\r\u001b[K');
  }
}
