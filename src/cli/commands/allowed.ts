import type { Command } from 'commander';
import { bootKvm, impliedByVmType, sdmName, tdNotes, VM_TYPES, Vmm } from '../../index.js';
import { type AllowedRow, allowedRows } from '../../report/allowed.js';
import { UsageError } from '../failure.js';
import { addHostOptions, type HostCliOptions, hostOf, processOf } from '../options.js';
import { colours, columns, print, printJson, remark } from '../output.js';

interface AllowedCliOptions extends HostCliOptions {
  readonly leaf?: string;
}

/** `kvm-cpuid allowed --host H [--leaf 7.0]` */
export function addAllowed(program: Command): void {
  const command = program
    .command('allowed')
    .description('the paranoid rule of every register, and where it comes from')
    .option('--leaf <function[.index]>', 'one leaf, in hexadecimal: 7, 7.1, 80000008');
  addHostOptions(command).action(run);
}

function run(options: AllowedCliOptions): void {
  const { vmType } = options;
  const implied = impliedByVmType(hostOf(options), vmType, options.module);
  const module = bootKvm(implied.host, {
    ...implied.options,
    policy: options.policy ?? 'paranoid',
    reserved: options.reserved,
    defects: options.defect,
    ...(options.module !== undefined && { tdxModule: options.module }),
  });
  for (const note of [...implied.host.notes, ...tdNotes(vmType, module)]) remark(note);
  const vmm = new Vmm(module, processOf(options));
  vmm.createVm(VM_TYPES[vmType]);
  const overlay = module.overlayOfVmType(VM_TYPES[vmType])!;
  const rows = allowedRows(module.allowed(overlay, vmm.process), parseLeaf(options.leaf));
  if (options.json) {
    printJson({ overlay, rows });
    return;
  }
  print(
    colours.bold(`Allowed values, overlay ${overlay}, kernel ${implied.host.inputs.kernel} on ${implied.host.name}`),
  );
  print(colours.dim('Sources: S the April 2026 RFC, S2 its June successor, P this project'));
  for (const line of columns(rows.map(describe))) print(line);
}

function describe(row: AllowedRow): string[] {
  const index = row.index === null ? null : row.index;
  const place = sdmName(Number.parseInt(row.function, 16), index, row.register);
  return [place, row.rule, row.allowed, row.source, colours.dim(row.why)];
}

function parseLeaf(text: string | undefined): { function: number; index: number | null } | null {
  if (text === undefined) return null;
  const match = /^(?:0x)?([0-9a-f]{1,8})(?:\.(?:0x)?([0-9a-f]{1,8}))?$/i.exec(text);
  if (!match) throw new UsageError(`--leaf ${text}: expected FUNCTION or FUNCTION.INDEX in hexadecimal, e.g. 7.1`);
  return {
    function: Number.parseInt(match[1]!, 16),
    index: match[2] === undefined ? null : Number.parseInt(match[2], 16),
  };
}
