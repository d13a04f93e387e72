/**
 * All dump formats: bytes in, a host or a payload out, and back to text.
 *
 * A reader raises nothing but `FormatError`, whatever the bytes are. Decompression is the caller's: this floor has no
 * I/O, and no zlib either.
 */

import type { HostDump, Payload } from '../dump.js';
import { FormatError } from '../errors.js';
import { readAida64 } from './aida64.js';
import { isCapture, readCapture, readCapturePayload } from './capture.js';
import { readCpuidR } from './cpuid-r.js';
import { cpuDifferences } from './cpus.js';
import { checkInput, detectText, isBinary, type TextFormat } from './detect.js';
import { payloadFromJson } from './entries.js';
import { parseJson } from './json.js';
import { type Selection, selectPath } from './json-path.js';
import { readKvmCpuid2 } from './kvm-cpuid2.js';
import { readLibcpuid } from './libcpuid.js';
import { readLibvirt } from './libvirt.js';
import { hostFromRaw } from './raw.js';
import { hostFromPayload, payloadFromHost } from './rows.js';
import { readStrace } from './strace.js';
import { decodeText } from './text.js';

export { CAPTURE_SCHEMA, type CaptureDocument, isCapture } from './capture.js';
export { writeCpuidR } from './cpuid-r.js';
export { cpuDifferences, pickCpu } from './cpus.js';
export { parseEntry, writeEntries, writePayload } from './entries.js';
export { Place, type Selection, selectPath } from './json-path.js';
export { readKvmCpuid2, writeKvmCpuid2 } from './kvm-cpuid2.js';
export { writeLibvirt } from './libvirt.js';
export { entryFromRow, hostFromPayload, payloadFromHost, rowFromEntry } from './rows.js';

/**
 * Reads a host from a dump of any format. A payload serves as well: its tables are taken for what the CPUs answer.
 * CPUs that differ in more than their ids get a warning.
 *
 * @param bytes decompressed
 * @param name what messages call the input
 * @param path for JSON, where in the document to look; empty for all of it
 * @throws FormatError on anything that is not a host
 */
export function readHost(bytes: Uint8Array, name: string, path = ''): HostDump {
  const dump = openSource(bytes, name, path).asHost();
  const differences = cpuDifferences(dump);
  return differences === undefined ? dump : { ...dump, warnings: [...dump.warnings, `${name}: ${differences}`] };
}

/**
 * Reads the tables that a VMM passes to KVM_SET_CPUID2, from any format. A host's dump serves as well: its rows are
 * taken for entries, with the flags that KVM expects. Of a capture it is the supported set.
 *
 * @param bytes decompressed
 * @param name what messages call the input
 * @param path for JSON, where in the document to look; empty for all of it
 * @throws FormatError on anything that is not a payload
 */
export function readPayload(bytes: Uint8Array, name: string, path = ''): Payload {
  return openSource(bytes, name, path).asPayload();
}

/** An input of a known format, to be taken for a host or for a payload. */
interface Source {
  asHost(): HostDump;
  asPayload(): Payload;
}

function openSource(bytes: Uint8Array, name: string, path: string): Source {
  checkInput(bytes, name);
  if (isBinary(bytes)) return withoutPath(path, name, () => payloadSource(readKvmCpuid2(bytes, name), name));
  const text = decodeText(bytes);
  const format = detectText(text, name);
  if (format === 'json') return jsonSource(selectPath(parseJson(text, name), path, name), name);
  return withoutPath(path, name, () => textSource(format, text, name));
}

function textSource(format: Exclude<TextFormat, 'json'>, text: string, name: string): Source {
  switch (format) {
    case 'cpuid-r':
      return hostSource(readCpuidR(text, name));
    case 'aida64':
      return hostSource(readAida64(text, name));
    case 'libcpuid':
      return hostSource(readLibcpuid(text, name));
    case 'libvirt':
      return hostSource(readLibvirt(text, name));
    case 'strace':
      return payloadSource(readStrace(text, name), name);
  }
}

function jsonSource(selection: Selection, name: string): Source {
  const { value: document } = selection;
  if (isCapture(document, name)) {
    return { asHost: () => readCapture(document, name), asPayload: () => readCapturePayload(document, name) };
  }
  return {
    asHost: () => hostFromRaw(selection) ?? hostFromPayload(payloadFromJson(selection), name),
    asPayload: () => payloadFromJson(selection),
  };
}

function hostSource(dump: HostDump): Source {
  return { asHost: () => dump, asPayload: () => payloadFromHost(dump) };
}

function payloadSource(payload: Payload, name: string): Source {
  return { asHost: () => hostFromPayload(payload, name), asPayload: () => payload };
}

function withoutPath(path: string, name: string, open: () => Source): Source {
  if (path === '') return open();
  throw new FormatError('a path into something that is not JSON', `${name}#${path}`, 'a JSON document, or no path');
}
