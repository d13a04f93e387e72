import { RULE_TEXTS } from '../../src/fuzz/naive/rule-text.js';
import type { CpuidEntry2 } from '../../src/index.js';

const INDICES = [0, 1, 2, 3, 9, 17, 18, 19, 31, 32, 62, 63, 64, 0xffff_ffff];
const FUNCTIONS = [...new Set(RULE_TEXTS.flatMap(({ functions: [first, last] }) => [first, first + 1, last - 1, last]))]
  .map((fn) => fn >>> 0)
  .sort((a, b) => a - b);

/** Values of a register: every bit, halves of fields, small numbers, the limits that rules have, and those by one more. */
const VALUES = [1, 2, 3, 0x3930, 0x0034_3034, 0x0035_3035, 0xffff_ffff];

/** What a rule may say of a register: around what the CPU has there, and each of {@link VALUES}. */
const around = (raw: number): number[] =>
  [...VALUES, raw, raw + 1, raw - 1, ...[8, 16, 24].map((shift) => raw + (1 << shift))].map((value) => value >>> 0);

type Answer = (fn: number, index: number) => Omit<CpuidEntry2, 'flags'>;

/** Entries for every function that has a row, at its edges too, with and without a significant index. */
export function probes(indexed: ReadonlySet<number>, answer: Answer): CpuidEntry2[] {
  const entries: CpuidEntry2[] = [];
  for (const fn of FUNCTIONS) {
    // KVM's signature decides about its leaves, so that it has to stay as it is.
    if (fn === 0x4000_0000) continue;
    for (const index of indexed.has(fn) ? INDICES : [0]) {
      const { eax, ebx, ecx, edx } = answer(fn, index);
      const values = [eax, ebx, ecx, edx].map(around);
      for (let n = 0; n < values[0]!.length; n++) {
        const [a, b, c, d] = values.map((list) => list[n]!);
        const registers = { eax: a!, ebx: b!, ecx: c!, edx: d! };
        entries.push({ function: fn, index, flags: 1, ...registers });
        if (index === 0) entries.push({ function: fn, index, flags: 0, ...registers });
      }
    }
  }
  return entries;
}

/** The leaf that says that KVM is at 0x40000000. */
export const SIGNATURE: CpuidEntry2 = {
  ...{ function: 0x4000_0000, index: 0, flags: 0, eax: 0x4000_0001 },
  ...{ ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d },
};
