/** Rows in JSON: the `raw` section of captures and of other host collections, a list of six-word strings or arrays. */

import type { HostDump } from '../dump.js';
import type { CpuidRow } from '../entry.js';
import { DumpBuilder } from './dump-builder.js';
import { isObject, notA, u32 } from './json.js';
import type { Place, Selection } from './json-path.js';
import { rowFromWords } from './rows.js';

const ROW_TEXT = '"function index eax ebx ecx edx", hexadecimal';

/**
 * Gathers a list of rows as one logical CPU.
 *
 * @throws FormatError on a row that is none
 */
export function dumpOfRaw(raw: readonly unknown[], place: Place): DumpBuilder {
  const dump = new DumpBuilder(place.toString());
  raw.forEach((value, n) => {
    const rowPlace = place.inside(n);
    dump.add(rowFromJson(value, rowPlace), rowPlace.toString());
  });
  return dump;
}

/**
 * Reads the `raw` section of a JSON object as a host; undefined when it has none.
 *
 * @throws FormatError on a broken row, or when the section is empty
 */
export function hostFromRaw({ value, place }: Selection): HostDump | undefined {
  const raw = isObject(value) ? value.raw : undefined;
  if (!Array.isArray(raw)) return undefined;
  return dumpOfRaw(raw, place.inside('raw')).build('entries', ROW_TEXT);
}

function rowFromJson(value: unknown, place: Place): CpuidRow {
  const words = typeof value === 'string' ? value.trim().split(/ +/, 7) : value;
  if (!Array.isArray(words) || words.length !== 6) throw notA('a row', value, place, ROW_TEXT);
  return rowFromWords(words.map((word) => u32(word, place)));
}
