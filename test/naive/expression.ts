// Evaluator for the C-like expressions of the reference files. It evaluates while it parses: no tree, no cache.

export type Value = number | string;

export interface Scope {
  /** Value of a bare name such as `raw` or `supported_xcr0`. */
  variable(name: string): Value;
  /** Value of `name(...)`; the arguments of the name functions below are flag names, all others are values. */
  call(name: string, args: Value[]): Value;
}

// The argument of these is a name, not an expression: `kernel(3DNOW)` must not read `3DNOW` as a number.
const NAME_FUNCTIONS = new Set(['kernel', 'bug', 'cap', 'caps', 'cmdline']);

// Loosest first, as in C.
const BINARY_LEVELS = [['||'], ['&&'], ['|'], ['&'], ['==', '!='], ['<', '<=', '>', '>='], ['<<', '>>']];

const TOKEN = /\s*(\d\w*|[A-Za-z_]\w*|"[^"]*"|&&|\|\||==|!=|<=|>=|<<|>>|[!~&|<>?:(),])/y;

function tokenize(text: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const start = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw new Error(`cannot read '${text.slice(start)}' in expression '${text}'`);
    tokens.push(match[1] as string);
  }
  return tokens;
}

function number(value: Value): number {
  if (typeof value !== 'number') throw new Error(`'${value}' is not a number`);
  return value >>> 0;
}

function truth(value: Value): boolean {
  return number(value) !== 0;
}

function applyBinary(operator: string, left: Value, right: Value): number {
  switch (operator) {
    case '||':
      return truth(left) || truth(right) ? 1 : 0;
    case '&&':
      return truth(left) && truth(right) ? 1 : 0;
    case '==':
      return left === right ? 1 : 0;
    case '!=':
      return left !== right ? 1 : 0;
    case '|':
      return (number(left) | number(right)) >>> 0;
    case '&':
      return (number(left) & number(right)) >>> 0;
    case '<':
      return number(left) < number(right) ? 1 : 0;
    case '<=':
      return number(left) <= number(right) ? 1 : 0;
    case '>':
      return number(left) > number(right) ? 1 : 0;
    case '>=':
      return number(left) >= number(right) ? 1 : 0;
    case '<<':
      return (number(left) << number(right)) >>> 0;
    case '>>':
      return number(left) >>> number(right);
    default:
      throw new Error(`unknown operator ${operator}`);
  }
}

export function evaluate(text: string, scope: Scope): Value {
  const tokens = tokenize(text);
  let position = 0;

  const fail = (): never => {
    throw new Error(`cannot read expression '${text}' at '${tokens.slice(position).join(' ')}'`);
  };
  const next = (): string => tokens[position++] ?? fail();
  const take = (token: string): boolean => {
    if (tokens[position] !== token) return false;
    position++;
    return true;
  };
  const expect = (token: string): void => {
    if (!take(token)) fail();
  };

  function conditional(): Value {
    const condition = binary(0);
    if (!take('?')) return condition;
    const whenTrue = conditional();
    expect(':');
    const whenFalse = conditional();
    return truth(condition) ? whenTrue : whenFalse;
  }

  function binary(level: number): Value {
    const operators = BINARY_LEVELS[level];
    if (operators === undefined) return unary();
    let left = binary(level + 1);
    while (operators.includes(tokens[position] ?? '')) {
      const operator = next();
      left = applyBinary(operator, left, binary(level + 1));
    }
    return left;
  }

  function unary(): Value {
    if (take('!')) return truth(unary()) ? 0 : 1;
    if (take('~')) return ~number(unary()) >>> 0;
    return primary();
  }

  function primary(): Value {
    if (take('(')) {
      const value = conditional();
      expect(')');
      return value;
    }
    const token = next();
    if (token.startsWith('"')) return token.slice(1, -1);
    if (/^\d/.test(token)) {
      const value = Number(token);
      return Number.isNaN(value) ? fail() : value >>> 0;
    }
    if (!/^[A-Za-z_]/.test(token)) return fail();
    return take('(') ? scope.call(token, callArguments(token)) : scope.variable(token);
  }

  function callArguments(name: string): Value[] {
    const args: Value[] = [];
    do {
      args.push(NAME_FUNCTIONS.has(name) ? next() : conditional());
    } while (take(','));
    expect(')');
    return args;
  }

  const value = conditional();
  if (position !== tokens.length) fail();
  return value;
}

export function evaluateNumber(text: string, scope: Scope): number {
  return number(evaluate(text, scope));
}

export function evaluateTruth(text: string, scope: Scope): boolean {
  return truth(evaluate(text, scope));
}
