/** The host as its kernel describes it in /proc and /sys: the `host` section of a recording. */
import { readdirSync, readFileSync } from 'node:fs';
import { machine, release } from 'node:os';
import { withMapping } from './buffers.js';
import { errnoOf, type Libc, SYS_ARCH_PRCTL } from './ffi.js';

type Strings = Readonly<Record<string, string>>;

/** Lines of /proc/cpuinfo that are kept, and their names in a recording. */
const CPUINFO_FIELDS: readonly (readonly [line: string, key: string])[] = [
  ['vendor_id', 'vendor_id'],
  ['cpu family', 'family'],
  ['model', 'model'],
  ['model name', 'model_name'],
  ['stepping', 'stepping'],
  ['microcode', 'microcode'],
  ['flags', 'flags'],
  ['vmx flags', 'vmx_flags'],
  ['bugs', 'bugs'],
  ['address sizes', 'address_sizes'],
];

/** The fields of the first CPU in the text of /proc/cpuinfo; those that it does not have are left out. */
export function parseCpuinfo(text: string): Strings {
  const [first = ''] = text.split(/\n\s*\n/, 1);
  const lines = new Map(
    first.split('\n').flatMap((line) => {
      const [, name, value] = /^([^:]*?)\s*:\s?(.*)$/.exec(line) ?? [];
      return name === undefined ? [] : [[name, value!.trimEnd()] as const];
    }),
  );
  return Object.fromEntries(
    CPUINFO_FIELDS.flatMap(([line, key]) => {
      const value = lines.get(line);
      return value === undefined ? [] : [[key, value]];
    }),
  );
}

/** The `host` section. What cannot be read is left out. */
export function hostSection(libc: Libc): Record<string, unknown> {
  const cmdline = readText('/proc/cmdline');
  return {
    release: release(),
    machine: machine(),
    ...parseCpuinfo(readText('/proc/cpuinfo') ?? ''),
    kvm_params: moduleParameters(),
    vulnerabilities: directory('/sys/devices/system/cpu/vulnerabilities'),
    arch_prctl: xcompMasks(libc),
    ...(cmdline !== undefined && { cmdline }),
  };
}

/** Parameters of kvm, kvm_intel, kvm_amd and what else there is by that name, as `module.parameter`. */
function moduleParameters(): Strings {
  const modules = names('/sys/module').filter((name) => name.startsWith('kvm'));
  return Object.fromEntries(
    modules.flatMap((module) =>
      Object.entries(directory(`/sys/module/${module}/parameters`)).map(([name, value]) => [
        `${module}.${name}`,
        value,
      ]),
    ),
  );
}

/** The readable files of a directory. */
function directory(path: string): Strings {
  return Object.fromEntries(
    names(path).flatMap((name) => {
      const text = readText(`${path}/${name}`);
      return text === undefined ? [] : [[name, text]];
    }),
  );
}

function names(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch {
    return [];
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').replace(/\n+$/, '');
  } catch {
    return undefined;
  }
}

/** Commands of arch_prctl() that read the masks of XSAVE components. */
const XCOMP_COMMANDS: readonly (readonly [name: string, command: number])[] = [
  ['XCOMP_SUPP', 0x1021],
  ['XCOMP_PERM', 0x1022],
  ['XCOMP_GUEST_PERM', 0x1024],
];

function xcompMasks(libc: Libc): Strings {
  return withMapping(libc, 8, (mask) =>
    Object.fromEntries(
      XCOMP_COMMANDS.map(([name, command]) => {
        mask.view.setBigUint64(0, 0n, true);
        const errno = errnoOf(libc.syscall(SYS_ARCH_PRCTL, command, mask.address));
        return [name, errno === 'OK' ? mask.view.getBigUint64(0, true).toString(16) : errno];
      }),
    ),
  );
}
