import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { asm } from '../../../src/emu/isa/asm.js';
import { FORMS, MAP } from '../../../src/emu/isa/forms.js';
import { OUTCOME } from '../../../src/emu/isa/insn.js';
import type { Mnemonic } from '../../../src/emu/isa/op-rows.js';
import { runs } from '../../support/runs.js';
import { biasedBytes, samples } from './arbitraries.js';
import { ADDRESS, disagreement, hex, iced, ours } from './iced.js';

/** Two decoders, one opinion. What may differ, and why, is in `iced.ts`. */

const padded = (bytes: Iterable<number>, filler = 0): Uint8Array =>
  Uint8Array.from([...bytes, ...new Array(15).fill(filler)].slice(0, 15));

describe('instructions from the encoder', () => {
  test('decode as the same instruction, and as iced decodes them', () => {
    const seen = new Set<number>();
    fc.assert(
      fc.property(samples, ({ form, bytes, lock }) => {
        seen.add(form.id);
        const { outcome, op, length, text } = ours(bytes);
        const same = outcome === OUTCOME.DECODED && op === form.op && length === bytes.length;
        const complaint = same && text.startsWith('lock ') === lock ? null : `${hex(bytes)}: ${form.text}, not ${text}`;
        expect(complaint).toBeNull();
        expect(disagreement(padded(bytes))).toBeNull();
      }),
      runs(12_000),
    );
    expect(FORMS.filter(({ id }) => !seen.has(id)).map(({ text }) => text)).toEqual([]);
  });

  test('their text assembles to an instruction with the same text, never a longer one', () => {
    fc.assert(
      fc.property(samples, ({ bytes }) => {
        const { text } = ours(bytes);
        const again = assembleText(text);
        expect(ours(again).text, `${hex(bytes)} -> ${hex(again)}`).toBe(text);
        expect(again.length).toBeLessThanOrEqual(bytes.length);
      }),
      runs(2000),
    );
  });
});

const CONDITIONAL = /^(?:j\w+|call|xbegin) ([0-9A-F]+)h?$/;

/** A line of disassembly back to bytes. Branch targets become distances. */
function assembleText(text: string): Uint8Array {
  const lock = text.startsWith('lock ');
  const [mnemonic = '', ...rest] = text.slice(lock ? 5 : 0).split(' ');
  const branch = CONDITIONAL.exec(text);
  const distance = branch ? BigInt.asIntN(64, BigInt(`0x${branch[1]}`) - ADDRESS) : 0n;
  const operands = branch ? [`$${distance < 0n ? '' : '+'}${distance}`] : rest.join(' ').split(', ').filter(Boolean);
  return asm((a) => (lock ? a.lock() : a).emit(mnemonic as Mnemonic, operands));
}

describe('any bytes', () => {
  test('biased ones', () => {
    fc.assert(
      fc.property(biasedBytes, (bytes) => {
        expect(disagreement(bytes)).toBeNull();
      }),
      runs(25_000),
    );
  });
});

/** What stands before the opcode in the matrix of prefixes. */
const PREFIXES: readonly (readonly number[])[] = [
  [],
  [0x66],
  [0xf2],
  [0xf3],
  [0x66, 0xf2],
  [0x66, 0xf3],
  [0xf2, 0x66],
  [0xf3, 0x66],
  [0xf2, 0xf3],
  [0xf3, 0xf2],
  [0xf0],
  [0xf0, 0xf2],
  [0x48],
  [0x66, 0x48],
  [0xf2, 0x48],
  [0xf3, 0x48],
  [0x41],
  [0xf3, 0x41],
  [0x67],
  [0x67, 0xf3],
];

describe('the matrix of prefixes', () => {
  const groups: readonly (readonly [name: string, opcode: readonly number[]])[] = [
    ['0F 00', [0x0f, 0x00]],
    ['0F 01', [0x0f, 0x01]],
    ['0F 1E', [0x0f, 0x1e]],
    ['0F 20', [0x0f, 0x20]],
    ['0F 22', [0x0f, 0x22]],
    ['0F 78', [0x0f, 0x78]],
    ['0F 79', [0x0f, 0x79]],
    ['0F AE', [0x0f, 0xae]],
    ['0F C7', [0x0f, 0xc7]],
    ['C6', [0xc6]],
    ['C7', [0xc7]],
  ];
  test.each(groups)('%s xx', (_, opcode) => {
    const complaints: string[] = [];
    for (const prefix of PREFIXES) {
      for (let modrm = 0; modrm < 256; modrm++) {
        const complaint = disagreement(padded([...prefix, ...opcode, modrm]));
        if (complaint) complaints.push(complaint);
      }
    }
    expect(complaints.slice(0, 20)).toEqual([]);
  });
});

describe('the opcode map', () => {
  const maps: readonly (readonly [name: string, lead: readonly number[]])[] = [
    ['one byte', []],
    ['0F', [0x0f]],
    ['0F 38', [0x0f, 0x38]],
    ['0F 3A', [0x0f, 0x3a]],
  ];
  /** All register forms, and every digit with memory. */
  const modrms = Array.from({ length: 256 }, (_, i) => i).filter((modrm) => modrm >= 0xc0 || (modrm & 0xc7) === 0);
  const prefixes = [[], [0x66], [0xf3], [0xf2], [0xf0]];

  test.each(maps)('%s: every opcode under every prefix is a hole for both decoders or for none', (_, lead) => {
    const complaints: string[] = [];
    const some = lead.length === 2 ? modrms.filter((modrm) => modrm < 0xc2 || modrm % 8 === 0) : modrms;
    for (const prefix of prefixes) {
      for (let opcode = 0; opcode < 256; opcode++) {
        for (const modrm of some) {
          const complaint = disagreement(padded([...prefix, ...lead, opcode, modrm]));
          if (complaint) complaints.push(complaint);
        }
      }
    }
    expect(complaints.slice(0, 20)).toEqual([]);
  });

  test('VEX: what iced decodes is never #UD', () => {
    const complaints: string[] = [];
    for (const map of [1, 2, 3, 7, 8]) {
      for (let opcode = 0; opcode < 256; opcode++) {
        for (const pp of [0, 1, 2, 3]) {
          for (const fields of [0x78, 0x7c, 0xf8]) {
            for (const modrm of [0xc0, 0x15]) {
              const complaint = disagreement(padded([0xc4, 0xe0 | map, fields | pp, opcode, modrm]));
              if (complaint) complaints.push(complaint);
            }
          }
        }
      }
    }
    expect(complaints.slice(0, 20)).toEqual([]);
  });
});

test('iced still lacks what we except it from', () => {
  const newer = [
    [0xc4, 0xe7, 0x7b, 0xf6, 0xc0],
    [0xc4, 0xe7, 0x7a, 0xf6, 0xc0],
    [0xc4, 0xe7, 0x7b, 0xf8, 0xc0],
    [0xc4, 0xe7, 0x7a, 0xf8, 0xc0],
    [0xf2, 0x0f, 0x38, 0xf8, 0xc0],
    [0xf3, 0x0f, 0x38, 0xf8, 0xc0],
  ];
  expect(newer.filter((bytes) => iced(padded(bytes)).valid)).toEqual([]);
  expect(FORMS.filter(({ map }) => map === MAP.VEX7 || map === MAP['0F38'])).toHaveLength(newer.length);
});
