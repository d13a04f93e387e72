/**
 * libcpuid's raw dumps and test files: its own notation, decimal array indices and all,
 *
 *     _________________ Logical CPU #0 _________________
 *     basic_cpuid[4]=3c004121 01c0003f 0000003f 00000000
 *     intel_fn4[1]=3c004122 01c0003f 0000003f 00000000
 *
 * or AIDA64's lines. In a test file the decoded expectations follow below a line of 80 dashes.
 *
 * The library asks for 32 basic and 32 extended leaves whatever the maximum is. Rows beyond it are what the CPU
 * answered there, so they stay.
 */

import type { HostDump } from '../dump.js';
import type { CpuidRow } from '../entry.js';
import { FormatError } from '../errors.js';
import { Aida64Lines } from './aida64.js';
import { DumpBuilder } from './dump-builder.js';
import { rowFromWords } from './rows.js';
import { hexGroups, type Line, linesOf, quote } from './text.js';

const ROW_LINE = '"basic_cpuid[7]=00000000 00000000 00000000 00000000"';
const HEADER = /^_+ Logical CPU #([0-9]{1,5}) _+$/;
const ARRAY = /^(basic_cpuid|ext_cpuid|(?:intel|amd)_fn(?:([0-9]{1,4})|([0-9a-f]{1,8})h))\[/;
const ELEMENT = /^[a-z0-9_]{1,24}\[([0-9]{1,4})\]=/;
const WORDS = /^([0-9a-f]{1,8}) ([0-9a-f]{1,8}) ([0-9a-f]{1,8}) ([0-9a-f]{1,8})$/i;

/** The line below which a test file lists what libcpuid should make of the dump. */
export const EXPECTATIONS_RULE = '-'.repeat(80);

/** Whether this line shows that the text is in libcpuid's own notation. */
export function isLibcpuidLine(line: string): boolean {
  return ARRAY.test(line) || HEADER.test(line);
}

/**
 * Reads a libcpuid raw dump or test file, in either notation.
 *
 * @throws FormatError on a broken row, or when there is none
 */
export function readLibcpuid(text: string, name: string): HostDump {
  const dump = new DumpBuilder(name);
  const aida64 = new Aida64Lines(dump, name);
  for (const line of linesOf(text)) {
    if (line.text === EXPECTATIONS_RULE) break;
    if (!readOwnLine(line, dump, name)) aida64.read(line);
  }
  return dump.build('libcpuid', `lines as libcpuid writes them, e.g. ${ROW_LINE}`);
}

/** Reads a line in libcpuid's own notation; false when it is not one. */
function readOwnLine(line: Line, dump: DumpBuilder, name: string): boolean {
  const where = `${name}:${line.number}`;
  const text = line.text.trimEnd();
  const cpu = HEADER.exec(text)?.[1];
  if (cpu !== undefined) dump.startCpu(`CPU ${Number(cpu)}`, where);
  const array = ARRAY.exec(text);
  if (array) dump.add(parseRow(text, array, where), where);
  return cpu !== undefined || array !== null;
}

function parseRow(line: string, array: RegExpExecArray, where: string): CpuidRow {
  const element = ELEMENT.exec(line);
  const words = element && WORDS.exec(line.slice(element[0].length));
  if (!element || !words) throw new FormatError(`${quote(line)} is not a CPUID row`, where, ROW_LINE);
  return rowFromWords([...inputsOf(array, Number(element[1])), ...hexGroups(words)]);
}

/** EAX and ECX that libcpuid executed CPUID with for element `n` of an array. */
function inputsOf([, arrayName, decimal, hex]: RegExpExecArray, n: number): [fn: number, index: number] {
  if (arrayName === 'basic_cpuid') return [n, 0];
  if (arrayName === 'ext_cpuid') return [0x8000_0000 + n, 0];
  // `intel_fn11` counts in decimal, `intel_fn14h` and `amd_fn8000001dh` in hexadecimal.
  return [hex === undefined ? Number(decimal) : Number.parseInt(hex, 16), n];
}
