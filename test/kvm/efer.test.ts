import { describe, expect, test } from 'vitest';
import { EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, EFER_SVME } from '../../src/emu/control.js';
import { type EferRow, nextEfer } from '../../src/kvm/efer.js';

const ALL = ['SYSCALL', 'LM', 'NX', 'SVM'];
const SVM: readonly EferRow[] = [[EFER_SVME, 'SVM']];
const GP = -1;

interface Case {
  readonly what: string;
  readonly lo: number;
  readonly hi?: number;
  readonly old?: number;
  readonly pages?: boolean;
  readonly without?: string;
  readonly more?: readonly EferRow[];
  readonly becomes: number;
}

const CASES: readonly Case[] = [
  { what: 'what it has', lo: EFER_SCE | EFER_LME | EFER_NXE, becomes: EFER_SCE | EFER_LME | EFER_NXE },
  { what: 'a bit of the upper half', lo: 0, hi: 1, becomes: GP },
  { what: 'a bit without a row', lo: 1 << 13, becomes: GP },
  { what: 'bit 31', lo: 1 << 31, becomes: GP },
  { what: 'SCE without SYSCALL', lo: EFER_SCE, without: 'SYSCALL', becomes: GP },
  { what: 'LME without LM', lo: EFER_LME, without: 'LM', becomes: GP },
  { what: 'NXE without NX', lo: EFER_NXE, without: 'NX', becomes: GP },
  { what: 'the other vendor’s SVME', lo: EFER_SVME, becomes: GP },
  { what: 'SVME where there is a row', lo: EFER_SVME, more: SVM, becomes: EFER_SVME },
  { what: 'SVME without SVM', lo: EFER_SVME, more: SVM, without: 'SVM', becomes: GP },
  { what: 'LME while it pages', lo: EFER_LME, pages: true, becomes: GP },
  { what: 'no LME while it pages', lo: 0, old: EFER_LME | EFER_LMA, pages: true, becomes: GP },
  { what: 'no LME while it does not page', lo: 0, old: EFER_LME, becomes: 0 },
  { what: 'LMA, which stays clear', lo: EFER_LME | EFER_LMA, old: 0, becomes: EFER_LME },
  {
    what: 'no LMA, which stays set',
    lo: EFER_LME,
    old: EFER_LME | EFER_LMA,
    pages: true,
    becomes: EFER_LME | EFER_LMA,
  },
];

describe('a guest writes EFER', () => {
  test.each(CASES)('$what', ({ lo, hi = 0, old = 0, pages = false, without, more, becomes }) => {
    const has = (feature: string) => ALL.includes(feature) && feature !== without;
    expect(nextEfer(lo, hi, old, pages, has, more)).toBe(becomes);
  });
});
