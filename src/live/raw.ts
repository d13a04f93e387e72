/** Which CPUID leaves of a host are recorded. */
import { hex8 } from '../cpuid/entry.js';

/** EAX, EBX, ECX, EDX. */
export type Registers = readonly [eax: number, ebx: number, ecx: number, edx: number];
export type Cpuid = (fn: number, index: number) => Registers;

/** `"leaf subleaf eax ebx ecx edx"` */
export type RawRow = string;

/** Sub-leaves that are tried; what comes behind is taken to be as the last of them. */
const SUBLEAVES = 64;

/** Topology leaves: they end at the first level of type 0. */
const LEVEL_LEAVES: readonly number[] = [0xb, 0x1f, 0x8000_0026];

/** Ranges of leaves: where they begin, how many at most, and when they exist. */
const RANGES: readonly { readonly base: number; readonly limit: number; readonly when?: (cpuid: Cpuid) => boolean }[] =
  [
    { base: 0, limit: 0x80 },
    { base: 0x2000_0000, limit: 0x40 },
    { base: 0x4000_0000, limit: 0x100, when: underHypervisor },
    {
      base: 0x4000_0100,
      limit: 0x40,
      when: (cpuid) => underHypervisor(cpuid) && cpuid(0x4000_0000, 0)[0] < 0x4000_0100,
    },
    { base: 0x8000_0000, limit: 0x100 },
    { base: 0x8086_0000, limit: 0x40 },
    { base: 0xc000_0000, limit: 0x40 },
  ];

/** A maximum further away than this is no maximum but what the CPU answers outside its ranges. */
const PLAUSIBLE = 0xffff;

function underHypervisor(cpuid: Cpuid): boolean {
  return cpuid(1, 0)[2] >>> 31 === 1;
}

export const formatRow = (fn: number, index: number, registers: Registers): RawRow =>
  [fn, index, ...registers].map(hex8).join(' ');

/** Every leaf that the CPU has. */
export function rawRows(cpuid: Cpuid): RawRow[] {
  return RANGES.flatMap(({ base, limit, when }) => (when && !when(cpuid) ? [] : rangeRows(cpuid, base, limit)));
}

function rangeRows(cpuid: Cpuid, base: number, limit: number): RawRow[] {
  const [maximum] = cpuid(base, 0);
  if (base !== 0 && (maximum < base || maximum > base + PLAUSIBLE)) return [];
  const last = Math.min(maximum, base + limit);
  const rows: RawRow[] = [];
  for (let fn = base; fn <= last; fn++) rows.push(...leafRows(cpuid, fn));
  return rows;
}

/** The sub-leaves of one leaf, as many as tell something. */
function leafRows(cpuid: Cpuid, fn: number): RawRow[] {
  const found = LEVEL_LEAVES.includes(fn) ? levels(cpuid, fn) : withoutTail(subleaves(cpuid, fn));
  return found.map((registers, index) => formatRow(fn, index, registers));
}

function levels(cpuid: Cpuid, fn: number): Registers[] {
  const found: Registers[] = [];
  while (found.length < SUBLEAVES) {
    const level = cpuid(fn, found.length);
    found.push(level);
    if (((level[2] >>> 8) & 0xff) === 0) break;
  }
  return found;
}

const subleaves = (cpuid: Cpuid, fn: number): Registers[] =>
  Array.from({ length: SUBLEAVES }, (_, index) => cpuid(fn, index));

/** Cuts the constant tail down to one row. */
function withoutTail(all: readonly Registers[]): Registers[] {
  const tail = all.at(-1)!;
  return all.slice(0, all.findLastIndex((registers) => registers.some((value, at) => value !== tail[at])) + 2);
}

/** What the CPU answers outside its ranges, sub-leaves 0 and 1. */
export function outOfRangeRows(cpuid: Cpuid): RawRow[] {
  const [basic] = cpuid(0, 0);
  const [extended] = cpuid(0x8000_0000, 0);
  const probes = [
    basic + 1,
    0x1fff_0000,
    0x4000_0000,
    0x4000_0001,
    0x5000_0000,
    extended + 1,
    0x8000_ffff,
    0xc000_0000,
    0xffff_ffff,
  ];
  return probes.flatMap((probe) => [0, 1].map((index) => formatRow(probe >>> 0, index, cpuid(probe >>> 0, index))));
}
