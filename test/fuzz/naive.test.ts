import { describe, expect, test } from 'vitest';
import { TableGenerator } from '../../src/fuzz/generator.js';
import { factsOf } from '../../src/fuzz/naive/facts.js';
import { RULE_TEXTS, type RuleText } from '../../src/fuzz/naive/rule-text.js';
import { naiveScan, naiveVerify } from '../../src/fuzz/naive/verify.js';
import { paranoidRows } from '../naive/reference.js';
import { runs } from '../support/runs.js';
import { NAMED, placeOf } from './places.js';

/** Where the table says that another column is the same, and a remark that is about another ioctl. */
const plain = (text: string, vmx: string): string =>
  text === 'same as vmx' || text === 'as vmx' ? vmx : text.replace(/^zero \(PMU off.*$/, 'zero');

/** Rules that have come since the reference was written. */
const LATER = ['30.1.ebx', '30.>=2.ebx'];

test('the rules in words are those of the reference', () => {
  const expected = paranoidRows.map(({ function: fn, index, register, vmx, svm, tdx, reason }) => {
    const [first = '', last = first] = fn.split('..');
    const note: RuleText['note'] =
      reason === 'reserved or unsupported' ? 'reserved' : reason.startsWith('overwritten') ? 'overwritten' : null;
    return {
      functions: [Number(first), Number(last)] as const,
      index: String(index),
      register,
      text: { vmx, svm: plain(svm, vmx), tdx: plain(tdx, vmx) },
      note,
    };
  });
  const byPlace = (rows: readonly (Omit<RuleText, 'index'> & { readonly index: string })[]) =>
    rows
      .map((row) => [`${row.functions[0]}.${row.index}.${row.register}`, row] as const)
      .filter(([place]) => !LATER.includes(place))
      .sort(([a], [b]) => (a < b ? -1 : 1));
  expect(byPlace(RULE_TEXTS.map((row) => ({ ...row, index: String(row.index) })))).toEqual(byPlace(expected));
});

describe.each(NAMED)('at %s', (_, spec) => {
  test('the scan of memory stops at the first finding', () => {
    const place = placeOf(spec);
    const overlay = ({ DEFAULT: 'vmx', SVM: 'svm', TDX: 'tdx' } as const)[place.overlay];
    const facts = factsOf(place);
    const options = { guestPermAmx: spec.amx };
    const scan = naiveScan(facts, overlay, options);
    const generator = new TableGenerator(place);
    for (let number = 0; number < runs(3000).numRuns!; number++) {
      const at = generator.make(11, number, false);
      const [first] = naiveVerify(facts, overlay, place.entries(at), options);
      expect(scan(place.words, at + 2, generator.count)).toBe(first?.entry ?? -1);
    }
  });
});
