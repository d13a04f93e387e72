import type { Cell, Column, Model, Refusal } from './matrix.js';
import { bitsOf } from './matrix.js';
import type { Cause } from './matrix-changes.js';

/** Where something occurs: in which models on which hosts. */
interface Occurrence {
  readonly models: readonly Model[];
  readonly columns: readonly Column[];
  /** So many pairs of model and host. */
  readonly pairs: number;
}

export interface RefusalGroup extends Occurrence {
  readonly refusal: Refusal;
}

export interface ChangeGroup extends Occurrence {
  readonly cause: Cause;
  /** What goes away with it, in table order. */
  readonly refusals: readonly Refusal[];
  /** Refused bits that it cures, over all pairs. */
  readonly bits: number;
}

const keyOf = ({ place, reason }: Refusal): string => `${place} ${reason}`;

class Gathering {
  private readonly models = new Set<Model>();
  private readonly columns = new Set<Column>();
  private pairs = 0;

  add({ model, column }: Cell): void {
    this.models.add(model);
    this.columns.add(column);
    this.pairs++;
  }

  finish(): Occurrence {
    return { models: [...this.models], columns: [...this.columns], pairs: this.pairs };
  }
}

const byPlace = (a: Refusal, b: Refusal): number =>
  a.function - b.function ||
  a.index - b.index ||
  (a.register < b.register ? -1 : +(a.register > b.register)) ||
  a.low - b.low;

/** The refused bits of all cells, in the order of the manual. */
export function refusalGroups(cells: Iterable<Cell>): RefusalGroup[] {
  const groups = new Map<string, { refusal: Refusal; where: Gathering }>();
  for (const cell of cells) {
    for (const refusal of cell.refusals) {
      const key = keyOf(refusal);
      const group = groups.get(key) ?? { refusal, where: new Gathering() };
      group.where.add(cell);
      groups.set(key, group);
    }
  }
  return [...groups.values()]
    .map(({ refusal, where }) => ({ refusal, ...where.finish() }))
    .sort((a, b) => byPlace(a.refusal, b.refusal));
}

/** The changes that make all cells pass, those with the most pairs first. */
export function changeGroups(cells: Iterable<Cell>): ChangeGroup[] {
  const groups = new Map<string, { cause: Cause; refusals: Map<string, Refusal>; where: Gathering; bits: number }>();
  for (const cell of cells) {
    for (const { cause, refusals } of cell.changes) {
      const group = groups.get(cause.text) ?? { cause, refusals: new Map(), where: new Gathering(), bits: 0 };
      group.where.add(cell);
      group.bits += bitsOf(refusals);
      for (const refusal of refusals)
        if (!group.refusals.has(refusal.place)) group.refusals.set(refusal.place, refusal);
      groups.set(cause.text, group);
    }
  }
  return [...groups.values()]
    .map(({ cause, refusals, where, bits }) => ({
      cause,
      bits,
      refusals: [...refusals.values()].sort(byPlace),
      ...where.finish(),
    }))
    .sort((a, b) => b.pairs - a.pairs || byPlace(a.refusals[0]!, b.refusals[0]!));
}

/**
 * Names of models in few words: versions of one model together (`Skylake-Server-v1,v2`), `Skylake-Server-*` for all
 * that there are, `all` for everything.
 *
 * @param all what there is, in order
 */
export function namesInShort(names: readonly string[], all: readonly string[]): string {
  const wanted = new Set(names);
  if (all.length > 1 && all.every((name) => wanted.has(name))) return `all ${all.length}`;
  const families = new Map<string, string[]>();
  for (const name of all) {
    const { base } = familyOf(name);
    families.set(base, [...(families.get(base) ?? []), name]);
  }
  return [...families]
    .flatMap(([base, members]) => {
      const chosen = members.filter((name) => wanted.has(name));
      if (chosen.length === 0) return [];
      if (chosen.length === 1) return chosen;
      if (chosen.length === members.length) return [`${base}-*`];
      return [`${base}-${chosen.map((name) => familyOf(name).version).join(',')}`];
    })
    .join(', ');
}

function familyOf(name: string): { readonly base: string; readonly version: string } {
  const match = /^(.+)-(v\d+)$/.exec(name);
  return match ? { base: match[1]!, version: match[2]! } : { base: name, version: '' };
}

/** Models whose cells are all alike, in the order of the first of each. */
export function alikeModels(models: readonly Model[], cellsOf: (model: Model) => readonly (Cell | null)[]): Model[][] {
  const groups = new Map<string, Model[]>();
  for (const model of models) {
    const { base } = familyOf(model.name);
    const key = `${base}\n${cellsOf(model).map(signatureOf).join('\n')}`;
    const group = groups.get(key);
    if (group) group.push(model);
    else groups.set(key, [model]);
  }
  return [...groups.values()];
}

const signatureOf = (cell: Cell | null): string =>
  cell ? [cell.errno, cell.off, ...cell.refusals.map((item) => `${keyOf(item)} ${item.mask}`)].join(' ') : '-';
