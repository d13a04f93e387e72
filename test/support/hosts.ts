import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { builtInHosts, describeDump, type HostDescription, readHost } from '../../src/index.js';
import { captureFile, captureNames } from './captures.js';
import { hostNamed } from './platforms.js';

export { type Platform, platformsOf } from './platforms.js';

const DUMPS = new URL('../../../shared/dumps/', import.meta.url);

/** Dumps of real hosts are not ours to pass on: tests use them where they lie beside the checkout. */
export const dumpsPresent = existsSync(DUMPS);

const described = (name: string, bytes: Uint8Array): HostDescription => describeDump(readHost(bytes, name), name);

/** Computed when it is first asked for. */
function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

export const captureHosts: () => readonly HostDescription[] = once(() =>
  captureNames.map((name) => described(name, gunzipSync(readFileSync(captureFile(name))))),
);

export const ownHosts: () => readonly HostDescription[] = once(() => builtInHosts().map(({ name }) => hostNamed(name)));

export const dumpHosts: () => readonly HostDescription[] = once(() =>
  dumpsPresent
    ? readdirSync(DUMPS)
        .filter((file) => file.endsWith('.txt'))
        .map((file) => described(file.replace('.txt', ''), readFileSync(new URL(file, DUMPS))))
    : [],
);

export const allHosts = (): readonly HostDescription[] => [...captureHosts(), ...ownHosts(), ...dumpHosts()];
