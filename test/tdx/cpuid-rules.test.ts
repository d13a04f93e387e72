import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { REGISTERS } from '../../src/cpuid/entry.js';
import { explainBit } from '../../src/tdx/cpuid-explain.js';
import { type LeafRule, leafRules } from '../../src/tdx/cpuid-rules.js';
import { TDX_MODULE_VERSIONS } from '../../src/tdx/params.js';

const REFERENCE = new URL('../../../shared/reference/tdx/tdx-cpuid.json', import.meta.url);
const present = existsSync(REFERENCE);

type Words = Readonly<Record<string, string>>;
interface Lookup {
  readonly leaf: string;
  readonly subleaf: number | null;
  readonly ve: boolean;
  readonly config_index: number | null;
  readonly fixed1: Words;
  readonly fixed0_or_dynamic: Words;
  readonly verify_mask: Words;
  readonly verify_value: Words;
}

const reference = present ? JSON.parse(readFileSync(REFERENCE, 'utf8')) : null;
const name = ({ leaf, subleaf }: { leaf: number | string; subleaf: number | null }) => `${Number(leaf)}.${subleaf}`;
const masks = (words: Uint32Array) => [...words].map((word) => word >>> 0);
const given = (words: Words) => REGISTERS.map((register) => Number(words[register] ?? 0));
const or = (one: Uint32Array, other: Uint32Array) => masks(one.map((word, at) => word | other[at]!));

/** Bits that XFAM bit n gates, by register. */
function xfamMasks(rule: LeafRule, bit: number): number[] {
  const gates = rule.gates.filter(({ of, bits }) => of === 'xfam' && ((bits >> BigInt(bit)) & 1n) === 1n);
  return gates.reduce((sum, gate) => or(Uint32Array.from(sum), gate.masks), [0, 0, 0, 0]);
}

describe.runIf(present).each(TDX_MODULE_VERSIONS)('the raw masks of module %s', (version) => {
  const { rules, configurable } = leafRules(version);
  const find = (leaf: number, subleaf: number) => leafRules(version).find(leaf, subleaf);
  const { lookup, configurable_leaves, xfam_masks } = present ? reference.versions[version] : { lookup: [] };

  test('the same leaves in the same order', () => {
    expect(rules.map(name)).toEqual(lookup.map(name));
    expect(configurable.map(name)).toEqual(configurable_leaves.map(name));
  });

  test('the same masks', () => {
    for (const [at, row] of (lookup as Lookup[]).entries()) {
      const rule = rules[at]!;
      const where = name(rule);
      expect([where, rule.faults, rule.configIndex]).toEqual([where, row.ve, row.config_index]);
      expect([where, masks(rule.one)]).toEqual([where, given(row.fixed1)]);
      expect([where, or(rule.zero, rule.live)]).toEqual([where, given(row.fixed0_or_dynamic)]);
      expect([where, or(rule.need, rule.lack)]).toEqual([where, given(row.verify_mask)]);
      expect([where, masks(rule.need)]).toEqual([where, given(row.verify_value)]);
    }
  });

  test('the same configurable bits', () => {
    for (const [at, row] of configurable_leaves.entries()) {
      const rule = configurable[at]!;
      expect([name(row), masks(rule.config)]).toEqual([name(row), given(row.direct)]);
      expect([name(row), masks(rule.allow)]).toEqual([name(row), given(row.direct_and_native)]);
    }
  });

  test('the same words for every bit', () => {
    // What is calculated is code, not a rule; the reference names it, the rule says where it starts from.
    const isCode = /^calculated|^dynamic|ATTRIBUTES\.(KL|PKS)/;
    const words = (type: string) => type.replace('XFAM[18:17]', 'XFAM[17,18]');
    for (const { leaf, subleaf, reg, bits: range, type } of reference.versions[version].bits) {
      const [high, low] = range;
      for (let bit = low; bit <= high; bit++) {
        const said = explainBit(find(Number(leaf), subleaf ?? 0), reg, bit);
        if (!isCode.test(type)) expect([leaf, subleaf, reg, bit, said]).toEqual([leaf, subleaf, reg, bit, words(type)]);
      }
    }
  });

  test('the same XFAM masks', () => {
    const tabled = new Set(xfam_masks.map(name));
    for (const rule of rules.filter((item) => tabled.has(name(item)))) {
      for (let bit = 0; bit < 19; bit++) {
        const row = xfam_masks.find(
          (item: { leaf: string; subleaf: number | null; xfam_bit: number }) =>
            name(item) === name(rule) && item.xfam_bit === bit,
        );
        expect([name(rule), bit, xfamMasks(rule, bit)]).toEqual([name(rule), bit, given(row ?? {})]);
      }
    }
  });
});
