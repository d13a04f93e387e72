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
import { checkInput, detectText, isBinary } from './detect.js';
import { hostFromRaw, payloadFromJson } from './entries.js';
import { selectPath } from './json-path.js';
import { readKvmCpuid2 } from './kvm-cpuid2.js';
import { readLibcpuid } from './libcpuid.js';
import { readLibvirt } from './libvirt.js';
import { hostFromPayload, payloadFromHost } from './rows.js';
import { readStrace } from './strace.js';
import { decodeText, parseJson, quote } from './text.js';

export { isCapture } from './capture.js';
export { writeCpuidR } from './cpuid-r.js';
export { cpuDifferences, pickCpu } from './cpus.js';
export { parseEntry, writeEntries, writePayload } from './entries.js';
export { selectPath } from './json-path.js';
export { readKvmCpuid2, writeKvmCpuid2 } from './kvm-cpuid2.js';
export { writeLibvirt } from './libvirt.js';
export { entryFromRow, hostFromPayload, isIndexedFunction, payloadFromHost, rowFromEntry } from './rows.js';

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
  const dump = asHost(readAny(bytes, name, path), name);
  const differences = cpuDifferences(dump);
  return differences === undefined ? dump : { ...dump, warnings: [...dump.warnings, `${name}: ${differences}`] };
}

/**
 * Reads the tables that a VMM passes to KVM_SET_CPUID2, from any format. A host's dump serves as well: its rows are
 * taken for the entries, with the flags that KVM expects. Of a capture it is the supported set.
 *
 * @param bytes decompressed
 * @param name what messages call the input
 * @param path for JSON, where in the document to look; empty for all of it
 * @throws FormatError on anything that is not a payload
 */
export function readPayload(bytes: Uint8Array, name: string, path = ''): Payload {
  const source = readAny(bytes, name, path);
  …
}
