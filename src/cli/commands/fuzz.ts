import type { Command } from 'commander';
import { Option } from 'commander';
import { TDX_MODULE_NAMES } from '../../index.js';
import { UsageError } from '../failure.js';
import { addKernelOptions } from '../options.js';
import type { FuzzCliOptions } from './fuzz-plan.js';

/** `kvm-cpuid fuzz [--property P] [--runs N | --for T] …` */
export function addFuzz(program: Command): void {
  const command = program
    .command('fuzz')
    .description('makes tables by the million and looks for one that breaks a law: every one has an expected verdict')
    .option('--list', 'list the laws and stop')
    .option('--property <names>', 'laws, separated by commas (default: all but live)', list, [])
    .option(
      '--hosts <names>',
      'hosts, separated by commas: built-in names or files (default: all built-in ones)',
      list,
      [],
    )
    .option(
      '--vm-types <types>',
      'VM types, separated by commas (default: default and, where there are TDs, tdx)',
      list,
      [],
    )
    .addOption(
      new Option('--module <version>', 'TDX module of the hosts (default: the newest published)').choices([
        ...TDX_MODULE_NAMES,
      ]),
    )
    .option(
      '--runs <n>',
      'tables or guests to try (default: 1000000; 2048 if guests only)',
      wholeNumber('--runs', 1e15),
    )
    .option('--for <time>', 'try tables for so long instead: 90s, 10m, 2h', duration)
    .option(
      '--seed <n>',
      'what the tables are made from (default: another one each time)',
      wholeNumber('--seed', 2 ** 32 - 1),
    )
    .option(
      '--first <n>',
      'number of the first case: where to go on, or which case to repeat',
      wholeNumber('--first', 1e15),
    )
    .option('--shard <i/n>', 'do every n-th block of cases, from the i-th on, counted from 1', shard, {
      index: 0,
      count: 1,
    })
    .option('--workers <n>', 'threads (default: one for each CPU)', wholeNumber('--workers', 512))
    .option('--corpus <dir>', 'write each finding to a file of its own there, and where the campaign stopped')
    .option('--resume', 'go on where the campaign of --corpus stopped')
    .option('--replay <file>', 'judge the table of a finding again, and nothing else')
    .option('--report <dir>', 'write a page there that shows which bits of the rule table were hit');
  addKernelOptions(command)
    .addHelpText('after', HELP)
    .action(async (options: FuzzCliOptions) => {
      const { fuzz } = await import('./fuzz-run.js');
      process.exitCode = await fuzz(options);
    });
}

const HELP = `
Which table a case is depends on the seed and its number alone: the same seed finds the same, with any number of workers.
Where a host has AMX, tables are tried by processes with and without permission for it; --guest-perm amx or none chooses.
Ctrl-C ends with what was found so far and says how to go on.

Exit status: 0 nothing found, 1 findings, 2 bad usage or unreadable input.

Examples:
  kvm-cpuid fuzz --runs 200000 --seed 7
  kvm-cpuid fuzz --for 10m --corpus findings --report coverage
  kvm-cpuid fuzz --property verdict-naive --hosts sapphire-rapids,genoa --defect flagless-first-row
  kvm-cpuid fuzz --replay findings/refusal-changes-nothing-1.json`;

function list(value: string, all: readonly string[]): string[] {
  return [
    ...all,
    ...value
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  ];
}

function wholeNumber(option: string, limit: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : -1;
    if (value < 0 || value > limit) throw new UsageError(`${option} ${text}: expected a number from 0 to ${limit}`);
    return value;
  };
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 };

function duration(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([smh])$/.exec(text) ?? [];
  if (number === undefined) throw new UsageError(`--for ${text}: expected a time such as 90s, 10m or 2h`);
  return Number(number) * UNITS[unit!]!;
}

function shard(text: string): FuzzCliOptions['shard'] {
  const [, index, count] = (/^(\d+)\/(\d+)$/.exec(text) ?? []).map(Number);
  if (index === undefined || count === undefined || index < 1 || index > count)
    throw new UsageError(`--shard ${text}: expected i/n with i from 1 to n, e.g. 2/8`);
  return { index: index - 1, count };
}
