import { describe, expect, test } from 'vitest';
import { MSR_ROWS } from '../../src/emu/msr-rows.js';
import { changedBits, diffHostState, hostState } from '../../src/linux/host-state.js';
import { executing } from '../support/executing.js';

const boot = () => executing('sapphire-rapids', { cmdline: 'tsx=off' }).cpus[0]!;

describe('the state of the host', () => {
  test('programs that change nothing change nothing', () => {
    const cpu = boot();
    const before = hostState(cpu.core);
    cpu.runUser((a) => a.nop());
    cpu.runUser((a) => a.ud2());
    cpu.runKernel((a) => a.nop());
    expect(diffHostState(before, hostState(cpu.core))).toEqual([]);
  });

  test.each([
    ['IA32_UMWAIT_CONTROL', 0xe1, 0n],
    ['IA32_LSTAR', 0xc000_0082, 0n],
    ['IA32_TSC_AUX', 0xc000_0103, 7n],
    ['IA32_UARCH_MISC_CTL', 0x1b01, 1n],
  ])('%s', (name, index, value) => {
    const { core } = boot();
    if (!core.msrs.has(index)) return expect(name).toBe('IA32_UARCH_MISC_CTL');
    const before = hostState(core);
    const old = core.msrs.get(index);
    core.msrs.set(index, value);
    expect(diffHostState(before, hostState(core))).toEqual([{ name, msr: index, before: old, after: value }]);
  });

  test('IA32_TSX_CTRL changes what CPUID says', () => {
    const { core } = boot();
    const before = hostState(core);
    core.msrs.set(0x122, 0n);
    expect(diffHostState(before, hostState(core)).map(({ name }) => name)).toEqual([
      'IA32_TSX_CTRL',
      'CPUID.(EAX=7H,ECX=0):EBX',
    ]);
  });

  test('control registers, XCR0, PKRU, debug registers, tables', () => {
    const { core } = boot();
    const before = hostState(core);
    core.control.writeCr4(core.control.lo[4]! & ~(1 << 22), 0);
    core.control.xsetbv(0, 7, 0);
    core.control.writePkru(0);
    core.drLo[7] = 0x401;
    core.idtr.limit = 0;
    core.segments.tr = 0;
    const changes = diffHostState(before, hostState(core));
    const names = changes.map(({ name }) => name).filter((name) => !name.startsWith('CPUID'));
    expect(names).toEqual(['CR4', 'XCR0', 'PKRU', 'DR7', 'IDTR.limit', 'TR']);
    expect(changedBits(changes[0]!)).toBe('-PKE');
    expect(changedBits(changes[1]!)).toBe('');
    // OSPKE, and the size of the XSAVE area.
    expect(changes.map(({ name }) => name).filter((name) => name.startsWith('CPUID'))).toEqual([
      'CPUID.(EAX=7H,ECX=0):ECX',
      'CPUID.(EAX=DH,ECX=0):EBX',
      'CPUID.(EAX=DH,ECX=1):EBX',
    ]);
  });

  test('a canary in any MSR is found, and nothing else', () => {
    const cpu = boot();
    const { core } = cpu;
    const before = hostState(core);
    const canaries = MSR_ROWS.flatMap((row, slot) => {
      if (core.msrs.exists[slot] === 0 || row.alias !== null || row.hook === 'tsc') return [];
      core.msrs.put(slot, core.msrs.lo[slot]! ^ 0x100, core.msrs.hi[slot]!);
      return [row.name];
    });
    const found = diffHostState(before, hostState(core)).filter(({ msr }) => msr !== null);
    expect(found.map(({ name }) => name)).toEqual(canaries);
    expect(found.every((change) => (change.before ^ change.after) === 0x100n)).toBe(true);
  });
});
