import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { Checker, type PayloadTable, type Verdict, writePayload } from '../../index.js';
import { countBits, refusalLines, verdictDocument } from '../../report/verdict.js';
import { EXIT_OK, EXIT_REFUSED } from '../failure.js';
import { loadPayload } from '../input.js';
import { addHostOptions, type HostCliOptions, hostOf, processOf } from '../options.js';
import { colours, columns, print, printJson, remark } from '../output.js';

interface CheckCliOptions extends HostCliOptions {
  readonly saveAccepted?: string;
}

interface Judged {
  readonly table: PayloadTable;
  readonly verdict: Verdict;
}

/** `kvm-cpuid check PAYLOAD --host H` */
export function addCheck(program: Command): void {
  const command = program
    .command('check')
    .description("KVM_SET_CPUID2's verdict on a VMM's table, with every refused bit")
    .argument(
      '<payload>',
      'the table: entries as JSON, FILE#path into a JSON collection, cpuid -r text, a raw struct kvm_cpuid2, strace -v output; - for stdin',
    )
    .option('--save-accepted <file>', 'write the nearest accepted table as JSON entries');
  addHostOptions(command)
    .addHelpText('after', EXAMPLES)
    .action((payload: string, options: CheckCliOptions) => {
      process.exitCode = run(payload, options);
    });
}

const EXAMPLES = `
Exit status: 0 accepted, 1 refused, 2 bad usage or unreadable input.

Examples:
  kvm-cpuid check qemu.json#models.EPYC-Genoa-v1 --host genoa
  kvm-cpuid check guest.cpuid.txt --host ./capture.json.gz --policy off
  kvm-cpuid check table.bin --host sapphire-rapids --vm-type tdx --json`;

function run(argument: string, options: CheckCliOptions): number {
  const payload = loadPayload(argument);
  const checker = makeChecker(options);
  for (const note of [...payload.warnings, ...checker.host.notes]) remark(note);
  const judged = payload.tables.map((table): Judged => ({ table, verdict: checker.check(table.entries) }));
  const accepted = judged.every(({ verdict }) => verdict.accepted);
  if (options.saveAccepted !== undefined) saveAccepted(options.saveAccepted, judged);
  if (options.json) printDocument(judged, accepted);
  else for (const item of judged) printVerdict(argument, checker, item);
  return accepted ? EXIT_OK : EXIT_REFUSED;
}

function makeChecker(options: CheckCliOptions): Checker {
  return new Checker(hostOf(options), {
    vmType: options.vmType,
    process: processOf(options),
    reserved: options.reserved,
    defects: options.defect,
    placement: options.placement,
    ...(options.policy !== undefined && { policy: options.policy }),
    ...(options.module !== undefined && { tdxModule: options.module }),
  });
}

function printDocument(judged: readonly Judged[], accepted: boolean): void {
  const documents = judged.map(({ verdict }) => verdictDocument(verdict));
  printJson(documents.length === 1 ? documents[0] : { accepted, vcpus: documents });
}

function saveAccepted(file: string, judged: readonly Judged[]): void {
  const tables = judged.map(({ table, verdict }) => ({ ...table, entries: verdict.acceptedTable }));
  writeFileSync(file, `${writePayload({ format: 'entries', tables, warnings: [] })}\n`);
}

function printVerdict(argument: string, checker: Checker, { table, verdict }: Judged): void {
  const { host, policy } = checker;
  const label = table.label === '' ? '' : `, ${table.label}`;
  print(`${colours.bold(argument)}${label}: ${table.entries.length} entries`);
  print(`on ${colours.bold(host.name)}, kernel ${host.inputs.kernel}, overlay ${verdict.overlay}`);
  const { findings } = verdict;
  const rows = [
    ['off', outcome(verdict.off), policyNote('off', verdict)],
    [
      policy,
      outcome(verdict),
      findings.length > 0 ? `${plural(countBits(findings), 'bit')} in ${plural(findings.length, 'register')}` : '',
    ],
  ];
  for (const line of columns(policy === 'off' ? rows.slice(1) : rows)) print(line);
  if (findings.length > 0) {
    print();
    const lines = findings.flatMap(refusalLines);
    for (const line of columns(
      lines.map(({ place, name, reason, clobbers }) => [
        colours.red(place),
        colours.bold(name),
        reason,
        colours.yellow(clobbers),
      ]),
    )) {
      print(line);
    }
    print();
    print(
      colours.dim(
        'The nearest accepted table clears or clamps these; --save-accepted FILE writes it, --json shows it.',
      ),
    );
  }
}

function policyNote(policy: string, verdict: Verdict): string {
  return policy === 'off' && verdict.overlay === 'TDX' ? 'counterfactual: a TD without any check' : '';
}

function outcome({ accepted, errno }: { readonly accepted: boolean; readonly errno: string }): string {
  return accepted ? colours.green('accepted') : colours.red(`REFUSED  ${errno}`);
}

const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
