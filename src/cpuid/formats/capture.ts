/**
 * Captures: recordings of what a real KVM answered on its CPUID ioctls, one host per JSON document. The host is their
 * `raw` section; the rest of the document (kernel, parameters, MSRs, experiments) stays with the dump for whoever
 * replays it.
 */

import type { HostDump, Payload } from '../dump.js';
import { FormatError } from '../errors.js';
import { payloadFromJson } from './entries.js';
import { isObject } from './json.js';
import { Place } from './json-path.js';
import { dumpOfRaw } from './raw.js';
import { quote } from './text.js';

/** The one schema that there is so far. */
export const CAPTURE_SCHEMA = 'kvm-cpuid-oracle/1';

/** A capture's JSON document. */
export type CaptureDocument = Readonly<Record<string, unknown>>;

/**
 * Whether a JSON document is a capture.
 *
 * @throws FormatError when it is one of a schema that this program does not know
 */
export function isCapture(document: unknown, name: string): document is CaptureDocument {
  const schema = isObject(document) ? document.schema : undefined;
  if (typeof schema !== 'string' || !schema.startsWith('kvm-cpuid-oracle/')) return false;
  if (schema === CAPTURE_SCHEMA) return true;
  throw new FormatError(`the schema is ${quote(schema)}`, `${name}#schema`, quote(CAPTURE_SCHEMA));
}

/**
 * Reads the host that a capture was recorded on.
 *
 * @throws FormatError when the `raw` section is missing, empty or broken
 */
export function readCapture(document: CaptureDocument, name: string): HostDump {
  const place = new Place(name, 'raw');
  const { raw } = document;
  if (!Array.isArray(raw)) throw new FormatError('no list of rows', place.toString(), 'the raw CPUID of the host');
  return dumpOfRaw(raw, place).build('capture', 'the raw CPUID of the host', document);
}

/**
 * Reads what the capture's KVM answered to KVM_GET_SUPPORTED_CPUID, as a table to set.
 *
 * @throws FormatError when it answered nothing (KVM did not load there)
 */
export function readCapturePayload({ supported, kvm }: CaptureDocument, name: string): Payload {
  const place = new Place(name, 'supported');
  if (supported !== undefined) return { ...payloadFromJson({ value: supported, place }), format: 'capture' };
  const reason = typeof kvm === 'string' && kvm !== 'OK' ? ` (opening /dev/kvm gave ${quote(kvm)})` : '';
  throw new FormatError(`the capture has no supported CPUID${reason}`, place.toString(), '"entries"');
}
