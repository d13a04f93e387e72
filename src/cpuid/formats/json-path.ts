/**
 * `FILE#path`: a place inside a JSON document, e.g. `models.Skylake-Server-v5` or `vcpus.0`.
 *
 * Keys contain dots themselves (`runs.11.1.3:qemu64`), so at each step the longest existing key wins. There is no
 * going back: a shorter key is not tried when the longer one leads nowhere.
 */

import { FormatError } from '../errors.js';
import { quote } from './text.js';

/** A place in a JSON document. Its text is `FILE#path`, the notation in which a user can ask for it. */
export class Place {
  readonly #name: string;
  readonly #path: string;

  /**
   * @param name what messages call the document
   * @param path dotted; empty for the whole document
   */
  constructor(name: string, path = '') {
    this.#name = name;
    this.#path = path;
  }

  /** The place one step further in. */
  inside(step: string | number): Place {
    return new Place(this.#name, this.#path === '' ? String(step) : `${this.#path}.${step}`);
  }

  toString(): string {
    return this.#path === '' ? this.#name : `${this.#name}#${this.#path}`;
  }
}

/** A value in a JSON document, and where it stands there. */
export interface Selection {
  readonly value: unknown;
  readonly place: Place;
}

/**
 * Follows a dotted path. An empty path is the whole document.
 *
 * @throws FormatError that names the step which leads nowhere and the keys that are nearest to it
 */
export function selectPath(document: unknown, path: string, name: string): Selection {
  let value = document;
  let place = new Place(name);
  let rest = path;
  while (rest !== '') {
    const step = stepInto(value, rest);
    if (step === undefined) throw deadEnd(value, rest, place.toString());
    value = step.value;
    place = place.inside(step.key);
    rest = rest.slice(step.key.length + 1);
  }
  return { value, place };
}

interface Step {
  readonly key: string;
  readonly value: unknown;
}

/** Longer keys are not looked for, which keeps even an absurd path linear. */
const MAX_KEY = 256;

function stepInto(value: unknown, rest: string): Step | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const start = rest.length <= MAX_KEY ? rest.length : rest.lastIndexOf('.', MAX_KEY);
  for (let end = start; end > 0; end = rest.lastIndexOf('.', end - 1)) {
    const key = rest.slice(0, end);
    const isElement = !Array.isArray(value) || /^[0-9]{1,9}$/.test(key);
    if (isElement && Object.hasOwn(value, key)) return { key, value: (value as Record<string, unknown>)[key] };
  }
  return undefined;
}

function deadEnd(value: unknown, rest: string, where: string): FormatError {
  const [wanted = rest] = rest.split('.', 1);
  if (Array.isArray(value)) {
    return new FormatError(`no element ${quote(wanted)}`, where, `a number below ${value.length}`);
  }
  if (typeof value !== 'object' || value === null) {
    return new FormatError(
      `no ${quote(wanted)} inside a ${value === null ? 'null' : typeof value}`,
      where,
      'no more steps',
    );
  }
  const keys = Object.keys(value);
  const near = nearest(keys, rest, wanted).map(quote).join(', ');
  return new FormatError(`no key ${quote(wanted)}`, where, keys.length === 0 ? 'no more steps' : `one like ${near}`);
}

const SUGGESTIONS = 4;
/** So many keys, and so many characters of each, are compared: enough for a list of CPU models. */
const MAX_KEYS = 2000;
const MAX_LENGTH = 64;

/** The keys that are nearest to what was asked for, which may be a whole rest of a path, dots and all. */
function nearest(keys: readonly string[], rest: string, wanted: string): string[] {
  const ranked = keys.slice(0, MAX_KEYS).map((key) => ({
    key,
    distance: Math.min(editDistance(key, wanted), editDistance(key, rest)),
  }));
  ranked.sort((a, b) => a.distance - b.distance);
  return ranked.slice(0, SUGGESTIONS).map(({ key }) => key);
}

/** Levenshtein's distance, ignoring case. */
function editDistance(left: string, right: string): number {
  const a = left.slice(0, MAX_LENGTH).toLowerCase();
  const b = right.slice(0, MAX_LENGTH).toLowerCase();
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
