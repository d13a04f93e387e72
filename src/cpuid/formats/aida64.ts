/**
 * AIDA64 (once EVEREST) CPUID reports as the InstLatX64 collection has them: prose, and per logical CPU
 *
 *     ------[ CPUID Registers / Logical CPU #0 ]------
 *     CPUID 00000004: FC004121-02C0003F-0000003F-00000000 [SL 00] [L1D: 48 KB]
 *
 * Twenty years of versions differ in the headers, and the oldest leave `[SL n]` out: they list sub-leaves in order.
 */

import type { HostDump } from '../dump.js';
import { FormatError } from '../errors.js';
import { isIndexed } from '../indexed.js';
import { DumpBuilder } from './dump-builder.js';
import { rowFromWords } from './rows.js';
import { hexGroups, type Line, linesOf, quote } from './text.js';

const ROW_LINE = '"CPUID 00000007: 00000000-00000000-00000000-00000000 [SL 00]"';

const HEADERS: readonly RegExp[] = [
  /^-+\[ (?:CPUID Registers \/ )?Logical CPU #([0-9]{1,5})\b/, // AIDA64; EVEREST 4.60 and later
  /^CPUID Registers \(CPU #([0-9]{1,5})\):/, // EVEREST before
  /^CPU#([0-9]{1,5}) AffMask:/, // InstLatX64's own tool
];
const ROW_START = /^CPUID [0-9a-f]{1,9}:/i;
const ROW = /^CPUID ([0-9a-f]{8}): ([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{8})(?![0-9a-f])/i;
const SUB_LEAF = /^\s*\[SL ([0-9a-f]{1,8})\]/i;

/** Whether this line shows that the text has an AIDA64 report's CPUID section. */
export function isAida64Line(line: string): boolean {
  return ROW_START.test(line) || headerNumber(line) !== undefined;
}

/**
 * Reads an AIDA64 report: the CPUID sections; everything else in it is prose and is passed over.
 *
 * @throws FormatError on a broken row, or when there is none
 */
export function readAida64(text: string, name: string): HostDump {
  const dump = new DumpBuilder(name);
  const lines = new Aida64Lines(dump, name);
  for (const line of linesOf(text)) lines.read(line);
  return dump.build('aida64', `lines as AIDA64 writes them, e.g. ${ROW_LINE}`);
}

/** Reads a report line by line into a dump; libcpuid's files quote such lines too. */
export class Aida64Lines {
  readonly #dump: DumpBuilder;
  readonly #name: string;
  /** How many rows without `[SL n]` each function has had on this CPU. */
  #untagged = new Map<number, number>();

  constructor(dump: DumpBuilder, name: string) {
    this.#dump = dump;
    this.#name = name;
  }

  /** @throws FormatError on a line that starts as a row and does not go on as one */
  read(line: Line): void {
    const where = `${this.#name}:${line.number}`;
    const cpu = headerNumber(line.text);
    if (cpu !== undefined) {
      this.#dump.startCpu(`CPU ${cpu}`, where);
      this.#untagged = new Map();
    } else if (ROW_START.test(line.text)) this.#readRow(line.text, where);
  }

  #readRow(line: string, where: string): void {
    const match = ROW.exec(line);
    if (!match) throw new FormatError(`${quote(line)} is not a CPUID row`, where, ROW_LINE);
    const [fn = 0, ...registers] = hexGroups(match);
    const subLeaf = SUB_LEAF.exec(line.slice(match[0].length))?.[1];
    const index = subLeaf === undefined ? this.#nextUntagged(fn) : Number.parseInt(subLeaf, 16);
    this.#dump.add(rowFromWords([fn, index, ...registers]), where);
  }

  /** The sub-leaf of a row that does not name one: the next in line, or 0 where the function has none. */
  #nextUntagged(fn: number): number {
    if (!isIndexed(fn)) return 0;
    const index = this.#untagged.get(fn) ?? 0;
    this.#untagged.set(fn, index + 1);
    return index;
  }
}

function headerNumber(line: string): number | undefined {
  for (const header of HEADERS) {
    const digits = header.exec(line)?.[1];
    if (digits !== undefined) return Number(digits);
  }
  return undefined;
}
