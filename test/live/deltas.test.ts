import { fc, test as property } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import type { CpuidEntry2 } from '../../src/cpuid/entry.js';
import { parseEntry } from '../../src/cpuid/formats/index.js';
import { ENTRY2_WORDS } from '../../src/kvm/abi.js';
import { entryAt } from '../../src/kvm/cpuid-table.js';
import { type Delta, deltasOf, editsOf, FIELDS, sameDeltas, wordsOf } from '../../src/live/deltas.js';
import { leaf } from '../../src/live/set-cases.js';

const A = leaf(0, { eax: 0xd });
const B = leaf(7, { flags: 1, ebx: 0xff });

describe('editsOf', () => {
  const rows: readonly (readonly [what: string, base: CpuidEntry2[], table: CpuidEntry2[], edits: unknown])[] = [
    ['the same table', [A, B], [A, B], []],
    ['a shorter one', [A, B], [A], []],
    ['nothing', [A], [], []],
    ['a register', [A], [{ ...A, ecx: 1 }], [[0, '00000000 00000000 0 0000000d 00000000 00000001 00000000']]],
    ['flags', [A], [{ ...A, flags: 1 }], [[0, '00000000 00000000 1 0000000d 00000000 00000000 00000000']]],
    [
      'padding',
      [A],
      [{ ...A, padding: [0, 7, 0] }],
      [[0, '00000000 00000000 0 0000000d 00000000 00000000 00000000 0,7,0']],
    ],
    ['padding of zeros', [A], [{ ...A, padding: [0, 0, 0] }], []],
    ['an entry behind', [A], [A, B], [[1, '00000007 00000000 1 00000000 000000ff 00000000 00000000']]],
    [
      'an entry in between',
      [A, A],
      [A, B, A],
      [
        [1, '00000007 00000000 1 00000000 000000ff 00000000 00000000'],
        [2, '00000000 00000000 0 0000000d 00000000 00000000 00000000'],
      ],
    ],
  ];

  test.each(rows)('%s', (_, base, table, edits) => {
    expect(editsOf(base, table)).toEqual(edits);
  });
});

describe('deltasOf', () => {
  const rows: readonly (readonly [what: string, input: CpuidEntry2[], output: CpuidEntry2[], deltas: Delta[]])[] = [
    ['the same table', [A, B], [A, B], []],
    ['two empty tables', [], [], []],
    ['an entry fewer', [A, B], [A], [[-1, 'nent', '1']]],
    ['entries more', Array(10).fill(A), Array(16).fill(A), [[-1, 'nent', '10']]],
    ['a bit', [A, B], [A, { ...B, ebx: 0xfe }], [[1, 'ebx', '1']]],
    ['the upper bit', [A], [{ ...A, edx: 0x8000_0000 }], [[0, 'edx', '80000000']]],
    ['a function', [A], [{ ...A, function: 2 }], [[0, 'function', '2']]],
    [
      'padding',
      [A],
      [{ ...A, padding: [1, 0, 2] }],
      [
        [0, 'pad0', '1'],
        [0, 'pad2', '2'],
      ],
    ],
    [
      'length and a register',
      [A],
      [{ ...A, eax: 0 }, B],
      [
        [-1, 'nent', '2'],
        [0, 'eax', 'd'],
      ],
    ],
  ];

  test.each(rows)('%s', (_, input, output, deltas) => {
    expect(deltasOf(wordsOf(input), input.length, wordsOf(output), output.length)).toEqual(deltas);
  });

  test.each([
    ['equal lists', [[0, 'eax', '1']], [[0, 'eax', '1']], true],
    ['another position', [[0, 'eax', '1']], [[1, 'eax', '1']], false],
    ['another field', [[0, 'eax', '1']], [[0, 'ebx', '1']], false],
    ['other bits', [[0, 'eax', '1']], [[0, 'eax', '3']], false],
    ['another length', [[0, 'eax', '1']], [], false],
  ] as [string, Delta[], Delta[], boolean][])('sameDeltas: %s', (_, a, b, same) => {
    expect(sameDeltas(a, b)).toBe(same);
  });
});

const word = fc.oneof(fc.constantFrom(0, 1, 7, 0xffff_ffff), fc.integer({ min: 0, max: 0xffff_ffff }));
const tables = fc
  .array(fc.array(word, { minLength: ENTRY2_WORDS, maxLength: ENTRY2_WORDS }), { maxLength: 6 })
  .map((rows) => rows.map((row) => entryAt(Uint32Array.from(row), 0)));

property.prop([tables, tables])('the base cut to length, with the edits, is the table', (base, table) => {
  const rebuilt: (CpuidEntry2 | undefined)[] = base.slice(0, table.length);
  for (const [position, entry] of editsOf(base, table)) rebuilt[position] = parseEntry(entry, 'edit');
  expect(rebuilt).toEqual(table);
});

property.prop([tables, tables])('the input with the differing bits flipped is the output', (input, output) => {
  const words = wordsOf(input);
  for (const [position, field, value] of deltasOf(words, input.length, wordsOf(output), output.length)) {
    if (position < 0) expect(Number.parseInt(value, 16)).toBe(output.length);
    else words[position * ENTRY2_WORDS + FIELDS.indexOf(field as never)]! ^= Number.parseInt(value, 16);
  }
  const common = Math.min(input.length, output.length) * ENTRY2_WORDS;
  expect(words.subarray(0, common)).toEqual(wordsOf(output).subarray(0, common));
});
