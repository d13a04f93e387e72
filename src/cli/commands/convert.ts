import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { Option } from 'commander';
import { payloadFromHost } from '../../cpuid/formats/index.js';
import { type HostDump, writeCpuidR, writeKvmCpuid2, writeLibvirt, writePayload } from '../../index.js';
import { UsageError } from '../failure.js';
import { loadDump } from '../input.js';
import { remark } from '../output.js';

interface ConvertOptions {
  readonly to: 'cpuid-r' | 'json' | 'libvirt' | 'kvm_cpuid2';
  readonly cpu?: string;
  readonly output?: string;
}

/** `kvm-cpuid convert FILE --to FORMAT` */
export function addConvert(program: Command): void {
  program
    .command('convert')
    .description('convert a dump or table into another format')
    .argument('<file>', 'any format that is read; FILE#path into JSON; - for stdin')
    .addOption(
      new Option('--to <format>', 'format to write')
        .choices(['cpuid-r', 'json', 'libvirt', 'kvm_cpuid2'])
        .default('cpuid-r'),
    )
    .option('--cpu <n>', 'only this logical CPU')
    .option('-o, --output <file>', 'write there instead of standard output')
    .action((file: string, options: ConvertOptions) => {
      const dump = loadDump(file);
      for (const warning of dump.warnings) remark(warning);
      const written = write(selectCpu(dump, options.cpu), options.to);
      if (options.output !== undefined) writeFileSync(options.output, written);
      else process.stdout.write(written);
    });
}

function selectCpu(dump: HostDump, text: string | undefined): HostDump {
  if (text === undefined) return dump;
  const cpu = /^\d+$/.test(text) ? dump.cpus[Number(text)] : undefined;
  if (!cpu) throw new UsageError(`--cpu ${text}: expected 0 to ${dump.cpus.length - 1}`);
  return { ...dump, cpus: [cpu] };
}

function write(dump: HostDump, to: ConvertOptions['to']): string | Uint8Array {
  switch (to) {
    case 'cpuid-r':
      return writeCpuidR(dump);
    case 'libvirt':
      return writeLibvirt(oneCpu(dump, to));
    case 'json':
      return `${writePayload(payloadFromHost(dump))}\n`;
    case 'kvm_cpuid2':
      return writeKvmCpuid2(payloadFromHost(oneCpu(dump, to)).tables[0]!.entries);
  }
}

/** Formats of one table take the first CPU, and say so. */
function oneCpu(dump: HostDump, to: string): HostDump {
  if (dump.cpus.length > 1)
    remark(`${to} holds one CPU: ${dump.cpus[0]!.label} of ${dump.cpus.length} is written (--cpu N chooses)`);
  return { ...dump, cpus: dump.cpus.slice(0, 1) };
}
