/**
 * The small C-like language in which conditions and values of rules are written, so that a row reads as the kernel's
 * own `if` does and can be shown to a user: `!tdp_enabled || !kernel(OSPKE)`, `min(raw, 2)`, `raw & 0xf0ff`.
 *
 * Operators, by C precedence: `?:  ||  &&  |  ^  &  == !=  < <= > >=  << >>  + -  ! ~`; integer and string literals.
 * Numbers are u32. What a name or a call means is the business of a {@link Dialect}, which resolves names once, when
 * the row is compiled.
 */

export type Value = number | string;
export type Evaluate<S> = (scope: S) => Value;

/** One argument of a call: its text (for names such as `kernel(XSAVE)`) and its value. */
export interface Argument<S> {
  readonly text: string;
  readonly value: () => Evaluate<S>;
}

/** The names and calls that expressions may use. Both methods throw on what they do not know. */
export interface Dialect<S> {
  variable(name: string): Evaluate<S>;
  call(name: string, args: readonly Argument<S>[]): Evaluate<S>;
}

/** A compiled expression that remembers its text. */
export interface Expression<S> {
  readonly text: string;
  /** The value as u32; 0 or 1 for comparisons. */
  readonly number: (scope: S) => number;
}

const BINARY: readonly (readonly string[])[] = [
  ['||'],
  ['&&'],
  ['|'],
  ['^'],
  ['&'],
  ['==', '!='],
  ['<=', '>=', '<', '>'],
  ['<<', '>>'],
  ['+', '-'],
];

const TOKEN =
  /\s*(0x[0-9a-f]+|\d+(?![a-z_0-9.])|"[^"]*"|[a-z_0-9][a-z_0-9.]*|\|\||&&|==|!=|<=|>=|<<|>>|[-!~|^&<>+?:(),])/iy;

function tokenize(text: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match) throw new Error(`cannot read "${text}" from column ${at + 1}`);
    tokens.push(match[1]!);
  }
  return tokens;
}

const truth = (value: Value): boolean => (typeof value === 'string' ? value !== '' : value !== 0);
const u32 = (value: Value): number => (typeof value === 'string' ? Number.NaN : value >>> 0);

const OPERATIONS: Readonly<Record<string, (a: Value, b: Value) => number>> = {
  '|': (a, b) => (u32(a) | u32(b)) >>> 0,
  '^': (a, b) => (u32(a) ^ u32(b)) >>> 0,
  '&': (a, b) => (u32(a) & u32(b)) >>> 0,
  '==': (a, b) => (a === b ? 1 : 0),
  '!=': (a, b) => (a === b ? 0 : 1),
  '<': (a, b) => (a < b ? 1 : 0),
  '<=': (a, b) => (a <= b ? 1 : 0),
  '>': (a, b) => (a > b ? 1 : 0),
  '>=': (a, b) => (a >= b ? 1 : 0),
  '<<': (a, b) => (u32(a) << u32(b)) >>> 0,
  '>>': (a, b) => u32(a) >>> u32(b),
  '+': (a, b) => (u32(a) + u32(b)) >>> 0,
  '-': (a, b) => (u32(a) - u32(b)) >>> 0,
};

class Parser<S> {
  private readonly text: string;
  private readonly tokens: readonly string[];
  private readonly dialect: Dialect<S>;
  private position = 0;

  constructor(text: string, tokens: readonly string[], dialect: Dialect<S>) {
    this.text = text;
    this.tokens = tokens;
    this.dialect = dialect;
  }

  parse(): Evaluate<S> {
    const result = this.conditional();
    if (this.position < this.tokens.length) this.fail(`unexpected ${this.tokens[this.position]}`);
    return result;
  }

  private fail(what: string): never {
    throw new Error(`${what} in "${this.text}"`);
  }

  private take(token: string): boolean {
    if (this.tokens[this.position] !== token) return false;
    this.position++;
    return true;
  }

  private conditional(): Evaluate<S> {
    const condition = this.binary(0);
    if (!this.take('?')) return condition;
    const yes = this.conditional();
    if (!this.take(':')) this.fail('missing ":"');
    const no = this.conditional();
    return (scope) => (truth(condition(scope)) ? yes(scope) : no(scope));
  }

  private binary(level: number): Evaluate<S> {
    const operators = BINARY[level];
    if (!operators) return this.unary();
    let left = this.binary(level + 1);
    for (;;) {
      const operator = operators.find((candidate) => this.take(candidate));
      if (operator === undefined) return left;
      left = combine(operator, left, this.binary(level + 1));
    }
  }

  private unary(): Evaluate<S> {
    if (this.take('!')) {
      const operand = this.unary();
      return (scope) => (truth(operand(scope)) ? 0 : 1);
    }
    if (this.take('~')) {
      const operand = this.unary();
      return (scope) => ~u32(operand(scope)) >>> 0;
    }
    return this.primary();
  }

  private primary(): Evaluate<S> {
    const token = this.tokens[this.position];
    if (token === undefined) this.fail('unexpected end');
    this.position++;
    if (token === '(') {
      const inner = this.conditional();
      if (!this.take(')')) this.fail('missing ")"');
      return inner;
    }
    if (token.startsWith('"')) return constant(token.slice(1, -1));
    if (this.take('(')) return this.dialect.call(token, this.callArguments());
    if (/^(0x[0-9a-f]+|\d+)$/i.test(token)) return constant(Number(token) >>> 0);
    if (!/^[a-z_]/i.test(token)) this.fail(`unexpected ${token}`);
    return this.dialect.variable(token);
  }

  private callArguments(): Argument<S>[] {
    const args: Argument<S>[] = [];
    if (this.take(')')) return args;
    do args.push(this.argument());
    while (this.take(','));
    if (!this.take(')')) this.fail('missing ")"');
    return args;
  }

  /** A lone name stays unresolved: only the called function knows whether it is a feature, a word or a variable. */
  private argument(): Argument<S> {
    const text = this.tokens[this.position] ?? '';
    const next = this.tokens[this.position + 1];
    if (next === ',' || next === ')') {
      this.position++;
      return { text, value: () => new Parser(this.text, [text], this.dialect).parse() };
    }
    const value = this.conditional();
    return { text, value: () => value };
  }
}

function constant<S>(value: Value): Evaluate<S> {
  return () => value;
}

function combine<S>(operator: string, left: Evaluate<S>, right: Evaluate<S>): Evaluate<S> {
  if (operator === '||') return (scope) => (truth(left(scope)) || truth(right(scope)) ? 1 : 0);
  if (operator === '&&') return (scope) => (truth(left(scope)) && truth(right(scope)) ? 1 : 0);
  const operation = OPERATIONS[operator]!;
  return (scope) => operation(left(scope), right(scope));
}

/** Compiles one expression. Throws with the text and the place when it is malformed or names something unknown. */
export function compileExpression<S>(text: string, dialect: Dialect<S>): Expression<S> {
  const evaluate = new Parser(text, tokenize(text), dialect).parse();
  return { text, number: (scope) => u32(evaluate(scope)) };
}
