/** Which format an input is in, by its content alone: names and suffixes are the user's affair. */

import type { FormatName } from '../dump.js';
import { FormatError } from '../errors.js';
import { isAida64Line } from './aida64.js';
import { isCpuidRLine } from './cpuid-r.js';
import { EXPECTATIONS_RULE, isLibcpuidLine } from './libcpuid.js';
import { linesOf, MAX_BYTES } from './text.js';

/** What a look at a text can tell: JSON documents are told apart only when they are parsed. */
export type TextFormat = Exclude<FormatName, 'capture' | 'entries' | 'kvm_cpuid2'> | 'json';

const KNOWN_FORMATS =
  '`cpuid -r` text, an AIDA64 or libcpuid dump, libvirt cpudata, a capture, entries as JSON, `strace -v` output, ' +
  'or a raw struct kvm_cpuid2';

/**
 * Refuses what no reader should be given.
 *
 * @throws FormatError when the input is empty, absurdly large or still compressed
 */
export function checkInput(bytes: Uint8Array, name: string): void {
  if (bytes.length === 0) throw new FormatError('an empty file', name, KNOWN_FORMATS);
  if (bytes.length > MAX_BYTES) {
    throw new FormatError(`${bytes.length} bytes`, name, `at most ${MAX_BYTES} (64 MiB)`);
  }
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
    throw new FormatError('gzip data', `${name}@0x0`, 'the decompressed document');
  }
}

/**
 * Whether the input is a `struct kvm_cpuid2`: no admissible size leaves room for an `nent` whose high byte is not zero,
 * and no text has a NUL as its fourth character. (UTF-16 has one, but starts with a byte order mark.)
 */
export function isBinary(bytes: Uint8Array): boolean {
  const isUtf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  return !isUtf16 && bytes[3] === 0;
}

/**
 * The format of a text.
 *
 * @throws FormatError when it is none of the known ones
 */
export function detectText(text: string, name: string): TextFormat {
  const start = text.trimStart();
  // strace begins its lines with `[pid 1234] ` when it follows threads.
  if (/^(?:\{|\[(?!pid\b))/.test(start)) return 'json';
  if (start.startsWith('<')) return 'libvirt';
  if (text.includes('ioctl(') && text.includes('KVM_')) return 'strace';
  const format = detectLines(text);
  if (format !== undefined) return format;
  throw new FormatError('an unknown format', name, KNOWN_FORMATS);
}

/** Reports begin with prose, so the first line that only one format has decides. */
function detectLines(text: string): TextFormat | undefined {
  for (const line of linesOf(text)) {
    if (isLibcpuidLine(line.text)) return 'libcpuid';
    if (isAida64Line(line.text)) return text.includes(EXPECTATIONS_RULE) ? 'libcpuid' : 'aida64';
    if (isCpuidRLine(line.text.trim())) return 'cpuid-r';
  }
  return undefined;
}
