import { describe, expect, test } from 'vitest';
import type { Assembler } from '../../src/emu/isa/asm.js';
import type { CpuidEntry2 } from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import { diffHostState, hostState } from '../../src/linux/host-state.js';
import { LongModeGuest } from '../support/long-mode-guest.js';

const OUTPUT_BASE = 0x560;
const OUTPUT_MASK = 0x561;
const CTL = 0x570;
const STATUS = 0x571;
const CR3_MATCH = 0x572;
const ADDR0_A = 0x580;
/** TraceEn, ToPA, BranchEn. */
const TRACES = 0x2101;

function wrmsr(a: Assembler, index: number, value: number): void {
  a.mov('ecx', index);
  a.mov('eax', value);
  a.mov('edx', 0);
  a.wrmsr();
}

/** Two pairs of addresses on the CPU; as many in the guest's table as it is told. */
function guest(program: (a: Assembler) => void, ranges = 2, ptMode = 1): LongModeGuest {
  return new LongModeGuest(
    'sapphire-rapids',
    (a) => {
      program(a);
      a.hlt();
    },
    {
      kernel: '6.1',
      inputs: { parameters: new Map([['kvm_intel.pt_mode', ptMode]]) },
      cpuid: (entries: CpuidEntry2[]) =>
        entries.map((e) => (e.function === 0x14 && e.index === 1 ? { ...e, eax: (e.eax & ~7) | ranges } : e)),
    },
  );
}

/** Whether the guest gets #GP. Its handler says so in R8. */
function faults(program: (a: Assembler) => void, ranges?: number, ptMode?: number): boolean {
  const it = guest(program, ranges, ptMode).handle(13, (a) => {
    a.mov('r8d', 1);
    a.hlt();
  });
  expect(it.run()).toEqual(['OK', abi.KVM_EXIT_HLT]);
  return it.get('r8') === 1n;
}

const log = (it: LongModeGuest): readonly string[] => it.cpu.log.lines.map(({ text }) => text);

describe('Intel PT for guests', () => {
  test.each<readonly [string, boolean, (a: Assembler) => void]>([
    ['the address of a pair that its CPUID has', false, (a) => wrmsr(a, ADDR0_A + 3, 0x1000)],
    ['of one that it has not', true, (a) => wrmsr(a, ADDR0_A + 4, 0x1000)],
    ['an output base that is not aligned', true, (a) => wrmsr(a, OUTPUT_BASE, 0x40)],
    ['a reserved bit of the status', true, (a) => wrmsr(a, STATUS, 8)],
    ['an error in the status', false, (a) => wrmsr(a, STATUS, 1 << 4)],
    ['CR3', false, (a) => wrmsr(a, CR3_MATCH, 0x2000)],
    ['to trace, to a table', false, (a) => wrmsr(a, CTL, TRACES)],
    ['a reserved bit of the control', true, (a) => wrmsr(a, CTL, 1 << 18)],
    [
      'another control while it traces',
      true,
      (a) => {
        wrmsr(a, CTL, TRACES);
        wrmsr(a, CTL, TRACES | 4);
      },
    ],
  ])('may a guest write %s? #GP: %s', (_, expected, program) => {
    expect(faults(program)).toBe(expected);
  });

  test('is none without pt_mode', () => {
    expect(faults((a) => wrmsr(a, CTL, 0), 2, 0)).toBe(true);
  });

  test('guest and host have values of their own while the guest traces, and the guest reaches its own', () => {
    const it = guest((a) => {
      wrmsr(a, OUTPUT_BASE, 0x3000);
      wrmsr(a, ADDR0_A, 0x7000);
      wrmsr(a, CTL, TRACES);
      a.mov('eax', 0);
      a.cpuid();
      a.mov('ecx', ADDR0_A);
      a.rdmsr();
      a.mov('r8', 'rax');
      a.mov('ecx', OUTPUT_MASK);
      a.rdmsr();
      a.mov('r9', 'rax');
    });
    it.run();
    const { core } = it.cpu;
    core.msrs.set(ADDR0_A, 0x1_0000n);
    it.set({ rip: 0x1000 });
    const before = hostState(core);
    expect(it.run()).toEqual(['OK', abi.KVM_EXIT_HLT]);
    expect(diffHostState(before, hostState(core))).toEqual([]);
    expect([it.get('r8'), it.get('r9')]).toEqual([0x7000n, 0x7fn]);
    expect(log(it)).toEqual([]);
  });

  test('with as many ranges as the CPU has nothing faults; with more, the first MSR that it has not', () => {
    const traces = (a: Assembler) => {
      wrmsr(a, CTL, TRACES);
      a.mov('eax', 0);
      a.cpuid();
    };
    const logOf = (ranges: number) => {
      const it = guest(traces, ranges);
      expect(it.run()).toEqual(['OK', abi.KVM_EXIT_HLT]);
      return log(it);
    };
    expect(logOf(2)).toEqual([]);
    expect(logOf(3)).toEqual([
      'unchecked MSR access error: RDMSR from 0x584',
      'unchecked MSR access error: WRMSR to 0x584 (tried to write 0x0000000000000000)',
    ]);
  });
});
