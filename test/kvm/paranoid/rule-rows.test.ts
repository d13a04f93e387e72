import { describe, expect, test } from 'vitest';
import { type CpuidRow, formatEntry, REGISTERS } from '../../../src/cpuid/entry.js';
import { factsOf } from '../../../src/fuzz/naive/facts.js';
import { naiveVerify } from '../../../src/fuzz/naive/verify.js';
import { Place, type PlaceSpec, placeName } from '../../../src/fuzz/place.js';
import type { KernelLine } from '../../../src/index.js';
import { withInputs } from '../../../src/index.js';
import { ENTRY2_WORDS } from '../../../src/kvm/abi.js';
import { putEntry } from '../../../src/kvm/cpuid-table.js';
import { Explainer } from '../../../src/kvm/paranoid/findings.js';
import { RESERVED, RULE_ROWS } from '../../../src/kvm/paranoid/rule-rows.js';
import { firstRefused } from '../../../src/kvm/paranoid/verify.js';
import type { Defect, Reserved } from '../../../src/kvm/policy.js';
import { specOf } from '../../fuzz/places.js';
import { paranoidRows } from '../../naive/reference.js';
import { probes, SIGNATURE } from '../../support/rule-probes.js';

test('reasons and sources are those of the reference, register by register', () => {
  const mine = RULE_ROWS.filter(({ why }) => !why.startsWith('Linux 6.1 ')).flatMap((row) => {
    const first = typeof row.function === 'number' ? row.function : row.function[0];
    return REGISTERS.filter((name) => row.registers === 'all' || row.registers.split(' ').includes(name)).map(
      (name) => `${first.toString(16)} ${name}: ${row.why} (${row.source})`,
    );
  });
  const theirs = paranoidRows.map((row) => {
    const first = Number(row.function.split('..')[0]);
    return `${first.toString(16)} ${row.register}: ${row.reason} (${row.source})`;
  });
  // Sub-leaves may be grouped otherwise.
  expect([...new Set(mine)].sort()).toEqual([...new Set(theirs)].sort());
});

test('every function has a row of its own or lies in exactly one range', () => {
  const own = new Set(RULE_ROWS.flatMap(({ function: fn }) => (typeof fn === 'number' ? [fn] : [])));
  const ranges = RULE_ROWS.flatMap(({ function: fn }) => (typeof fn === 'number' ? [] : [fn]));
  ranges.sort(([one], [other]) => one - other);
  let next = 0;
  for (const [first, last] of [...ranges, [2 ** 32, 0] as const]) {
    expect(next).toBeLessThanOrEqual(first);
    for (let fn = next; fn < first; fn++) if (!own.has(fn)) expect.fail(`nothing is said about ${fn.toString(16)}`);
    next = last + 1;
  }
});

test('what Linux 6.1 writes by itself is said so', () => {
  const rows = RULE_ROWS.filter((row) => row.if?.includes('sgx_xfrm_forced'));
  expect(rows.map(({ why, source, index, registers }) => [why, source, index, registers])).toEqual([
    ['Linux 6.1 writes x87 and SSE into XFRM by itself', 'P', [0, 1], 'ecx'],
    ['Linux 6.1 writes x87 and SSE into XFRM by itself', 'P', [2, 0xffff_ffff], 'ecx'],
  ]);
  expect(RESERVED).toBe('reserved or unsupported');
});

interface Variation {
  readonly reserved: Reserved;
  readonly defects: readonly Defect[];
}
const STRICT: Variation = { reserved: 'zero', defects: [] };

const on = (line: KernelLine, spec: PlaceSpec): PlaceSpec => ({
  ...spec,
  host: withInputs(spec.host, { kernel: line }),
});

/** Leaves that speak of each sub-leaf by itself, with more of them than any host has. */
const MORE_SUBLEAVES = [
  { function: 0x14, index: 0, eax: 3 },
  { function: 0x14, index: 2, eax: 0x11, ebx: 0x22, ecx: 0x33, edx: 0x44 },
  { function: 0x14, index: 3, eax: 0x55, ebx: 0x66, ecx: 0x77, edx: 0x88 },
  { function: 0x1d, index: 0, eax: 2 },
  { function: 0x1d, index: 2, eax: 0x99, ebx: 0xaa, ecx: 0xbb, edx: 0xcc },
];

/** A host of tomorrow: the same with {@link MORE_SUBLEAVES}. */
function withMoreSubleaves(spec: PlaceSpec): PlaceSpec {
  const changed = (rows: readonly CpuidRow[]): readonly CpuidRow[] => {
    const all = new Map(rows.map((row) => [`${row.function}.${row.index}`, row]));
    for (const row of MORE_SUBLEAVES) {
      const key = `${row.function}.${row.index}`;
      all.set(key, { ...{ eax: 0, ebx: 0, ecx: 0, edx: 0 }, ...all.get(key), ...row });
    }
    return [...all.values()].sort((a, b) => a.function - b.function || a.index - b.index);
  };
  return { ...spec, host: { ...spec.host, cpus: spec.host.cpus.map(changed) } };
}

// biome-ignore format: one row per place
const PLACES: readonly (readonly [line: KernelLine, spec: PlaceSpec, variation: Variation])[] = [
  ['7.3', specOf('sapphire-rapids', 'default', {}, true), STRICT],
  ['7.3', withMoreSubleaves(specOf('sapphire-rapids', 'default', {}, true)), STRICT],
  ['7.3', specOf('genoa'), STRICT],
  ['7.3', specOf('granite-rapids', 'tdx', {}, true), STRICT],
  ['7.3', specOf('zhaoxin-kh40000'), STRICT],
  ['7.3', specOf('granite-rapids', 'default', {}, true), { reserved: 'ignore', defects: [] }],
  ['7.1', specOf('turin'), { reserved: 'ignore', defects: [] }],
  ['6.18', specOf('sapphire-rapids'), { reserved: 'zero', defects: ['emulated-index-blind'] }],
  ['6.12', specOf('ice-lake-sp'), { reserved: 'zero', defects: ['flagless-first-row'] }],
];

const OVERLAYS = { DEFAULT: 'vmx', SVM: 'svm', TDX: 'tdx' } as const;

describe('each rule allows what the same rule in words allows', () => {
  test.each(
    PLACES.map(([line, spec, variation]) => [`${placeName(spec)}, ${line}`, on(line, spec), variation] as const),
  )('%s', (_, spec, variation) => {
    const place = new Place({ ...spec, options: { ...spec.options, ...variation } });
    const { module, overlay, rules } = place;
    const { cpuid } = module.kernel.machine.cpus[0]!;
    const explainer = new Explainer(rules, module.allowedOptions(overlay, place.vmm.process));
    const answer = new Uint32Array(4);
    const entries = probes(rules.resolver.indexed, (fn, index) => {
      cpuid.execute(fn, index, answer);
      const [eax = 0, ebx = 0, ecx = 0, edx = 0] = answer;
      return { function: fn, index, eax, ebx, ecx, edx };
    });
    const options = { guestPermAmx: spec.amx, reserved: variation.reserved, defects: [...variation.defects] };
    const table = [SIGNATURE, ...entries];
    const theirs = naiveVerify(factsOf(place), OVERLAYS[overlay], table, options);
    const mine = explainer.findings(table).map(({ entry, register, offending }) => ({ entry, register, offending }));
    const show = (one: (typeof mine)[number]) => ({ ...one, of: table[one.entry] });
    if (JSON.stringify(mine) !== JSON.stringify(theirs)) expect(mine.map(show)).toEqual(theirs.map(show));
    // The compiled rules say the same of each register, and of each entry by itself.
    const refused = new Set(theirs.map(({ entry, register }) => `${entry} ${register}`));
    const pair = new Uint32Array(2 * ENTRY2_WORDS);
    putEntry(pair, 0, SIGNATURE);
    const wrong = table.filter((entry, position) => {
      const line = rules.lineOf(entry.function | 0, entry.index, (entry.flags & 1) !== 0);
      const expected = REGISTERS.map((name) => !refused.has(`${position} ${name}`));
      putEntry(pair, 1, entry);
      return (
        expected.some((allowed, number) => rules.allows(line, number, entry[REGISTERS[number]!]) !== allowed) ||
        firstRefused(rules, pair, 2) !== (expected.every(Boolean) ? -1 : 1)
      );
    });
    expect(wrong.map(formatEntry)).toEqual([]);
    const nearest = explainer.nearest(table);
    expect(explainer.findings(nearest)).toEqual([]);
  });
});
