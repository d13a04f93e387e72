// What verification is compared with.
import { STRIDE } from './tables.mjs';

/** Rules as objects under the keys "function:index", which is how one would write it first. */
export function stringMap({ allowed }) {
  const { resolver } = allowed;
  const rules = new Map();
  const anyIndex = new Map();
  for (const fn of resolver.functions) {
    const last = resolver.lastIndex(fn) + 1;
    for (let index = 0; index <= last; index++) rules.set(`${fn}:${index}`, [resolver.resolve(fn, index)]);
    if (!resolver.indexed.has(fn)) continue;
    rules.set(`${fn}:any`, allowed.rulesFor(fn, 0, false));
    anyIndex.set(fn, last);
  }
  const others = resolver.functionRanges.map(([first, last]) => ({ first, last, sets: [resolver.resolve(first, 0)] }));
  const unknown = allowed.rulesFor(0x19191919, 0, false);

  const find = (fn, index, significant) => {
    const last = anyIndex.get(fn);
    const found =
      last === undefined
        ? rules.get(`${fn}:0`)
        : rules.get(significant ? `${fn}:${Math.min(index, last)}` : `${fn}:any`);
    return found ?? others.find(({ first, last }) => first <= fn && fn <= last)?.sets ?? unknown;
  };

  const refuses = (rule, value) => {
    switch (rule.kind) {
      case 'ignored':
        return false;
      case 'zero':
        return value !== 0;
      case 'mask':
        return (value & ~rule.mask) !== 0;
      case 'fixed':
        return value !== rule.value && !(rule.orZero && value === 0);
      default: {
        let rest = value & ~rule.mask;
        for (const { mask, low, limit, values } of rule.fields) {
          const part = (value & mask) >>> low;
          if (values ? !values.includes(part) : part > limit) return true;
          rest &= ~mask;
        }
        return rest !== 0;
      }
    }
  };

  return (words) => {
    for (let at = 0; at < words.length; at += STRIDE) {
      const fn = words[at];
      for (const set of find(fn, words[at + 1], (words[at + 2] & 1) !== 0)) {
        for (let register = 0; register < 4; register++) {
          if (!refuses(set[register], words[at + 3 + register])) continue;
          if (fn >>> 1 === 0x20000000 && isForeign(words)) continue;
          return at / STRIDE;
        }
      }
    }
    return -1;
  };
}

function isForeign(words) {
  for (let at = 0; at < words.length; at += STRIDE) {
    if (words[at] === 0x40000000) return words[at + 4] !== 0x4b4d564b;
  }
  return true;
}

/** The flat rules of the project, but found by binary search in a sorted array of functions and sub-leaves. */
export function binarySearch({ allowed }) {
  const { resolver } = allowed;
  const keyed = [];
  for (const fn of resolver.functions) {
    const indices = resolver.indexed.has(fn) ? resolver.lastIndex(fn) + 2 : 1;
    for (let index = 0; index < indices; index++)
      keyed.push([fn * 256 + index, allowed.lineOf(fn, index, true), indices]);
  }
  keyed.sort(([a], [b]) => a - b);
  const keys = Float64Array.from(keyed, ([key]) => key);
  const lines = Int32Array.from(keyed, ([, line]) => line);
  const counts = new Map(keyed.map(([key, , count]) => [Math.floor(key / 256), count]));
  const sizes = Int32Array.from(keyed, ([key]) => counts.get(Math.floor(key / 256)));
  const { reject, checkStart } = allowed;

  const search = (key) => {
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (keys[middle] <= key) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  };

  return (words) => {
    for (let at = 0; at < words.length; at += STRIDE) {
      const fn = words[at];
      const first = search(fn * 256);
      let line;
      if (first < 0 || keys[first] !== fn * 256) line = allowed.lineOf(fn, 0, false);
      else if (sizes[first] === 1) line = lines[first];
      else if ((words[at + 2] & 1) === 0) line = allowed.lineOf(fn, 0, false);
      else line = lines[search(fn * 256 + Math.min(words[at + 1], sizes[first] - 1))];
      let refused =
        ((words[at + 3] & reject[line * 4]) |
          (words[at + 4] & reject[line * 4 + 1]) |
          (words[at + 5] & reject[line * 4 + 2]) |
          (words[at + 6] & reject[line * 4 + 3])) !==
        0;
      if (!refused && checkStart[line] !== checkStart[line + 1]) {
        for (let register = 0; register < 4; register++)
          refused ||= !allowed.allows(line, register, words[at + 3 + register]);
      }
      if (refused && !(fn >>> 1 === 0x20000000 && isForeign(words))) return at / STRIDE;
    }
    return -1;
  };
}

/** What no verifier that reads its input word by word can beat. */
export function readEveryWord(words) {
  let all = 0;
  for (let at = 0; at < words.length; at++) all |= words[at];
  return all;
}

/** The same without the loop's own cost: an entry at a time. */
export function readEveryEntry(words) {
  let all = 0;
  for (let at = 0; at < words.length; at += STRIDE) {
    all |= words[at] | words[at + 1] | words[at + 2] | words[at + 3] | words[at + 4];
    all |= words[at + 5] | words[at + 6] | words[at + 7] | words[at + 8] | words[at + 9];
  }
  return all;
}

/** Only what has a meaning: without the padding. */
export function readUsedWords(words) {
  let all = 0;
  for (let at = 0; at < words.length; at += STRIDE) {
    all |= words[at] | words[at + 1] | words[at + 2] | words[at + 3];
    all |= words[at + 4] | words[at + 5] | words[at + 6];
  }
  return all;
}

const copy = new Uint32Array(256 * STRIDE);
export function memcpy(words) {
  copy.set(words);
  return copy[0];
}

/**
 * A function (from, to) over memory of WebAssembly that reads every byte, 16 at a time: as fast as one gets there.
 *
 *     (loop (local.set $all (v128.or (local.get $all) (v128.load (local.get $from))))
 *           (br_if 0 (i32.lt_u (local.tee $from (i32.add (local.get $from) (i32.const 16))) (local.get $to))))
 *     (v128.any_true (local.get $all))
 */
export function vectorRead(memory) {
  const body = [
    1, 1, 0x7b, 0x03, 0x40, 0x20, 2, 0x20, 0, 0xfd, 0, 0, 0, 0xfd, 80, 0x21, 2, 0x20, 0, 0x41, 16, 0x6a, 0x22, 0, 0x20,
    1, 0x49, 0x0d, 0, 0x0b, 0x20, 2, 0xfd, 83, 0x0b,
  ];
  const bytes = Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...[1, 7, 1, 0x60, 2, 0x7f, 0x7f, 1, 0x7f],
    ...[2, 8, 1, 1, 0x6b, 1, 0x6d, 2, 0, 1],
    ...[3, 2, 1, 0],
    ...[7, 5, 1, 1, 0x72, 0, 0],
    ...[10, body.length + 2, 1, body.length, ...body],
  ]);
  return new WebAssembly.Instance(new WebAssembly.Module(bytes), { k: { m: memory } }).exports.r;
}
