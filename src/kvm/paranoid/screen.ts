import { CHECK, CHECK_FIELD, CHECK_VALUES, CHECK_WORDS, functionOf, SLOT_COUNT } from './rule-arrays.js';
import type { RuleLines } from './rule-lines.js';

/**
 * A screen is the rules in a form that hot loops can apply without branches. Whatever passes it is allowed; what does
 * not is a *suspect*, about which {@link RuleLines} knows more. An entry gets two looks:
 *
 * 1. `(register & check) === want` in each register. Masks, ignored, zero and fixed registers are of that form. For a
 *    limit, a list of values and "fixed or zero" it is a large set of that form within what the rule allows, chosen so
 *    that what KVM reports is in it: the second look is rarely needed.
 * 2. The same with limits as they are, and with a second set of wanted bits. A field is too large exactly if
 *    `register + add` carries out of its uppermost bit, where `add` holds what the limit falls short of all ones. One
 *    addition serves all fields of a register: no carry runs into another field unless one was too large already.
 *
 * Layout, in words: one word for each slot, one for each sixteenth of the functions without a slot, then rows. The fields
 * of a row are {@link ROW}, four registers each.
 */
export type Screen = Int32Array;

export const ROW = { check: 0, want: 4, secondCheck: 8, secondWant: 12, otherWant: 16, add: 20, top: 24 } as const;
export const ROW_WORDS = 28;

/** Where the words of functions without a slot are: 16 of them, by the function's uppermost four bits. */
export const SCREEN_SLOTLESS = SLOT_COUNT;
const SCREEN_ROWS = SCREEN_SLOTLESS + 16;

/** In a slot's word: the function's first row, in words from the start of the screen. */
export const SLOT_ROW = 0xffff;
/** In a slot's word: the function has but one row, and its first look wants no bit to be set. */
export const SLOT_PLAIN = 1 << 16;
/** In a slot's word: whatever the function's entries hold is allowed. */
export const SLOT_OPEN = 1 << 17;
/**
 * In a slot's word: how many rows follow for sub-leaves 0, 1 …, the last of which serves all others too. The word is
 * negative exactly if there are any.
 */
export const SLOT_SUBLEAVES_SHIFT = 24;
export const SLOT_SUBLEAVES = 0x7f;
const SLOT_INDEXED = 0x80;

/** No screen is longer, in words. */
export const SCREEN_WORDS = 1 << 14;

/** Makes the screen of a set of rules. */
export function buildScreen(rules: RuleLines): Screen {
  const builder = new ScreenBuilder(rules);
  for (let slot = 0; slot < SLOT_COUNT; slot++) builder.putFunction(slot);
  for (let digit = 0; digit < 16; digit++) builder.putSlotless(digit);
  return builder.finish();
}

class ScreenBuilder {
  private readonly rules: RuleLines;
  private readonly slots = new Int32Array(SCREEN_ROWS);
  private readonly words: number[] = [];
  /** Rows by line, and by what tells them apart: many lines have the row that is all zero or all ignored. */
  private readonly byLine: (Row | undefined)[] = [];
  private readonly rows = new Map<string, Row>();
  private readonly slotsByLine: (number | undefined)[] = [];
  /** Where sequences of rows are, by their ids. */
  private readonly places = new Map<string, number>();

  constructor(rules: RuleLines) {
    this.rules = rules;
  }

  putFunction(slot: number): void {
    const line = this.rules.lineOf(functionOf(slot), 0, false);
    const count = this.rules.subleaves[slot]!;
    if (count === 0) {
      this.slots[slot] = this.slotOfLine(line);
      return;
    }
    const any = this.rowOf(line);
    const subleaves = Array.from({ length: count }, (_, i) => this.rowOf(line + 1 + i));
    while (subleaves.length > 1 && subleaves.at(-1) === subleaves.at(-2)) subleaves.pop();
    if (subleaves.every((row) => row === any)) this.slots[slot] = this.slotOf(any);
    else
      this.slots[slot] = this.place([any, ...subleaves]) | ((subleaves.length | SLOT_INDEXED) << SLOT_SUBLEAVES_SHIFT);
  }

  /** The functions without a slot that start with a hexadecimal digit: one row, if the same holds for all of them. */
  putSlotless(digit: number): void {
    const { ranges } = this.rules;
    const first = ((digit << 28) | 0x40) >>> 0;
    const last = ((digit << 28) | 0x0fff_ffff) >>> 0;
    // The rules can change only where a range starts and behind its end.
    const edges = [first];
    for (let i = 0; i < ranges.length; i += 3) edges.push(ranges[i]!, ranges[i + 1]! + 1);
    const inside = edges.filter((fn) => first <= fn && fn <= last);
    const rows = inside.map((fn) => this.rowOf(this.rules.rangeLine(fn)));
    const alike = rows.every((row) => row === rows[0]);
    this.slots[SCREEN_SLOTLESS + digit] = this.slotOf(alike ? rows[0]! : this.intern('suspect', rowOfSuspects));
  }

  private rowOf(line: number): Row {
    const row = this.byLine[line] ?? this.makeRow(line);
    this.byLine[line] = row;
    return row;
  }

  private makeRow(line: number): Row {
    const { reject, checkStart } = this.rules;
    const at = line * 4;
    if (checkStart[line] !== checkStart[line + 1])
      return this.intern(`checks of ${line}`, () => rowOfChecks(this.rules, line));
    const key = `${reject[at]} ${reject[at + 1]} ${reject[at + 2]} ${reject[at + 3]}`;
    return this.intern(key, () => rowOfMasks(reject, at));
  }

  private intern(key: string, make: () => readonly number[]): Row {
    let row = this.rows.get(key);
    if (!row) {
      row = { id: this.rows.size, words: make() };
      this.rows.set(key, row);
    }
    return row;
  }

  /** The word of a slot without sub-leaves: most functions share a line with others. */
  private slotOfLine(line: number): number {
    const word = this.slotsByLine[line] ?? this.slotOf(this.rowOf(line));
    this.slotsByLine[line] = word;
    return word;
  }

  /** The word of a slot with one row. */
  private slotOf(row: Row): number {
    if (isAnySet(row.words, ROW.want)) return this.place([row]);
    return this.place([row]) | SLOT_PLAIN | (isAnySet(row.words, ROW.check) ? 0 : SLOT_OPEN);
  }

  private place(rows: readonly Row[]): number {
    const key = rows.map(({ id }) => id).join();
    let at = this.places.get(key);
    if (at === undefined) {
      at = SCREEN_ROWS + this.words.length;
      this.places.set(key, at);
      for (const { words } of rows) this.words.push(...words);
    }
    return at;
  }

  finish(): Screen {
    const length = SCREEN_ROWS + this.words.length;
    if (length > SCREEN_WORDS) throw new RangeError(`a screen of ${length} words; there is room for ${SCREEN_WORDS}`);
    const screen = new Int32Array(length);
    screen.set(this.slots);
    screen.set(this.words, SCREEN_ROWS);
    return screen;
  }
}

interface Row {
  readonly id: number;
  readonly words: readonly number[];
}

/** Whether any of the four words of a field has bits. */
function isAnySet(words: readonly number[], field: number): boolean {
  return (words[field]! | words[field + 1]! | words[field + 2]! | words[field + 3]!) !== 0;
}

/** What passes a look at one register. */
interface Look {
  readonly check: number;
  readonly want: number;
  /** What the second look accepts as well. */
  readonly otherWant: number;
  readonly add: number;
  readonly top: number;
}

/** Nothing passes: it wants a bit that it does not look at. */
const SUSPECT: Look = { check: 0, want: 1, otherWant: 1, add: 0, top: 0 };

function rowOfChecks(rules: RuleLines, line: number): readonly number[] {
  const words: number[] = Array(ROW_WORDS).fill(0);
  for (let register = 0; register < 4; register++) {
    putFirst(words, register, lookAt(rules, line, register, false));
    putSecond(words, register, lookAt(rules, line, register, true));
  }
  return words;
}

/** Both looks are the same. */
function rowOfMasks(reject: Int32Array, at: number): readonly number[] {
  const words: number[] = Array(ROW_WORDS).fill(0);
  for (let register = 0; register < 4; register++) {
    words[ROW.check + register] = reject[at + register]!;
    words[ROW.secondCheck + register] = reject[at + register]!;
  }
  return words;
}

/** A row that nothing passes. */
function rowOfSuspects(): readonly number[] {
  const words: number[] = Array(ROW_WORDS).fill(0);
  for (let register = 0; register < 4; register++) {
    putFirst(words, register, SUSPECT);
    putSecond(words, register, SUSPECT);
  }
  return words;
}

function putFirst(words: number[], register: number, { check, want }: Look): void {
  words[ROW.check + register] = check;
  words[ROW.want + register] = want;
}

function putSecond(words: number[], register: number, { check, want, otherWant, add, top }: Look): void {
  words[ROW.secondCheck + register] = check;
  words[ROW.secondWant + register] = want;
  words[ROW.otherWant + register] = otherWant;
  words[ROW.add + register] = add;
  words[ROW.top + register] = top;
}

/** @param exactly whether limits are looked at as they are, where fields do not overlap */
function lookAt(rules: RuleLines, line: number, register: number, exactly: boolean): Look {
  const { reject, checks, checkStart, values } = rules;
  let check = reject[line * 4 + register]!;
  let add = 0;
  let top = 0;
  const wanted: number[] = [];
  let fields = 0;
  let lists = 0;
  const end = checkStart[line + 1]! * CHECK_WORDS;
  for (let at = checkStart[line]! * CHECK_WORDS; at < end; at += CHECK_WORDS) {
    if (checks[at + CHECK.register] !== register) continue;
    const mask = checks[at + CHECK.mask]!;
    const shift = checks[at + CHECK.shift]!;
    const operand = checks[at + CHECK.operand]!;
    const likely = checks[at + CHECK.likely]!;
    const kind = checks[at + CHECK.kind];
    if (kind === CHECK_FIELD) {
      if (exactly && (fields & mask) === 0) {
        add |= ((mask >>> shift) - (operand >>> 0)) << shift;
        top |= 1 << (31 - Math.clz32(mask));
      } else {
        check |= mask & ~(freeBits(operand >>> 0, likely >>> 0) << shift);
      }
      fields |= mask;
    } else if (kind === CHECK_VALUES) {
      check |= mask;
      lists |= mask;
      wanted.push(likely << shift);
      for (let i = operand + checks[at + CHECK.length]! - 1; i >= operand; i--) wanted.push(values[i]! << shift);
    } else {
      check = -1;
      wanted.push(operand);
    }
  }
  if (wanted.length === 0) return { check, want: 0, otherWant: 0, add, top };
  if ((lists & fields) !== 0) return SUSPECT;
  // Limits and masks allow whatever passes them. The bits that are wanted must be allowed too, all by themselves.
  wanted.push(0);
  let want: number | null = null;
  for (const candidate of wanted) {
    if (candidate === want || !rules.allows(line, register, candidate >>> 0)) continue;
    if (want !== null) return { check, want, otherWant: candidate, add, top };
    want = candidate;
  }
  return want === null ? SUSPECT : { check, want, otherWant: want, add, top };
}

/**
 * The bits of a number that may be anything, all others being zero, so that it stays within `limit`; chosen so that
 * `likely` is among the numbers that remain, if it can be, and the limit too.
 */
function freeBits(limit: number, likely: number): number {
  if (likely >= limit || (likely & ~limit) === 0) return limit;
  // In the uppermost bit in which they differ, the limit has 1 and what is likely 0: below it anything goes.
  const bit = 31 - Math.clz32(limit ^ likely);
  return (limit & ~((2 << bit) - 1)) | ((1 << bit) - 1);
}

/**
 * A place in which a loop finds screens: a few of them side by side in one array. Loops read that array and no other, so
 * that it does not matter to them how many hosts and overlays there are. The screen that was brought in first gives way.
 */
export class ScreenStore {
  private readonly words: Int32Array;
  private readonly first: number;
  private readonly screens: (Screen | null)[];
  private next = 0;
  private latest: Screen | null = null;
  private latestAt = 0;

  /** @param first where in `words` the store starts, with room for `count` screens of {@link SCREEN_WORDS} */
  constructor(words: Int32Array, first: number, count: number) {
    this.words = words;
    this.first = first;
    this.screens = Array(count).fill(null);
  }

  /** Where in the array the screen is. */
  locate(screen: Screen): number {
    return screen === this.latest ? this.latestAt : this.find(screen);
  }

  private find(screen: Screen): number {
    let place = this.screens.indexOf(screen);
    if (place < 0) place = this.bringIn(screen);
    this.latest = screen;
    this.latestAt = this.first + place * SCREEN_WORDS;
    return this.latestAt;
  }

  private bringIn(screen: Screen): number {
    const place = this.next;
    this.next = (place + 1) % this.screens.length;
    this.screens[place] = screen;
    this.words.set(screen, this.first + place * SCREEN_WORDS);
    return place;
  }
}
