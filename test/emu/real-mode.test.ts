import { describe, expect, test } from 'vitest';
import { type RealModeCpu, runRealMode } from '../../src/emu/real-mode.js';

/** Runs bytes that lie at a linear address. */
function run(code: readonly number[], cpu: RealModeCpu, at = cpu.csBase + cpu.ip) {
  const codeAt = (linear: number) => code[linear - at] ?? -1;
  const exit = runRealMode(cpu, { codeAt });
  return { exit, ip: cpu.ip };
}

describe('real mode', () => {
  const rows: readonly (readonly [name: string, code: readonly number[], exit: string, ip: number])[] = [
    ['HLT', [0xf4], 'hlt', 0],
    ['CPUID', [0x0f, 0xa2], 'cpuid', 0],
    ['NOP, NOP, HLT', [0x90, 0x90, 0xf4], 'hlt', 2],
    ['NOP, CPUID', [0x90, 0x0f, 0xa2], 'cpuid', 1],
    ['UD2', [0x0f, 0x0b], 'unknown-instruction', 0],
    ['NOP, MOV', [0x90, 0xb8], 'unknown-instruction', 1],
    ['half a CPUID', [0x0f], 'no-code', 0],
    ['nothing', [], 'no-code', 0],
  ];

  test.each(rows)('%s', (_, code, exit, ip) => {
    expect(run(code, { csBase: 0x1000, ip: 0 })).toEqual({ exit, ip });
  });

  test('the code segment ends at 64 KiB', () => {
    expect(run([0x90, 0xf4], { csBase: 0, ip: 0xffff })).toEqual({ exit: 'no-code', ip: 0x1_0000 });
    expect(run([0x0f, 0xa2], { csBase: 0, ip: 0xffff })).toEqual({ exit: 'no-code', ip: 0xffff });
  });

  test('the address wraps at 4 GiB', () => {
    expect(run([0xf4], { csBase: 0xffff_fff0, ip: 0x20 }, 0x10)).toEqual({ exit: 'hlt', ip: 0x20 });
  });
});
