/**
 * CPUID tables in JSON. An entry is any of
 *
 *     "00000007 00000000 1 00000000 219c91a9 00400004 00000000"     as this program prints it; padding may follow
 *     ["00000007", "00000000", 1, "00000000", "219c91a9", …]        hexadecimal strings; numbers are decimal
 *     { "function": 7, "index": 0, "flags": 1, "eax": "0", … }      likewise
 *
 * and a document is an array of entries, or an object with `entries`, or one with `vcpus` (one of these per vCPU).
 */

import type { Payload, PayloadTable } from '../dump.js';
import { type CpuidEntry2, formatEntry, REGISTERS } from '../entry.js';
import { FormatError } from '../errors.js';
import { excerpt, isObject, notA, u32 } from './json.js';
import type { Place, Selection } from './json-path.js';
import { entryFromRow, entryFromWords, rowFromWords } from './rows.js';
import { parseHex, quote } from './text.js';

const ENTRY_TEXT = '"function index flags eax ebx ecx edx", hexadecimal';

/**
 * Reads one entry from the notation of `formatEntry`: seven hexadecimal words, and `p0,p1,p2` where padding is not zero.
 *
 * @throws FormatError when it is not one
 */
export function parseEntry(text: string, where: string): CpuidEntry2 {
  const words = text.trim().split(/ +/, 9);
  const padding = words[7]?.split(',', 4) ?? [];
  const isWhole = words.length === 7 || (words.length === 8 && padding.length === 3);
  const values = [...words.slice(0, 7), ...padding].map(parseHex);
  if (isWhole && values.every((value) => value !== undefined)) return entryFromWords(values);
  throw new FormatError(`${quote(text)} is not an entry`, where, ENTRY_TEXT);
}

/**
 * Reads one entry in any of the three notations.
 *
 * @throws FormatError when it is none of them
 */
export function entryFromJson(value: unknown, place: Place): CpuidEntry2 {
  if (typeof value === 'string') return parseEntry(value, place.toString());
  if (Array.isArray(value) && value.length === 7) return entryFromWords(value.map((word) => u32(word, place)));
  if (isObject(value)) return entryFromObject(value, place);
  throw notA('an entry', value, place, ENTRY_TEXT);
}

/**
 * Reads the tables of a JSON value.
 *
 * @throws FormatError on a value of another shape, naming places inside it that do hold tables, or on a broken entry
 */
export function payloadFromJson({ value, place }: Selection): Payload {
  return { format: 'entries', tables: tablesFromJson(value, place), warnings: [] };
}

/** Writes `{ "entries": […] }`, one entry a line. */
export function writeEntries(entries: readonly CpuidEntry2[]): string {
  return `${tableText({ label: '', entries }, '')}\n`;
}

/** Writes a payload as `{ "entries": […] }`, or as `{ "vcpus": [{ "entries": […] }, …] }` when it has several tables. */
export function writePayload(payload: Payload): string {
  const [only, ...others] = payload.tables;
  if (only !== undefined && others.length === 0) return `${tableText(only, '')}\n`;
  const tables = payload.tables.map((table) => `    ${tableText(table, '    ')}`);
  return `{\n  "vcpus": [\n${tables.join(',\n')}\n  ]\n}\n`;
}

function tableText(table: PayloadTable, indent: string): string {
  const head = table.headPadding ? `${indent}  "head_padding": "${table.headPadding.toString(16)}",\n` : '';
  const entries = table.entries.map((entry) => `${indent}    "${formatEntry(entry)}"`);
  const list = entries.length === 0 ? '[]' : `[\n${entries.join(',\n')}\n${indent}  ]`;
  return `{\n${head}${indent}  "entries": ${list}\n${indent}}`;
}

function tablesFromJson(value: unknown, place: Place): PayloadTable[] {
  const vcpus = isObject(value) ? value.vcpus : undefined;
  if (!Array.isArray(vcpus) || vcpus.length === 0) return [tableFromJson(value, place, '')];
  const labelOf = (n: number) => (vcpus.length === 1 ? '' : `vcpu ${n}`);
  return vcpus.map((vcpu, n) => tableFromJson(vcpu, place.inside('vcpus').inside(n), labelOf(n)));
}

function tableFromJson(value: unknown, place: Place, label: string): PayloadTable {
  if (Array.isArray(value)) return { label, entries: entriesFromJson(value, place) };
  const list = isObject(value) ? value.entries : undefined;
  if (!isObject(value) || !Array.isArray(list)) throw noTable(value, place);
  const table = { label, entries: entriesFromJson(list, place.inside('entries')) };
  const headPadding = value.head_padding;
  return headPadding === undefined ? table : { ...table, headPadding: u32(headPadding, place.inside('head_padding')) };
}

function entriesFromJson(list: readonly unknown[], place: Place): CpuidEntry2[] {
  return list.map((entry, n) => entryFromJson(entry, place.inside(n)));
}

/** An object with `flags` is an entry; one without is a row, and gets the flags of its function. */
function entryFromObject(value: Readonly<Record<string, unknown>>, place: Place): CpuidEntry2 {
  const word = (key: string) => u32(value[key], place.inside(key));
  const fn = word('function');
  const index = value.index === undefined ? 0 : word('index');
  const registers = REGISTERS.map(word);
  if (value.flags === undefined) return entryFromRow(rowFromWords([fn, index, ...registers]));
  return entryFromWords([fn, index, word('flags'), ...registers, ...paddingOf(value, place.inside('padding'))]);
}

function paddingOf({ padding }: Readonly<Record<string, unknown>>, place: Place): number[] {
  if (padding === undefined) return [];
  if (!Array.isArray(padding) || padding.length !== 3) throw notA('padding', padding, place, 'an array of three words');
  return padding.map((word, n) => u32(word, place.inside(n)));
}

function noTable(value: unknown, place: Place): FormatError {
  const places = placesOfTables(value).map((path) => quote(place.inside(path).toString()));
  const hint = places.length === 0 ? '' : `, as there are in ${places.join(', ')}`;
  const expected = `an array of entries, or an object with "entries" or "vcpus"${hint}`;
  return new FormatError(`${excerpt(value)} holds no CPUID table`, place.toString(), expected);
}

const MAX_PLACES = 3;
const MAX_DEPTH = 3;

/** A few paths inside a document that lead to tables: collections are objects of objects. */
function placesOfTables(value: unknown, depth = MAX_DEPTH): string[] {
  const places: string[] = [];
  if (!isObject(value) || depth === 0) return places;
  for (const [key, child] of Object.entries(value)) {
    if (holdsTables(child)) places.push(key);
    else places.push(...placesOfTables(child, depth - 1).map((path) => `${key}.${path}`));
    if (places.length >= MAX_PLACES) break;
  }
  return places.slice(0, MAX_PLACES);
}

function holdsTables(value: unknown): boolean {
  return isObject(value) && (Array.isArray(value.entries) || Array.isArray(value.vcpus));
}
