import { CHECK, CHECK_FIELD, CHECK_VALUES, CHECK_WORDS, functionOf, SLOT_COUNT } from './rule-arrays.js';
import type { RuleLines } from './rule-lines.js';

/**
 * A screen is the rules in a form that hot loops can apply without branches. Whatever passes it is allowed; what does
 * not is a *suspect*, about which {@link RuleLines} knows more. An entry gets two looks:
 *
 * 1. `(register & check) === want` in each register. Masks, ignored, zero and fixed registers are of that form. For a
 *    limit, a list of values and "fixed or zero" it is the largest set of that form that the rule allows and in which
 *    the host's own value is, so that the second look is rarely needed.
 * 2. The same with limits as they are: a field is too large exactly if `register + add` carries out of its uppermost
 *    bit, where `add` holds what the limit falls short of all ones. One addition serves all fields of a register: no
 *    carry runs into another field unless one was too large already.
 *
 * Layout, in words: one word for each slot, one for each sixteenth of the functions without a slot, then rows. The fields
 * of a row are {@link ROW}, four registers each.
 */
export type Screen = Int32Array;

export const ROW = { check: 0, want: 4, secondCheck: 8, secondWant: 12, add: 16, top: 20 } as const;
export const ROW_WORDS = 24;

/** Where the words of functions without a slot are: 16 of them, by the function's uppermost four bits. */
export const SCREEN_SLOTLESS = SLOT_COUNT;
const SCREEN_ROWS = SCREEN_SLOTLESS + 16;

/** In a slot's word: the function's first row, in words from the start of the screen. */
export const SLOT_ROW = 0xffff;
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
  private readonly rows: number[] = [];
  /** Where rows are, by their content: many functions share the row that is all zero or all ignored. */
  private readonly places = new Map<string, number>();

  constructor(rules: RuleLines) {
    this.rules = rules;
  }

  putFunction(slot: number): void {
    const line = this.rules.lineOf(functionOf(slot), 0, false);
    const count = this.rules.subleaves[slot]!;
    const [any, ...subleaves] = Array.from({ length: count + 1 }, (_, i) => rowOf(this.rules, line + i));
    while (subleaves.length > 1 && isAlike(subleaves.at(-1)!, subleaves.at(-2)!)) subleaves.pop();
    if (subleaves.every((row) => isAlike(row, any!))) this.slots[slot] = this.place([any!]);
    else {
      const indexed = (subleaves.length | SLOT_INDEXED) << SLOT_SUBLEAVES_SHIFT;
      this.slots[slot] = this.place([any!, ...subleaves]) | indexed;
    }
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
    const [row, ...others] = inside.map((fn) => rowOf(this.rules, this.rules.rangeLine(fn)));
    const alike = others.every((other) => isAlike(other, row!));
    this.slots[SCREEN_SLOTLESS + digit] = this.place([alike ? row! : SUSPECT_ROW]);
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
    if (length > SCREEN_WORDS) throw new RangeError(`a screen of ${length} words; there is room for ${SCREEN_WORDS}`);
    const screen = new Int32Array(length);
    screen.set(this.slots);
    screen.set(this.rows, SCREEN_ROWS);
    return screen;
  }
}

const isAlike = (row: readonly number[], other: readonly number[]): boolean =>
  row.every((word, i) => word === other[i]);

/** What passes a look at one register. */
interface Look {
  readonly check: number;
  readonly want: number;
  readonly add: number;
  readonly top: number;
}

/** Nothing passes: it wants a bit that it does not look at. */
const SUSPECT: Look = { check: 0, want: 1, add: 0, top: 0 };

function rowOf(rules: RuleLines, line: number): number[] {
  const registers = [0, 1, 2, 3];
  const first = registers.map((register) => lookAt(rules, line, register, false));
  const second = registers.map((register) => lookAt(rules, line, register, true));
  return layOut(first, second);
}

const layOut = (first: readonly Look[], second: readonly Look[]): number[] => [
  ...first.map(({ check }) => check),
  ...first.map(({ want }) => want),
  ...second.map(({ check }) => check),
  ...second.map(({ want }) => want),
  ...second.map(({ add }) => add),
  ...second.map(({ top }) => top),
];

const SUSPECT_ROW: readonly number[] = layOut(Array(4).fill(SUSPECT), Array(4).fill(SUSPECT));

/** @param exactly whether limits are looked at as they are, where fields do not overlap */
function lookAt(rules: RuleLines, line: number, register: number, exactly: boolean): Look {
  const { reject, checks, checkStart } = rules;
  const look = { check: reject[line * 4 + register]!, add: 0, top: 0 };
  const fixed: number[] = [];
  let fields = 0;
  let lists = 0;
  let listed = 0;
  for (let i = checkStart[line]!; i < checkStart[line + 1]!; i++) {
    const word = (name: keyof typeof CHECK) => checks[i * CHECK_WORDS + CHECK[name]]!;
    if (word('register') !== register) continue;
    const mask = word('mask');
    const shift = word('shift');
    if (word('kind') === CHECK_FIELD) {
      if (exactly && (fields & mask) === 0) {
        look.add |= ((mask >>> shift) - (word('operand') >>> 0)) << shift;
        look.top |= 1 << (31 - Math.clz32(mask));
      } else {
        look.check |= mask & ~(freeBits(word('operand') >>> 0, word('likely') >>> 0) << shift);
      }
      fields |= mask;
    } else if (word('kind') === CHECK_VALUES) {
      look.check |= mask;
      listed |= word('likely') << shift;
      lists |= mask;
    } else {
      look.check = -1;
      fixed.push(word('operand'));
    }
  }
  // A limit allows whatever it looks at, and so do masks. The bits that are wanted must be allowed too, all by themselves.
  const want = [...fixed, listed, 0].find((candidate) => rules.allows(line, register, candidate >>> 0));
  return want === undefined || (lists & fields) !== 0 ? SUSPECT : { ...look, want };
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
