import type { Command } from 'commander';
import { Option } from 'commander';
import { kernelLine, moduleParameter } from '../api/host-file.js';
import {
  applyHostFile,
  DEFECTS,
  type Defect,
  type HostDescription,
  KERNEL_LINES,
  PLACEMENTS,
  type Placement,
  POLICIES,
  type Policy,
  type ProcessOptions,
  type Reserved,
  TDX_MODULE_NAMES,
  VM_TYPES,
  type VmTypeName,
  withInputs,
} from '../index.js';
import { UsageError } from './failure.js';
import { loadHost, readJson } from './input.js';

/** The options that every command about a host takes. */
export interface HostCliOptions {
  readonly host: string;
  readonly vmType: VmTypeName;
  readonly module?: string;
  readonly policy?: Policy;
  readonly kernel?: string;
  readonly param: readonly string[];
  readonly cmdline?: string;
  readonly hostFile?: string;
  readonly cpu: number;
  readonly guestPerm: readonly string[];
  readonly reserved: Reserved;
  readonly defect: readonly Defect[];
  readonly placement: Placement;
  readonly json?: boolean;
}

/** The same without `--host`, `--vm-type` and `--module`, for commands that ask several hosts. */
export type KernelCliOptions = Omit<HostCliOptions, 'host' | 'vmType' | 'module'>;

const collect = (value: string, all: readonly string[]): string[] => [...all, value];

/** Adds the options that describe host, kernel and process. */
export function addHostOptions(command: Command): Command {
  command
    .requiredOption(
      '--host <host>',
      'a built-in host (see `kvm-cpuid hosts`), or a file: cpuid -r text, capture JSON, AIDA64, libcpuid, libvirt cpudata; - for stdin',
    )
    .addOption(new Option('--vm-type <type>', 'type of the VM').choices(Object.keys(VM_TYPES)).default('default'))
    .addOption(
      new Option('--module <version>', 'TDX module of the host (default: the newest published)').choices([
        ...TDX_MODULE_NAMES,
      ]),
    );
  return addKernelOptions(command);
}

/** Adds the options that describe kernel and process, whatever the host. */
export function addKernelOptions(command: Command): Command {
  return command
    .addOption(new Option('--policy <policy>', 'what KVM does about bits that it does not know').choices([...POLICIES]))
    .addOption(
      new Option('--kernel <line>', "kernel line (default: the capture's, else the newest)").choices([...KERNEL_LINES]),
    )
    .option('--param <module.name=value>', 'module parameter, e.g. kvm_amd.npt=0 (repeatable)', collect, [])
    .option('--cmdline <words>', 'kernel command line, e.g. "clearcpuid=avx2 noxsave"')
    .option('--host-file <file>', 'JSON with host inputs: kernel, cmdline, params, facts, bugs, flags, msrs')
    .option('--cpu <n>', 'logical CPU on which the process runs', wholeNumber, 0)
    .option(
      '--guest-perm <feature>',
      'XSAVE feature that the process may give to guests: amx (repeatable)',
      collect,
      [],
    )
    .addOption(
      new Option('--reserved <how>', 'reserved registers in paranoid mode').choices(['zero', 'ignore']).default('zero'),
    )
    .addOption(
      new Option('--placement <how>', 'where paranoid mode verifies').choices([...PLACEMENTS]).default('separate'),
    )
    .addOption(
      new Option('--defect <name>', `switch on a known defect (repeatable): ${DEFECTS.join(', ')}`)
        .argParser((value: string, all: readonly string[]) => [...all, oneOfDefects(value)])
        .default([]),
    )
    .option('--json', 'print one JSON document');
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new UsageError(`--cpu ${text}: expected a number from 0 on`);
  return Number(text);
}

function oneOfDefects(value: string): Defect {
  const found = DEFECTS.find((defect) => defect === value);
  if (!found) throw new UsageError(`--defect ${value}: expected one of ${DEFECTS.join(', ')}`);
  return found;
}

/** The host that the options describe. */
export function hostOf(options: KernelCliOptions & Pick<HostCliOptions, 'host'>): HostDescription {
  let host = loadHost(options.host);
  if (options.hostFile !== undefined) host = applyHostFile(host, readJson(options.hostFile), options.hostFile);
  if (options.kernel !== undefined) host = withInputs(host, { kernel: kernelLine(options.kernel, '--kernel') });
  if (options.cmdline !== undefined) host = withInputs(host, { cmdline: options.cmdline });
  const given = options.param.map((text) => {
    const [name = '', value = ''] = text.split(/=(.*)/s);
    return moduleParameter(name, value, host.inputs.kernel, '--param');
  });
  if (given.length > 0) host = withInputs(host, { parameters: new Map([...host.inputs.parameters, ...given]) });
  if (options.cpu >= host.cpus.length) {
    throw new UsageError(
      `--cpu ${options.cpu}: the host has ${host.cpus.length} CPU(s), expected 0 to ${host.cpus.length - 1}`,
    );
  }
  return host;
}

/** XTILEDATA is the only XSAVE component that needs a permission. */
const GUEST_PERMISSIONS: Readonly<Record<string, number>> = { amx: 18 };

/** The process that the options describe. */
export function processOf(options: KernelCliOptions): ProcessOptions {
  const guestPermissions = options.guestPerm.map((name) => {
    const bit = GUEST_PERMISSIONS[name];
    if (bit === undefined) throw new UsageError(`--guest-perm ${name}: expected amx`);
    return bit;
  });
  return { cpu: options.cpu, guestPermissions };
}
