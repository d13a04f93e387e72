import type { Command } from 'commander';
import { Option } from 'commander';
import {
  bootKvm,
  type CpuidEntry2,
  formatEntry,
  hex8,
  IoctlFailed,
  impliedByVmType,
  tdNotes,
  VM_TYPES,
  Vmm,
} from '../../index.js';
import { namedBits } from '../../report/names.js';
import { EXIT_OK, EXIT_REFUSED } from '../failure.js';
import { addHostOptions, type HostCliOptions, hostOf, processOf } from '../options.js';
import { colours, columns, print, printJson, remark } from '../output.js';

interface SupportedOptions extends HostCliOptions {
  readonly scope?: 'system' | 'vm';
  readonly names?: boolean;
}

/** `kvm-cpuid supported` and `kvm-cpuid emulated` */
export function addSupported(program: Command): void {
  for (const what of ['supported', 'emulated'] as const) {
    const command = program
      .command(what)
      .description(`what KVM_GET_${what.toUpperCase()}_CPUID answers`)
      .addOption(
        new Option('--scope <fd>', 'which descriptor is asked (default: system; vm for other VM types)').choices([
          'system',
          'vm',
        ]),
      )
      .option('--names', 'list the names of the bits that are set');
    addHostOptions(command).action((options: SupportedOptions) => {
      process.exitCode = run(what, options);
    });
  }
}

function run(what: 'supported' | 'emulated', options: SupportedOptions): number {
  const { vmType } = options;
  const policy = options.policy ?? (vmType === 'tdx' ? 'denylist' : 'off');
  const implied = impliedByVmType(hostOf(options), vmType, options.module);
  const module = bootKvm(implied.host, {
    ...implied.options,
    policy,
    reserved: options.reserved,
    defects: options.defect,
    ...(options.module !== undefined && { tdxModule: options.module }),
  });
  for (const note of [...implied.host.notes, ...tdNotes(vmType, module)]) remark(note);
  const vmm = new Vmm(module, processOf(options));
  const scope = options.scope ?? (vmType === 'default' ? 'system' : 'vm');
  let answer: ReturnType<Vmm['supported']>;
  let failed = `KVM_GET_${what.toUpperCase()}_CPUID`;
  try {
    const fd = scope === 'vm' ? vmm.createVm(VM_TYPES[vmType]) : vmm.kvm;
    answer = what === 'supported' ? vmm.supported(fd) : vmm.emulated(fd);
  } catch (error) {
    if (!(error instanceof IoctlFailed)) throw error;
    failed = error.ioctl;
    answer = { errno: error.errno, entries: [] };
  }
  if (answer.errno !== 'OK')
    remark(`${failed} on the ${scope} descriptor: ${answer.errno}${hint(failed, scope, policy)}`);
  if (options.json) {
    printJson({ errno: answer.errno, nent: answer.entries.length, entries: answer.entries.map(formatEntry) });
  } else if (answer.errno === 'OK') {
    print(
      colours.bold(`${answer.entries.length} entries, kernel ${implied.host.inputs.kernel} on ${implied.host.name}`),
    );
    for (const line of table(answer.entries, options.names === true)) print(line);
  }
  return answer.errno === 'OK' ? EXIT_OK : EXIT_REFUSED;
}

function hint(failed: string, scope: string, policy: string): string {
  if (failed.startsWith('KVM_CREATE_VM')) return ': this KVM does not offer the VM type on this host';
  if (scope === 'vm' && policy !== 'paranoid')
    return ': mainline has no VM-scoped CPUID ioctls, the RFC has (--policy paranoid)';
  return '';
}

function table(entries: readonly CpuidEntry2[], names: boolean): string[] {
  const header = ['function', 'index', 'flags', 'eax', 'ebx', 'ecx', 'edx'].map(colours.dim);
  const rows = entries.map((entry) => {
    const { function: fn, index, flags, eax, ebx, ecx, edx } = entry;
    const words = [hex8(fn), hex8(index), flags.toString(16), ...[eax, ebx, ecx, edx].map(dimZero)];
    return names ? [...words, namedBits(entry).join(' ')] : words;
  });
  return columns([header, ...rows]);
}

const dimZero = (value: number): string => (value === 0 ? colours.dim(hex8(value)) : hex8(value));
