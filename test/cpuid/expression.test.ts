import fc, { type Arbitrary } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileExpression, type Dialect, type Value } from '../../src/cpuid/expression.js';
import { runs } from '../support/runs.js';

interface Scope {
  readonly names: Readonly<Record<string, Value>>;
  /** Names that were read, in order. */
  readonly read: string[];
}

const KNOWN = ['a', 'b', 'c', 'zero', 'big', 'vendor', 'x86_64', 'pmu.gp'];

/** Names are variables; `sum(…)` adds its arguments, `name(X)` gives the text of its argument. */
const dialect: Dialect<Scope> = {
  variable(name) {
    if (!KNOWN.includes(name)) throw new Error(`nothing is called ${name}`);
    return ({ names, read }) => {
      read.push(name);
      return names[name]!;
    };
  },
  call(name, args) {
    if (name === 'name') return () => args[0]!.text;
    if (name !== 'sum') throw new Error(`no function is called ${name}`);
    const values = args.map((arg) => arg.value());
    return (scope) => values.reduce((total, value) => total + (value(scope) as number), 0) >>> 0;
  },
};

const NAMES = { a: 5, b: 3, c: 0xf0, zero: 0, big: 0xffff_fff0, vendor: 'amd', x86_64: 1, 'pmu.gp': 6 };

function evaluate(text: string) {
  const read: string[] = [];
  return { value: compileExpression(text, dialect).number({ names: NAMES, read }), read };
}

const numberOf = (text: string): number => evaluate(text).value;

describe('values', () => {
  test.each([
    ['0', 0],
    ['42', 42],
    ['0x2A', 42],
    ['0xffffffff', 0xffff_ffff],
    ['4294967296', 0],
    ['  7  ', 7],
    ['a', 5],
    ['name(3DNOW) == "3DNOW"', 1],
    ['x86_64', 1],
    ['pmu.gp', 6],
    ['(((a)))', 5],
    ['sum()', 0],
    ['sum(a)', 5],
    ['sum(a, 1, sum(b, 2), (a | 8))', 24],
    ['name(AVX) == "AVX"', 1],
  ])('%s is %i', (text, value) => {
    expect(numberOf(text)).toBe(value);
  });
});

describe('operators', () => {
  test.each([
    ['a | b', 7],
    ['a ^ b', 6],
    ['a & b', 1],
    ['a + b', 8],
    ['a - b', 2],
    ['b - a', 0xffff_fffe],
    ['big + 32', 16],
    ['a << 4', 80],
    ['1 << 31', 0x8000_0000],
    ['big >> 28', 15],
    ['big >> 0', 0xffff_fff0],
    ['~0', 0xffff_ffff],
    ['~big', 15],
    ['!a', 0],
    ['!zero', 1],
    ['!!a', 1],
    ['!~0', 0],
    ['a == 5', 1],
    ['a != 5', 0],
    ['a < b', 0],
    ['a > b', 1],
    ['a <= 5', 1],
    ['a >= 6', 0],
    ['big > 1', 1],
    ['0xffffffff > 0x7fffffff', 1],
    ['(0x80000000 | 1) > 0', 1],
    ['a && b', 1],
    ['a && zero', 0],
    ['zero || b', 1],
    ['zero || zero', 0],
    ['a ? 10 : 20', 10],
    ['zero ? 10 : 20', 20],
    ['vendor == "amd"', 1],
    ['vendor == "intel"', 0],
    ['vendor != "intel"', 1],
    ['vendor && 1', 1],
    ['"" || 0', 0],
    ['vendor == 5', 0],
    ['"5" == 5', 0],
  ])('%s is %i', (text, value) => {
    expect(numberOf(text)).toBe(value);
  });
});

describe('precedence and association are those of C', () => {
  test.each([
    ['1 | 2 ^ 3 & 4', '1 | (2 ^ (3 & 4))'],
    ['6 & 3 == 3', '6 & (3 == 3)'],
    ['1 < 2 == 1', '(1 < 2) == 1'],
    ['1 << 2 < 5', '(1 << 2) < 5'],
    ['1 << 1 + 1', '1 << (1 + 1)'],
    ['8 - 3 - 2', '(8 - 3) - 2'],
    ['64 >> 2 >> 1', '(64 >> 2) >> 1'],
    ['3 > 2 > 1', '(3 > 2) > 1'],
    ['0 || 1 && 0', '0 || (1 && 0)'],
    ['1 || 0 && 0', '1 || (0 && 0)'],
    ['1 && 2 | 0', '1 && (2 | 0)'],
    ['!0 == 1', '(!0) == 1'],
    ['~1 & 3', '(~1) & 3'],
    ['0 ? 1 : 1 ? 2 : 3', '0 ? 1 : (1 ? 2 : 3)'],
    ['1 ? 0 ? 4 : 5 : 6', '1 ? (0 ? 4 : 5) : 6'],
    ['0 || 1 ? 2 : 3', '(0 || 1) ? 2 : 3'],
    ['1 ? 2 : 0 || 4', '1 ? 2 : (0 || 4)'],
    ['1 == 1 != 0', '(1 == 1) != 0'],
  ])('%s means %s', (text, meant) => {
    expect(numberOf(text)).toBe(numberOf(meant));
  });

  /** A tree of operators, to be written down with and without the parentheses that are not needed. */
  type Tree =
    | { readonly leaf: number }
    | { readonly operator: '!' | '~'; readonly operand: Tree }
    | { readonly operator: string; readonly left: Tree; readonly right: Tree }
    | { readonly condition: Tree; readonly yes: Tree; readonly no: Tree };

  const LEVELS: Readonly<Record<string, number>> = {
    '||': 1,
    '&&': 2,
    '|': 3,
    '^': 4,
    '&': 5,
    '==': 6,
    '!=': 6,
    '<': 7,
    '<=': 7,
    '>': 7,
    '>=': 7,
    '<<': 8,
    '>>': 8,
    '+': 9,
    '-': 9,
  };
  const UNARY = 10;

  const { tree }: { tree: Arbitrary<Tree> } = fc.letrec<{ tree: Tree }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5, withCrossShrink: true },
      fc.record({ leaf: fc.oneof(fc.nat(40), fc.nat(0xffff_ffff)) }),
      fc.record({ operator: fc.constantFrom('!' as const, '~' as const), operand: tie('tree') }),
      fc.record({ operator: fc.constantFrom(...Object.keys(LEVELS)), left: tie('tree'), right: tie('tree') }),
      fc.record({ condition: tie('tree'), yes: tie('tree'), no: tie('tree') }),
    ),
  }));

  /** The text of a tree with as few parentheses as C needs, where an operand must bind at least as tightly. */
  function terse(node: Tree, atLeast = 0): string {
    const [text, level] = written(node);
    return level < atLeast ? `(${text})` : text;
  }

  function written(node: Tree): readonly [text: string, level: number] {
    if ('leaf' in node) return [String(node.leaf), UNARY];
    if ('condition' in node) return [`${terse(node.condition, 1)} ? ${terse(node.yes)} : ${terse(node.no)}`, 0];
    if ('operand' in node) return [`${node.operator}${terse(node.operand, UNARY)}`, UNARY];
    const level = LEVELS[node.operator]!;
    return [`${terse(node.left, level)} ${node.operator} ${terse(node.right, level + 1)}`, level];
  }

  function calculate(node: Tree): number {
    if ('leaf' in node) return node.leaf;
    if ('condition' in node) return calculate(node.condition) ? calculate(node.yes) : calculate(node.no);
    if ('operand' in node)
      return node.operator === '!' ? Number(!calculate(node.operand)) : ~calculate(node.operand) >>> 0;
    const [a, b] = [BigInt(calculate(node.left)), BigInt(calculate(node.right))];
    return Number(BigInt.asUintN(32, BINARY[node.operator]!(a, b)));
  }

  const truth = (value: boolean): bigint => (value ? 1n : 0n);
  const BINARY: Readonly<Record<string, (a: bigint, b: bigint) => bigint>> = {
    '||': (a, b) => truth(a !== 0n || b !== 0n),
    '&&': (a, b) => truth(a !== 0n && b !== 0n),
    '|': (a, b) => a | b,
    '^': (a, b) => a ^ b,
    '&': (a, b) => a & b,
    '==': (a, b) => truth(a === b),
    '!=': (a, b) => truth(a !== b),
    '<': (a, b) => truth(a < b),
    '<=': (a, b) => truth(a <= b),
    '>': (a, b) => truth(a > b),
    '>=': (a, b) => truth(a >= b),
    // As the CPU shifts: by the low five bits of the count.
    '<<': (a, b) => a << (b & 31n),
    '>>': (a, b) => a >> (b & 31n),
    '+': (a, b) => a + b,
    '-': (a, b) => a - b,
  };

  test('of any tree', () => {
    fc.assert(
      fc.property(tree, (node) => {
        expect([terse(node), numberOf(terse(node))]).toEqual([terse(node), calculate(node)]);
      }),
      runs(1000),
    );
  });
});

describe('evaluation', () => {
  test.each([
    ['zero && a', ['zero']],
    ['a && b', ['a', 'b']],
    ['a || b', ['a']],
    ['zero || b', ['zero', 'b']],
    ['a ? b : c', ['a', 'b']],
    ['zero ? b : c', ['zero', 'c']],
    ['zero & a', ['zero', 'a']],
  ])('%s reads %s', (text, read) => {
    expect(evaluate(text).read).toEqual(read);
  });

  test('names are resolved once, when the row is compiled', () => {
    expect(() => compileExpression('zero && nosuch', dialect)).toThrow('nothing is called nosuch');
    expect(() => compileExpression('1 || nosuch(a)', dialect)).toThrow('no function is called nosuch');
  });

  test('a lone name in a call is not a variable until the function asks for its value', () => {
    expect(() => compileExpression('name(NOSUCH)', dialect)).not.toThrow();
    expect(() => compileExpression('sum(NOSUCH)', dialect)).toThrow('nothing is called NOSUCH');
  });

  test('the text is kept', () => {
    expect(compileExpression(' a  |b ', dialect).text).toBe(' a  |b ');
  });
});

describe('errors name the text and what is wrong with it', () => {
  test.each([
    ['', 'unexpected end in ""'],
    ['   ', 'unexpected end'],
    ['a b', 'unexpected b in "a b"'],
    ['a |', 'unexpected end in "a |"'],
    ['| a', 'unexpected | in "| a"'],
    ['a == == b', 'unexpected == in "a == == b"'],
    ['(a', 'missing ")" in "(a"'],
    ['a)', 'unexpected ) in "a)"'],
    ['()', 'unexpected ) in "()"'],
    ['a ? b', 'missing ":" in "a ? b"'],
    ['a ? : b', 'unexpected : in'],
    ['a : b', 'unexpected : in'],
    ['sum(a', 'missing ")" in "sum(a"'],
    ['sum(a b)', 'missing ")" in "sum(a b)"'],
    ['sum(a,)', 'unexpected ) in "sum(a,)"'],
    ['sum(,a)', 'unexpected , in "sum(,a)"'],
    ['sum(', 'unexpected end'],
    ['-1', 'unexpected - in "-1"'],
    ['a * b', 'cannot read "a * b" from column 2'],
    ['a = b', 'cannot read "a = b" from column 2'],
    ['a; b', 'cannot read "a; b" from column 2'],
    ['vendor == "amd', 'cannot read "vendor == "amd" from column 10'],
    ['0xg', 'unexpected 0xg in "0xg"'],
    ['3DNOW', 'unexpected 3DNOW in "3DNOW"'],
    ['1.5', 'unexpected 1.5'],
    ['a %', 'cannot read'],
    ["vendor == 'amd'", 'cannot read'],
    ['a.b', 'nothing is called a.b'],
  ])('%s', (text, message) => {
    expect(() => numberOf(text)).toThrow(message);
  });

  test('whatever the text is, it compiles or throws an Error', () => {
    const piece = fc.oneof(
      fc.constantFrom('a', 'b', '(', ')', '?', ':', ',', '"', 'sum(', 'name(', '0x', '1', '!', '~', '-', ' '),
      fc.constantFrom('||', '&&', '|', '&', '==', '<', '<<', '+', '.', '=', '\n', '\\', '#'),
      fc.string({ maxLength: 3, unit: 'binary' }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join('');
        let value: number;
        try {
          value = numberOf(text);
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
          expect((error as Error).name).toBe('Error');
          return;
        }
        expect(Number.isNaN(value) || (Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff)).toBe(true);
      }),
      runs(1000),
    );
  });
});
