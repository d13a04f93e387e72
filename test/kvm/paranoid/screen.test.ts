import { describe, expect, test } from 'vitest';
import { CHECK, CHECK_WORDS } from '../../../src/kvm/paranoid/rule-arrays.js';
import { RuleLines } from '../../../src/kvm/paranoid/rule-lines.js';
import { SCREEN_WORDS, type Screen, ScreenStore } from '../../../src/kvm/paranoid/screen.js';
import { hostNamed } from '../../support/platforms.js';
import { random } from '../../support/random-tables.js';
import { allRules, type Rules, rulesOf } from '../../support/rules.js';
import { passesFirst, passesSecond, randomRules, rowAt } from '../../support/screens.js';

/** Values near what the rules of a register speak of, and others. */
function valuesFor(allowed: RuleLines, line: number, register: number, below: (n: number) => number): number[] {
  const values = [0, 0xffff_ffff, ~allowed.reject[line * 4 + register]!];
  for (let i = allowed.checkStart[line]!; i < allowed.checkStart[line + 1]!; i++) {
    const word = (name: keyof typeof CHECK) => allowed.checks[i * CHECK_WORDS + CHECK[name]]!;
    if (word('register') !== register) continue;
    const listed = allowed.values.subarray(word('operand'), word('operand') + word('length'));
    for (const value of [word('operand'), word('likely'), ...listed])
      for (const near of [value - 1, value, value + 1]) values.push((near << word('shift')) & word('mask'), near);
  }
  const free = ~allowed.reject[line * 4 + register]!;
  for (let n = 0; n < 12; n++) {
    const one = values[below(values.length)]!;
    values.push(one ^ (1 << below(32)), one | values[below(values.length)]!, below(2 ** 32) & free, below(2 ** 32));
  }
  return values.map((value) => value >>> 0);
}

const FUNCTIONS = [...Array(0x40).keys()]
  .flatMap((low) => [low, 0x4000_0000 + low, 0x8000_0000 + low, 0xc000_0000 + low])
  .concat([0x40, 0x3fff_ffff, 0x4000_0040, 0x4000_00ff, 0x4000_0100, 0x4fff_ffff, 0x5000_0000, 0x7fff_ffff])
  .concat([0x8000_0040, 0x8086_0000, 0x8fff_ffff, 0x9000_0000, 0xbfff_ffff, 0xc000_0040, 0xffff_ffff]);
const INDICES = [...Array(67).keys(), 127, 128, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/** Whatever passes a look is allowed, and what passes the first passes the second. */
function unsound({ allowed, name }: { allowed: RuleLines; name: string }, below: (n: number) => number): string[] {
  const { screen } = allowed;
  const seen = new Set<string>();
  const complaints: string[] = [];
  for (const fn of FUNCTIONS) {
    for (const [significant, index] of [[false, 7] as const, ...INDICES.map((n) => [true, n] as const)]) {
      const line = allowed.lineOf(fn, index, significant);
      const row = rowAt(screen, fn, index, significant);
      if (seen.has(`${line} ${row}`)) continue;
      seen.add(`${line} ${row}`);
      for (let register = 0; register < 4; register++) {
        for (const value of valuesFor(allowed, line, register, below)) {
          const first = passesFirst(screen, row, register, value);
          const second = passesSecond(screen, row, register, value);
          if ((first && !second) || (second && !allowed.allows(line, register, value)))
            complaints.push(`${name}: ${fn.toString(16)}.${index} register ${register} ${value.toString(16)}`);
        }
      }
    }
  }
  return complaints;
}

/** The entries that KVM reports and that do not pass the first look. */
const stoppedAtOnce = ({ name, allowed, reported }: Rules): string[] =>
  reported.flatMap(({ function: fn, index, flags, eax, ebx, ecx, edx }) => {
    const row = rowAt(allowed.screen, fn, index, (flags & 1) !== 0);
    const passes = [eax, ebx, ecx, edx].every((value, register) => passesFirst(allowed.screen, row, register, value));
    return passes ? [] : [`${name}: ${fn.toString(16)}.${index}`];
  });

describe('a screen', () => {
  // Booting all hosts takes a while; not every test needs them.
  let booted: Rules[] | null = null;
  const rules = (): Rules[] => {
    booted ??= allRules();
    return booted;
  };

  test('lets nothing pass that is refused', () => {
    const below = random(1);
    expect(rules().flatMap((item) => unsound(item, below))).toEqual([]);
  });

  test('lets limits pass in the second look as they are', () => {
    const { allowed } = rulesOf(hostNamed('sapphire-rapids'))[0]!;
    const row = rowAt(allowed.screen, 7, 0, true);
    const passes = [0, 1, 2, 3, 0x8000_0000].map((value) => [
      passesFirst(allowed.screen, row, 0, value),
      passesSecond(allowed.screen, row, 0, value),
      allowed.allows(allowed.lineOf(7, 0, true), 0, value),
    ]);
    expect(passes).toEqual([
      [true, true, true],
      [false, true, true],
      [true, true, true],
      [false, false, false],
      [false, false, false],
    ]);
  });

  test('lets at once pass what KVM reports', () => {
    const stopped = rules().flatMap(stoppedAtOnce);
    expect(stopped).toEqual([]);
  });

  test('is small', () => {
    const longest = Math.max(...rules().map(({ allowed }) => allowed.screen.length));
    expect(longest).toBeLessThan(SCREEN_WORDS / 2);
  });
});

describe('a screen of rules of chance', () => {
  test('lets nothing pass that is refused', () => {
    const below = random(3);
    for (let n = 0; n < 10; n++)
      expect(unsound({ allowed: randomRules(below), name: `rules ${n}` }, below)).toEqual([]);
  });
});

describe('a screen of one host', () => {
  test.each(['sapphire-rapids', 'genoa'])('%s', (name) => {
    const below = random(2);
    for (const item of rulesOf(hostNamed(name))) {
      expect(unsound(item, below)).toEqual([]);
      expect(stoppedAtOnce(item)).toEqual([]);
    }
  });
});

describe('a screen of odd rules', () => {
  const zeros = (n: number) => new Int32Array(n);
  /** Rules of which one line, that of function 0, has these checks on EAX. */
  function rulesWith(
    reject: number,
    checks: readonly (readonly number[])[],
    values: readonly number[] = [],
  ): RuleLines {
    return new RuleLines({
      base: new Int32Array(256).fill(1).fill(0, 0, 1),
      subleaves: zeros(256),
      reject: Int32Array.of(reject, 0, 0, 0, -1, -1, -1, -1),
      checkStart: Int32Array.of(0, checks.length, checks.length),
      checks: Int32Array.from(checks.flat()),
      values: Int32Array.from(values),
      ranges: new Uint32Array(0),
      unknownLine: 1,
    });
  }

  const FIELD = 0;
  const FIXED = 1;
  const FIXED_OR_ZERO = 2;
  const VALUES = 3;
  const rows: readonly (readonly [what: string, rules: RuleLines, passes: readonly number[]])[] = [
    ['fixed', rulesWith(0, [[FIXED, 0, 0, -1, 5, 0, 0]]), [5]],
    [
      'two fixed values',
      rulesWith(0, [
        [FIXED, 0, 0, -1, 5, 0, 0],
        [FIXED, 0, 0, -1, 6, 0, 0],
      ]),
      [],
    ],
    [
      'fixed or zero, and another',
      rulesWith(0, [
        [FIXED_OR_ZERO, 0, 0, -1, 5, 0, 0],
        [FIXED_OR_ZERO, 0, 0, -1, 6, 0, 0],
      ]),
      [0],
    ],
    ['fixed, but forbidden', rulesWith(4, [[FIXED_OR_ZERO, 0, 0, -1, 5, 0, 0]]), [0]],
    ['a limit of 5', rulesWith(~0xf, [[FIELD, 0, 0, 0xf, 5, 0, 5]]), [0, 1, 2, 3, 4, 5]],
    [
      'two limits on one field',
      rulesWith(~0xf, [
        [FIELD, 0, 0, 0xf, 6, 0, 6],
        [FIELD, 0, 0, 0xf, 5, 0, 5],
      ]),
      [0, 1, 4, 5],
    ],
    [
      'limits on fields that overlap',
      rulesWith(~0xf, [
        [FIELD, 0, 0, 0xf, 9, 0, 9],
        [FIELD, 0, 1, 0xe, 2, 0, 2],
      ]),
      [0, 1, 4, 5],
    ],
    ['a list', rulesWith(~0xf, [[VALUES, 0, 0, 0xf, 0, 2, 9]], [3, 9]), [3, 9]],
    [
      'a list, and a limit on the same bits',
      rulesWith(
        ~0xf,
        [
          [VALUES, 0, 0, 0xf, 0, 2, 9],
          [FIELD, 0, 0, 0xf, 12, 0, 12],
        ],
        [3, 9],
      ),
      [],
    ],
    ['a list whose likely value is forbidden', rulesWith(~0x7, [[VALUES, 0, 0, 0xf, 0, 2, 9]], [3, 9]), [3]],
  ];

  test.each(rows)('%s', (_, rules, passes) => {
    const row = rowAt(rules.screen, 0, 0, false);
    const values = [...Array(20).keys(), 0x8000_0000, 0xffff_ffff];
    expect(values.filter((value) => passesSecond(rules.screen, row, 0, value))).toEqual(passes);
    for (const value of values) {
      if (passesFirst(rules.screen, row, 0, value)) expect(passes).toContain(value);
      if (passes.includes(value)) expect(rules.allows(0, 0, value)).toBe(true);
    }
  });

  test('functions without a slot that are not all alike are suspects', () => {
    const { arrays } = rulesWith(0, []);
    const ranges = Uint32Array.of(0x1000_0100, 0x1000_01ff, 0, 0x2000_0000, 0x2fff_ffff, 0);
    const rules = new RuleLines({ ...arrays, ranges });
    const passes = (fn: number) => passesSecond(rules.screen, rowAt(rules.screen, fn, 0, false), 0, 0);
    expect([0x1000_0040, 0x1000_0100, 0x2000_0040, 0x3000_0000].map(passes)).toEqual([false, false, true, true]);
  });

  test('that is too long is not built', () => {
    const { arrays } = rulesWith(0, []);
    const lines = 256 * 4;
    const many = new RuleLines({
      ...arrays,
      base: Int32Array.from({ length: 256 }, (_, slot) => slot * 4),
      subleaves: zeros(256).fill(3),
      reject: Int32Array.from({ length: lines * 4 }, (_, n) => n),
      checkStart: zeros(lines + 1),
    });
    expect(() => many.screen).toThrow(RangeError);
  });
});

describe('a store of screens', () => {
  const screenOf = (n: number): Screen => Int32Array.of(n, n + 1, n + 2);

  test('finds what was brought in, and brings in what is not there', () => {
    const words = new Int32Array(10 + 3 * SCREEN_WORDS);
    const store = new ScreenStore(words, 10, 3);
    const screens = [1, 100, 200, 300, 400].map(screenOf);
    const below = random(5);
    for (let n = 0; n < 200; n++) {
      const screen = screens[below(below(2) + 4)]!;
      const at = store.locate(screen);
      expect((at - 10) % SCREEN_WORDS).toBe(0);
      expect([...words.subarray(at, at + 3)]).toEqual([...screen]);
    }
    expect(words.subarray(0, 10).every((word) => word === 0)).toBe(true);
  });

  test('keeps as many as there is room for', () => {
    const store = new ScreenStore(new Int32Array(3 * SCREEN_WORDS), 0, 3);
    const screens = [1, 100, 200].map(screenOf);
    const places = screens.map((screen) => store.locate(screen));
    expect(new Set(places).size).toBe(3);
    expect(screens.map((screen) => store.locate(screen))).toEqual(places);
    expect(store.locate(screenOf(300))).toBe(places[0]);
    expect(store.locate(screens[1]!)).toBe(places[1]);
  });
});
