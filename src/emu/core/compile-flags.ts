import { F, KIND, WIDTH } from './flags.js';

/**
 * Flags in generated code: which instruction has set them is known when the block is written, and what it set them from is
 * in local variables. They go to the core's flag state where the block ends or somebody else may look.
 *
 * Locals: `fl`, `fh` result; `fa`, `fA` and `fb`, `fB` operands, low and high words (32-bit values in the high ones, as in
 * `flags.ts`; of second operands the high word alone is looked at); `fc` the carry that INC and DEC keep; `fk` the last bit
 * that a shift lost, `fo` its OF.
 */

export type FlagKind = 'ADD' | 'SUB' | 'LOGIC' | 'INC' | 'DEC' | 'SHIFT';

/** Flags that are in locals. */
export interface Pending {
  readonly kind: FlagKind;
  readonly wide: boolean;
  /** INC, DEC: the carry is in `fc`; otherwise it is what the flag state says. */
  readonly keepsCarry?: boolean;
}

export const FLAG_LOCALS = 'let fl=0,fh=0,fa=0,fA=0,fb=0,fB=0,fc=0,fk=0,fo=0;';

/** Condition code 0–15 as an expression. @param flags `null`: they are in the flag state */
export function conditionText(flags: Pending | null, code: number): string {
  if (flags === null) return code >> 1 === 2 ? `${code & 1 ? '!' : ''}zero(f)` : `condition(f,${code})`;
  const positive = POSITIVE[code >> 1]!(flags);
  return (code & 1) === 0 ? positive : `!(${positive})`;
}

const below = (al: string, ah: string, bl: string, bh: string, { wide }: Pending): string =>
  wide ? `(${ah}===${bh}?${al}>>>0<${bl}>>>0:${ah}>>>0<${bh}>>>0)` : `(${ah}>>>0<${bh}>>>0)`;

/** CF */
export function carryText(flags: Pending): string {
  switch (flags.kind) {
    case 'ADD':
      return below('fl', 'fh', 'fa', 'fA', flags);
    case 'SUB':
      return below('fa', 'fA', 'fl', 'fh', flags);
    case 'LOGIC':
      return 'false';
    case 'SHIFT':
      return '(fk!==0)';
    default:
      return flags.keepsCarry ? '(fc!==0)' : 'carry(f)';
  }
}

const OVERFLOW: Readonly<Record<FlagKind, string>> = {
  ADD: '((~(fA^fB)&(fA^fh))<0)',
  SUB: '(((fA^fB)&(fA^fh))<0)',
  LOGIC: 'false',
  INC: '((~fA&fh)<0)',
  DEC: '((fA&~fh)<0)',
  SHIFT: '(fo!==0)',
};

const overflow = ({ kind }: Pending): string => OVERFLOW[kind];
const zero = ({ wide }: Pending): string => (wide ? '((fl|fh)===0)' : '(fh===0)');
const sign = '(fh<0)';
const less = (flags: Pending): string => `(${sign}!==${overflow(flags)})`;

/** OF, CF, ZF, CF or ZF, SF, PF, less, less or equal. */
const POSITIVE: readonly ((flags: Pending) => string)[] = [
  overflow,
  carryText,
  zero,
  (flags) => `(${carryText(flags)}||${zero(flags)})`,
  () => sign,
  ({ wide }) => `isEven(${wide ? 'fl' : 'fh'})`,
  less,
  (flags) => `(${zero(flags)}||${less(flags)})`,
];

/** Statements that bring flags from locals to the flag state. */
export function flagsToState(flags: Pending | null): string {
  if (flags === null) return '';
  const { kind, wide } = flags;
  if (kind === 'SHIFT') return wide ? 'shifted(f,fl,fh,fk,fo);' : 'shifted32(f,fh,fk,fo);';
  const result = `f[${F.KIND}]=${KIND[kind] | (wide ? WIDTH.QWORD : WIDTH.DWORD)};f[${F.RES_LO}]=${wide ? 'fl' : 0};f[${F.RES_HI}]=fh;`;
  if (kind === 'LOGIC') return result;
  const operand = `f[${F.A_LO}]=${wide ? 'fa' : 0};f[${F.A_HI}]=fA;`;
  if (kind === 'ADD' || kind === 'SUB') return result + operand;
  return `f[${F.CARRY}]=${carryText(flags)}?1:0;${result}${operand}`;
}
