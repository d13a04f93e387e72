/** The one exception that a reader of user input may raise: what is wrong, where, and what would be right. */
export class FormatError extends Error {
  override readonly name = 'FormatError';
  readonly where: string;
  readonly expected: string;

  /**
   * @param what what is wrong with the input
   * @param where file, line or JSON path
   * @param expected what would be right there
   */
  constructor(what: string, where: string, expected: string) {
    super(`${where}: ${what}; expected ${expected}`);
    this.where = where;
    this.expected = expected;
  }
}
