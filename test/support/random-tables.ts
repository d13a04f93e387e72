import type { CpuidEntry2 } from '../../src/cpuid/entry.js';

/** mulberry32: small, seeded, the same everywhere. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

type Mutable = { -readonly [K in keyof CpuidEntry2]: CpuidEntry2[K] };
const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const;

/** Functions worth trying: every range, its borders, and what no rule knows. */
const FUNCTIONS = [
  ...Array(0x2a).keys(),
  ...[0x3f, 0x40, 0x1234, 0x3fffffff, 0x4fffffff, 0x50000000, 0x7fffffff, 0x80860000, 0x8fffffff, 0x90000000],
  ...[0x40000000, 0x40000001, 0x40000002, 0x40000010, 0x400000ff, 0x40000100, 0x40000101, 0x4000ff00],
  ...[...Array(0x2a).keys()].map((n) => 0x80000000 + n),
  ...[...Array(8).keys()].map((n) => 0xc0000000 + n),
  0xffffffff,
];
const INDICES = [0, 1, 2, 3, 4, 5, 9, 11, 12, 17, 18, 19, 31, 32, 62, 63, 64, 65, 255, 0x80000000, 0xffffffff];
const VALUES = [0, 1, 2, 3, 0x30, 0x39, 0x3900, 0x3039, 0x7, 0xff, 0xffff, 0x80000000, 0xffffffff];

/** A table made from a valid one: a few mutations, each of a kind that has broken a verifier before. */
export function mutate(valid: readonly CpuidEntry2[], below: (n: number) => number): CpuidEntry2[] {
  const table: Mutable[] = valid.map((entry) => ({ ...entry }));
  const mutations = below(4);
  for (let i = 0; i < mutations; i++) mutateOnce(table, below);
  return table;
}

function mutateOnce(table: Mutable[], below: (n: number) => number): void {
  const at = below(table.length);
  const entry = table[at];
  if (!entry) {
    table.push(wild(below));
    return;
  }
  const register = REGISTERS[below(4)]!;
  switch (below(12)) {
    case 0:
    case 1:
    case 2:
      entry[register] = (entry[register] ^ (1 << below(32))) >>> 0;
      break;
    case 3:
      entry[register] = VALUES[below(VALUES.length)]!;
      break;
    case 4:
      entry.flags ^= 1;
      break;
    case 5:
      entry.index = INDICES[below(INDICES.length)]!;
      break;
    case 6:
      entry.function = FUNCTIONS[below(FUNCTIONS.length)]!;
      break;
    case 7:
      table.push({ ...entry });
      break;
    case 8:
      table.splice(at, 1);
      break;
    case 9:
      relocatePv(table);
      break;
    case 10:
      table.push(wild(below));
      break;
    default: {
      const other = below(table.length);
      [table[at], table[other]] = [table[other]!, entry];
    }
  }
}

function wild(below: (n: number) => number): Mutable {
  const value = () => (below(2) === 0 ? VALUES[below(VALUES.length)]! : (1 << below(32)) >>> 0);
  return {
    function: FUNCTIONS[below(FUNCTIONS.length)]!,
    index: INDICES[below(INDICES.length)]!,
    flags: below(3),
    eax: value(),
    ebx: value(),
    ecx: value(),
    edx: value(),
  };
}

/** KVM's leaves move to 0x40000100 and Hyper-V's signature takes their place: the layout of QEMU with hv-* flags. */
function relocatePv(table: Mutable[]): void {
  for (const entry of table)
    if (entry.function === 0x40000000 || entry.function === 0x40000001) entry.function += 0x100;
  table.push(
    { function: 0x40000000, index: 0, flags: 0, eax: 0x4000000a, ebx: 0x7263694d, ecx: 0x666f736f, edx: 0x76482074 },
    { function: 0x40000001, index: 0, flags: 0, eax: 0x31237648, ebx: 5, ecx: 6, edx: 7 },
  );
}
