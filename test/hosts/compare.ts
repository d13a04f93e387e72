import { type CpuidRow, REGISTERS, type Register } from '../../src/cpuid/entry.js';
import { placeOf } from '../../src/hosts/fields.js';

/** A register of one leaf in which two tables differ, and how. */
export interface RegisterDifference {
  /** `7.0 ebx` */
  readonly at: string;
  readonly ours: number;
  readonly theirs: number;
}

/** Why a model answers something else than the machine that a dump was taken on. */
export interface Explanation {
  /** Bits by name, as models spell them. */
  readonly bits?: readonly string[];
  /** Places: `10.2` a row, `4.3 ecx` a register, `6.0 eax[21]` a bit. */
  readonly places?: readonly string[];
  readonly why: string;
}

const hex = (value: number) => (value >>> 0).toString(16);
const key = (fn: number, index: number, register: Register) => `${hex(fn)}.${hex(index)} ${register}`;

/** Parses `cpuid -r` text of one logical CPU. */
export function parseDump(text: string): readonly CpuidRow[] {
  const line = /^\s*0x([0-9a-f]+) 0x([0-9a-f]+): eax=0x(\w+) ebx=0x(\w+) ecx=0x(\w+) edx=0x(\w+)/gm;
  return [...text.matchAll(line)].map(([, ...words]) => {
    const [fn = 0, index = 0, eax = 0, ebx = 0, ecx = 0, edx = 0] = words.map((word) => Number.parseInt(word, 16));
    return { function: fn, index, eax, ebx, ecx, edx };
  });
}

function maximumOf(rows: readonly CpuidRow[], fn: number): number {
  const base = fn >= 0xc000_0000 ? 0xc000_0000 : fn >= 0x8000_0000 ? 0x8000_0000 : 0;
  return rows.find((row) => row.function === base)?.eax ?? 0;
}

/** All registers of rows within range. What a dump does not have counts as zero: dump tools skip empty sub-leaves. */
function registersOf(rows: readonly CpuidRow[]): Map<string, number> {
  const inRange = rows.filter((row) => row.function <= maximumOf(rows, row.function));
  return new Map(
    inRange.flatMap((row) =>
      REGISTERS.map((register) => [key(row.function, row.index, register), row[register]] as const),
    ),
  );
}

/** Every register that is not the same in both tables. */
export function compareRows(ours: readonly CpuidRow[], theirs: readonly CpuidRow[]): readonly RegisterDifference[] {
  const [left, right] = [registersOf(ours), registersOf(theirs)];
  const places = new Set([...left.keys(), ...right.keys()]);
  return [...places]
    .map((at) => ({ at, ours: left.get(at) ?? 0, theirs: right.get(at) ?? 0 }))
    .filter((difference) => difference.ours !== difference.theirs);
}

/** The bits that an explanation covers: a mask per register. */
function coverage({ bits = [], places = [] }: Explanation): ReadonlyMap<string, number> {
  const masks = new Map<string, number>();
  const cover = (at: string, mask: number) => masks.set(at, ((masks.get(at) ?? 0) | mask) >>> 0);
  for (const name of bits) {
    const { function: fn, index, register, mask } = placeOf(name);
    cover(key(fn, index, register), mask);
  }
  for (const place of places) {
    const [, row = '', register, bit] = /^(\S+?)(?: (e[a-d]x)(?:\[(\d+)\])?)?$/.exec(place) ?? [];
    const mask = bit === undefined ? 0xffff_ffff : 1 << Number(bit);
    for (const name of register ? [register] : REGISTERS) cover(`${row} ${name}`, mask);
  }
  return masks;
}

/** Differences that nothing explains, with the unexplained bits. */
export function unexplained(
  differences: readonly RegisterDifference[],
  explanations: readonly Explanation[],
): readonly string[] {
  const masks = explanations.map(coverage);
  return differences.flatMap(({ at, ours, theirs }) => {
    const covered = masks.reduce((mask, map) => mask | (map.get(at) ?? 0), 0);
    const left = (ours ^ theirs) & ~covered;
    return left === 0 ? [] : [`${at}: ours ${hex(ours)}, dump ${hex(theirs)}, unexplained ${hex(left)}`];
  });
}

/** Explained bits and places that do not differ (any more). */
export function stale(
  differences: readonly RegisterDifference[],
  explanations: readonly Explanation[],
): readonly string[] {
  const changed = new Map(differences.map(({ at, ours, theirs }) => [at, ours ^ theirs]));
  const differs = (one: Explanation) => [...coverage(one)].some(([at, mask]) => ((changed.get(at) ?? 0) & mask) !== 0);
  return explanations.flatMap(({ bits = [], places = [], why }) => [
    ...bits.filter((bit) => !differs({ bits: [bit], why })),
    ...places.filter((place) => !differs({ places: [place], why })),
  ]);
}
