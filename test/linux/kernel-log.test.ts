import { describe, expect, test } from 'vitest';
import { executing } from '../support/executing.js';

const KERNEL_GS_BASE = 0xc000_0102;
const NOWHERE = 0x1234;

describe('MSR accesses of the kernel that fault', () => {
  test('say so once for WRMSR and once for RDMSR, and change nothing', () => {
    const machine = executing('cascade-lake');
    const cpu = machine.cpus[0]!;
    cpu.wrmsr(KERNEL_GS_BASE, 0, 0x1_0000);
    const [line] = machine.log.lines;
    expect(line).toEqual({
      cpu: 0,
      cycle: cpu.core.clock.now[0],
      text: 'unchecked MSR access error: WRMSR to 0xc0000102 (tried to write 0x0001000000000000)',
    });
    expect(cpu.core.msrs.get(KERNEL_GS_BASE)).toBe(0n);
    cpu.wrmsr(NOWHERE, 1, 0);
    expect(machine.log.lines).toHaveLength(1);
    cpu.core.msrs.value.fill(7);
    cpu.rdmsr(NOWHERE);
    expect([...cpu.core.msrs.value]).toEqual([0, 0]);
    expect(machine.log.lines.map(({ text }) => text)).toEqual([
      line!.text,
      'unchecked MSR access error: RDMSR from 0x1234',
    ]);
  });

  test('and those that do not fault say nothing', () => {
    const machine = executing('cascade-lake');
    const cpu = machine.cpus[0]!;
    cpu.wrmsr(KERNEL_GS_BASE, 0x5000, 0);
    cpu.rdmsr(KERNEL_GS_BASE);
    expect(cpu.core.msrs.value[0]).toBe(0x5000);
    expect(machine.log.lines).toEqual([]);
  });
});
