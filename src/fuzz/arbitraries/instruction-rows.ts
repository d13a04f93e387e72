import { FEATURES } from '../../cpuid/features.js';
import type { Assembler } from '../../emu/isa/asm.js';
import { MSR_ROWS, msrNamed } from '../../emu/msr-rows.js';
import { writeMsr } from '../../scenarios/guest-image.js';
import { type Dice, oneOf, seldom, wideWord } from '../dice.js';

/** The instructions that random guests are made of: those that reach, or ask for, something that the host has too. */

/** What an operand is, which decides how it is chosen and whether it shrinks. */
export type OperandKind = 'msr' | 'value' | 'leaf' | 'subleaf' | 'ticks' | 'mask' | 'call';

export interface InstructionRow {
  readonly name: string;
  /** How often it is chosen. */
  readonly weight: number;
  readonly operands: readonly OperandKind[];
  write(a: Assembler, ...operands: readonly bigint[]): void;
}

type Write = InstructionRow['write'];

const row = (name: string, weight: number, operands: readonly OperandKind[], write: Write): InstructionRow => ({
  name,
  weight,
  operands,
  write,
});

/** UMWAIT and TPAUSE until so many ticks from now. */
function waitFor(a: Assembler, ticks: bigint): void {
  a.mov('rdi', 'rsp');
  a.umonitor('rdi');
  a.rdtsc();
  a.mov('ecx', 0);
  a.add('eax', ticks & 0x7fffn);
}

/** Flips bits of a control register. */
function flip(a: Assembler, register: 'cr0' | 'cr4', mask: bigint): void {
  a.mov('rax', register);
  a.mov('rbx', mask);
  a.xor('rax', 'rbx');
  a.mov(register, 'rax');
}

function halves(a: Assembler, value: bigint): void {
  a.mov('eax', value & 0xffff_ffffn);
  a.mov('edx', (value >> 32n) & 0xffff_ffffn);
}

// biome-ignore format: one row per instruction
export const INSTRUCTION_ROWS: readonly InstructionRow[] = [
  row('wrmsr', 12, ['msr', 'value'], (a, msr = 0n, value = 0n) => writeMsr(a, Number(msr), value)),
  row('rdmsr', 3, ['msr'], (a, msr = 0n) => { a.mov('ecx', msr); a.rdmsr(); }),
  row('cpuid', 2, ['leaf', 'subleaf'], (a, leaf = 0n, subleaf = 0n) => { a.mov('eax', leaf); a.mov('ecx', subleaf); a.cpuid(); }),
  row('umwait', 2, ['ticks'], (a, ticks = 0n) => { waitFor(a, ticks); a.umwait('ecx'); }),
  row('tpause', 2, ['ticks'], (a, ticks = 0n) => { waitFor(a, ticks); a.tpause('ecx'); }),
  row('transaction', 2, [], (a) => { a.xbegin('over'); a.xend(); a.label('over'); }),
  row('xabort', 1, [], (a) => { a.xbegin('over'); a.xabort(1); a.label('over'); }),
  row('wrpkru', 2, ['value'], (a, value = 0n) => { a.mov('eax', value & 0xffff_ffffn); a.mov('ecx', 0); a.mov('edx', 0); a.wrpkru(); }),
  row('rdpkru', 1, [], (a) => { a.mov('ecx', 0); a.rdpkru(); }),
  row('xsetbv', 3, ['mask'], (a, mask = 0n) => { a.mov('ecx', 0); halves(a, mask | 1n); a.xsetbv(); }),
  row('xgetbv', 1, [], (a) => { a.mov('ecx', 0); a.xgetbv(); }),
  row('flip-cr4', 4, ['mask'], (a, mask = 0n) => flip(a, 'cr4', mask)),
  row('flip-cr0', 1, ['mask'], (a, mask = 0n) => flip(a, 'cr0', mask & 0x5_0002n)),
  row('wrfsbase', 1, ['value'], (a, value = 0n) => { a.mov('rax', value); a.wrfsbase('rax'); }),
  row('wrgsbase', 1, ['value'], (a, value = 0n) => { a.mov('rax', value); a.wrgsbase('rax'); }),
  row('swapgs', 1, [], (a) => a.swapgs()),
  row('rdtscp', 1, [], (a) => a.rdtscp()),
  row('rdpid', 1, [], (a) => a.rdpid('rax')),
  row('stui', 1, [], (a) => a.stui()),
  row('sti', 1, [], (a) => a.sti()),
  row('int3', 1, [], (a) => a.int3()),
  row('ud2', 1, [], (a) => a.ud2()),
  row('hlt', 2, [], (a) => a.hlt()),
  row('pause', 1, [], (a) => a.pause()),
  row('vmcall', 1, ['value'], (a, value = 0n) => { a.mov('rax', value); a.vmcall(); }),
  row('vmmcall', 1, ['value'], (a, value = 0n) => { a.mov('rax', value); a.vmmcall(); }),
  row('tdcall', 1, ['subleaf'], (a, leaf = 0n) => { a.mov('eax', leaf || 1n); a.tdcall(); }),
  row('tdvmcall', 2, ['call', 'leaf', 'subleaf'], tdvmcall),
  row('seamcall', 1, [], (a) => { a.mov('eax', 0); a.seamcall(); }),
  row('add', 1, ['value'], (a, value = 0n) => { a.mov('rbx', value); a.add('rax', 'rbx'); }),
  row('store', 1, ['value'], (a, value = 0n) => { a.mov('rbx', value); a.mov('qword ptr [rbx]', 'rax'); }),
];

/** TDG.VP.VMCALL with R10 to R13 shared. */
function tdvmcall(a: Assembler, call = 0n, first = 0n, second = 0n): void {
  a.mov('eax', 0);
  a.mov('ecx', 0xfc00);
  a.mov('r10d', 0);
  a.mov('r11d', call);
  a.mov('r12d', first);
  a.mov('r13d', second);
  a.tdcall();
}

/** Interrupts that a CPU sends to itself, or a timer: nobody is there to take them. */
const isApic = (index: number): boolean => (index >= 0x800 && index <= 0x8ff) || index === 0x1b || index === 0x6e0;

const MSRS = MSR_ROWS.map(({ index }) => BigInt(index >>> 0)).filter((index) => !isApic(Number(index)));
/** MSRs that features bring with them. */
const FEATURE_MSRS = [...new Set(FEATURES.flatMap(({ clobbers }) => clobbers))]
  .filter((name) => MSR_ROWS.some((item) => item.name === name))
  .map((name) => BigInt(msrNamed(name).index >>> 0))
  .filter((index) => !isApic(Number(index)));

const LEAVES = [0n, 1n, 4n, 7n, 0xdn, 0x14n, 0x1fn, 0x4000_0000n, 0x8000_0000n, 0x8000_0008n];

/** GHCI: CPUID, HLT, IO, RDMSR, WRMSR, MMIO, GetTdVmCallInfo, MapGPA, and one that nobody knows. */
const CALLS = [10n, 12n, 30n, 31n, 32n, 48n, 0x10000n, 0x10001n, 0x1234n];

const DRAWN: Readonly<Record<OperandKind, (dice: Dice) => bigint>> = {
  msr: (dice) => {
    if (seldom(dice, 8)) return BigInt(dice.nextInt(0, 0x1fff));
    return oneOf(dice, seldom(dice, 2) ? FEATURE_MSRS : MSRS);
  },
  value: wideWord,
  leaf: (dice) => oneOf(dice, LEAVES),
  subleaf: (dice) => BigInt(dice.nextInt(0, 4)),
  ticks: (dice) => BigInt(dice.nextInt(0, 20_000)),
  mask: (dice) => 1n << BigInt(dice.nextInt(0, 32)),
  call: (dice) => oneOf(dice, CALLS),
};

/** Operands that shrink, because each bit of them means something by itself. The others say what the instruction does. */
export const SHRINKS: readonly OperandKind[] = ['value', 'mask', 'ticks'];

export const drawOperand = (dice: Dice, kind: OperandKind): bigint => DRAWN[kind](dice);

const BY_NAME = new Map(INSTRUCTION_ROWS.map((item) => [item.name, item]));

export const instructionRow = (name: string): InstructionRow | undefined => BY_NAME.get(name);

/** Each row as often as it weighs. */
const LOTS = INSTRUCTION_ROWS.flatMap((item) => Array<InstructionRow>(item.weight).fill(item));

export const drawRow = (dice: Dice): InstructionRow => oneOf(dice, LOTS);
