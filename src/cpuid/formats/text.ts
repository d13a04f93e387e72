/** What every reader of a text format needs: decoding, lines, numbers, and excerpts for messages. */

/** Larger inputs are refused: the largest real dump (an AIDA64 report of 512 logical CPUs) has about 4 MiB. */
export const MAX_BYTES = 64 * 1024 * 1024;

/** One line of a text file, without its line ending. */
export interface Line {
  /** 1-based, as editors count. */
  readonly number: number;
  readonly text: string;
}

/** Decodes UTF-8, or UTF-16 with a byte order mark (what PowerShell's `>` writes). Never throws. */
export function decodeText(bytes: Uint8Array): string {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return new TextDecoder('utf-16le').decode(bytes);
  if (first === 0xfe && second === 0xff) return new TextDecoder('utf-16be').decode(bytes);
  return new TextDecoder('utf-8').decode(bytes);
}

/** The lines of a text, one at a time. */
export function* linesOf(text: string): Generator<Line> {
  let start = 0;
  for (let number = 1; start <= text.length; number++) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline;
    yield { number, text: text.slice(start, text[end - 1] === '\r' && end > start ? end - 1 : end) };
    start = end + 1;
  }
}

/** How many lines end between two positions. */
export function countNewlines(text: string, from: number, to: number): number {
  let count = 0;
  for (let i = text.indexOf('\n', from); i >= 0 && i < to; i = text.indexOf('\n', i + 1)) count++;
  return count;
}

/** A short, printable, one-line excerpt in double quotes. */
export function quote(text: string): string {
  const excerpt = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return JSON.stringify(excerpt).replace(/[^ -~…]/g, '?');
}

const HEX = /^(?:0x)?([0-9a-f]{1,8})$/i;
const NUMBER = /^(?:0x[0-9a-f]{1,8}|[0-9]{1,10})$/i;

/** A hexadecimal u32 with or without `0x`; undefined when it is none. */
export function parseHex(text: string): number | undefined {
  const digits = HEX.exec(text)?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}

/** A u32 in C notation, hexadecimal with `0x` or decimal without; undefined when it is none. */
export function parseNumber(text: string): number | undefined {
  if (!NUMBER.test(text)) return undefined;
  const value = Number(text);
  return value <= 0xffff_ffff ? value : undefined;
}

/** Matches a sticky pattern at one position. */
export function matchAt(sticky: RegExp, text: string, position: number): RegExpExecArray | null {
  sticky.lastIndex = position;
  return sticky.exec(text);
}

/** The groups of a match whose pattern allows only one to eight hexadecimal digits in each. */
export function hexGroups(match: RegExpExecArray): number[] {
  return match.slice(1).map((digits) => Number.parseInt(digits, 16));
}
