import { FormatError } from '../../cpuid/errors.js';
import type { CaptureDocument } from '../../cpuid/formats/capture.js';
import { excerpt, isObject } from '../../cpuid/formats/json.js';
import { Place } from '../../cpuid/formats/json-path.js';
import { parseHex } from '../../cpuid/formats/text.js';

/** A value in a recording and where it stands, read with the type that it must have. Every reader throws FormatError. */
export class Recorded {
  private readonly value: unknown;
  private readonly place: Place;

  constructor(value: unknown, place: Place) {
    this.value = value;
    this.place = place;
  }

  static of(document: CaptureDocument, name: string): Recorded {
    return new Recorded(document, new Place(name));
  }

  get there(): boolean {
    return this.value !== undefined;
  }

  /** The value as it is, for comparisons. */
  get json(): unknown {
    return this.value;
  }

  at(key: string): Recorded {
    return new Recorded(isObject(this.value) ? this.value[key] : undefined, this.place.inside(key));
  }

  /** An element of a list; not there when the list is shorter, or no list. */
  item(n: number): Recorded {
    return new Recorded(Array.isArray(this.value) ? this.value[n] : undefined, this.place.inside(n));
  }

  get list(): Recorded[] {
    if (!Array.isArray(this.value)) throw this.wrong('a list');
    return this.value.map((item, n) => new Recorded(item, this.place.inside(n)));
  }

  get keys(): string[] {
    if (!isObject(this.value)) throw this.wrong('an object');
    return Object.keys(this.value);
  }

  get text(): string {
    if (typeof this.value !== 'string') throw this.wrong('a string');
    return this.value;
  }

  get number(): number {
    if (typeof this.value !== 'number' || !Number.isInteger(this.value)) throw this.wrong('a whole number');
    return this.value;
  }

  /** A u32 as a hexadecimal string. */
  get hex(): number {
    const value = typeof this.value === 'string' ? parseHex(this.value) : undefined;
    if (value === undefined) throw this.wrong('a hexadecimal u32');
    return value;
  }

  toString(): string {
    return this.place.toString();
  }

  private wrong(expected: string): FormatError {
    return new FormatError(excerpt(this.value), this.toString(), expected);
  }
}
