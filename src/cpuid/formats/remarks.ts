const LIMIT = 20;

/** Gathers warnings, and stops listing them where nobody would read on. */
export class Remarks {
  readonly #listed: string[] = [];
  #unlisted = 0;

  add(remark: string): void {
    if (this.#listed.length < LIMIT) this.#listed.push(remark);
    else this.#unlisted++;
  }

  list(): readonly string[] {
    return this.#unlisted === 0 ? this.#listed : [...this.#listed, `and ${this.#unlisted} more remarks like these`];
  }
}
