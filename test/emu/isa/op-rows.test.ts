import { describe, expect, test } from 'vitest';
import { findFeature } from '../../../src/cpuid/features.js';
import {
  FORMS,
  GATE_SETS,
  OP,
  OP_COST,
  OP_COUNT,
  OP_GATE,
  OP_NAMES,
  OP_TRAITS,
  TRAIT,
} from '../../../src/emu/isa/forms.js';
import { GATE_ONLY_CPUID_BITS, OP_ROWS, type OpName, type OpRow } from '../../../src/emu/isa/op-rows.js';

const rows: readonly OpRow[] = OP_ROWS;

describe('the operation table', () => {
  test('names are unique and ids are places in the table', () => {
    expect(new Set(OP_NAMES).size).toBe(OP_COUNT);
    expect(OP_NAMES.map((name) => OP[name])).toEqual(OP_NAMES.map((_, id) => id));
    expect(OP_COUNT).toBeLessThan(256); // ids are bytes in the decoder's columns
    expect(FORMS.length).toBeLessThan(0x8000);
  });

  test('the conditions are contiguous, JO first', () => {
    const conditions = [
      'JO',
      'JNO',
      'JB',
      'JAE',
      'JE',
      'JNE',
      'JBE',
      'JA',
      'JS',
      'JNS',
      'JP',
      'JNP',
      'JL',
      'JGE',
      'JLE',
    ];
    conditions.push('JG');
    expect(conditions.map((name) => OP[name as OpName] - OP.JO)).toEqual([...conditions.keys()]);
  });

  test('no two rows have the same encoding', () => {
    const keys = FORMS.map(({ text, mod }) => `${text.split(' | ')[0]} ${mod}`);
    expect(keys.filter((key, i) => keys.indexOf(key) !== i)).toEqual([]);
  });

  test('every CPUID gate names a row of the feature table, or one of the bits that only gates have', () => {
    const extra: readonly string[] = GATE_ONLY_CPUID_BITS.map(({ name }) => name);
    const names = GATE_SETS.flat(2).flatMap((gate) => (gate.startsWith('CPUID.') ? [gate.slice('CPUID.'.length)] : []));
    expect(names.filter((name) => findFeature(name) === undefined && !extra.includes(name))).toEqual([]);
    expect(extra.filter((name) => findFeature(name) !== undefined || !names.includes(name))).toEqual([]);
  });

  test('columns by id say what the rows say', () => {
    expect(GATE_SETS[OP_GATE[OP.MOV]!]).toEqual([]);
    expect(GATE_SETS[OP_GATE[OP.UMWAIT]!]).toEqual([['CPUID.WAITPKG'], ['VMX.ENABLE_USER_WAIT_PAUSE']]);
    expect(OP_GATE[OP.TPAUSE]).toBe(OP_GATE[OP.UMONITOR]);
    expect(GATE_SETS[OP_GATE[OP.XTEST]!]).toEqual([['CPUID.RTM', 'CPUID.HLE']]);
    expect(OP_TRAITS[OP.WRMSR]).toBe(TRAIT.ends | TRAIT.serializes | TRAIT.faults | TRAIT.exits | TRAIT.cpl0);
    expect(OP_TRAITS[OP.WRMSRNS]! & TRAIT.serializes).toBe(0);
    expect(OP_COST[OP.ADD]).toBe('alu');
  });

  test('whatever can exit ends a block, and so does what only ring 0 may do', () => {
    const open = rows.filter(({ options: { traits = [] } }) => {
      const mustEnd = traits.some((trait) => trait === 'exits' || trait === 'serializes' || trait.startsWith('cpl0'));
      return mustEnd && !traits.includes('ends');
    });
    expect(open).toEqual([]);
  });
});
