import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describeBuiltIn, describeDump, type HostDescription } from '../../src/api/host.js';
import { readHost } from '../../src/cpuid/formats/index.js';
import { builtInHosts } from '../../src/hosts/index.js';
import { captureNames, loadCapture } from './captures.js';

const DUMPS = new URL('../../../shared/dumps/', import.meta.url);

/** Whether the folder of other people's dumps lies beside the project. */
export const haveDumps = existsSync(DUMPS);

export const dumpNames: readonly string[] = haveDumps
  ? readdirSync(DUMPS)
      .filter((file) => file.endsWith('.txt'))
      .map((file) => file.slice(0, -4))
      .sort()
  : [];

export function dumpHost(name: string): HostDescription {
  return describeDump(readHost(readFileSync(new URL(`${name}.txt`, DUMPS)), name), name);
}

export function captureHost(name: string): HostDescription {
  const text = new TextEncoder().encode(JSON.stringify(loadCapture(name)));
  return describeDump(readHost(text, name), name);
}

/** Every host at hand whose KVM loads: built-in, recorded, dumped. */
export function allHosts(): { name: string; make: () => HostDescription }[] {
  return [
    ...builtInHosts().map((host) => ({ name: host.name, make: () => describeBuiltIn(host) })),
    ...captureNames
      .filter((name) => loadCapture(name).supported)
      .map((name) => ({ name, make: () => captureHost(name) })),
    ...dumpNames.map((name) => ({ name, make: () => dumpHost(name) })),
  ];
}
