import { CHECK, CHECK_FIELD, CHECK_VALUES, CHECK_WORDS, functionOf, SLOT_COUNT } from './rule-arrays.js';
import type { RuleLines } from './rule-lines.js';

/**
 * A screen is the rules in the form that hot loops can apply with one comparison to a whole entry:
 *
 *     (register & check) === want        for each of the four registers
 *
 * Masks, ignored, zero and fixed registers are of that form by nature. A limit or a list of values is not: its row lets
 * pass the largest set of that form which holds what the host itself has and nothing that the rule refuses. So whatever
 * passes the screen is allowed, and most of what is allowed passes. What does not is a *suspect*; {@link RuleLines}
 * knows.
 *
 * Layout, in words: one word for each slot, one for each sixteenth of the functions without a slot, then the rows. A row
 * is `check` of the four registers and `want` of the four registers.
 */
export type Screen = Int32Array;

/** Where the words of functions without a slot are: 16 of them, by the function's uppermost four bits. */
export const SCREEN_NIBBLES = SLOT_COUNT;
const SCREEN_ROWS = SCREEN_NIBBLES + 16;
export const ROW_WORDS = 8;
/** Where in a row the wanted bits are. */
export const ROW_WANT = 4;

/** In a slot's word: the function's first row, in words from the start of the screen. */
export const SLOT_ROW = 0xffff;
/**
 * In a slot's word: how many rows follow for sub-leaves 0, 1 …, the last of which serves all others too. The word is
 * negative exactly if there are any.
 */
export const SLOT_SUBLEAVES_SHIFT = 24;
export const SLOT_SUBLEAVES = 0x7f;

/** No screen is longer, in words. */
export const SCREEN_WORDS = 1 << 14;

/** A row that nothing passes: it wants a bit that it does not look at. */
const SUSPECT = { check: 0, want: 1 } as const;
const SUSPECT_ROW: readonly number[] = [0, 0, 0, 0, 1, 1, 1, 1];

/** Makes the screen of a set of rules. */
export function buildScreen(rules: RuleLines): Screen {
  const builder = new ScreenBuilder(rules);
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    const line = rules.lineOf(functionOf(slot), 0, false);
    builder.put(slot, line, rules.subleaves[slot]!);
  }
  for (let nibble = 0; nibble < 16; nibble++) builder.putRange(SCREEN_NIBBLES + nibble, nibble);
  return builder.finish();
}

class ScreenBuilder {
  private readonly rules: RuleLines;
  private readonly slots = new Int32Array(SCREEN_ROWS);
  private readonly rows: number[] = [];
  /** Where rows are, by their content: many functions share the row that is all zero or all ignored. */
  private readonly places = new Map<string, number>();

  constructor(rules: RuleLines) {
    this.rules = rules;
  }

  /** A function whose lines are `line` and the `subleaves` that follow it. */
  put(slot: number, line: number, subleaves: number): void {
    const rows = Array.from({ length: subleaves + 1 }, (_, i) => this.rowOf(line + i));
    const alike = rows.every((row) => row.join() === rows[0]!.join());
    if (alike) this.slots[slot] = this.place([rows[0]!]);
    else this.slots[slot] = this.place(rows) | ((subleaves | 0x80) << SLOT_SUBLEAVES_SHIFT);
  }

  /** The functions without a slot that start with a hexadecimal digit: one row if one line decides about all of them. */
  putRange(slot: number, digit: number): void {
    const { ranges, unknownLine } = this.rules;
    const first = ((digit << 28) | 0x40) >>> 0;
    const last = ((digit << 28) | 0x0fff_ffff) >>> 0;
    const edges = [first];
    for (let i = 0; i < ranges.length; i += 3) edges.push(ranges[i]!, ranges[i + 1]! + 1);
    const lines = new Set(edges.filter((fn) => first <= fn && fn <= last).map((fn) => this.rules.rangeLine(fn)));
    const rows = [...lines].map((line) => this.rowOf(line));
    const alike = rows.every((row) => row.join() === rows[0]!.join());
    this.slots[slot] = this.place([alike ? this.rowOf([...lines][0] ?? unknownLine) : SUSPECT_ROW]);
  }

  private rowOf(line: number): number[] {
    const pairs = [0, 1, 2, 3].map((register) => screenRegister(this.rules, line, register));
    return [...pairs.map(({ check }) => check), ...pairs.map(({ want }) => want)];
  }

  private place(rows: readonly (readonly number[])[]): number {
    const key = rows.join(' ');
    let at = this.places.get(key);
    if (at === undefined) {
      at = SCREEN_ROWS + this.rows.length;
      this.places.set(key, at);
      this.rows.push(...rows.flat());
    }
    return at;
  }

  finish(): Screen {
    const length = SCREEN_ROWS + this.rows.length;
    if (length > SCREEN_WORDS)
      throw new RangeError(`the rules need a screen of ${length} words, more than ${SCREEN_WORDS}`);
    const screen = new Int32Array(length);
    screen.set(this.slots);
    screen.set(this.rows, SCREEN_ROWS);
    return screen;
  }
}

/** The bits of one register that a row looks at, and what they must be. */
function screenRegister(
  rules: RuleLines,
  line: number,
  register: number,
): { readonly check: number; readonly want: number } {
  const { reject, checks, checkStart } = rules;
  let check = reject[line * 4 + register]!;
  let listed = 0;
  const fixed: number[] = [];
  for (let i = checkStart[line]!; i < checkStart[line + 1]!; i++) {
    const word = (name: keyof typeof CHECK) => checks[i * CHECK_WORDS + CHECK[name]]!;
    if (word('register') !== register) continue;
    if (word('kind') === CHECK_FIELD) {
      const free = freeBits(word('operand') >>> 0, word('likely') >>> 0);
      check |= word('mask') & ~(free << word('shift'));
    } else if (word('kind') === CHECK_VALUES) {
      check |= word('mask');
      listed |= word('likely') << word('shift');
    } else {
      check = -1;
      fixed.push(word('operand'));
    }
  }
  // Of all that passes, the value with all its free bits set is the largest in every field: if it is allowed, all are.
  const want = [...fixed, listed, 0].find((candidate) => rules.allows(line, register, (candidate | ~check) >>> 0));
  return want === undefined ? SUSPECT : { check, want };
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
