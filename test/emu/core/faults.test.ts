import { describe, expect, test } from 'vitest';
import { CR4_CET, CR4_OSXSAVE, CR4_PAE, CR4_PKE, CR4_TSD, EFER_SCE, EFER_SLOT } from '../../../src/emu/control.js';
import type { Core } from '../../../src/emu/core/core.js';
import { TRACE } from '../../../src/emu/core/trace.js';
import type { Assembler } from '../../../src/emu/isa/asm.js';
import { slotNamed } from '../../../src/emu/msrs.js';
import type { Part } from '../control-fixtures.js';
import { bench, DATA, program } from './machine.js';

/** What an instruction raises under a condition, one row per cell; and nothing else has changed. */

const UD = 6;
const DF = 8;
const GP = 13;
const SS = 12;
const PF = 14;

const USER_CODE = 0x60000;
const CANONICAL_END = 0x0000_8000_0000_0000n;
const UNMAPPED = 0x50_0000n;

interface Row {
  readonly name: string;
  readonly code: (a: Assembler) => void;
  readonly expected: number | 'none';
  readonly user?: boolean;
  readonly part?: Part;
  readonly cr4?: number;
  readonly set?: Readonly<Record<string, bigint>>;
  readonly prepare?: (core: Core) => void;
}

const REGISTERS: Readonly<Record<string, number>> = {
  rax: 0,
  rcx: 1,
  rdx: 2,
  rbx: 3,
  rsp: 4,
  rsi: 6,
  rdi: 7,
  r11: 11,
  r15: 15,
};

const msr = (index: bigint, value: bigint): Readonly<Record<string, bigint>> => ({
  rcx: index,
  rax: value & 0xffff_ffffn,
  rdx: value >> 32n,
});

const withSce = (core: Core): void => {
  core.msrs.put(EFER_SLOT, core.msrs.lo[EFER_SLOT]! | EFER_SCE, core.msrs.hi[EFER_SLOT]!);
};

// biome-ignore format: one row per cell
const ROWS: readonly Row[] = [
  { name: 'RDMSR, CPL 3', code: (a) => a.rdmsr(), user: true, set: { rcx: 0x10n }, expected: GP },
  { name: 'RDMSR, unknown MSR', code: (a) => a.rdmsr(), set: { rcx: 0xdead_beefn }, expected: GP },
  { name: 'RDMSR of the TSC', code: (a) => a.rdmsr(), set: { rcx: 0x10n }, expected: 'none' },
  { name: 'RDMSR of an MSR whose feature is not there', code: (a) => a.rdmsr(), part: { without: ['WAITPKG'] }, set: { rcx: 0xe1n }, expected: GP },
  { name: 'WRMSR E1H, bit 1', code: (a) => a.wrmsr(), set: msr(0xe1n, 2n), expected: GP },
  { name: 'WRMSR E1H, upper half', code: (a) => a.wrmsr(), set: msr(0xe1n, 1n << 32n), expected: GP },
  { name: 'WRMSR E1H', code: (a) => a.wrmsr(), set: msr(0xe1n, 0x186a0n), expected: 'none' },
  { name: 'WRMSR 122H, bit 2', code: (a) => a.wrmsr(), set: msr(0x122n, 4n), expected: GP },
  { name: 'WRMSR IA32_FRED_RSP0, low bits', code: (a) => a.wrmsr(), set: msr(0x1ccn, 0x20n), expected: GP },
  { name: 'WRMSR IA32_FRED_RSP0, not canonical', code: (a) => a.wrmsr(), part: { without: ['LA57'] }, set: msr(0x1ccn, CANONICAL_END), expected: GP },
  { name: 'WRMSR IA32_FRED_CONFIG, bit 2', code: (a) => a.wrmsr(), set: msr(0x1d4n, 4n), expected: GP },
  { name: 'WRMSR LSTAR, not canonical', code: (a) => a.wrmsr(), part: { without: ['LA57'] }, set: msr(0xc000_0082n, CANONICAL_END), expected: GP },
  { name: 'WRMSRNS as WRMSR', code: (a) => a.wrmsrns(), set: msr(0xe1n, 2n), expected: GP },
  { name: 'WRMSRNS imm, reserved bit', code: (a) => a.wrmsrns(0xe1, 'rax'), set: { rax: 2n }, expected: GP },
  { name: 'WRMSRNS imm, CPL 3', code: (a) => a.wrmsrns(0xe1, 'rax'), user: true, expected: GP },
  { name: 'RDMSR imm, unknown MSR', code: (a) => a.rdmsr('rax', 0x7fff), expected: GP },
  { name: 'RDTSC, CPL 3, CR4.TSD', code: (a) => a.rdtsc(), user: true, cr4: CR4_TSD, expected: GP },
  { name: 'RDTSC, CPL 0, CR4.TSD', code: (a) => a.rdtsc(), cr4: CR4_TSD, expected: 'none' },
  { name: 'RDTSCP, CPL 3, CR4.TSD', code: (a) => a.rdtscp(), user: true, cr4: CR4_TSD, expected: GP },
  { name: 'TPAUSE, reserved control bit', code: (a) => a.tpause('ebx'), set: { rbx: 2n }, expected: GP },
  { name: 'TPAUSE, CPL 3, CR4.TSD', code: (a) => a.tpause('ebx'), user: true, cr4: CR4_TSD, expected: GP },
  { name: 'UMWAIT, reserved control bit', code: (a) => a.umwait('ebx'), set: { rbx: 4n }, expected: GP },
  { name: 'UMWAIT, CPL 3', code: (a) => a.umwait('ebx'), user: true, expected: 'none' },
  { name: 'UMONITOR, not canonical', code: (a) => a.umonitor('rax'), set: { rax: CANONICAL_END }, expected: GP },
  { name: 'UMONITOR, not mapped', code: (a) => a.umonitor('rax'), set: { rax: UNMAPPED }, expected: PF },
  { name: 'XGETBV, ECX = 2', code: (a) => a.xgetbv(), set: { rcx: 2n }, expected: GP },
  { name: 'XGETBV, ECX = 1 without XGETBV1', code: (a) => a.xgetbv(), part: { without: ['XGETBV1'] }, set: { rcx: 1n }, expected: GP },
  { name: 'XGETBV, CPL 3', code: (a) => a.xgetbv(), user: true, expected: 'none' },
  { name: 'XSETBV, CPL 3', code: (a) => a.xsetbv(), user: true, set: { rax: 1n }, expected: GP },
  { name: 'XSETBV, ECX = 1', code: (a) => a.xsetbv(), set: { rcx: 1n, rax: 1n }, expected: GP },
  { name: 'XSETBV, bit 0 clear', code: (a) => a.xsetbv(), set: { rax: 2n }, expected: GP },
  { name: 'XSETBV, AVX without SSE', code: (a) => a.xsetbv(), set: { rax: 5n }, expected: GP },
  { name: 'XSETBV, part of AVX-512', code: (a) => a.xsetbv(), set: { rax: 0x27n }, expected: GP },
  { name: 'XSETBV, AVX-512', code: (a) => a.xsetbv(), set: { rax: 0xe7n }, expected: 'none' },
  { name: 'XSETBV, one half of AMX', code: (a) => a.xsetbv(), set: { rax: 0x2_0001n }, expected: GP },
  { name: 'XSETBV, a bit that CPUID lacks', code: (a) => a.xsetbv(), set: { rax: 0x801n }, expected: GP },
  { name: 'XEND outside a transaction', code: (a) => a.xend(), expected: GP },
  { name: 'XABORT outside a transaction', code: (a) => a.xabort(1), expected: 'none' },
  { name: 'RDPKRU, ECX', code: (a) => a.rdpkru(), cr4: CR4_PKE, set: { rcx: 1n }, expected: GP },
  { name: 'WRPKRU, EDX', code: (a) => a.wrpkru(), cr4: CR4_PKE, set: { rdx: 1n }, expected: GP },
  { name: 'WRPKRU, CPL 3', code: (a) => a.wrpkru(), cr4: CR4_PKE, user: true, expected: 'none' },
  { name: 'HLT, CPL 3', code: (a) => a.hlt(), user: true, expected: GP },
  { name: 'CLI, CPL 3, IOPL 0', code: (a) => a.cli(), user: true, expected: GP },
  { name: 'STI, CPL 3, IOPL 0', code: (a) => a.sti(), user: true, expected: GP },
  { name: 'SYSRETQ, CPL 3', code: (a) => a.sysretq(), prepare: withSce, user: true, expected: GP },
  { name: 'SYSRETQ, RCX not canonical', code: (a) => a.sysretq(), prepare: withSce, set: { rcx: CANONICAL_END }, expected: GP },
  { name: 'SYSCALL without EFER.SCE', code: (a) => a.syscall(), expected: UD },
  { name: 'IRETQ with NT', code: (a) => a.iretq(), prepare: (core) => { core.rflags = 0x4002; }, expected: GP },
  { name: 'SWAPGS, CPL 3', code: (a) => a.swapgs(), user: true, expected: GP },
  { name: 'LIDT, CPL 3', code: (a) => a.lidt('[r15]'), user: true, expected: GP },
  { name: 'MOV to CR4, a bit without its feature', code: (a) => a.mov('cr4', 'rax'), part: { without: ['FRED'] }, set: { rax: (1n << 32n) | 0x20n }, expected: GP },
  { name: 'MOV to CR4, FRED', code: (a) => a.mov('cr4', 'rax'), set: { rax: (1n << 32n) | 0x20n }, expected: 'none' },
  { name: 'MOV to CR4, PAE cleared', code: (a) => a.mov('cr4', 'rax'), set: { rax: 0n }, expected: GP },
  { name: 'MOV to CR0, PE cleared', code: (a) => a.mov('cr0', 'rax'), set: { rax: 0x8000_0000n }, expected: GP },
  { name: 'MOV from CR0, CPL 3', code: (a) => a.mov('rax', 'cr0'), user: true, expected: GP },
  { name: 'MOV to CR8, reserved bits', code: (a) => a.mov('cr8', 'rax'), set: { rax: 0x10n }, expected: GP },
  { name: 'STAC, CPL 3', code: (a) => a.stac(), user: true, expected: UD },
  { name: 'INCSSP without a shadow stack', code: (a) => a.incsspq('rax'), cr4: CR4_CET, expected: UD },
  { name: 'UD2', code: (a) => a.ud2(), expected: UD },
  { name: 'CMPXCHG16B, not aligned', code: (a) => a.cmpxchg16b('oword ptr [r15+8]'), expected: GP },
  { name: 'a load that is not mapped', code: (a) => a.mov('rbx', 'qword ptr [rax]'), set: { rax: UNMAPPED }, expected: PF },
  { name: 'a load that is not canonical', code: (a) => a.mov('rbx', 'qword ptr [rax]'), set: { rax: CANONICAL_END }, expected: GP },
  { name: 'a push that is not canonical', code: (a) => a.push('rbx'), set: { rsp: CANONICAL_END + 0x100n }, expected: SS },
  { name: 'a supervisor page, CPL 3', code: (a) => a.mov('rbx', 'qword ptr [r15]'), user: true, expected: PF },
  { name: 'RET to where nothing is canonical', code: (a) => a.ret(), prepare: (core) => { core.memory.write(DATA, 8, 0, 0x8000); core.setRegister(4, BigInt(DATA)); }, expected: GP },
  { name: 'MONITOR, ECX', code: (a) => a.monitor(), set: { rax: BigInt(DATA), rcx: 1n }, expected: GP },
  { name: 'MWAIT, CPL 3', code: (a) => a.mwait(), user: true, expected: UD },
  { name: 'SENDUIPI without a table', code: (a) => a.senduipi('rax'), cr4: 1 << 25, expected: UD },
  { name: 'RDMSRLIST has no name yet', code: (a) => a.rdmsrlist(), expected: UD },
];

function setUp({ code, user, part, cr4 = 0, set = {}, prepare }: Row) {
  const machine = bench(part ?? {}, CR4_PAE | CR4_OSXSAVE | cr4);
  const { core } = machine;
  const values: Readonly<Record<string, bigint>> = { r15: BigInt(DATA), ...set };
  for (const [name, value] of Object.entries(values)) core.setRegister(REGISTERS[name]!, value);
  program(machine, code, user ? USER_CODE : undefined);
  if (user) {
    core.segments.cs = 0x33;
    core.cpl = 3;
  }
  prepare?.(core);
  return machine;
}

/** Everything that a fault must leave alone. */
function state(core: Core): readonly unknown[] {
  const registers = Array.from({ length: 17 }, (_, number) => core.register(number));
  const { lo, hi, xcr0, pkru } = core.control.snapshot();
  return [registers, core.rflags, core.cpl, [...lo], [...hi], [...xcr0], pkru, [...core.msrs.lo], [...core.msrs.hi]];
}

describe('faults', () => {
  test.each(ROWS.map((row) => [row.name, row] as const))('%s', (_, row) => {
    const { core } = setUp(row);
    let raised: number | 'none' = 'none';
    let atFault: readonly unknown[] = [];
    const before = state(core);
    core.sink = {
      event: (_core, kind, vector) => {
        if (kind !== TRACE.DELIVER || raised !== 'none') return;
        raised = vector;
        atFault = state(core);
      },
    };
    core.run(core.clock.now[0]! + 1);
    expect(raised).toBe(row.expected);
    if (raised !== 'none') expect(atFault).toEqual(before);
  });

  test('without an IDT a fault becomes #DF, and that a shutdown', () => {
    const { core } = setUp({ name: '', code: (a) => a.ud2(), expected: UD });
    const vectors: number[] = [];
    core.idtr.limit = 0;
    core.sink = { event: (_, kind, vector) => kind === TRACE.DELIVER && vectors.push(vector) };
    expect(core.run()).toBe('shutdown');
    expect(vectors).toEqual([UD, GP, DF]);
  });

  test('#UD of a gate comes before the privilege', () => {
    const { core } = setUp({
      name: '',
      code: (a) => a.wrmsrns(),
      user: true,
      part: { without: ['WRMSRNS'] },
      expected: UD,
    });
    let raised = -1;
    core.sink = {
      event: (_, kind, vector) => {
        if (kind === TRACE.DELIVER && raised < 0) raised = vector;
      },
    };
    core.run(core.clock.now[0]! + 1);
    expect(raised).toBe(UD);
  });

  test('IA32_TSX_CTRL.RTM_DISABLE makes XBEGIN abort at once', () => {
    const code = (a: Assembler): void => {
      a.mov('rax', 0x1234);
      a.xbegin('aborted');
      a.mov('rbx', 1);
      a.xend();
      a.hlt();
      a.label('aborted');
      a.mov('rbx', 2);
      a.hlt();
    };
    for (const [value, rbx, rax] of [
      [0, 1n, 0x1234n],
      [1, 2n, 0n],
    ] as const) {
      const { core } = setUp({ name: '', code, expected: 'none' });
      core.msrs.put(slotNamed('IA32_TSX_CTRL'), value, 0);
      expect(core.run()).toBe('idle');
      expect([core.register(3), core.register(0)]).toEqual([rbx, rax]);
    }
  });
});
