/**
 * The raw output of Todd Allen's `cpuid` tool, the lingua franca of CPUID dumps:
 *
 *     CPU 0:
 *        0x00000000 0x00: eax=0x00000020 ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69
 *
 * `cpuid -1 -r` writes `CPU:`. Hand-made dumps leave the header out or write upper-case digits; both are read.
 */

import type { DumpCpu, HostDump } from '../dump.js';
import { type CpuidRow, hex8, REGISTERS } from '../entry.js';
import { FormatError } from '../errors.js';
import { DumpBuilder } from './dump-builder.js';
import { rowFromWords } from './rows.js';
import { hexGroups, linesOf, quote } from './text.js';

const ROW_LINE = '"0x00000007 0x00: eax=0x00000000 ebx=0x00000000 ecx=0x00000000 edx=0x00000000"';
const HEADER = /^CPU ?([0-9]{0,5}):$/i;
const ROW = new RegExp(
  `^0x([0-9a-f]{1,8}) +0x([0-9a-f]{1,8}): *${REGISTERS.map((name) => `${name}=0x([0-9a-f]{1,8})`).join(' +')}$`,
  'i',
);

/** Whether this line, trimmed, shows that the text is `cpuid -r` output. */
export function isCpuidRLine(line: string): boolean {
  return HEADER.test(line) || looksLikeRow(line);
}

/**
 * Reads `cpuid -r` text. Lines that are neither header nor row (prompts, comments) are skipped with one remark; a line
 * that tries to be a row and fails is an error, since a row that silently disappears changes what the host is.
 *
 * @throws FormatError on a broken row, or when there is none
 */
export function readCpuidR(text: string, name: string): HostDump {
  const dump = new DumpBuilder(name);
  let skipped = 0;
  for (const line of linesOf(text)) {
    const trimmed = line.text.trim();
    const where = `${name}:${line.number}`;
    const header = HEADER.exec(trimmed);
    if (header) dump.startCpu(`CPU ${Number(header[1] || 0)}`, where);
    else if (looksLikeRow(trimmed)) dump.add(parseRow(trimmed, where), where);
    else if (trimmed !== '' && !trimmed.startsWith('#') && skipped++ === 0) {
      dump.remarks.add(`${where}: skipped ${quote(trimmed)}, which is not a CPUID row, and all lines like it`);
    }
  }
  return dump.build('cpuid-r', `lines as \`cpuid -r\` writes them, e.g. ${ROW_LINE}`);
}

/** Writes `cpuid -r` text, byte for byte as the tool does. */
export function writeCpuidR(dump: HostDump): string {
  return dump.cpus.map(writeCpu).join('');
}

function writeCpu(cpu: DumpCpu, n: number): string {
  const label = /^CPU [0-9]+$/.test(cpu.label) ? cpu.label : `CPU ${n}`;
  return `${label}:\n${cpu.rows.map((row) => `   ${writeRow(row)}\n`).join('')}`;
}

function writeRow(row: CpuidRow): string {
  const index = row.index.toString(16).padStart(2, '0');
  return `0x${hex8(row.function)} 0x${index}: ${REGISTERS.map((name) => `${name}=0x${hex8(row[name])}`).join(' ')}`;
}

function looksLikeRow(line: string): boolean {
  return /^0x[0-9a-f]/i.test(line) || /\be[a-d]x=/i.test(line);
}

function parseRow(line: string, where: string): CpuidRow {
  const match = ROW.exec(line);
  if (!match) throw new FormatError(`${quote(line)} is not a CPUID row`, where, ROW_LINE);
  return rowFromWords(hexGroups(match));
}
