import { featureNamed } from '../../src/cpuid/features.js';
import { bootKernel, type HostDescription, type HostInputs, withInputs } from '../../src/index.js';
import { HostMachine, type HostMachineOptions } from '../../src/linux/host-machine.js';
import { hostNamed } from './platforms.js';

/** A host whose silicon has, or lacks, CPUID bits, by name. */
export function withSilicon(
  host: HostDescription,
  { set = [], clear = [] }: { readonly set?: readonly string[]; readonly clear?: readonly string[] },
): HostDescription {
  const changed = host.cpus[0]!.map((row) => ({ ...row }));
  for (const [names, on] of [[set, true] as const, [clear, false] as const]) {
    for (const { word, mask } of names.map(featureNamed)) {
      if (word.kind === 'linux' || word.kind === 'pv') throw new Error('that bit is not in CPUID');
      const row = changed.find(({ function: fn, index }) => fn === word.function && index === word.index)!;
      row[word.register] = (on ? row[word.register] | mask : row[word.register] & ~mask) >>> 0;
    }
  }
  return { ...host, cpus: [changed] };
}

/** Sapphire Rapids as it would be with FRED. */
export const fredHost: HostDescription = withSilicon(hostNamed('sapphire-rapids'), {
  set: ['FRED', 'LKGS', 'WRMSRNS'],
});

/** A host with Linux on it that executes. */
export function executing(
  host: HostDescription | string,
  inputs: Partial<HostInputs> = {},
  options: HostMachineOptions = {},
): HostMachine {
  const description = typeof host === 'string' ? hostNamed(host) : host;
  return new HostMachine(bootKernel(withInputs(description, inputs)), options);
}
