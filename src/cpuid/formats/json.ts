/** What every reader of JSON needs: parsing, and taking values for what they should be. */

import { FormatError } from '../errors.js';
import type { Place } from './json-path.js';
import { countNewlines, parseHex, quote } from './text.js';

/**
 * Parses JSON.
 *
 * @throws FormatError that says where the document breaks off, as far as the engine tells
 */
export function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const position = /position (\d+)/.exec(error instanceof Error ? error.message : '')?.[1];
    const where = position === undefined ? name : `${name}:${1 + countNewlines(text, 0, Number(position))}`;
    throw new FormatError('broken JSON', where, 'a complete JSON document');
  }
}

/** Whether a JSON value is an object with keys. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A u32: a hexadecimal string, or a number.
 *
 * @throws FormatError when the value is neither
 */
export function u32(value: unknown, place: Place): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff) return value;
  const parsed = typeof value === 'string' ? parseHex(value) : undefined;
  if (parsed === undefined) throw notA('a u32', value, place, 'a hexadecimal string or a number from 0 to 4294967295');
  return parsed;
}

/** The error that a value is not what it should be. */
export function notA(what: string, value: unknown, place: Place, expected: string): FormatError {
  return new FormatError(`${excerpt(value)} is not ${what}`, place.toString(), expected);
}

/** A JSON value in a few words. */
export function excerpt(value: unknown): string {
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (isObject(value)) return `an object with ${Object.keys(value).slice(0, 4).map(quote).join(', ') || 'no keys'}`;
  return value === undefined ? 'nothing' : quote(String(value));
}
