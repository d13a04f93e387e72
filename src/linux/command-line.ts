/** The kernel's command line: words, and comma lists behind `key=`. */
export class CommandLine {
  readonly text: string;
  private readonly words: readonly string[];

  constructor(text: string) {
    this.text = text;
    this.words = text.split(/\s+/).filter((word) => word !== '');
  }

  /** Whether a word is given: `noxsave`, or `tsx=off` also as one of several values (`mitigations=off,nosmt`). */
  has(word: string): boolean {
    const equals = word.indexOf('=');
    if (equals < 0) return this.words.includes(word);
    return this.list(word.slice(0, equals)).includes(word.slice(equals + 1));
  }

  /** All values given for `key=`, commas split, in order. */
  list(key: string): string[] {
    const prefix = `${key}=`;
    return this.words.filter((word) => word.startsWith(prefix)).flatMap((word) => word.slice(prefix.length).split(','));
  }
}
