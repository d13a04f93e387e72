import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { HostDump } from '../cpuid/dump.js';
import { FormatError } from '../cpuid/errors.js';
import {
  builtInHost,
  builtInHosts,
  describeBuiltIn,
  describeDump,
  type HostDescription,
  type Payload,
  readHost,
  readPayload,
} from '../index.js';
import { UsageError } from './failure.js';

/** A file argument: a path (or `-`), and what follows `#`. */
interface FileArgument {
  readonly path: string;
  readonly inside: string;
}

function splitArgument(argument: string): FileArgument {
  const hash = argument.indexOf('#');
  return hash < 0
    ? { path: argument, inside: '' }
    : { path: argument.slice(0, hash), inside: argument.slice(hash + 1) };
}

/** Reads a file, or standard input for `-`; gunzips what is compressed. */
export function readInput(path: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path === '-' ? 0 : path);
  } catch (error) {
    throw new UsageError(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code ?? error})`);
  }
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return gunzipSync(bytes);
  } catch (error) {
    throw new UsageError(`${path}: damaged gzip data (${(error as Error).message})`);
  }
}

/** Reads a JSON file. */
export function readJson(path: string): unknown {
  const text = new TextDecoder().decode(readInput(path));
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FormatError((error as Error).message, path, 'JSON');
  }
}

/** Reads a dump of any format. */
export function loadDump(argument: string): HostDump {
  const { path, inside } = splitArgument(argument);
  return readHost(readInput(path), path, inside);
}

/** Loads `--host`: a built-in name, else a file. */
export function loadHost(argument: string): HostDescription {
  const known = builtInHost(argument);
  if (known) return describeBuiltIn(known);
  const looksLikeFile = /[./#\\-]/.test(argument) || argument === '-';
  try {
    return describeDump(loadDump(argument), hostName(argument));
  } catch (error) {
    if (!(error instanceof UsageError) || (looksLikeFile && argument.includes('/'))) throw error;
    const names = builtInHosts().map((host) => host.name);
    throw new UsageError(`--host ${argument}: neither a file nor a built-in host (${names.join(', ')})`);
  }
}

const hostName = (argument: string): string => (argument === '-' ? 'stdin' : basename(argument));

/** Loads the tables of a VMM. */
export function loadPayload(argument: string): Payload {
  const { path, inside } = splitArgument(argument);
  return readPayload(readInput(path), path, inside);
}

/** Loads a recording, and nothing but a recording. */
export function loadCapture(path: string): Readonly<Record<string, unknown>> {
  const dump = loadDump(path);
  if (dump.format !== 'capture' || !dump.document)
    throw new FormatError(`a dump (${dump.format})`, path, 'a recording, schema kvm-cpuid-oracle/1');
  return dump.document;
}
